//! What a connection has in flight: one future per action. Reads of logs bring pages of up to 256 KiB, and lists of users
//! and rooms are nearly as long, so only a few of them run at once, however many rooms a client resumes; the others wait
//! in the order they were asked for. While the socket is full none of them begins.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::auth::AuthError;
use crate::hub::Membership;
use crate::ids::{NAME_MAX_BYTES, UserId};
use crate::message::Entry;
use crate::protocol::server_frame::RoomTop;
use crate::rights::Grant;
use crate::session::{Action, OpId, Outcome};

/// Reads of one connection that run at the same time.
const READS_AT_ONCE: usize = 4;
/// Lists of one connection that are made at the same time.
const LISTS_AT_ONCE: usize = 2;
/// What an action that waits counts.
const ACTION_BYTES: usize = size_of::<(OpId, Action)>() + NAME_MAX_BYTES;

/// What is done.
pub(super) enum Finished {
    /// An action of the session; a join brings its membership.
    Action(OpId, Outcome, Option<Membership>),
    /// The check of bans for credentials that came with the request.
    Admission(Result<Grant, AuthError>),
}

impl Finished {
    fn bytes(&self) -> usize {
        let brought = match self {
            Self::Action(_, Outcome::Page(Ok(page)), _) => {
                page.entries.iter().map(|entry| size_of::<Entry>() + entry.frame.len()).sum()
            }
            Self::Action(_, Outcome::Roster(Ok(roster)), _) => {
                roster.users.iter().map(|user| size_of::<UserId>() + user.as_str().len()).sum()
            }
            Self::Action(_, Outcome::Rooms(Ok((rooms, _))), _) => {
                rooms.iter().map(|top| size_of::<RoomTop>() + top.room.as_str().len()).sum()
            }
            _ => 0,
        };
        size_of::<Self>() + brought
    }
}

/// Actions that bring much, of one kind.
#[derive(Default)]
struct Lane {
    /// How many run, or are done and were not handed out yet.
    begun: usize,
    waiting: VecDeque<(OpId, Action)>,
}

impl Lane {
    fn next(&mut self, at_once: usize) -> Option<(OpId, Action)> {
        let next = if self.begun < at_once { self.waiting.pop_front() } else { None };
        self.begun += usize::from(next.is_some());
        next
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Ops {
    running: FuturesUnordered<BoxFuture<'static, Finished>>,
    /// Something began that was never driven, so nobody would be woken for it.
    fresh: bool,
    /// Done, and not handed out yet.
    done: VecDeque<Finished>,
    reads: Lane,
    /// Apart from reads, so that no join waits for a list.
    lists: Lane,
}

impl Ops {
    /// Begins something that is not an action.
    pub(super) fn push(&mut self, op: BoxFuture<'static, Finished>) {
        self.running.push(op);
        self.fresh = true;
    }

    /// Whether the action has to wait for its turn; if so it is kept. `blocked`: nobody takes what it would bring.
    pub(super) fn postpone(&mut self, op: OpId, action: Action, blocked: bool) -> Option<Action> {
        let (lane, at_once) = match &action {
            Action::Join { .. } | Action::Sync { .. } | Action::History { .. } => (&mut self.reads, READS_AT_ONCE),
            Action::Presence { .. } | Action::Rooms { .. } => (&mut self.lists, LISTS_AT_ONCE),
            Action::SignIn { .. } | Action::Publish { .. } | Action::Direct { .. } => return Some(action),
        };
        if blocked || lane.begun == at_once || !lane.waiting.is_empty() {
            lane.waiting.push_back((op, action));
            return None;
        }
        lane.begun += 1;
        Some(action)
    }

    /// What waited and may begin now; to be asked while the socket takes bytes.
    pub(super) fn next(&mut self) -> Option<(OpId, Action)> {
        self.reads.next(READS_AT_ONCE).or_else(|| self.lists.next(LISTS_AT_ONCE))
    }

    /// Drives everything in flight, also while nobody can take the results: others may wait for what it holds.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(finished)) = self.running.poll_next_unpin(cx) {
            self.done.push_back(finished);
        }
        self.fresh = false;
    }

    /// All that is in flight was driven and is not done yet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.fresh && self.done.is_empty()
    }

    /// Takes what is done.
    pub(super) fn take(&mut self) -> Option<Finished> {
        let finished = self.done.pop_front()?;
        match &finished {
            Finished::Action(_, Outcome::Page(_), _) => self.reads.begun -= 1,
            Finished::Action(_, Outcome::Roster(_) | Outcome::Rooms(_), _) => self.lists.begun -= 1,
            _ => {}
        }
        Some(finished)
    }

    /// Bytes that wait for the peer to read: what is done, and what may not begin before.
    pub(super) fn held_bytes(&self) -> usize {
        let done: usize = self.done.iter().map(Finished::bytes).sum();
        done + (self.reads.waiting.len() + self.lists.waiting.len()) * ACTION_BYTES
    }

    /// Nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
            && self.done.is_empty()
            && self.reads.waiting.is_empty()
            && self.lists.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests;
