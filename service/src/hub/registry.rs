//! The sessions of this instance and how to reach them all, or all of one user. Rooms are not its business.

use std::sync::Arc;

use parking_lot::Mutex;
use slab::Slab;

use super::outbox::Outbox;
use crate::delivery::{Order, Parcel};
use crate::ids::UserId;

struct Entry {
    user: Option<UserId>,
    outbox: Arc<Outbox>,
}

/// See the module.
#[derive(Default)]
pub struct Registry {
    sessions: Arc<Mutex<Slab<Entry>>>,
}

/// A session's place in the registry; dropping it removes it.
pub struct Registration {
    sessions: Arc<Mutex<Slab<Entry>>>,
    key: usize,
}

impl Registry {
    /// Enters a session, signed in or not.
    #[must_use]
    pub fn register(&self, outbox: Arc<Outbox>) -> Registration {
        let key = self.sessions.lock().insert(Entry { user: None, outbox });
        Registration { sessions: Arc::clone(&self.sessions), key }
    }

    /// From now on the session is found under its user. A session never changes its user, so a second call is ignored.
    pub fn signed_in(&self, key: usize, user: &UserId) {
        if let Some(entry) = self.sessions.lock().get_mut(key) {
            entry.user.get_or_insert_with(|| user.clone());
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives an order to all sessions of a user; returns how many. Looks at every session: orders are rare.
    pub fn order_user(&self, user: &UserId, order: &Order) -> usize {
        let sessions = self.sessions.lock();
        let mut count = 0;
        for (_, entry) in sessions.iter().filter(|(_, entry)| entry.user.as_ref() == Some(user)) {
            entry.outbox.push(Parcel::Order(order.clone()));
            count += 1;
        }
        count
    }

    /// Gives each session an order of its own, made from its index and their number; returns how many.
    pub fn order_all(&self, order: impl Fn(usize, usize) -> Order) -> usize {
        let sessions = self.sessions.lock();
        let count = sessions.len();
        for (index, (_, entry)) in sessions.iter().enumerate() {
            entry.outbox.push(Parcel::Order(order(index, count)));
        }
        count
    }
}

impl Registry {
    /// Makes every session look around, although there is nothing for it.
    pub fn wake_all(&self) {
        for (_, entry) in self.sessions.lock().iter() {
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
        sessions.try_remove(self.key);
        // A slab never shrinks by itself; after a storm of connections its memory should come back.
        if sessions.is_empty() {
            *sessions = Slab::new();
        }
    }
}
