//! The only home of time in the operator. Everything that decides takes `now` as an argument.

use jiff::Timestamp;
use tokio::time::Instant;

/// The wall clock: Kubernetes itself compares times of different machines.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The clock of this process, which nobody sets: it measures how long something takes or holds. Tests stop it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the home of time in the operator")]
pub fn instant() -> Instant {
    Instant::now()
}
