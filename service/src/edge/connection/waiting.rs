//! What a connection has in flight, and what waits for its peer: actions begin while the socket takes bytes, and while it
//! does not, every byte that waits for that is counted.

use std::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};

use super::super::actions;
use super::super::ops::{Finished, Ops};
use super::super::scratch::Scratch;
use super::{Connection, Stage};
use crate::session::{Action, OpId};

/// What may still go out to a peer that was too slow, so that it learns why it is closed. With more of one frame left,
/// the connection ends at once: its memory is what is too much.
const PARTING_BYTES: usize = 64 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn start(&mut self, op: OpId, action: Action) {
        let blocked = self.wire.is_blocked();
        if let Some(action) = self.ops.get_or_insert_default().postpone(op, action, blocked) {
            self.perform(op, action);
        }
    }

    /// Drives what is in flight, and begins what waited for its turn; but nothing while the socket is full: what it brings
    /// would only wait as well.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        while !self.wire.is_blocked()
            && let Some((op, action)) = self.ops.as_deref_mut().and_then(Ops::next)
        {
            self.perform(op, action);
        }
        if let Some(ops) = &mut self.ops {
            ops.drive(cx);
        }
    }

    /// Begins an action; its future owns all it needs.
    fn perform(&mut self, op: OpId, action: Action) {
        let (services, outbox) = (self.services.clone(), self.outbox.clone());
        let registered = self.registered();
        self.ops.get_or_insert_default().push(Box::pin(async move {
            let (outcome, membership) = actions::perform(services, outbox, registered, action).await;
            Finished::Action(op, outcome, membership)
        }));
    }

    pub(super) fn take_finished(&mut self) -> Option<Finished> {
        let ops = self.ops.as_mut()?;
        let finished = ops.take();
        if finished.is_none() && ops.is_empty() {
            self.ops = None;
        }
        finished
    }

    /// The socket is full: all that waits for it counts.
    pub(super) fn count_waiting(&self) {
        let (own, shared) = self.session.held_bytes();
        let in_flight = self.ops.as_deref().map_or(0, Ops::held_bytes);
        self.outbox.set_backlog(self.wire.backlog() + self.wire.unread() + in_flight + own, shared);
    }

    /// The peer was too slow: of what waits for the socket only the frame under way still goes out.
    pub(super) fn give_up_backlog(&mut self, scratch: &mut Scratch) {
        if !self.wire.is_blocked() {
            return;
        }
        // They would follow what is given up, and the peer could not tell that something is missing.
        scratch.frames.clear();
        if self.wire.cut() > PARTING_BYTES {
            self.stage = Stage::Over;
        }
    }
}
