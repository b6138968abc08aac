//! What travels from the hub to a session: shared, ready WebSocket frames, and the few orders that are not frames.
//! It neither queues nor writes; see `hub/outbox.rs` and `edge/connection.rs`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::clock::Moment;
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
    published: Moment,
}

impl Run {
    /// Encodes `entries`, which are consecutive. `published` is when the oldest became known to this instance.
    ///
    /// `None` when there are no entries, or when their frames exceed 4 GiB.
    #[must_use]
    pub fn encode(epoch: Epoch, entries: &[Entry], published: Moment) -> Option<Self> {
        let first = entries.first()?.offset;
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
        Some(Self { epoch, first, ends: ends.into(), frames: frames.freeze(), published })
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

    /// When its oldest message became known to this instance.
    #[must_use]
    pub fn published(&self) -> Moment {
        self.published
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

/// A frame for all members that is not in the log: a signal, or a hint of presence. May be dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Ephemeral {
    /// The ready WebSocket frame.
    pub frame: Bytes,
    /// What it is; decides which right a member needs.
    pub kind: EphemeralKind,
}

/// Whom an ephemeral frame concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EphemeralKind {
    /// A signal, which its own session does not get back. `None`: from the server API.
    Signal(Option<SessionId>),
    /// A hint of presence, for members with that right.
    Presence,
}

/// One thing in a session's outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parcel {
    /// Messages of the log behind this slot.
    Run(Slot, Arc<Run>),
    /// Something not logged.
    Ephemeral(Slot, Arc<Ephemeral>),
    /// The log has a new epoch and nothing was lost: what this instance had delivered up to `offset` stays valid.
    Moved(Slot, Position),
    /// The log lost data; what comes next follows this position.
    Gap(Slot, Position),
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
            Self::Moved(..) | Self::Gap(..) | Self::Order(_) => 64,
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
        Run::encode(Epoch::from_bits(1), &entries, Moment::default()).unwrap()
    }

    #[test]
    fn a_run_gives_the_frames_after_any_offset() {
        let run = run(5, &["a", "bb", "ccc"]);
        assert_eq!((run.first(), run.last(), run.count()), (5, 7, 3));
        assert_eq!(run.frames_after(0), b"\x81\x01a\x81\x02bb\x81\x03ccc");
        assert_eq!(run.frames_after(4), run.frames_after(0));
        assert_eq!(run.frames_after(5), b"\x81\x02bb\x81\x03ccc");
        assert_eq!(run.frames_after(6), b"\x81\x03ccc");
        assert_eq!(run.frames_after(7), b"");
        assert_eq!(run.frames_after(100), b"");
    }

    #[test]
    fn a_run_of_nothing_is_none() {
        assert_eq!(Run::encode(Epoch::from_bits(1), &[], Moment::default()), None);
    }

    #[test]
    fn a_parcel_is_small_enough_to_be_copied_per_recipient() {
        assert!(size_of::<Parcel>() <= 32, "{}", size_of::<Parcel>());
    }
}
