//! The other end of a wire, by script: what it sends, piece by piece, and how much it takes at a time.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, Default)]
pub(super) struct Peer {
    chunks: VecDeque<Vec<u8>>,
    /// After its chunks it ends the connection.
    pub(super) ended: bool,
    /// Bytes it takes in each write, 0 for none now; after these, all.
    takes: VecDeque<usize>,
    fails: bool,
    pub(super) taken: Vec<u8>,
    /// Writes that were tried.
    pub(super) calls: usize,
    pub(super) shut: bool,
}

impl Peer {
    pub(super) fn sending(chunks: Vec<Vec<u8>>, ended: bool) -> Self {
        // An empty read would be the end of the connection.
        Self { chunks: chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect(), ended, ..Self::default() }
    }

    pub(super) fn taking(takes: Vec<usize>) -> Self {
        Self { takes: takes.into(), ..Self::default() }
    }

    pub(super) fn failing() -> Self {
        Self { fails: true, ..Self::default() }
    }

    pub(super) fn give(&mut self, chunks: Vec<Vec<u8>>) {
        self.chunks.extend(chunks);
    }

    pub(super) fn bytes_left(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// Nothing more will happen by itself.
    pub(super) fn is_quiet(&self) -> bool {
        self.chunks.is_empty() && !self.ended
    }
}

impl AsyncRead for Peer {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(mut chunk) = self.chunks.pop_front() else {
            return if self.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let rest = chunk.split_off(chunk.len().min(buffer.remaining()));
        buffer.put_slice(&chunk);
        if !rest.is_empty() {
            self.chunks.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.calls += 1;
        if self.fails {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let count = self.takes.pop_front().unwrap_or(usize::MAX).min(bytes.len());
        if count == 0 {
            return Poll::Pending;
        }
        self.taken.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

/// A whole message or control frame of a client.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(0x80 | opcode, payload)
}

/// A client's frame; `first` is its first byte.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Pieces of these lengths, over and over.
pub(super) fn cut(bytes: &[u8], lens: &[usize]) -> Vec<Vec<u8>> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for len in lens.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*len).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = after;
    }
    pieces
}
