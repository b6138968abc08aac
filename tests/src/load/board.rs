//! What all threads of a run share while it goes on: running totals for the progress line and the measured window, the
//! newest offset of every room, and whether publishers may publish. Nothing here is exact to the message while traffic
//! flows; the tallies are, at the end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

/// Shared by all threads of one run.
pub(super) struct Board {
    /// Sessions that are connected and have joined all their rooms.
    pub(super) present: AtomicU64,
    /// Sessions that have done their first exchange.
    pub(super) exchanged: AtomicU64,
    pub(super) published: AtomicU64,
    pub(super) acked: AtomicU64,
    pub(super) delivered: AtomicU64,
    /// Bytes on the wire of what was delivered, frame headers included.
    pub(super) delivered_bytes: AtomicU64,
    /// Reads that brought messages: delivered / reads tells how many left the server in one write, or nearly.
    pub(super) reads: AtomicU64,
    pub(super) holes: AtomicU64,
    pub(super) reconnected: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Latency is recorded only while this is set.
    pub(super) measuring: AtomicBool,
    /// Publishers that saturate go on only while this is set.
    pub(super) publishing: AtomicBool,
    /// Threads that never sleep do while this is set.
    pub(super) resting: AtomicBool,
    tops: Vec<Mutex<Top>>,
    fatal: Mutex<Option<String>>,
    /// Ctrl-C was pressed once.
    pub(super) interrupted: AtomicBool,
}

#[derive(Default)]
struct Top {
    epoch: String,
    offset: u64,
}

/// The running totals at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) published: u64,
    pub(super) delivered: u64,
    pub(super) delivered_bytes: u64,
    pub(super) reads: u64,
}

impl Board {
    pub(super) fn new(rooms: usize) -> Self {
        Self {
            present: AtomicU64::new(0),
            exchanged: AtomicU64::new(0),
            published: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            delivered_bytes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            holes: AtomicU64::new(0),
            reconnected: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            measuring: AtomicBool::new(false),
            publishing: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            tops: (0..rooms).map(|_| Mutex::default()).collect(),
            fatal: Mutex::default(),
            interrupted: AtomicBool::new(false),
        }
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            published: self.published.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            delivered_bytes: self.delivered_bytes.load(Relaxed),
            reads: self.reads.load(Relaxed),
        }
    }

    /// An ack: the room's log reaches at least to `offset`. A new epoch may count from the start again.
    pub(super) fn reached(&self, room: usize, epoch: &str, offset: u64) {
        let Some(top) = self.tops.get(room) else { return };
        let mut top = top.lock();
        if top.epoch != epoch {
            epoch.clone_into(&mut top.epoch);
            top.offset = offset;
        } else {
            top.offset = top.offset.max(offset);
        }
    }

    /// The run cannot succeed; the first reason is the one that is told.
    pub(super) fn give_up(&self, reason: &str) {
        self.fatal.lock().get_or_insert_with(|| reason.to_owned());
    }

    /// Why the run cannot succeed, if so.
    pub(super) fn fatal(&self) -> Option<String> {
        self.fatal.lock().clone()
    }

    /// The newest offset of a room that is known from acks; 0 when nothing was acked.
    pub(super) fn top(&self, room: usize) -> u64 {
        self.tops.get(room).map_or(0, |top| top.lock().offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_of_a_room_never_falls_within_an_epoch() {
        let board = Board::new(1);
        board.reached(0, "a", 7);
        board.reached(0, "a", 5);
        assert_eq!(board.top(0), 7);
        board.reached(0, "b", 2);
        assert_eq!(board.top(0), 2);
    }
}
