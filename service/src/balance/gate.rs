//! What all connections of one balancer share.

use std::sync::Arc;

use hyper::Response;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Counts, Status};
use super::payload::Payload;
use super::upstreams::Upstreams;
use crate::clock::SystemClock;
use crate::config::BalancePolicy;

/// Connections beyond the cap that are kept long enough to be told so.
pub(super) const SPARE_SEATS: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) policy: BalancePolicy,
    pub(super) cookie: String,
    pub(super) max_connections: usize,
    pub(super) upstreams: Arc<Upstreams>,
    /// One for each client connection.
    pub(super) seats: Arc<Semaphore>,
    /// One for each that is only told that there is no other.
    pub(super) spare: Arc<Semaphore>,
    pub(super) counts: Counts,
    pub(super) clock: Arc<SystemClock>,
    /// Every task of a connection.
    pub(super) tasks: TaskTracker,
    /// No new requests.
    pub(super) stop: CancellationToken,
    /// The end of everything that is left.
    pub(super) cut: CancellationToken,
}

impl Gate {
    pub(super) fn status(&self) -> Response<Payload> {
        let status = Status {
            policy: self.policy.as_str(),
            connections: self.max_connections - self.seats.available_permits(),
            max_connections: self.max_connections,
            upstreams: self.upstreams.members(),
            counts: &self.counts,
        };
        status.answer()
    }
}
