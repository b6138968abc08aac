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
    reads: usize,
    waiting: VecDeque<(OpId, Action)>,
}

impl Ops {
    /// Begins something that is not an action.
    pub(super) fn push(&mut self, op: BoxFuture<'static, Finished>) {
        self.running.push(op);
    }

    /// Begins an action with `perform`, or lets it wait for its turn.
    pub(super) fn start(
        &mut self,
        op: OpId,
        action: Action,
        perform: impl FnOnce(OpId, Action) -> BoxFuture<'static, Finished>,
    ) {
        let reads = matches!(action, Action::Join { .. } | Action::Sync { .. } | Action::History { .. });
        if reads && self.reads == READS_AT_ONCE {
            self.waiting.push_back((op, action));
            return;
        }
        self.reads += usize::from(reads);
        self.running.push(perform(op, action));
    }

    /// The next that is done. With it, one that waited begins. Cancel-safe. `Ready(None)`: nothing is in flight.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        perform: impl FnOnce(OpId, Action) -> BoxFuture<'static, Finished>,
    ) -> Poll<Option<Finished>> {
        let polled = self.running.poll_next_unpin(cx);
        if let Poll::Ready(Some(Finished::Action(_, Outcome::Page(_), _))) = &polled {
            self.reads = self.reads.saturating_sub(1);
            if let Some((op, action)) = self.waiting.pop_front() {
                self.start(op, action, perform);
            }
        }
        polled
    }
}
