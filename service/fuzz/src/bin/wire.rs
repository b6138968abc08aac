//! Any bytes from a peer, in pieces of any size: messages stay within the limit, answers within what was asked, and the
//! connection comes to an end. The first byte chooses the sizes of the pieces.

#![no_main]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use parley_service::edge::wire::{Event, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Small, so that the fuzzer finds what lies beyond it.
const LIMIT: usize = 1024;
/// What the wire reads at once.
const SCRATCH: usize = 256;
/// The longest close frame of the engine's own: a close with a bad code is answered with a reason.
const CLOSE_MAX: usize = 32;

/// A peer that says what it was given, pausing now and then, and hangs up.
struct Peer<'a> {
    bytes: &'a [u8],
    piece: usize,
    pause: bool,
}

impl AsyncRead for Peer<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pause = !self.pause;
        if self.pause && !self.bytes.is_empty() {
            return Poll::Pending;
        }
        let count = self.piece.min(self.bytes.len()).min(into.remaining());
        let (now, later) = self.bytes.split_at(count);
        into.put_slice(now);
        self.bytes = later;
        self.piece = self.piece % 97 * 3 + 1;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let (early, later) = bytes.split_at(bytes.len().min(usize::from(piece & 7)));
    let peer = Peer { bytes: later, piece: usize::from(piece) + 1, pause: false };
    let mut wire = Wire::new(peer, early, LIMIT);
    let (mut scratch, mut answers) = ([0; SCRATCH], Vec::new());
    let mut cx = Context::from_waker(Waker::noop());
    // Each turn takes a byte or follows a pause; events take none but need two bytes each.
    for _ in 0..4 * bytes.len() + 8 {
        match wire.poll_event(&mut cx, &mut scratch, &mut answers) {
            Poll::Ready(Event::Text(text)) => assert!(text.len() <= LIMIT),
            Poll::Ready(Event::Binary(message)) => assert!(message.len() <= LIMIT),
            Poll::Ready(Event::Heard) | Poll::Pending => {}
            Poll::Ready(Event::Closed | Event::Gone | Event::Broken(_)) => {
                assert!(
                    answers.len() <= bytes.len() + CLOSE_MAX,
                    "{} bytes were answered with {}",
                    bytes.len(),
                    answers.len()
                );
                return;
            }
        }
    }
    panic!("the peer hung up and nobody noticed");
});
