//! One log on one instance: its local members and the position up to which they were served. Decides for every arrival
//! whether it follows, is a repeat, or shows a hole that only the log can fill. Reads nothing itself; see `hub.rs`.

use std::sync::Arc;

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::watch;

use super::outbox::{Budget, Outbox};
use crate::backplane::{Page, Unavailable};
use crate::delivery::{Ephemeral, Parcel, Run, Shift, Slot};
use crate::ids::LogName;
use crate::message::{Entry, Position};

/// Arrivals kept while the log is re-read; with more, it is read once more instead.
const HELD_MAX: usize = 256;

/// Counted by the caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Arrivals that had been delivered before.
    pub duplicates: u64,
    /// Members whose outbox was full.
    pub slow: u64,
    /// Members for whom there was no room for something that may be dropped.
    pub ephemeral: u64,
    /// Runs handed out.
    pub runs: u64,
    /// Gaps told.
    pub gaps: u64,
}

/// What follows from arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// All is well.
    Whole,
    /// The caller must read the log from the cursor: this call began a repair.
    Broken,
}

#[derive(Debug)]
struct Member {
    outbox: Arc<Outbox>,
    slot: Slot,
}

#[derive(Debug, Default)]
struct State {
    members: Slab<Member>,
    /// Up to where members were served; `None` until the subscription stands.
    cursor: Option<Position>,
    repairing: bool,
    /// Arrived during a repair, in the order of arrival.
    held: Vec<(Position, Entry)>,
    /// Something arrived that is not in `held`.
    missed: bool,
    /// Taken out of the hub's map: join another one.
    closed: bool,
    /// Ticks of the janitor since the last member left.
    idle_ticks: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Room {
    log: LogName,
    /// How many the hub made before.
    number: u32,
    budget: Arc<Budget>,
    state: Mutex<State>,
    opening: Mutex<Opening>,
}

/// The subscription at the backplane: one attempt for all who wait.
#[derive(Debug, Default)]
pub(super) enum Opening {
    #[default]
    NotYet,
    /// Somebody's attempt; its outcome comes here.
    Trying(Outcome),
    Done,
}

type Outcome = watch::Receiver<Option<Result<(), Unavailable>>>;

/// What a joiner has to do about the subscription.
pub(super) enum Open {
    /// Nothing.
    Already,
    /// Wait for the attempt.
    Wait(Outcome),
    /// Make the attempt, tell its outcome here, and wait like the others.
    Try(watch::Sender<Option<Result<(), Unavailable>>>, Outcome),
}

impl Room {
    pub(super) fn new(log: LogName, number: u32, budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { log, number, budget, state: Mutex::default(), opening: Mutex::default() })
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn log(&self) -> &LogName {
        &self.log
    }

    /// Who makes the attempt to subscribe.
    pub(super) fn open(&self) -> Open {
        let mut opening = self.opening.lock();
        match &*opening {
            Opening::Done => Open::Already,
            Opening::Trying(outcome) => Open::Wait(outcome.clone()),
            Opening::NotYet => {
                let (tell, outcome) = watch::channel(None);
                *opening = Opening::Trying(outcome.clone());
                Open::Try(tell, outcome)
            }
        }
    }

    /// The attempt is over.
    pub(super) fn tried(&self, succeeded: bool) {
        *self.opening.lock() = if succeeded { Opening::Done } else { Opening::NotYet };
    }

    /// `None`: the room is closed, take another from the map.
    pub(super) fn add(&self, outbox: Arc<Outbox>, slot: Slot) -> Option<usize> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        state.idle_ticks = 0;
        Some(state.members.insert(Member { outbox, slot }))
    }

    pub(super) fn remove(&self, key: usize) {
        let mut state = self.state.lock();
        state.members.try_remove(key);
        if state.members.is_empty() {
            state.members = Slab::new();
        }
    }

    pub(super) fn cursor(&self) -> Option<Position> {
        self.state.lock().cursor
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().members.is_empty()
    }

    /// The subscription stands; `position` was read after it did.
    pub(super) fn opened(&self, position: Position) -> Continuity {
        let mut state = self.state.lock();
        state.cursor = Some(position);
        let missed = std::mem::take(&mut state.missed);
        if missed { begin_repair(&mut state) } else { Continuity::Whole }
    }

    /// Takes consecutive arrivals and serves what follows the cursor as one run.
    pub(super) fn arrive(&self, arrivals: impl Iterator<Item = (Position, Entry)>, tally: &mut Tally) -> Continuity {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(mut cursor) = state.cursor else {
            state.missed = true;
            return Continuity::Whole;
        };
        let mut run = Vec::new();
        let mut outcome = Continuity::Whole;
        for (position, entry) in arrivals {
            if state.repairing {
                state.hold(position, entry);
            } else if position.epoch == cursor.epoch && position.offset <= cursor.offset {
                tally.duplicates += 1;
            } else if position.epoch == cursor.epoch && position.offset == cursor.offset + 1 {
                cursor = position;
                run.push(entry);
            } else {
                outcome = begin_repair(state);
                state.hold(position, entry);
            }
        }
        state.serve(&run, cursor, &self.budget, tally);
        outcome
    }

    /// Hands something not logged to all members.
    pub(super) fn broadcast(&self, ephemeral: &Arc<Ephemeral>, tally: &mut Tally) {
        let state = self.state.lock();
        for (_, member) in &state.members {
            let kept = member.outbox.push_if_it_fits(Parcel::Ephemeral(member.slot, Arc::clone(ephemeral)));
            tally.ephemeral += u64::from(!kept);
        }
    }

    /// Compares with the log's newest position, read when the cursor was `before`. A room that moved meanwhile is in
    /// traffic and will notice a hole by itself, unless `force`: something is known to be lost. Then a repair under way
    /// reads on, and a room whose position is still being asked for is repaired at once: either may have read before.
    pub(super) fn compare(&self, before: Option<Position>, top: Position, force: bool) -> Continuity {
        let mut state = self.state.lock();
        let Some(cursor) = state.cursor else {
            state.missed |= force;
            return Continuity::Whole;
        };
        let moved = before != Some(cursor);
        let behind = top.epoch != cursor.epoch || top.offset > cursor.offset;
        if behind && (force || !moved && !state.repairing) { begin_repair(&mut state) } else { Continuity::Whole }
    }

    /// Serves a page that was read since the cursor. `Broken`: read on from the new cursor.
    pub(super) fn repaired(&self, page: &Page, tally: &mut Tally) -> Continuity {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(mut cursor) = state.cursor else { return Continuity::Whole };
        let follows = page.entries.first().is_none_or(|first| first.offset == cursor.offset + 1);
        if page.lost || !follows {
            state.shift(Shift { from: cursor, to: page.top, lost: true }, tally);
            tally.gaps += 1;
            cursor = page.top;
        } else {
            if page.top.epoch != cursor.epoch {
                let to = Position { epoch: page.top.epoch, offset: cursor.offset };
                state.shift(Shift { from: cursor, to, lost: false }, tally);
                cursor = to;
            }
            cursor.offset = page.entries.last().map_or(cursor.offset, |entry| entry.offset);
            state.serve(&page.entries, cursor, &self.budget, tally);
        }
        state.cursor = Some(cursor);
        state.settle(page.more, &self.budget, tally)
    }

    /// Ends a repair that is no longer worth it: nobody is left.
    pub(super) fn give_up(&self) -> bool {
        let mut state = self.state.lock();
        if !state.members.is_empty() {
            return false;
        }
        // Whoever joins next must not trust the cursor: the audit compares it again, and a join reads the log itself.
        state.repairing = false;
        state.held = Vec::new();
        state.missed = false;
        true
    }

    /// One tick of the janitor. `true` after `ticks` of them without a member: the room is closed now.
    pub(super) fn close_if_idle(&self, ticks: u32) -> bool {
        let mut state = self.state.lock();
        if !state.members.is_empty() {
            return false;
        }
        state.idle_ticks += 1;
        state.closed = state.idle_ticks > ticks;
        state.closed
    }
}

fn begin_repair(state: &mut State) -> Continuity {
    if state.repairing {
        state.missed = true;
        return Continuity::Whole;
    }
    state.repairing = true;
    Continuity::Broken
}

impl State {
    fn hold(&mut self, position: Position, entry: Entry) {
        if self.held.len() < HELD_MAX {
            self.held.push((position, entry));
        } else {
            self.missed = true;
        }
    }

    fn serve(&mut self, entries: &[Entry], cursor: Position, budget: &Budget, tally: &mut Tally) {
        let Some(run) = Run::encode(cursor.epoch, entries) else { return };
        self.cursor = Some(cursor);
        let run = Arc::new(run.charged_to(budget.counter()));
        for (_, member) in &self.members {
            let kept = member.outbox.push(Parcel::Run(member.slot, Arc::clone(&run)));
            tally.slow += u64::from(!kept);
        }
        tally.runs += 1;
    }

    fn shift(&mut self, shift: Shift, tally: &mut Tally) {
        let shift = Arc::new(shift);
        for (_, member) in &self.members {
            let kept = member.outbox.push(Parcel::Shift(member.slot, Arc::clone(&shift)));
            tally.slow += u64::from(!kept);
        }
    }

    /// After a page: what arrived meanwhile either follows now, or the log must be read on.
    fn settle(&mut self, more: bool, budget: &Budget, tally: &mut Tally) -> Continuity {
        let Some(mut cursor) = self.cursor else { return Continuity::Whole };
        let mut held = std::mem::take(&mut self.held);
        held.sort_by_key(|(position, _)| position.offset);
        let (mut run, mut broken) = (Vec::new(), more || std::mem::take(&mut self.missed));
        for (position, entry) in held {
            if position.epoch != cursor.epoch {
                // Of another life than the log has told us: ask it again, unless this is an older one's straggler, in
                // which case the next answer is the same and the straggler is gone.
                broken = true;
            } else if position.offset == cursor.offset + 1 {
                cursor = position;
                run.push(entry);
            } else if position.offset > cursor.offset {
                broken = true;
            }
        }
        self.serve(&run, cursor, budget, tally);
        self.repairing = broken;
        if broken { Continuity::Broken } else { Continuity::Whole }
    }
}

#[cfg(test)]
mod tests;
