//! The facts about all instances, in the memory of one process. Rooms are read from the logs of the [`MemoryBroker`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::{Directory, InstanceRecord, LOOKED_AT, Listed, RECORD_TTL};
use crate::backplane::Unavailable;
use crate::backplane::memory::MemoryBroker;
use crate::clock::Moment;
use crate::ids::{ServerId, UserId};
use crate::rights::RoomSpan;

/// Most bans at a time. Further ones are refused until one is lifted or has passed.
pub const MAX_BANS: usize = 100_000;

/// What the instances of one process share; every instance uses the same one.
pub struct MemoryDirectory {
    broker: Arc<MemoryBroker>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bans: HashMap<UserId, Moment>,
    instances: BTreeMap<ServerId, (Moment, InstanceRecord)>,
}

impl MemoryDirectory {
    /// Without bans and instances.
    #[must_use]
    pub fn new(broker: Arc<MemoryBroker>) -> Arc<Self> {
        Arc::new(Self { broker, state: Mutex::default() })
    }

    fn now(&self) -> Moment {
        self.broker.clock().now().mono
    }

    fn ban_now(&self, user: &UserId, lasts: Duration) -> Result<(), Unavailable> {
        let now = self.now();
        let bans = &mut self.state.lock().bans;
        if bans.len() >= MAX_BANS && !bans.contains_key(user) {
            bans.retain(|_, until| *until > now);
            if bans.len() >= MAX_BANS {
                return Err(Unavailable(format!("there are {MAX_BANS} bans already")));
            }
        }
        bans.insert(user.clone(), now + lasts);
        Ok(())
    }

    fn banned_now(&self, user: &UserId) -> Option<Duration> {
        let now = self.now();
        let bans = &mut self.state.lock().bans;
        let left = bans.get(user)?.since(now);
        if left.is_zero() {
            bans.remove(user);
            return None;
        }
        Some(left)
    }

    fn announce_now(&self, record: InstanceRecord) {
        let now = self.now();
        let instances = &mut self.state.lock().instances;
        instances.retain(|_, (until, _)| *until > now);
        instances.insert(record.server_id.clone(), (now + RECORD_TTL, record));
    }

    fn instances_now(&self) -> Vec<InstanceRecord> {
        let now = self.now();
        let state = self.state.lock();
        let standing = state.instances.values().filter(|(until, _)| *until > now);
        standing.map(|(_, record)| record.clone()).collect()
    }
}

impl Directory for MemoryDirectory {
    fn rooms<'a>(
        &'a self,
        spans: &'a [RoomSpan],
        after: Option<&'a str>,
        most: usize,
    ) -> BoxFuture<'a, Result<Listed, Unavailable>> {
        Box::pin(async move {
            let (rooms, next) = self.broker.rooms(spans, after, most, most.saturating_mul(LOOKED_AT));
            Ok(Listed { rooms, next })
        })
    }

    fn ban<'a>(&'a self, user: &'a UserId, lasts: Duration) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move { self.ban_now(user, lasts) })
    }

    fn unban<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            self.state.lock().bans.remove(user);
            Ok(())
        })
    }

    fn banned<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Duration>, Unavailable>> {
        Box::pin(async move { Ok(self.banned_now(user)) })
    }

    fn announce(&self, record: InstanceRecord) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            self.announce_now(record);
            Ok(())
        })
    }

    fn instances(&self) -> BoxFuture<'_, Result<Vec<InstanceRecord>, Unavailable>> {
        Box::pin(async move { Ok(self.instances_now()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::Backplane;
    use crate::backplane::memory::MemoryConfig;
    use crate::clock::ManualClock;
    use crate::directory::conformance::{self, Rig};
    use crate::entropy::SeededEntropy;

    struct Memory {
        clock: Arc<ManualClock>,
        broker: Arc<MemoryBroker>,
        directory: Arc<MemoryDirectory>,
    }

    fn memory() -> Arc<Memory> {
        let clock = ManualClock::at(0);
        let broker = MemoryBroker::new(MemoryConfig::default(), clock.clone(), SeededEntropy::new(1));
        Arc::new(Memory { clock, directory: MemoryDirectory::new(broker.clone()), broker })
    }

    impl Rig for Memory {
        fn instance<'a>(&'a self, name: &'a str) -> BoxFuture<'a, (Arc<dyn Directory>, Arc<dyn Backplane>)> {
            Box::pin(async move {
                let (backplane, _) = self.broker.instance(ServerId::parse(name).unwrap());
                (self.directory.clone() as Arc<dyn Directory>, backplane as Arc<dyn Backplane>)
            })
        }

        fn pass(&self, time: Duration) -> Option<BoxFuture<'_, ()>> {
            Some(Box::pin(async move { self.clock.advance(time) }))
        }
    }

    #[tokio::test]
    async fn the_embedded_directory_keeps_every_promise() {
        for promise in conformance::all() {
            println!("{}", promise.name);
            (promise.check)(memory()).await;
        }
    }

    #[tokio::test]
    async fn bans_are_bounded_and_those_that_have_passed_make_room() {
        let memory = memory();
        let user = |number: usize| UserId::parse(&format!("u{number}")).unwrap();
        let minute = Duration::from_secs(60);
        for number in 0..MAX_BANS {
            let lasts = if number == 7 { minute } else { 10 * minute };
            memory.directory.ban(&user(number), lasts).await.unwrap();
        }
        assert!(memory.directory.ban(&user(MAX_BANS), minute).await.is_err());
        assert_eq!(memory.directory.ban(&user(8), minute).await, Ok(()), "an existing ban takes no new room");
        memory.clock.advance(minute);
        assert_eq!(memory.directory.ban(&user(MAX_BANS), minute).await, Ok(()));
    }
}
