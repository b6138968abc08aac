//! Cuts the byte stream of a server into WebSocket frames (RFC 6455) without copying those that arrive whole. It does
//! not read sockets, does not check UTF-8 and knows nothing of what the frames say.

use std::mem;

use thiserror::Error;

/// Far above any frame limit of the server; a larger length means that the stream is out of step.
const LARGEST_PAYLOAD: usize = 16 << 20;

/// One message or control frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A whole text message; fragments have been put together.
    Text(&'a [u8]),
    /// A whole binary message; the chat protocol has none.
    Binary,
    /// To be answered with a pong of the same bytes.
    Ping(&'a [u8]),
    /// Answer to a ping.
    Pong,
    /// The server closes, with its code if it gave one.
    Close(Option<u16>),
}

/// The server broke the framing; the connection is of no more use.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum ScanFault {
    #[error("frame with a reserved bit or opcode")]
    Reserved,
    #[error("masked frame from the server")]
    Masked,
    #[error("frame larger than {LARGEST_PAYLOAD} bytes")]
    TooLarge,
    #[error("fragment out of place")]
    Fragment,
}

/// Scanner of one connection. Between two reads it holds only the bytes of an unfinished frame, so an idle session
/// costs two empty fields.
#[derive(Default)]
pub(super) struct Scanner {
    partial: Vec<u8>,
    fragments: Option<Box<Fragments>>,
}

struct Fragments {
    opcode: u8,
    payload: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Head {
    fin: bool,
    opcode: u8,
    header: usize,
    total: usize,
}

impl Head {
    /// `None` while the header itself is incomplete.
    fn read(bytes: &[u8]) -> Result<Option<Self>, ScanFault> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(ScanFault::Reserved);
        }
        if second & 0x80 != 0 {
            return Err(ScanFault::Masked);
        }
        let (header, payload) = match second & 0x7f {
            126 => match rest {
                &[a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
                _ => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(long) => (10, usize::try_from(u64::from_be_bytes(*long)).unwrap_or(usize::MAX)),
                None => return Ok(None),
            },
            short => (2, usize::from(short)),
        };
        if payload > LARGEST_PAYLOAD {
            return Err(ScanFault::TooLarge);
        }
        Ok(Some(Self { fin: first & 0x80 != 0, opcode: first & 0x0f, header, total: header + payload }))
    }
}

impl Scanner {
    /// Hands every frame that `chunk` completes to `sink`, in order.
    ///
    /// # Errors
    /// When the bytes are not what a server may send; frames before the fault have been handed over.
    pub(super) fn feed(&mut self, mut chunk: &[u8], mut sink: impl FnMut(Frame<'_>)) -> Result<(), ScanFault> {
        while !chunk.is_empty() {
            if self.partial.is_empty() {
                match Head::read(chunk)? {
                    Some(head) if head.total <= chunk.len() => {
                        let (frame, rest) = chunk.split_at(head.total);
                        self.hand_over(head, &frame[head.header..], &mut sink)?;
                        chunk = rest;
                    }
                    _ => {
                        self.partial.extend_from_slice(chunk);
                        return Ok(());
                    }
                }
            } else {
                // Never more than the rest of this one frame, so that the frames behind it are scanned in place.
                let wanted = Head::read(&self.partial)?.map_or(1, |head| head.total - self.partial.len());
                let (piece, rest) = chunk.split_at(wanted.min(chunk.len()));
                self.partial.extend_from_slice(piece);
                chunk = rest;
                if let Some(head) = Head::read(&self.partial)?
                    && head.total == self.partial.len()
                {
                    let frame = mem::take(&mut self.partial);
                    self.hand_over(head, &frame[head.header..], &mut sink)?;
                }
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, head: Head, payload: &[u8], sink: &mut impl FnMut(Frame<'_>)) -> Result<(), ScanFault> {
        match (head.opcode, head.fin, self.fragments.is_some()) {
            (1, true, false) => sink(Frame::Text(payload)),
            (2, true, false) => sink(Frame::Binary),
            (opcode @ (1 | 2), false, false) => {
                self.fragments = Some(Box::new(Fragments { opcode, payload: payload.to_vec() }));
            }
            (0, fin, true) => {
                let Some(mut whole) = self.fragments.take() else { return Err(ScanFault::Fragment) };
                if whole.payload.len() + payload.len() > LARGEST_PAYLOAD {
                    return Err(ScanFault::TooLarge);
                }
                whole.payload.extend_from_slice(payload);
                match (fin, whole.opcode) {
                    (true, 1) => sink(Frame::Text(&whole.payload)),
                    (true, _) => sink(Frame::Binary),
                    (false, _) => self.fragments = Some(whole),
                }
            }
            (0..=2, ..) | (8..=10, false, _) => return Err(ScanFault::Fragment),
            (8, true, _) => sink(Frame::Close(payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code)))),
            (9, true, _) => sink(Frame::Ping(payload)),
            (10, true, _) => sink(Frame::Pong),
            _ => return Err(ScanFault::Reserved),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
