//! One WebSocket's bytes: reading through the engine, writing by ourselves. The engine sees only memory: what arrived is
//! put before it, and what it wants to send (pong, close) is collected, so that everything queued leaves in one write.
//! It knows RFC 6455 and nothing of the chat protocol.

mod frames;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::error::{CapacityError, Error};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, Utf8Bytes, WebSocket};

use crate::protocol::framing;
use frames::Frames;

/// The engine's read buffer, held by every connection for its whole life. Most chat frames fit; larger ones make it grow
/// until their message is complete.
const ENGINE_BUFFER: usize = 256;
/// A frame of more than this made the engine's buffer grow enough to be worth a fresh engine.
const GROWN: u64 = 2 * 1024;
/// Bytes read in one call without an event. A peer that sends what makes none, such as empty fragments, as fast as it
/// can would otherwise keep the worker from everybody else.
const READ_PER_CALL: usize = 64 * 1024;

/// The engine's world: bytes that arrived, bytes it wants to send.
#[derive(Debug, Default)]
struct Pipe {
    arrived: Vec<u8>,
    read: usize,
    to_send: Vec<u8>,
    /// Where the engine is in what it was given.
    frames: Frames,
}

impl io::Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.arrived[self.read..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // Never beyond the end of a frame: so the engine holds nothing of the next one when it returns a message.
        let count =
            self.frames.advance(&rest[..rest.len().min(buffer.len())]).map_err(|_| io::ErrorKind::InvalidData)?;
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
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
    /// Where in it a frame begins, the first of which nothing had been sent when the socket became full.
    boundary: usize,
    /// Calls of the socket's write so far.
    writes: u64,
    /// The peer closed, broke a rule or is gone: what still comes is read and thrown away.
    over: bool,
    /// The engine has seen all that arrived and wants more: not worth asking, on the way of every message sent.
    hungry: bool,
    /// Our side of the connection is shut down.
    shut: bool,
    /// How often the engine was replaced.
    #[cfg(test)]
    renewed: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Takes over a connection after its upgrade. `early` is what came with the request; `limit` bounds a message.
    #[must_use]
    pub fn new(stream: S, early: &[u8], limit: usize) -> Self {
        let pipe = Pipe { arrived: early.to_vec(), ..Pipe::default() };
        Self {
            stream,
            engine: engine(pipe, limit),
            limit,
            backlog: Vec::new(),
            written: 0,
            boundary: 0,
            writes: 0,
            over: false,
            hungry: false,
            shut: false,
            #[cfg(test)]
            renewed: 0,
        }
    }

    /// The next thing the peer did. `scratch` is where bytes land first; `out` gets what must be sent in answer.
    /// After `Closed`, `Gone` or `Broken` nothing but `Gone` comes, once the peer has ended the connection.
    /// Cancel-safe: what was read stays inside.
    pub fn poll_event(&mut self, cx: &mut Context<'_>, scratch: &mut [u8], out: &mut Vec<u8>) -> Poll<Event> {
        let mut allowance = READ_PER_CALL;
        while !self.over {
            if let Some(event) = self.decode() {
                self.over = matches!(event, Event::Closed | Event::Gone | Event::Broken(_));
                if event == Event::Closed || event == Event::Heard {
                    // Makes the engine write its pong or close into the pipe now.
                    drop(self.engine.flush());
                }
                out.append(&mut self.engine.get_mut().to_send);
                self.engine.get_mut().to_send = Vec::new();
                return Poll::Ready(event);
            }
            if allowance == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.engine.get_mut().arrived.extend_from_slice(buffer.filled());
                    self.hungry = false;
                    allowance = allowance.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => {
                    self.over = true;
                    return Poll::Ready(Event::Gone);
                }
            }
        }
        self.poll_discard(cx, scratch).map(|()| Event::Gone)
    }

    /// What the engine makes of what has arrived. Nothing if it needs more.
    fn decode(&mut self) -> Option<Event> {
        if self.hungry {
            return None;
        }
        let fault = match self.engine.read() {
            Ok(message) => {
                self.shrink();
                return Some(match message {
                    Message::Text(text) => Event::Text(text),
                    Message::Binary(bytes) => Event::Binary(bytes),
                    Message::Close(_) => Event::Closed,
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Event::Heard,
                });
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.hungry = true;
                return None;
            }
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => Fault::TooBig,
            Err(Error::Utf8(_)) => Fault::NotUtf8,
            Err(_) => Fault::Malformed,
        };
        Some(Event::Broken(fault))
    }

    /// Gives back the memory of a long message: an engine never shrinks its buffer, so it is replaced while nothing
    /// half-read is inside.
    fn shrink(&mut self) {
        let pipe = self.engine.get_mut();
        if pipe.frames.longest() > GROWN && pipe.frames.between_messages() {
            let pipe = Pipe { frames: Frames::default(), ..std::mem::take(pipe) };
            self.engine = engine(pipe, self.limit);
            #[cfg(test)]
            {
                self.renewed += 1;
            }
        }
    }

    /// Ends the connection so that what was sent last is not lost: flushes, says that nothing more will come, and
    /// discards what arrives until the peer has closed too. (A socket that is closed with unread bytes resets the
    /// connection, and the peer's system throws away what its reader had not seen yet.) Ready when it is safe to drop
    /// the connection. The peer decides how long that takes: the caller must bound it.
    pub fn poll_finish(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<()> {
        if !self.shut {
            let mut progress = false;
            match self.poll_flush(cx, &mut progress) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            match Pin::new(&mut self.stream).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.shut = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.poll_discard(cx, scratch)
    }

    /// Reads and throws away. Ready at the end of the connection.
    fn poll_discard(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<()> {
        let mut allowance = READ_PER_CALL;
        while allowance > 0 {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    allowance = allowance.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
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

    /// Bytes that arrived and were not looked at.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.engine.get_ref().arrived.len()
    }

    /// Gives up all frames of which nothing was sent. What is left of the one under way must still be sent before
    /// anything else; returns how many bytes that is.
    pub fn cut(&mut self) -> usize {
        let end = framing::boundary(&self.backlog, self.boundary, self.written);
        // Copied, because a vector that is cut short keeps its memory.
        self.backlog = self.backlog[self.written..end].to_vec();
        (self.written, self.boundary) = (0, self.backlog.len());
        self.backlog.len()
    }

    /// Calls of the socket's write so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Sends `frames`, which are whole, in one write. What the socket does not take is kept; see [`Wire::poll_flush`].
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, cx: &mut Context<'_>, frames: &[u8]) -> io::Result<()> {
        if self.is_blocked() {
            // What was taken already would otherwise stay until all of it is.
            self.boundary = framing::boundary(&self.backlog, self.boundary, self.written) - self.written;
            self.backlog.drain(..std::mem::take(&mut self.written));
            self.backlog.extend_from_slice(frames);
            return Ok(());
        }
        let mut sent = 0;
        while sent < frames.len() {
            match self.poll_write(cx, &frames[sent..])? {
                Poll::Ready(count) => sent += count,
                Poll::Pending => {
                    self.backlog = frames[sent..].to_vec();
                    (self.written, self.boundary) = (0, framing::boundary(frames, 0, sent) - sent);
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
        (self.backlog, self.written, self.boundary) = (Vec::new(), 0, 0);
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

fn engine<P>(pipe: P, limit: usize) -> WebSocket<P> {
    let config = WebSocketConfig::default()
        .read_buffer_size(ENGINE_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * 1024)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    WebSocket::from_raw_socket(pipe, Role::Server, Some(config))
}
