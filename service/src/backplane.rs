//! The port through which messages travel between instances, and what every implementation promises.
//! It knows nothing about sessions or sockets; the hub is its only user besides the server API.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod faults;
pub mod memory;
pub mod redis;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::delivery::EphemeralKind;
use crate::ids::LogName;
use crate::message::{Draft, Entry, Position, Stored};

/// Orders that the control log keeps, whatever rooms keep: an instance that was cut off must find them.
pub const CONTROL_MESSAGES: usize = 1_000;
/// How long it keeps them.
pub const CONTROL_AGE: Duration = Duration::from_secs(86_400);

/// Certainly not done: the backplane cannot be reached or refuses. The text is for the log, not for clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backplane unavailable: {0}")]
pub struct Unavailable(pub String);

/// Why a publish has no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Certainly not stored.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Perhaps stored: the answer was lost. Repeating with the same key is safe.
    #[error("publish outcome unknown: {0}")]
    OutcomeUnknown(String),
}

/// Which part of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// What follows a position that a reader has seen, oldest first. The only form that can be [`Page::lost`].
    Since(Position),
    /// The newest messages.
    Newest,
    /// The newest messages with an offset below this one.
    Before(u64),
    /// The oldest messages with an offset above this one that are still there.
    After(u64),
}

/// Bounds of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Most messages.
    pub messages: usize,
    /// Most bytes of frames; the first message is given even if it alone is larger.
    pub bytes: usize,
}

/// A part of a log, read at one moment: `top` and `entries` belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Consecutive messages, oldest first.
    pub entries: Vec<Entry>,
    /// The newest position of the log at the time of reading.
    pub top: Position,
    /// There is more in the direction of reading than fits the limit.
    pub more: bool,
    /// [`Range::Since`] only: what follows the position is not all there (trimmed, foreign epoch, beyond the top).
    /// `entries` is then empty.
    pub lost: bool,
}

/// What the backplane brings to an instance, in no guaranteed order and with no guarantee to arrive: it may be lost,
/// late, repeated or swapped. The log decides; see `hub/room.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A message was appended.
    Message {
        /// To which log.
        log: LogName,
        /// Where.
        position: Position,
        /// The ready client frame.
        frame: Bytes,
        /// The publisher's trace context.
        traceparent: Option<Box<str>>,
    },
    /// A frame that is not logged.
    Ephemeral {
        /// To the members of which log.
        log: LogName,
        /// The client frame's JSON text.
        frame: Bytes,
        /// Whom it concerns.
        kind: EphemeralKind,
    },
    /// Anything may have been lost since the last arrival: every log must be compared with what was delivered.
    Lagged,
}

/// The receiving end of an instance: everything of the logs it has subscribed to. Bounded; when it is full, the sender
/// waits (memory) or loses and says [`Arrival::Lagged`].
pub type Arrivals = tokio::sync::mpsc::Receiver<Arrival>;

/// Logs that are shared by all instances.
///
/// Guarantees, each checked by `backplane/conformance.rs`:
/// * A log's offsets rise by one from 1; all readers see the same message at the same position.
/// * `publish` makes one attempt. An `Ok` is stored before it is returned. A repeat with the same key within five
///   minutes and one epoch stores nothing and returns the first answer.
/// * After `subscribe` returned, every message with an offset above the returned position is sent to this instance's
///   [`Arrivals`] (from where it may still be lost).
/// * `read` sees every message whose publish has returned.
///
/// Every call answers within two seconds or so, with an error if need be. Dropping a future is safe: a publish may then
/// be stored or not; nothing else changes.
pub trait Backplane: Send + Sync {
    /// Appends a message and tells all subscribed instances.
    fn publish<'a>(&'a self, log: &'a LogName, draft: &'a Draft) -> BoxFuture<'a, Result<Stored, PublishError>>;

    /// Appends messages in this order, and answers for each as [`Backplane::publish`] does, in the same order. What fails
    /// does not keep what follows it from being stored. Implementations may do it in one go.
    fn publish_all<'a>(
        &'a self,
        log: &'a LogName,
        drafts: &'a [Draft],
    ) -> BoxFuture<'a, Vec<Result<Stored, PublishError>>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(drafts.len());
            for draft in drafts {
                answers.push(self.publish(log, draft).await);
            }
            answers
        })
    }

    /// Tells the members of a log something that is not stored. Best effort: no answer, no repair.
    fn broadcast(&self, log: &LogName, frame: Bytes, kind: EphemeralKind);

    /// Starts arrivals of a log and returns a position read after they started. Idempotent.
    fn subscribe<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<Position, Unavailable>>;

    /// Ends arrivals of a log. Idempotent, does not wait.
    fn unsubscribe(&self, log: &LogName);

    /// Reads a part of a log. A log that was never written is empty, not an error.
    fn read<'a>(&'a self, log: &'a LogName, range: Range, limit: PageLimit)
    -> BoxFuture<'a, Result<Page, Unavailable>>;

    /// The newest positions of many logs in one go, in the order asked for.
    fn positions<'a>(&'a self, logs: &'a [LogName]) -> BoxFuture<'a, Result<Vec<Position>, Unavailable>>;
}
