//! The embedded backplane: logs in the memory of one process, shared by one instance or, in tests, by a fleet of them.
//! Nothing outlives the process. Presence and the directory on the same broker are `presence/memory.rs` and
//! `directory/memory.rs`.

mod instance;
mod log;
mod outlet;
mod store;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

pub use self::instance::MemoryInstance;
use self::log::Retention;
use self::outlet::{Look, Outlet};
use self::store::Store;
use super::{Arrival, Arrivals};
use crate::clock::{Clock, Moment};
use crate::delivery::EphemeralKind;
use crate::entropy::Entropy;
use crate::ids::{LogName, RoomName, ServerId};
use crate::rights::RoomSpan;

/// What is kept, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Most messages of a log.
    pub history_messages: usize,
    /// How long a message is kept.
    pub history_age: Duration,
    /// Most bytes of all logs together, keys and a stated overhead for each log, message and key included. Above it, the
    /// logs longest without a publish lose their messages until 90 % are left. It is exceeded by at most a tenth, or by
    /// what the logs that instances listen to cost while empty.
    pub total_bytes: usize,
    /// How long a repeat with the same key is recognised.
    pub key_window: Duration,
}

impl Default for MemoryConfig {
    /// 1,000 messages or 24 h a log, 256 MiB, keys for 5 min.
    fn default() -> Self {
        Self {
            history_messages: 1_000,
            history_age: Duration::from_secs(86_400),
            total_bytes: 256 * 1024 * 1024,
            key_window: Duration::from_secs(300),
        }
    }
}

/// How the broker is doing; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryStats {
    /// Logs in memory.
    pub logs: usize,
    /// What they cost, in bytes, by the stated overheads.
    pub bytes: usize,
    /// Idempotency keys remembered.
    pub keys: usize,
    /// How often a log lost its messages to `total_bytes`, since the start.
    pub evicted_logs: u64,
    /// Ephemeral frames dropped because an instance had no room, since the start.
    pub dropped_broadcasts: u64,
}

/// What the instances of one process share.
pub struct MemoryBroker {
    clock: Arc<dyn Clock>,
    store: Store,
    total_bytes: usize,
    /// When to evict: at `total_bytes`, or above it while nothing more can be freed, so that a hopeless search is not
    /// repeated for every publish.
    evict_above: AtomicUsize,
    evicted_logs: AtomicU64,
    dropped_broadcasts: AtomicU64,
}

impl MemoryBroker {
    /// A broker without logs.
    #[must_use]
    pub fn new(config: MemoryConfig, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Arc<Self> {
        let MemoryConfig { history_messages: messages, history_age: age, total_bytes, key_window } = config;
        Arc::new(Self {
            clock,
            store: Store::new(Retention { messages, age, key_window }, entropy),
            total_bytes,
            evict_above: AtomicUsize::new(total_bytes),
            evicted_logs: AtomicU64::new(0),
            dropped_broadcasts: AtomicU64::new(0),
        })
    }

    /// A new instance and what arrives at it. Two of the same name are two instances.
    #[must_use]
    pub fn instance(self: &Arc<Self>, server_id: ServerId) -> (Arc<MemoryInstance>, Arrivals) {
        let (outlet, arrivals) = Outlet::open(server_id);
        (Arc::new(MemoryInstance::new(self.clone(), outlet)), arrivals)
    }

    /// Lets go of what is too old. To be called about every minute; reading and publishing never show what is too old
    /// even without it, it only gives back memory.
    pub fn sweep(&self) {
        let now = self.clock.now().mono;
        self.store.sweep(now);
        self.relieve(now);
    }

    /// How the broker is doing.
    #[must_use]
    pub fn stats(&self) -> MemoryStats {
        MemoryStats {
            logs: self.store.logs(),
            bytes: self.store.bytes(),
            keys: self.store.keys(),
            evicted_logs: self.evicted_logs.load(Ordering::Relaxed),
            dropped_broadcasts: self.dropped_broadcasts.load(Ordering::Relaxed),
        }
    }

    /// The time that everything on this broker goes by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Tells all instances that listen to the log, except those that have no room.
    pub fn broadcast(&self, log: &LogName, frame: &Bytes, kind: EphemeralKind) {
        let mut dropped = 0;
        let told = self.store.with(log, |slot| {
            for outlet in &slot.listeners {
                match outlet.look() {
                    Look::Found(place) => {
                        place.send(Arrival::Ephemeral { log: log.clone(), frame: frame.clone(), kind });
                    }
                    Look::Full => dropped += 1,
                    Look::Closed => {}
                }
            }
        });
        // A log without a place in memory has no listeners to tell.
        told.unwrap_or(());
        if dropped > 0 {
            self.dropped_broadcasts.fetch_add(dropped, Ordering::Relaxed);
        }
    }

    /// Rooms with a message so far whose names are within the spans and greater than `after`, in order, at most `most`, with
    /// their tops; and the name after which there may be more. At most `look` names are looked at.
    #[must_use]
    pub fn rooms(
        &self,
        spans: &[RoomSpan],
        after: Option<&str>,
        most: usize,
        look: usize,
    ) -> (Vec<(RoomName, u64)>, Option<RoomName>) {
        self.store.rooms(spans, after, most, look)
    }

    /// Keeps the total below its bound.
    fn relieve(&self, now: Moment) {
        if self.store.bytes() <= self.evict_above.load(Ordering::Relaxed) {
            return;
        }
        let tenth = self.total_bytes / 10;
        let evicted = self.store.evict(self.total_bytes - tenth, now);
        self.evicted_logs.fetch_add(evicted, Ordering::Relaxed);
        self.evict_above.store(self.total_bytes.max(self.store.bytes() + tenth), Ordering::Relaxed);
    }
}
