//! Bytes from one socket to another and back, unseen. An idle relay owns no buffer: it reads into one that its worker
//! thread lends it, writes at once, and keeps only what the other side would not take. While it keeps something it does
//! not read on, so a slow reader slows the writer down and nothing piles up.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Read at once; also the most that one direction keeps.
const READ_BYTES: usize = 16 * 1024;
/// After one direction has ended, how long the other may bring nothing: half a WebSocket is of no use to anybody.
const LINGER: Duration = Duration::from_secs(10);

thread_local! {
    static LENT: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// See the module. Ends when both directions have, or [`LINGER`] after one of them fell silent.
#[derive(Debug)]
pub(super) struct Relay<C, U> {
    client: C,
    upstream: U,
    up: Way,
    down: Way,
    /// Runs once one direction has ended.
    linger: Option<Pin<Box<Sleep>>>,
    moved: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    kept: Vec<u8>,
    written: usize,
    stage: Stage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// The reader's side has ended: the writer's is to be told.
    Ending,
    Ended,
}

impl<C, U> Relay<C, U> {
    /// Between these two; `from_client` and `from_upstream` were read already.
    pub(super) fn new(client: C, from_client: Vec<u8>, upstream: U, from_upstream: Vec<u8>) -> Self {
        let way = |kept| Way { kept, written: 0, stage: Stage::Open };
        Self { client, upstream, up: way(from_client), down: way(from_upstream), linger: None, moved: false }
    }
}

impl<C, U> Future for Relay<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let relay = &mut *self;
        let mut lent = LENT.take().unwrap_or_else(|| vec![0; READ_BYTES].into());
        let up = relay.up.poll(cx, &mut relay.client, &mut relay.upstream, &mut lent, &mut relay.moved);
        let down = relay.down.poll(cx, &mut relay.upstream, &mut relay.client, &mut lent, &mut relay.moved);
        LENT.set(Some(lent));
        match (up, down) {
            (Poll::Ready(()), Poll::Ready(())) => return Poll::Ready(()),
            (Poll::Pending, Poll::Pending) => return Poll::Pending,
            _ => {}
        }
        loop {
            let linger = relay.linger.get_or_insert_with(|| {
                relay.moved = false;
                Box::pin(tokio::time::sleep(LINGER))
            });
            ready!(linger.as_mut().poll(cx));
            if !relay.moved {
                return Poll::Ready(());
            }
            relay.linger = None;
        }
    }
}

impl Way {
    /// Moves what can be moved; ready when this direction has ended. A side that fails has ended: the other direction
    /// may still have something to say.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        lent: &mut [u8],
        moved: &mut bool,
    ) -> Poll<()> {
        loop {
            while self.written < self.kept.len() {
                match ready!(Pin::new(&mut *to).poll_write(cx, &self.kept[self.written..])) {
                    Ok(count) if count > 0 => self.written += count,
                    _ => {
                        self.kept = Vec::new();
                        self.stage = Stage::Ended;
                        return Poll::Ready(());
                    }
                }
            }
            if self.written > 0 {
                (self.kept, self.written) = (Vec::new(), 0);
            }
            match self.stage {
                Stage::Open => {}
                Stage::Ending => {
                    // It may be gone: then nobody need be told.
                    let _: std::io::Result<()> = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.stage = Stage::Ended;
                    return Poll::Ready(());
                }
                Stage::Ended => return Poll::Ready(()),
            }
            let mut read = ReadBuf::new(lent);
            let ended = ready!(Pin::new(&mut *from).poll_read(cx, &mut read)).is_err();
            let read = read.filled();
            if ended || read.is_empty() {
                self.stage = Stage::Ending;
                continue;
            }
            *moved = true;
            match Pin::new(&mut *to).poll_write(cx, read) {
                Poll::Ready(Ok(count)) if count == read.len() => {}
                Poll::Ready(Ok(count)) if count > 0 => self.kept = read[count..].to_vec(),
                Poll::Ready(_) => {
                    self.stage = Stage::Ended;
                    return Poll::Ready(());
                }
                Poll::Pending => self.kept = read.to_vec(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_and_what_was_read_early_comes_first() {
        let (mut client, near) = duplex(8);
        let (mut upstream, far) = duplex(8);
        let relay = Relay::new(near, b"early".to_vec(), far, b"first".to_vec());
        let talk = async {
            let (mut got, mut sent) = ([0; 11], [0; 10]);
            client.write_all(b"-later").await.unwrap();
            upstream.read_exact(&mut got).await.unwrap();
            upstream.write_all(b"-next").await.unwrap();
            client.read_exact(&mut sent).await.unwrap();
            assert_eq!((&got, &sent), (b"early-later", b"first-next"));
            drop((client, upstream));
        };
        tokio::join!(relay, talk);
    }

    #[tokio::test]
    async fn more_than_fits_waits_for_the_slow_side_and_arrives_whole() {
        let (mut client, near) = duplex(4096);
        let (mut upstream, far) = duplex(64);
        let all: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let sent = all.clone();
        let send = async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            client
        };
        let take = async {
            let mut got = Vec::new();
            upstream.read_to_end(&mut got).await.unwrap();
            drop(upstream);
            got
        };
        let ((), client, got) = tokio::join!(Relay::new(near, Vec::new(), far, Vec::new()), send, take);
        assert!(got == all, "{} of {} bytes", got.len(), all.len());
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_connection_lives_while_it_moves_and_ends_when_it_falls_silent() {
        let (mut client, near) = duplex(64);
        let (mut upstream, far) = duplex(64);
        let relay = Relay::new(near, Vec::new(), far, Vec::new());
        let talk = async {
            client.shutdown().await.unwrap();
            assert_eq!(upstream.read(&mut [0; 8]).await.unwrap(), 0);
            for _ in 0..5 {
                tokio::time::advance(LINGER.mul_f64(0.7)).await;
                upstream.write_all(b"still").await.unwrap();
                client.read_exact(&mut [0; 5]).await.unwrap();
            }
            // Silence now: the relay gives up by itself and lets both go.
            assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        };
        tokio::join!(relay, talk);
    }
}
