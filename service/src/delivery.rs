//! What travels from the hub to a session: shared, ready WebSocket frames, and the few orders that are not frames.
//! It neither queues nor writes; see `hub/outbox.rs` and `edge/connection.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

use crate::ids::{RoomName, SessionId};
use crate::message::{Entry, Epoch, Position};
use crate::protocol::close_code::CloseCode;
use crate::protocol::framing;

/// A session's own number for one of its joins; rises with each join and is never used twice within a session, so that
/// what was queued before a leave cannot be taken for what follows a later join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Consecutive messages of one log, encoded once as WebSocket frames and shared by every member of the instance.
///
/// Messages that were waiting together travel together: one reference count and one copy for all of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    epoch: Epoch,
    first: u64,
    /// Where each frame but the last ends in `frames`; empty for a single message.
    ends: Box<[u32]>,
    frames: Bytes,
    published_ms: u64,
    charge: Option<Charge>,
}

/// Bytes that are counted for as long as something that holds them lives.
#[derive(Debug)]
pub struct Charge {
    counter: Arc<AtomicUsize>,
    bytes: usize,
}

impl Charge {
    /// Counts `bytes` in `counter` until dropped.
    #[must_use]
    pub fn new(counter: &Arc<AtomicUsize>, bytes: usize) -> Self {
        counter.fetch_add(bytes, Ordering::Relaxed);
        Self { counter: Arc::clone(counter), bytes }
    }

    /// How many are counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Who pays does not make two runs different.
impl PartialEq for Charge {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Charge {}

impl Run {
    /// Encodes `entries`, which are consecutive.
    ///
    /// `None` when there are no entries, or when their frames exceed 4 GiB.
    #[must_use]
    pub fn encode(epoch: Epoch, entries: &[Entry]) -> Option<Self> {
        let Entry { offset: first, frame: oldest } = entries.first()?;
        let (first, published_ms) = (*first, published_ms(oldest));
        debug_assert!(entries.iter().zip(first..).all(|(entry, offset)| entry.offset == offset));
        let size = entries.iter().map(|e| framing::header_len(e.frame.len()) + e.frame.len()).sum();
        let mut frames = BytesMut::with_capacity(size);
        let mut ends = Vec::with_capacity(entries.len() - 1);
        for (index, entry) in entries.iter().enumerate() {
            if index > 0 {
                ends.push(u32::try_from(frames.len()).ok()?);
            }
            framing::put_text(&mut frames, &entry.frame);
        }
        Some(Self { epoch, first, ends: ends.into(), frames: frames.freeze(), published_ms, charge: None })
    }

    /// The same, counted in `counter` until its last holder lets go: shared bytes count once, however many share them.
    #[must_use]
    pub fn charged_to(mut self, counter: &Arc<AtomicUsize>) -> Self {
        self.charge = Some(Charge::new(counter, self.frames.len()));
        self
    }

    /// The epoch of all its messages.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The offset of its first message.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The offset of its last message.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// How many messages it holds; at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ends.len() + 1
    }

    /// Bytes of all its frames.
    #[must_use]
    pub fn size(&self) -> usize {
        self.frames.len()
    }

    /// The payloads of its frames, in order; for readers that are not sockets.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.ends.iter().map(|end| *end as usize).chain([self.frames.len()]);
        ends.scan(0, |start, end| {
            let frame = &self.frames[*start..end];
            *start = end;
            Some(framing::payload(frame))
        })
    }

    /// The publisher's wall clock of its oldest message, milliseconds since the Unix epoch; 0 if it has none.
    #[must_use]
    pub fn published_ms(&self) -> u64 {
        self.published_ms
    }

    /// The frames of the messages after `offset`; all of them if `offset` is before the first.
    #[must_use]
    pub fn frames_after(&self, offset: u64) -> &[u8] {
        let skip = usize::try_from((offset + 1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        let from = match skip {
            0 => 0,
            n if n >= self.count() => self.frames.len(),
            n => self.ends[n - 1] as usize,
        };
        &self.frames[from..]
    }
}

/// The `at` with which every logged frame ends: `…,"at":1763778000123}`.
fn published_ms(frame: &[u8]) -> u64 {
    let text = frame.strip_suffix(b"}").unwrap_or_default();
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count().min(15);
    text[text.len() - digits..].iter().fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'))
}

/// A frame for all members that is not in the log: a signal, or a hint of presence. May be dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Ephemeral {
    /// The ready WebSocket frame.
    pub frame: Bytes,
    /// What it is; decides which right a member needs.
    pub kind: EphemeralKind,
    /// Counts it for as long as it waits anywhere.
    pub charge: Option<Charge>,
}

/// Whom an ephemeral frame concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EphemeralKind {
    /// A signal, which its own session does not get back. `None`: from the server API.
    Signal(Option<SessionId>),
    /// A hint of presence, for members with that right.
    Presence,
}

/// A log's position changed otherwise than by one more message. Both sides are given, because a session that has read
/// the log itself may be elsewhere than the instance was, and must not be told of a loss that it did not suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// Up to where this instance had delivered.
    pub from: Position,
    /// Where it goes on.
    pub to: Position,
    /// Whether messages between the two are lost. If not, only the epoch is another.
    pub lost: bool,
}

/// One thing in a session's outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parcel {
    /// Messages of the log behind this slot.
    Run(Slot, Arc<Run>),
    /// Something not logged.
    Ephemeral(Slot, Arc<Ephemeral>),
    /// The log took up another life; what comes next follows its new position.
    Shift(Slot, Arc<Shift>),
    /// Not about a log.
    Order(Order),
}

impl Parcel {
    /// What it counts against the limit of an outbox, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Run(_, run) => run.size(),
            Self::Ephemeral(_, ephemeral) => ephemeral.frame.len(),
            Self::Shift(..) | Self::Order(_) => 64,
        }
    }
}

/// What the application or the instance wants of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Out of this room.
    Kick(RoomName),
    /// Close with this code.
    Close(CloseCode),
    /// The instance drains: move elsewhere within `after_ms`.
    Drain {
        /// This session's slot in the drain, milliseconds from now.
        after_ms: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, texts: &[&'static str]) -> Run {
        let entries: Vec<_> = texts
            .iter()
            .zip(first..)
            .map(|(text, offset)| Entry { offset, frame: Bytes::from_static(text.as_bytes()) })
            .collect();
        Run::encode(Epoch::from_bits(1), &entries).unwrap()
    }

    #[test]
    fn a_run_gives_the_frames_after_any_offset() {
        let run = run(5, &["a", "bb", "ccc"]);
        assert_eq!((run.first(), run.last(), run.count()), (5, 7, 3));
        assert_eq!(run.frames_after(0), b"\x81\x01a\x81\x02bb\x81\x03ccc");
        assert_eq!(run.payloads().collect::<Vec<_>>(), [&b"a"[..], b"bb", b"ccc"]);
        assert_eq!(run.frames_after(4), run.frames_after(0));
        assert_eq!(run.frames_after(5), b"\x81\x02bb\x81\x03ccc");
        assert_eq!(run.frames_after(6), b"\x81\x03ccc");
        assert_eq!(run.frames_after(7), b"");
        assert_eq!(run.frames_after(100), b"");
    }

    #[test]
    fn a_run_knows_when_its_oldest_message_was_published() {
        assert_eq!(run(1, &[r#"{"msg":1,"at":1763778000123}"#, r#"{"at":5}"#]).published_ms(), 1_763_778_000_123);
        assert_eq!(run(1, &["x", "}"]).published_ms(), 0);
    }

    #[test]
    fn a_run_of_nothing_is_none() {
        assert_eq!(Run::encode(Epoch::from_bits(1), &[]), None);
    }

    #[test]
    fn a_parcel_is_small_enough_to_be_copied_per_recipient() {
        assert!(size_of::<Parcel>() <= 24, "{}", size_of::<Parcel>());
    }
}
