//! Who is where, in the memory of one process, shared by the instances on one [`MemoryBroker`]. It counts instances,
//! not sessions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::{LEASE, Presence, Roster};
use crate::backplane::Unavailable;
use crate::backplane::memory::MemoryBroker;
use crate::clock::Moment;
use crate::delivery::EphemeralKind;
use crate::ids::{LogName, RoomName, UserId};
use crate::protocol::limits::PRESENCE_EVENTS_MAX_USERS;
use crate::protocol::server_frame::{PresenceChange, presence_event};

/// What the instances of one process share. Joins and leaves are broadcast through the broker.
///
/// It is bounded by what it reflects: one place for each user that has a session in a room.
pub struct MemoryPresence {
    broker: Arc<MemoryBroker>,
    state: Mutex<State>,
    next: AtomicU64,
}

/// One instance's handle. Dropping it is a crash: what it entered stands until its lease runs out.
pub struct PresentInstance {
    shared: Arc<MemoryPresence>,
    number: Number,
}

/// An instance's own number, so that its successor of the same name does not renew what it left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Number(u64);

#[derive(Debug, Default)]
struct State {
    rooms: HashMap<RoomName, BTreeMap<UserId, Vec<Number>>>,
    /// Of an instance that was purged there is none.
    leases: HashMap<Number, Lease>,
}

#[derive(Debug)]
struct Lease {
    until: Moment,
    /// Something that the instance entered before was purged, and it does not know yet.
    lost: bool,
}

impl MemoryPresence {
    /// Nobody is anywhere.
    #[must_use]
    pub fn new(broker: Arc<MemoryBroker>) -> Arc<Self> {
        Arc::new(Self { broker, state: Mutex::default(), next: AtomicU64::new(0) })
    }

    /// A new instance, whose lease starts now.
    #[must_use]
    pub fn instance(self: &Arc<Self>) -> Arc<PresentInstance> {
        let number = Number(self.next.fetch_add(1, Ordering::Relaxed));
        let until = self.now() + LEASE;
        self.state.lock().leases.insert(number, Lease { until, lost: false });
        Arc::new(PresentInstance { shared: self.clone(), number })
    }

    fn now(&self) -> Moment {
        self.broker.clock().now().mono
    }

    /// Broadcasts while the state is locked, so that hints leave in the order of what happened.
    fn tell(&self, room: &RoomName, users: usize, change: PresenceChange, user: &UserId) {
        if users <= PRESENCE_EVENTS_MAX_USERS {
            let frame = presence_event(room, change, user);
            self.broker.broadcast(&LogName::Room(room.clone()), &frame, EphemeralKind::Presence);
        }
    }

    fn enter(&self, number: Number, room: &RoomName, user: &UserId) {
        let until = self.now() + LEASE;
        let mut state = self.state.lock();
        let State { rooms, leases } = &mut *state;
        // After a purge this stands for another lease, so that it cannot stand for ever.
        leases.entry(number).or_insert(Lease { until, lost: true });
        let users = rooms.entry(room.clone()).or_default();
        let holders = users.entry(user.clone()).or_default();
        if holders.contains(&number) {
            return;
        }
        holders.push(number);
        if holders.len() == 1 {
            self.tell(room, users.len(), PresenceChange::Join, user);
        }
    }

    fn leave(&self, number: Number, room: &RoomName, user: &UserId) {
        let mut state = self.state.lock();
        let Some(users) = state.rooms.get_mut(room) else { return };
        let Some(holders) = users.get_mut(user) else { return };
        holders.retain(|holder| *holder != number);
        if holders.is_empty() {
            let before = users.len();
            users.remove(user);
            if users.is_empty() {
                state.rooms.remove(room);
            }
            self.tell(room, before, PresenceChange::Leave, user);
        }
    }

    fn roster(&self, room: &RoomName, most: usize) -> Roster {
        let state = self.state.lock();
        let Some(users) = state.rooms.get(room) else { return Roster { users: Vec::new(), count: 0 } };
        Roster { users: users.keys().take(most).cloned().collect(), count: users.len() }
    }

    fn renew(&self, number: Number) -> bool {
        let now = self.now();
        let mut state = self.state.lock();
        // Its own lease first: what nobody has purged so far is not lost.
        let before = state.leases.insert(number, Lease { until: now + LEASE, lost: false });
        if state.leases.values().any(|lease| lease.until <= now) {
            self.purge(&mut state, now);
        }
        before.is_some_and(|lease| !lease.lost)
    }

    /// Removes what expired leases hold. Walks through all rooms: it happens once for each crash.
    fn purge(&self, state: &mut State, now: Moment) {
        let State { rooms, leases } = state;
        leases.retain(|_, lease| lease.until > now);
        rooms.retain(|room, users| {
            let mut count = users.len();
            users.retain(|user, holders| {
                holders.retain(|holder| leases.contains_key(holder));
                if holders.is_empty() {
                    self.tell(room, count, PresenceChange::Leave, user);
                    count -= 1;
                }
                !holders.is_empty()
            });
            !users.is_empty()
        });
    }
}

impl Presence for PresentInstance {
    fn enter<'a>(&'a self, room: &'a RoomName, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            self.shared.enter(self.number, room, user);
            Ok(())
        })
    }

    fn leave<'a>(&'a self, room: &'a RoomName, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            self.shared.leave(self.number, room, user);
            Ok(())
        })
    }

    fn roster<'a>(&'a self, room: &'a RoomName, most: usize) -> BoxFuture<'a, Result<Roster, Unavailable>> {
        Box::pin(async move { Ok(self.shared.roster(room, most)) })
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, Unavailable>> {
        Box::pin(async move { Ok(self.shared.renew(self.number)) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backplane::conformance::Instance;
    use crate::backplane::memory::MemoryConfig;
    use crate::clock::ManualClock;
    use crate::entropy::SeededEntropy;
    use crate::ids::ServerId;
    use crate::presence::conformance::{self, Rig};

    struct Memory {
        clock: Arc<ManualClock>,
        broker: Arc<MemoryBroker>,
        presence: Arc<MemoryPresence>,
    }

    fn memory() -> Arc<Memory> {
        let clock = ManualClock::at(0);
        let broker = MemoryBroker::new(MemoryConfig::default(), clock.clone(), SeededEntropy::new(1));
        Arc::new(Memory { clock, presence: MemoryPresence::new(broker.clone()), broker })
    }

    impl Rig for Memory {
        fn instance<'a>(&'a self, name: &'a str) -> BoxFuture<'a, (Arc<dyn Presence>, Instance)> {
            Box::pin(async move {
                let (backplane, arrivals) = self.broker.instance(ServerId::parse(name).unwrap());
                (self.presence.instance() as Arc<dyn Presence>, Instance { backplane, arrivals })
            })
        }

        fn pass(&self, time: Duration) -> Option<BoxFuture<'_, ()>> {
            Some(Box::pin(async move { self.clock.advance(time) }))
        }
    }

    #[tokio::test]
    async fn the_embedded_presence_keeps_every_promise() {
        for promise in conformance::all() {
            println!("{}", promise.name);
            (promise.check)(memory()).await;
        }
    }

    #[tokio::test]
    async fn nothing_stays_in_memory_of_rooms_that_were_left_and_instances_that_were_purged() {
        let memory = memory();
        let (room, user) = (RoomName::parse("r").unwrap(), UserId::parse("u").unwrap());
        let (a, b) = (memory.presence.instance(), memory.presence.instance());
        a.enter(&room, &user).await.unwrap();
        a.leave(&room, &user).await.unwrap();
        b.enter(&room, &user).await.unwrap();
        drop(b);
        memory.clock.advance(LEASE);
        assert_eq!(a.renew().await, Ok(true));
        let state = memory.presence.state.lock();
        assert_eq!((state.rooms.len(), state.leases.len()), (0, 1));
    }

    #[tokio::test]
    async fn a_pause_that_nobody_noticed_loses_nothing() {
        let memory = memory();
        let (room, user) = (RoomName::parse("r").unwrap(), UserId::parse("u").unwrap());
        let a = memory.presence.instance();
        a.enter(&room, &user).await.unwrap();
        memory.clock.advance(10 * LEASE);
        assert_eq!(a.renew().await, Ok(true));
        assert_eq!(a.roster(&room, 1).await.unwrap().count, 1);
    }
}
