//! The only home of time in the operator. Everything that decides takes `now` as an argument.

use jiff::Timestamp;

/// The wall clock: Kubernetes itself compares times of different machines.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
