//! Connections to one upstream that wait for their next request, one that can be repeated. Without them each would cost a
//! connection, and a busy balancer its local ports. The newest is used first, and none waits for as long as an upstream
//! would: then it is seldom found closed, and who finds it so takes another.

use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

use super::payload::Payload;
use super::upstreams::Lease;
use crate::clock::Moment;

/// How long one may wait. An instance closes its end after 10 s.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// How many may wait; over it the oldest is closed.
pub(super) const MOST: usize = 32;

/// Sends requests over one connection, which lasts as long as this does.
pub(super) type Sender = SendRequest<Payload>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The oldest first.
    idle: Vec<(Moment, Sender)>,
    closed: bool,
}

impl Kept {
    pub(super) fn put(&mut self, now: Moment, sender: Sender) {
        self.sweep(now);
        if self.closed || sender.is_closed() {
            return;
        }
        if self.idle.len() == MOST {
            self.idle.remove(0);
        }
        self.idle.push((now, sender));
    }

    /// One that can be used at once.
    pub(super) fn take(&mut self, now: Moment) -> Option<Sender> {
        self.sweep(now);
        let newest = self.idle.iter().rposition(|(_, sender)| sender.is_ready())?;
        Some(self.idle.remove(newest).1)
    }

    /// Closes what has waited for too long.
    pub(super) fn sweep(&mut self, now: Moment) {
        self.idle.retain(|(since, sender)| !sender.is_closed() && now.since(*since) < IDLE_MAX);
    }

    /// Closes all, for good.
    pub(super) fn close(&mut self) {
        (self.idle, self.closed) = (Vec::new(), true);
    }
}

/// An answer under way: its place at the upstream, and its connection, which may wait for another request afterwards.
#[derive(Debug)]
pub(super) struct Stay {
    lease: Lease,
    sender: Sender,
}

impl Stay {
    pub(super) fn new(lease: Lease, sender: Sender) -> Self {
        Self { lease, sender }
    }

    /// The answer was read to its end. Dropped before, the connection ends with it.
    pub(super) fn over(self) {
        self.lease.keep(self.sender);
    }
}

/// An answer, and what may be sent over its connection afterwards.
pub(super) type Answered = (Response<Incoming>, Sender);
