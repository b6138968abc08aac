//! What a log holds and how a place in it is named. It does not say where logs live; see `backplane.rs`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, Serializer};

use crate::ids::RetryKey;

/// Names one unbroken life of a log. It changes whenever the log may have lost data. Opaque to clients.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// Takes 64 random bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Reads the text form. A text that no server of ours wrote is a foreign epoch: `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let canonical = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        canonical.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A place in a log: after the message with this offset. Offsets rise by one; the first message has offset 1.
///
/// Positions of different epochs have no order, so the type has none either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which life of the log.
    pub epoch: Epoch,
    /// The last message before this place; 0 is the beginning.
    pub offset: u64,
}

/// A logged message: the ready client frame (JSON text), byte for byte what every member receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub offset: u64,
    /// The frame's JSON text, UTF-8.
    pub frame: Bytes,
}

/// A message before it has an offset: the client frame in two halves, between which the log splices the decimal offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The frame up to and including `"offset":`.
    pub head: Bytes,
    /// The frame from after the offset.
    pub tail: Bytes,
    /// Makes a repeated publish safe.
    pub key: Option<RetryKey>,
    /// Wall clock of the publishing instance, milliseconds since the Unix epoch; returned in the ack.
    pub at: u64,
    /// W3C trace context of the publisher, at most 64 bytes.
    pub traceparent: Option<Box<str>>,
}

impl Draft {
    /// Bytes of the finished frame, give or take the digits of the offset.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len() + 20
    }

    /// A draft is never empty; this exists because `len` does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The finished frame.
    #[must_use]
    pub fn splice(&self, offset: u64) -> Bytes {
        let mut frame = BytesMut::with_capacity(self.len());
        frame.put_slice(&self.head);
        frame.put_slice(offset.to_string().as_bytes());
        frame.put_slice(&self.tail);
        frame.freeze()
    }
}

/// The answer to a publish: where the message is. A repeat with the same key gets the first answer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Where the message is in its log.
    pub position: Position,
    /// The wall clock it was published with, milliseconds since the Unix epoch.
    pub at: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_round_trip_and_foreign_ones_are_none() {
        let epoch = Epoch::from_bits(0xfeed);
        assert_eq!(Epoch::parse(&epoch.to_string()), Some(epoch));
        for foreign in ["", "feed", "000000000000FEED", "00000000000000000feed", "+00000000000feed", "zzzzzzzzzzzzzzzz"]
        {
            assert_eq!(Epoch::parse(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn the_offset_is_spliced_between_head_and_tail() {
        let draft = Draft {
            head: Bytes::from_static(b"{\"offset\":"),
            tail: Bytes::from_static(b",\"x\":1}"),
            key: None,
            at: 0,
            traceparent: None,
        };
        assert_eq!(draft.splice(42), Bytes::from_static(b"{\"offset\":42,\"x\":1}"));
    }
}
