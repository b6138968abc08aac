//! One session's view of one log: which position it has, and what to do with what arrives. This is where "exactly once,
//! in order, or a gap" is decided for a session, whatever the hub and the backplane do. It reads no log itself.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Moment;
use crate::delivery::{Run, Shift};
use crate::message::{Epoch, Position};

/// Something of a log, in the order in which the hub put it into the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    /// Messages.
    Run(Arc<Run>),
    /// Another life of the log.
    Shift(Arc<Shift>),
}

impl FeedItem {
    fn size(&self) -> usize {
        match self {
            Self::Run(run) => run.size(),
            Self::Shift(_) => 64,
        }
    }
}

/// What follows from an item.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: seen before, or held.
    Nothing,
    /// Send the frames after this offset.
    Forward(Arc<Run>, u64),
    /// Tell the client the new epoch; nothing was lost.
    Rebase(Position),
    /// Tell the client that messages are lost.
    Gap(Position),
    /// This item does not follow what the client has: read the log from here.
    Resync(Position),
}

/// While the log is being read, what arrives is held, up to a limit.
#[derive(Debug, Default)]
struct Hold {
    items: VecDeque<FeedItem>,
    bytes: usize,
    /// So many of them, from the front, were there before the read began: what of them does not fit its answer is stale.
    settled: usize,
    /// Items were thrown away: read again when done.
    overflowed: bool,
    /// A failed read is tried again then.
    retry_at: Option<Moment>,
}

/// The state of one joined log.
#[derive(Debug)]
pub struct Feed {
    /// What the client has. Meaningless while `joining`.
    at: Position,
    joining: bool,
    hold: Option<Box<Hold>>,
}

impl Feed {
    /// A join whose log is being read.
    #[must_use]
    pub fn joining() -> Self {
        let nowhere = Position { epoch: Epoch::from_bits(0), offset: 0 };
        Self { at: nowhere, joining: true, hold: Some(Box::default()) }
    }

    /// No `joined` was sent yet.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.joining
    }

    /// What the client has.
    #[must_use]
    pub fn at(&self) -> Position {
        self.at
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.hold.as_ref().map_or(0, |hold| hold.bytes)
    }

    /// Takes what the hub delivered.
    pub fn offer(&mut self, item: FeedItem, hold_limit: usize) -> Step {
        if let Some(hold) = &mut self.hold {
            hold.push(item, hold_limit);
            return Step::Nothing;
        }
        match &item {
            FeedItem::Run(run) if run.epoch() == self.at.epoch && run.first() <= self.at.offset + 1 => {
                if run.last() <= self.at.offset {
                    return Step::Nothing;
                }
                let after = self.at.offset;
                self.at.offset = run.last();
                Step::Forward(Arc::clone(run), after)
            }
            FeedItem::Shift(shift) if shift.to.epoch == self.at.epoch && shift.to.offset <= self.at.offset => {
                Step::Nothing
            }
            FeedItem::Shift(shift) if shift.from == self.at => {
                self.at = shift.to;
                if shift.lost { Step::Gap(shift.to) } else { Step::Rebase(shift.to) }
            }
            _ => {
                let mut hold = Hold::default();
                hold.push(item, hold_limit);
                self.hold = Some(Box::new(hold));
                self.reading();
                Step::Resync(self.at)
            }
        }
    }

    /// Takes what was there before the last read of the log began. What does not fit now is of an older life, or a
    /// straggler: the log has decided.
    pub fn offer_settled(&mut self, item: FeedItem, hold_limit: usize) -> Step {
        let holds = self.hold.is_some();
        match self.offer(item, hold_limit) {
            Step::Resync(_) if !holds => {
                self.hold = None;
                Step::Nothing
            }
            step => step,
        }
    }

    /// A read of the log begins now: it knows of everything that is held.
    pub fn reading(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.settled = hold.items.len();
        }
    }

    /// The join's answer is about to be sent: from now on the client has `at`. What was held comes out of
    /// [`Feed::release`].
    pub fn joined(&mut self, at: Position) {
        self.at = at;
        self.joining = false;
    }

    /// A read of the log has brought the client here.
    pub fn synced(&mut self, at: Position) {
        self.at = at;
    }

    /// Ends the hold and hands out what was held, to be offered again, the first so many as settled. `None`: something was thrown away meanwhile, so
    /// the log must be read once more from [`Feed::at`]; the hold goes on.
    pub fn release(&mut self) -> Option<(VecDeque<FeedItem>, usize)> {
        match &mut self.hold {
            Some(hold) if hold.overflowed => {
                hold.overflowed = false;
                None
            }
            _ => Some(self.hold.take().map(|hold| (hold.items, hold.settled)).unwrap_or_default()),
        }
    }

    /// The read failed: try again at `at`.
    pub fn retry(&mut self, at: Moment) {
        self.hold.get_or_insert_default().retry_at = Some(at);
    }

    /// When a failed read is due again.
    #[must_use]
    pub fn retry_at(&self) -> Option<Moment> {
        self.hold.as_ref()?.retry_at
    }

    /// Whether a failed read is due; forgets it if so.
    pub fn retry_due(&mut self, now: Moment) -> bool {
        let Some(hold) = &mut self.hold else { return false };
        hold.retry_at.take_if(|at| *at <= now).is_some()
    }
}

impl Hold {
    fn push(&mut self, item: FeedItem, limit: usize) {
        self.bytes += item.size();
        if self.bytes > limit {
            self.items = VecDeque::new();
            (self.bytes, self.settled) = (0, 0);
            self.overflowed = true;
        } else {
            self.items.push_back(item);
        }
    }
}
