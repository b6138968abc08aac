//! One WebSocket's bytes: reading through the engine, writing by ourselves. The engine sees only memory: what arrived is
//! put before it, and what it wants to send (pong, close) is collected, so that everything queued leaves in one write.
//! It knows RFC 6455 and nothing of the chat protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, Utf8Bytes, WebSocket};

use crate::protocol::framing;

/// The engine's read buffer, held by every connection for its whole life. Most chat frames fit; larger ones make it grow
/// until the next quiet moment.
const ENGINE_BUFFER: usize = 256;
/// A message of more than this made the engine's buffer grow enough to be worth a fresh engine.
const GROWN: usize = 2 * 1024;
/// A client frame's mask.
const MASK: u64 = 4;

/// The engine's world: bytes that arrived, bytes it wants to send.
#[derive(Debug, Default)]
struct Pipe {
    arrived: Vec<u8>,
    read: usize,
    to_send: Vec<u8>,
    /// Bytes given to the engine that are not yet explained by messages it returned.
    unaccounted: u64,
}

impl io::Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.arrived[self.read..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        self.unaccounted += count as u64;
        if self.read == self.arrived.len() {
            (self.arrived, self.read) = (Vec::new(), 0);
        }
        Ok(count)
    }
}

impl io::Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.to_send.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a peer did.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A text message. It points into the read buffer: do not keep it.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(tungstenite::Bytes),
    /// A ping (answered already) or a pong.
    Heard,
    /// A close frame (answered already).
    Closed,
    /// The connection ended without one.
    Gone,
    /// The peer broke a rule; close with this.
    Broken(Fault),
}

/// Which rule was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// RFC 6455: close with 1002.
    Malformed,
    /// Text that is not UTF-8: close with 1007.
    NotUtf8,
    /// Over the limit: close with 1009.
    TooBig,
}

/// One WebSocket on the server's side, after the upgrade.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    engine: WebSocket<Pipe>,
    limit: usize,
    /// What the socket did not take yet.
    backlog: Vec<u8>,
    written: usize,
    /// Calls of the socket's write so far.
    writes: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Takes over a connection after its upgrade. `early` is what came with the request; `limit` bounds a message.
    #[must_use]
    pub fn new(stream: S, early: &[u8], limit: usize) -> Self {
        let pipe = Pipe { arrived: early.to_vec(), ..Pipe::default() };
        Self { stream, engine: engine(pipe, limit), limit, backlog: Vec::new(), written: 0, writes: 0 }
    }

    /// The next thing the peer did. `scratch` is where bytes land first; `out` gets what must be sent in answer.
    /// Cancel-safe: what was read stays inside.
    pub fn poll_event(&mut self, cx: &mut Context<'_>, scratch: &mut [u8], out: &mut Vec<u8>) -> Poll<Event> {
        loop {
            let read = self.engine.read();
            let event = match read {
                Ok(message) => Some(self.account(message)),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => Some(Event::Broken(Fault::TooBig)),
                Err(Error::Utf8(_)) => Some(Event::Broken(Fault::NotUtf8)),
                Err(
                    Error::ConnectionClosed
                    | Error::AlreadyClosed
                    | Error::Protocol(ProtocolError::ReceivedAfterClosing),
                ) => Some(Event::Gone),
                Err(_) => Some(Event::Broken(Fault::Malformed)),
            };
            if let Some(event) = event {
                if event == Event::Closed || event == Event::Heard {
                    // Makes the engine write its pong or close into the pipe now.
                    drop(self.engine.flush());
                }
                out.append(&mut self.engine.get_mut().to_send);
                self.engine.get_mut().to_send = Vec::new();
                return Poll::Ready(event);
            }
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.engine.get_mut().arrived.extend_from_slice(buffer.filled());
                }
                Poll::Ready(_) => return Poll::Ready(Event::Gone),
            }
        }
    }

    fn account(&mut self, message: Message) -> Event {
        let size = message.len() as u64;
        let header = framing::header_len(message.len()) as u64;
        let pipe = self.engine.get_mut();
        pipe.unaccounted = pipe.unaccounted.saturating_sub(header + MASK + size);
        // Nothing half-read is inside: the engine may be replaced by one with a small buffer. A fragmented message
        // leaves a rest that is never explained; such a peer keeps its larger buffer, which is bounded anyway.
        if pipe.unaccounted == 0 && size > GROWN as u64 {
            let pipe = std::mem::take(pipe);
            self.engine = engine(pipe, self.limit);
        }
        match message {
            Message::Text(text) => Event::Text(text),
            Message::Binary(bytes) => Event::Binary(bytes),
            Message::Close(_) => Event::Closed,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Event::Heard,
        }
    }

    /// Whether something still waits for the socket.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Bytes that wait for the socket.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.backlog.len() - self.written
    }

    /// Calls of the socket's write so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Sends `frames` in one write. What the socket does not take is kept; see [`Wire::poll_flush`].
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, cx: &mut Context<'_>, frames: &[u8]) -> io::Result<()> {
        if self.is_blocked() {
            self.backlog.extend_from_slice(frames);
            return Ok(());
        }
        let mut sent = 0;
        while sent < frames.len() {
            match self.poll_write(cx, &frames[sent..])? {
                Poll::Ready(count) => sent += count,
                Poll::Pending => {
                    self.backlog = frames[sent..].to_vec();
                    self.written = 0;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sends what is left over. Ready when nothing is; `progress` tells whether the socket took anything.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Poll<io::Result<()>> {
        while self.written < self.backlog.len() {
            let backlog = std::mem::take(&mut self.backlog);
            let wrote = self.poll_write(cx, &backlog[self.written..]);
            self.backlog = backlog;
            match wrote? {
                Poll::Ready(count) => {
                    *progress = true;
                    self.written += count;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        (self.backlog, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<Poll<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => {
                self.writes += 1;
                Ok(Poll::Ready(count))
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

fn engine(pipe: Pipe, limit: usize) -> WebSocket<Pipe> {
    let config = WebSocketConfig::default()
        .read_buffer_size(ENGINE_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * 1024)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    WebSocket::from_raw_socket(pipe, Role::Server, Some(config))
}
