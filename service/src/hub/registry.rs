//! The sessions of this instance and how to reach them all, or all of one user. Rooms are not its business.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use slab::Slab;

use super::outbox::{Budget, Outbox};
use crate::delivery::Order;
use crate::ids::UserId;

struct Entry {
    user: Option<UserId>,
    outbox: Arc<Outbox>,
}

#[derive(Default)]
struct Sessions {
    slab: Slab<Entry>,
    /// What a session that comes now is told at once: it missed what all others were told.
    latecomers: Option<Order>,
}

/// See the module.
#[derive(Default)]
pub struct Registry {
    sessions: Arc<Mutex<Sessions>>,
}

/// A session's place in the registry; dropping it removes it.
pub struct Registration {
    sessions: Arc<Mutex<Sessions>>,
    key: usize,
}

impl Registry {
    /// Enters a session, signed in or not.
    #[must_use]
    pub fn register(&self, outbox: Arc<Outbox>) -> Registration {
        let mut sessions = self.sessions.lock();
        if let Some(order) = &sessions.latecomers {
            outbox.order(order.clone());
        }
        let key = sessions.slab.insert(Entry { user: None, outbox });
        drop(sessions);
        Registration { sessions: Arc::clone(&self.sessions), key }
    }

    /// From now on the session is found under this user.
    pub fn signed_in(&self, key: usize, user: &UserId) {
        if let Some(entry) = self.sessions.lock().slab.get_mut(key) {
            entry.user = Some(user.clone());
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.lock().slab.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who is signed in.
    #[must_use]
    pub fn users(&self) -> HashSet<UserId> {
        self.sessions.lock().slab.iter().filter_map(|(_, entry)| entry.user.clone()).collect()
    }

    /// Gives an order to all sessions of a user; returns how many. Looks at every session: orders are rare.
    pub fn order_user(&self, user: &UserId, order: &Order) -> usize {
        let sessions = self.sessions.lock();
        let mut count = 0;
        for (_, entry) in sessions.slab.iter().filter(|(_, entry)| entry.user.as_ref() == Some(user)) {
            entry.outbox.order(order.clone());
            count += 1;
        }
        count
    }

    /// Gives each session an order of its own, made from its index and their number; returns how many. A session that
    /// registers later gets the first one's order at once.
    pub fn order_all(&self, order: impl Fn(usize, usize) -> Order) -> usize {
        let mut sessions = self.sessions.lock();
        let count = sessions.slab.len();
        for (index, (_, entry)) in sessions.slab.iter().enumerate() {
            entry.outbox.order(order(index, count));
        }
        sessions.latecomers = Some(order(0, count));
        count
    }

    /// Closes the sessions with the most waiting until what all hold together is a tenth below the total; returns how
    /// many. To be called when it is above. What those closed already are about to give up counts as given up: if others
    /// hold it too, the next call finds that out.
    pub fn relieve(&self, budget: &Budget) -> usize {
        let sessions = self.sessions.lock();
        let mut leaving = 0;
        let mut greedy = Vec::with_capacity(sessions.slab.len());
        for (_, entry) in sessions.slab.iter() {
            leaving += entry.outbox.leaving();
            greedy.push((entry.outbox.waiting(), &entry.outbox));
        }
        greedy.sort_unstable_by_key(|(waiting, _)| std::cmp::Reverse(*waiting));
        let mut evicted = 0;
        for (waiting, outbox) in greedy {
            if waiting == 0 || budget.used().saturating_sub(leaving) <= budget.total() / 10 * 9 {
                break;
            }
            outbox.evict();
            leaving += outbox.leaving();
            evicted += 1;
        }
        evicted
    }

    /// Makes every session look around, although there is nothing for it.
    pub fn wake_all(&self) {
        for (_, entry) in self.sessions.lock().slab.iter() {
            entry.outbox.wake();
        }
    }
}

impl Registration {
    /// Names this place in [`Registry::signed_in`].
    #[must_use]
    pub fn key(&self) -> usize {
        self.key
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock();
        sessions.slab.try_remove(self.key);
        // A slab never shrinks by itself; after a storm of connections its memory should come back.
        if sessions.slab.is_empty() {
            sessions.slab = Slab::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Charge, Parcel};

    /// Readers whose connections hold `shared` bytes each for rooms that are still being joined, and the total for all.
    struct Crowd {
        budget: Arc<Budget>,
        registry: Registry,
        readers: Vec<(Arc<Outbox>, Registration)>,
    }

    impl Crowd {
        fn of(readers: usize, shared: usize, total: usize) -> Self {
            let (budget, registry) = (Budget::new(total), Registry::default());
            let reader = || {
                let outbox = Outbox::new(usize::MAX, Arc::clone(&budget));
                outbox.set_backlog(0, shared);
                let place = registry.register(Arc::clone(&outbox));
                (outbox, place)
            };
            let readers = (0..readers).map(|_| reader()).collect();
            Self { budget, registry, readers }
        }

        fn relieve(&self) -> usize {
            self.registry.relieve(&self.budget)
        }

        /// The connection of the one that was closed has its turn; returns which one that was.
        fn turn(&mut self) -> usize {
            let closed = self.readers.iter().position(|(outbox, _)| outbox.leaving() > 0).unwrap();
            drop(self.readers.remove(closed));
            closed
        }
    }

    #[test]
    fn nobody_is_closed_for_what_others_are_about_to_give_up() {
        let mut crowd = Crowd::of(4, 300, 1_000);
        let mut runs: Vec<_> = (0..4).map(|_| Charge::new(crowd.budget.counter(), 300)).collect();
        assert_eq!((crowd.budget.excess(), crowd.relieve()), (200, 1));
        assert_eq!(crowd.relieve(), 0, "it has not had its turn yet");
        drop(runs.remove(crowd.turn()));
        assert_eq!((crowd.budget.used(), crowd.relieve()), (900, 0));
    }

    #[test]
    fn one_that_overflowed_by_itself_is_not_closed_once_more_nor_counted_twice() {
        let mut crowd = Crowd::of(2, 300, 1_000);
        let own = Outbox::new(0, Arc::clone(&crowd.budget));
        own.set_backlog(700, 300);
        assert!(!own.push(Parcel::Order(Order::Drain { after_ms: 0 })));
        assert_eq!((own.waiting(), own.leaving(), crowd.budget.used()), (0, 300, 0));
        let place = crowd.registry.register(Arc::clone(&own));
        crowd.readers.push((own, place));
        let _runs: Vec<_> = (0..4).map(|_| Charge::new(crowd.budget.counter(), 300)).collect();
        assert_eq!(crowd.relieve(), 0, "of 1,200 bytes 300 are on their way out");
    }

    #[test]
    fn more_are_closed_when_what_the_first_gave_up_is_held_by_others_too() {
        let mut crowd = Crowd::of(2, 1_200, 1_000);
        let _run = Charge::new(crowd.budget.counter(), 1_200);
        assert_eq!(crowd.relieve(), 1);
        crowd.turn();
        assert_eq!(crowd.relieve(), 1);
    }
}
