//! All logs of one process, who listens to them, and what they cost together. It neither waits nor sends.
//!
//! # Epochs
//! A log that was never written and that nobody listens to has no place in memory; it is at offset 0 of
//! `Map::epoch_for_new_logs`, and so it will be when it is created: a position of an empty room stays good while the room
//! comes and goes. Once a log *with* messages is forgotten, its offsets are forgotten too, and its next life would give
//! them out again. Therefore forgetting such a log changes that epoch. The price is that a position of a log that is still
//! unwritten may be refused after it: its reader is told of a loss that did not happen, never the other way round.
//!
//! # Locks
//! The map before a log, and a log is locked only while the map is. So whoever may write the map knows every log at rest.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::log::{Log, Retention};
use super::outlet::Outlet;
use crate::backplane::{CONTROL_AGE, CONTROL_MESSAGES};
use crate::clock::Moment;
use crate::entropy::Entropy;
use crate::ids::{LogName, RoomName};
use crate::message::Epoch;
use crate::rights::RoomSpan;

/// What an empty log costs besides its name: its places in the tables, its lock, its queues, its list of listeners.
const LOG_OVERHEAD: usize = 512;
/// How long a log without messages and listeners keeps its offsets.
const FORGET_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// A log and who listens to it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) log: Log,
    pub(super) listeners: Vec<Arc<Outlet>>,
}

impl Slot {
    /// Drops listeners whose instance is gone.
    pub(super) fn prune(&mut self) {
        self.listeners.retain(|outlet| !outlet.is_closed());
    }

    fn is_idle(&self) -> bool {
        self.listeners.is_empty() && self.log.len() == 0 && self.log.keys() == 0
    }

    fn is_unwritten(&self) -> bool {
        self.log.position().offset == 0
    }
}

#[derive(Debug)]
struct Map {
    // Boxed, so that growing the table does not move the logs.
    logs: HashMap<LogName, Box<Mutex<Slot>>>,
    rooms: BTreeSet<RoomName>,
    epoch_for_new_logs: Epoch,
}

/// The logs.
pub(super) struct Store {
    map: RwLock<Map>,
    bytes: AtomicUsize,
    keys: AtomicUsize,
    keep: Retention,
    entropy: Arc<dyn Entropy>,
}

impl Store {
    pub(super) fn new(keep: Retention, entropy: Arc<dyn Entropy>) -> Self {
        let epoch_for_new_logs = Epoch::from_bits(entropy.bits());
        let map = Map { logs: HashMap::new(), rooms: BTreeSet::new(), epoch_for_new_logs };
        Self { map: RwLock::new(map), bytes: AtomicUsize::new(0), keys: AtomicUsize::new(0), keep, entropy }
    }

    /// How long things are kept in a log.
    pub(super) fn keep(&self, log: &LogName) -> Retention {
        match log {
            LogName::Control => Retention { messages: CONTROL_MESSAGES, age: CONTROL_AGE, ..self.keep },
            LogName::Room(_) | LogName::Inbox(_) => self.keep,
        }
    }

    /// How many logs have a place in memory.
    pub(super) fn logs(&self) -> usize {
        self.map.read().logs.len()
    }

    /// What all logs cost, in bytes, by the stated overheads.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many keys are remembered.
    pub(super) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Works on a log under its lock. `Err`: it has no place in memory, and this is the epoch of its offset 0.
    pub(super) fn with<R>(&self, name: &LogName, work: impl FnOnce(&mut Slot) -> R) -> Result<R, Epoch> {
        let map = self.map.read();
        let slot = map.logs.get(name).ok_or(map.epoch_for_new_logs)?;
        Ok(self.lock(slot, work))
    }

    /// Works on many logs as [`Store::with`] does, in the order of `names`.
    pub(super) fn with_each<R>(
        &self,
        names: &[LogName],
        mut work: impl FnMut(Result<&mut Slot, Epoch>) -> R,
    ) -> Vec<R> {
        let map = self.map.read();
        let each = |name| match map.logs.get(name) {
            Some(slot) => self.lock(slot, |slot| work(Ok(slot))),
            None => work(Err(map.epoch_for_new_logs)),
        };
        names.iter().map(each).collect()
    }

    /// Works on a log under its lock, making it first if need be.
    pub(super) fn with_new<R>(&self, name: &LogName, now: Moment, work: impl FnOnce(&mut Slot) -> R) -> R {
        let map = self.map.read();
        if let Some(slot) = map.logs.get(name) {
            return self.lock(slot, work);
        }
        drop(map);
        let mut map = self.map.write();
        let Map { logs, rooms, epoch_for_new_logs } = &mut *map;
        let slot = logs.entry(name.clone()).or_insert_with(|| {
            self.bytes.fetch_add(cost_of(name), Ordering::Relaxed);
            if let LogName::Room(room) = name {
                rooms.insert(room.clone());
            }
            Box::new(Mutex::new(Slot { log: Log::new(*epoch_for_new_logs, now), listeners: Vec::new() }))
        });
        self.lock(slot, work)
    }

    /// Rooms above `after` that were written, in order, with their tops, and where to go on; see the broker.
    pub(super) fn rooms(
        &self,
        spans: &[RoomSpan],
        after: Option<&str>,
        most: usize,
        look: usize,
    ) -> (Vec<(RoomName, u64)>, Option<RoomName>) {
        let map = self.map.read();
        let (mut listed, mut looked, mut last) = (Vec::new(), 0, None::<&RoomName>);
        for span in spans {
            let from = match after {
                Some(after) if after >= span.start() => Bound::Excluded(after),
                _ => Bound::Included(span.start()),
            };
            let names = map.rooms.range::<str, _>((from, Bound::Unbounded));
            for room in names.take_while(|room| span.covers(room.as_str())) {
                if looked == look {
                    return (listed, last.cloned());
                }
                looked += 1;
                let slot = map.logs.get(&LogName::Room(room.clone()));
                let top = slot.map_or(0, |slot| slot.lock().log.position().offset);
                if top > 0 && listed.len() == most {
                    return (listed, last.cloned());
                }
                if top > 0 {
                    listed.push((room.clone(), top));
                }
                last = Some(room);
            }
        }
        (listed, None)
    }

    /// Ends one listener's interest in a log; a log that is nothing more than that loses its place.
    pub(super) fn unlisten(&self, name: &LogName, outlet: &Arc<Outlet>) {
        let idle = self.with(name, |slot| {
            slot.listeners.retain(|other| !Arc::ptr_eq(other, outlet));
            slot.is_idle() && slot.is_unwritten()
        });
        if idle == Ok(true) {
            self.remove_if(std::slice::from_ref(name), |slot| slot.is_idle() && slot.is_unwritten());
        }
    }

    /// Ends one listener's interest in everything.
    pub(super) fn unlisten_all(&self, outlet: &Arc<Outlet>) {
        for slot in self.map.read().logs.values() {
            slot.lock().listeners.retain(|other| !Arc::ptr_eq(other, outlet));
        }
    }

    /// Lets go of what is kept long enough, and of logs that are nothing any more.
    pub(super) fn sweep(&self, now: Moment) {
        let is_over =
            |slot: &Slot| slot.is_idle() && (slot.is_unwritten() || now.since(slot.log.touched()) >= FORGET_AFTER);
        let mut over = Vec::new();
        for (name, slot) in &self.map.read().logs {
            self.lock(slot, |slot| {
                slot.prune();
                slot.log.trim(now, &self.keep(name));
                if is_over(slot) {
                    over.push(name.clone());
                }
            });
        }
        if !over.is_empty() {
            self.remove_if(&over, is_over);
        }
    }

    /// Frees memory until `bytes` is at most `goal` or nothing is left to free. Returns how many logs lost messages.
    ///
    /// Those longest without a publish lose first: their messages, and their place if nobody listens and no key is
    /// remembered. Only if that is not enough do logs lose their keys; such a log begins a new epoch, because a key holds
    /// within one.
    pub(super) fn evict(&self, goal: usize, now: Moment) -> u64 {
        let mut map = self.map.write();
        let logs = map.logs.iter();
        let mut oldest_first: Vec<_> = logs.map(|(name, slot)| (slot.lock().log.touched(), name.clone())).collect();
        oldest_first.sort_unstable();
        let mut evicted = 0;
        let mut forgotten = false;
        'freeing: for with_keys in [false, true] {
            for (_, name) in &oldest_first {
                if self.bytes() <= goal {
                    break 'freeing;
                }
                let Some(slot) = map.logs.get(name) else { continue };
                let (idle, begun_again) = self.lock(slot, |slot| {
                    slot.prune();
                    slot.log.trim(now, &self.keep(name));
                    evicted += u64::from(slot.log.len() > 0);
                    slot.log.drop_entries();
                    let begin_again = with_keys && slot.log.keys() > 0;
                    if begin_again {
                        slot.log = Log::new(Epoch::from_bits(self.entropy.bits()), slot.log.touched());
                    }
                    (slot.is_idle(), begin_again)
                });
                // What begins again has forgotten its offsets just as well.
                forgotten |= begun_again | (idle && self.remove(&mut map, name));
            }
        }
        if forgotten {
            map.epoch_for_new_logs = Epoch::from_bits(self.entropy.bits());
        }
        evicted
    }

    fn lock<R>(&self, slot: &Mutex<Slot>, work: impl FnOnce(&mut Slot) -> R) -> R {
        let mut slot = slot.lock();
        let (bytes, keys) = (slot.log.bytes(), slot.log.keys());
        let result = work(&mut slot);
        // Wrapping, so that one addition serves growth and shrinkage.
        self.bytes.fetch_add(slot.log.bytes().wrapping_sub(bytes), Ordering::Relaxed);
        self.keys.fetch_add(slot.log.keys().wrapping_sub(keys), Ordering::Relaxed);
        result
    }

    fn remove_if(&self, names: &[LogName], is_over: impl Fn(&Slot) -> bool) {
        let mut map = self.map.write();
        let mut forgotten = false;
        for name in names {
            // Asked again: somebody may have come while the map was open.
            if map.logs.get(name).is_some_and(|slot| is_over(&slot.lock())) {
                forgotten |= self.remove(&mut map, name);
            }
        }
        if forgotten {
            map.epoch_for_new_logs = Epoch::from_bits(self.entropy.bits());
        }
    }

    /// Takes an idle log out of the map. `true`: its offsets are forgotten, so new logs need another epoch before the
    /// map is unlocked.
    #[must_use]
    fn remove(&self, map: &mut Map, name: &LogName) -> bool {
        let Some(slot) = map.logs.remove(name) else { return false };
        if let LogName::Room(room) = name {
            map.rooms.remove(room);
        }
        self.bytes.fetch_sub(cost_of(name), Ordering::Relaxed);
        let slot = slot.into_inner();
        debug_assert!(slot.is_idle(), "what a log holds must be given up before its place");
        !slot.is_unwritten()
    }
}

fn cost_of(name: &LogName) -> usize {
    LOG_OVERHEAD + 2 * name.wire_name().len()
}
