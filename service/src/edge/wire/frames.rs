//! Follows a client's bytes from frame to frame, so that the engine is never given more than one of them and what is
//! wrong with a header is said before its payload is waited for. It reads headers only; payloads and the order of
//! frames are the engine's business.

use crate::protocol::framing::header_len;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const OPCODE: u8 = 0x0F;
/// Opcodes from here on are control frames.
const CONTROL: u8 = 0x8;
const MASKED: u8 = 0x80;
const CONTROL_MAX: u64 = 125;
/// The first bit of the long form must be zero.
const LEN_MAX: u64 = u64::MAX >> 1;
/// Two bytes, eight of length, four of mask.
const HEADER_MAX: usize = 14;
const MASK: usize = 4;

/// A header that RFC 6455 forbids: reserved bits, no mask, a length in more bytes than it needs, a control frame that
/// is fragmented or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forbidden;

/// Where in the stream of frames the next byte belongs.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The header so far.
    header: [u8; HEADER_MAX],
    have: u8,
    /// What the payload still lacks. Zero while the header is not complete.
    left: u64,
    /// Some fragments of a message have come, the last one has not.
    fragmented: bool,
    /// The longest payload so far.
    longest: u64,
}

impl Frames {
    /// How many of `bytes` belong to the frame that is under way; never more than up to its end.
    ///
    /// # Errors
    /// The header is forbidden; nothing more can be said about the stream.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Forbidden> {
        let mut used = 0;
        while self.left == 0 {
            let Some(byte) = bytes.get(used) else { return Ok(used) };
            self.header[usize::from(self.have)] = *byte;
            self.have += 1;
            used += 1;
            if usize::from(self.have) >= 2 && usize::from(self.have) == self.header_len() {
                self.begin_payload()?;
                if self.left == 0 {
                    return Ok(used);
                }
            }
        }
        let rest = bytes.len() - used;
        let payload = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest);
        self.left -= payload as u64;
        Ok(used + payload)
    }

    /// Whether every frame is complete, and every message too.
    pub(super) fn between_messages(&self) -> bool {
        self.have == 0 && self.left == 0 && !self.fragmented
    }

    /// The longest payload that was announced.
    pub(super) fn longest(&self) -> u64 {
        self.longest
    }

    /// Bytes of the header, once two of them are known.
    fn header_len(&self) -> usize {
        let extended = match self.header[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & MASKED == 0 { 0 } else { MASK };
        2 + extended + mask
    }

    fn begin_payload(&mut self) -> Result<(), Forbidden> {
        let [first, second, ..] = self.header;
        let (len, shortest) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes([self.header[2], self.header[3]])), 4),
            127 => {
                let mut len = [0; 8];
                len.copy_from_slice(&self.header[2..10]);
                (u64::from_be_bytes(len), 10)
            }
            short => (u64::from(short), 2),
        };
        let is_control = first & OPCODE >= CONTROL;
        let is_final = first & FIN != 0;
        if first & RESERVED_BITS != 0
            || second & MASKED == 0
            || header_len(usize::try_from(len).unwrap_or(usize::MAX)) != shortest
            || len > LEN_MAX
            || is_control && (!is_final || len > CONTROL_MAX)
        {
            return Err(Forbidden);
        }
        if !is_control {
            self.fragmented = !is_final;
        }
        self.longest = self.longest.max(len);
        (self.have, self.left) = (0, len);
        Ok(())
    }
}
