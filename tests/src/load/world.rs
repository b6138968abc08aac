//! What the sessions of one thread share: plan, habits, counters, randomness and the time of the present turn. Single
//! threaded by design; what threads share among each other is the `Board`.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::board::Board;
use super::clock::monotonic_ns;
use super::entropy::Entropy;
use super::plan::Plan;
use super::tally::Tally;

/// How sessions behave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// Messages of history asked for at the first join; 0 for none.
    pub(super) history: u32,
    /// Messages a publisher sends in one write.
    pub(super) burst: usize,
    /// Un-acked messages a saturating publisher may have.
    pub(super) inflight: usize,
    /// Publishers never wait for a schedule.
    pub(super) saturate: bool,
}

/// Messages taken since the totals were last put on the board.
#[derive(Default)]
pub(super) struct Fresh {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// See the module.
pub(super) struct World {
    pub(super) plan: Arc<Plan>,
    pub(super) board: Arc<Board>,
    pub(super) habits: Habits,
    pub(super) tally: Tally,
    pub(super) entropy: Entropy,
    pub(super) fresh: Fresh,
    /// Monotonic nanoseconds, read once per turn: everything that came in one read came at one time.
    pub(super) now: u64,
    /// Whether latencies count at the moment.
    pub(super) measuring: bool,
    room_prefix: String,
    epochs: HashSet<Rc<str>>,
}

impl World {
    pub(super) fn new(plan: Arc<Plan>, board: Arc<Board>, habits: Habits) -> Self {
        let room_prefix = plan.room_prefix();
        Self {
            plan,
            board,
            habits,
            tally: Tally::new(),
            entropy: Entropy::new(),
            fresh: Fresh::default(),
            now: monotonic_ns(),
            measuring: false,
            room_prefix,
            epochs: HashSet::new(),
        }
    }

    /// Reads the clock for the turn that begins.
    pub(super) fn begin_turn(&mut self) {
        self.now = monotonic_ns();
        self.measuring = self.board.measuring.load(Relaxed);
    }

    /// Puts what one read brought on the board.
    pub(super) fn end_read(&mut self) {
        if self.fresh.messages > 0 {
            self.board.delivered.fetch_add(self.fresh.messages, Relaxed);
            self.board.delivered_bytes.fetch_add(self.fresh.bytes, Relaxed);
            self.board.reads.fetch_add(1, Relaxed);
            self.fresh = Fresh::default();
        }
    }

    /// Number of a room of this run; none for any other name.
    pub(super) fn room_number(&self, name: &[u8]) -> Option<usize> {
        let digits = name.strip_prefix(self.room_prefix.as_bytes())?;
        digits.iter().try_fold(0_usize, |sum, digit| {
            digit.is_ascii_digit().then(|| sum.checked_mul(10)?.checked_add(usize::from(digit - b'0')))?
        })
    }

    /// One shared copy of an epoch's name: thousands of sessions stand in the same one.
    pub(super) fn intern(&mut self, epoch: &str) -> Rc<str> {
        match self.epochs.get(epoch) {
            Some(known) => Rc::clone(known),
            None => {
                let new: Rc<str> = Rc::from(epoch);
                self.epochs.insert(Rc::clone(&new));
                new
            }
        }
    }
}
