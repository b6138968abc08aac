//! One session's publishes into one log: at most one call is in flight, the rest wait in the order they were sent, and
//! what waits together goes in the next call together. It does not publish; the session starts what it hands out.

use std::collections::VecDeque;

use crate::ids::LogName;
use crate::message::Draft;
use crate::protocol::server_frame::FrameId;

/// Most publishes of one call, and bytes beyond which no further one is added: what one session sends must not keep the
/// log from others for long.
const TOGETHER_MAX: usize = 32;
const TOGETHER_MAX_BYTES: usize = 64 * 1024;

/// A publish that waits for its turn.
#[derive(Debug)]
pub struct Waiting {
    /// The request's id, for the ack.
    pub id: Option<FrameId>,
    /// Where it goes: the log of the queue, or the inbox of the user it is for.
    pub to: LogName,
    /// The message.
    pub draft: Box<Draft>,
}

/// The order of publishes into one log.
#[derive(Debug, Default)]
pub struct PublishQueue {
    in_flight: bool,
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl PublishQueue {
    /// Appends one.
    pub fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.draft.len();
        self.waiting.push_back(waiting);
    }

    /// The next ones to start, if none are in flight: several if they go into one log. None: an empty list. Direct
    /// messages, which go into two logs each, are not `together`.
    pub fn start(&mut self, together: bool) -> Vec<Waiting> {
        let mut next = Vec::new();
        let mut bytes = 0;
        while !self.in_flight
            && next.len() < if together { TOGETHER_MAX } else { 1 }
            && bytes < TOGETHER_MAX_BYTES
            && let Some(waiting) = self.waiting.pop_front()
        {
            bytes += waiting.draft.len();
            next.push(waiting);
        }
        self.bytes -= bytes;
        self.in_flight |= !next.is_empty();
        next
    }

    /// Those in flight have their answers.
    pub fn finished(&mut self) {
        self.in_flight = false;
    }

    /// Gives up what waits; what is in flight stays.
    pub fn abandon(&mut self) -> VecDeque<Waiting> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Nothing in flight, nothing waiting.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.in_flight && self.waiting.is_empty()
    }

    /// Bytes of what waits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}
