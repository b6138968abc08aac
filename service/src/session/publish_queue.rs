//! One session's publishes into one log: at most one is in flight, the rest wait in the order they were sent.
//! It does not publish; the session starts what it hands out.

use std::collections::VecDeque;

use crate::ids::LogName;
use crate::message::Draft;
use crate::protocol::server_frame::FrameId;

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

    /// The next one to start, if none is in flight.
    pub fn start(&mut self) -> Option<Waiting> {
        if self.in_flight {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.bytes -= next.draft.len();
        self.in_flight = true;
        Some(next)
    }

    /// The one in flight has its answer.
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
