//! What a connection has in flight: one future per action. Reads of logs bring pages of up to 256 KiB, so only a few of
//! them run at once, however many rooms a client resumes; the others wait in the order they were asked for.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::auth::AuthError;
use crate::hub::Membership;
use crate::rights::Grant;
use crate::session::{Action, OpId, Outcome};

/// Reads of one connection that run at the same time.
const READS_AT_ONCE: usize = 4;

/// What is done.
pub(super) enum Finished {
    /// An action of the session; a join brings its membership.
    Action(OpId, Outcome, Option<Membership>),
    /// The check of bans for credentials that came with the request.
    Admission(Result<Grant, AuthError>),
}

/// See the module.
#[derive(Default)]
pub(super) struct Ops {
    running: FuturesUnordered<BoxFuture<'static, Finished>>,
    /// Something began that was never driven, so nobody would be woken for it.
    fresh: bool,
    /// Done, and not handed out yet.
    done: VecDeque<Finished>,
    /// Reads that run, or whose page was not handed out yet.
    reads: usize,
    waiting: VecDeque<(OpId, Action)>,
}

impl Ops {
    /// Begins something that is not an action.
    pub(super) fn push(&mut self, op: BoxFuture<'static, Finished>) {
        self.running.push(op);
        self.fresh = true;
    }

    /// Whether the action has to wait for its turn; if so it is kept.
    pub(super) fn postpone(&mut self, op: OpId, action: Action) -> Option<Action> {
        if !is_read(&action) {
            return Some(action);
        }
        if self.reads == READS_AT_ONCE {
            self.waiting.push_back((op, action));
            return None;
        }
        self.reads += 1;
        Some(action)
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

    /// Takes what is done, and what may begin in its place.
    pub(super) fn take(&mut self) -> Option<(Finished, Option<(OpId, Action)>)> {
        let finished = self.done.pop_front()?;
        let mut next = None;
        if let Finished::Action(_, Outcome::Page(_), _) = &finished {
            next = self.waiting.pop_front();
            self.reads -= usize::from(next.is_none());
        }
        Some((finished, next))
    }

    /// Nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.done.is_empty() && self.waiting.is_empty()
    }
}

fn is_read(action: &Action) -> bool {
    matches!(action, Action::Join { .. } | Action::Sync { .. } | Action::History { .. })
}
