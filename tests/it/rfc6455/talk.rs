//! A raw TCP client and the echo server it talks to. It knows how to cut what it sends, and that every wait has an end.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::echo;
use super::frames::{Reply, read_all};

/// Far more than any exchange takes; a hanging one fails with it.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// A correct request for an upgrade.
pub const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// How the bytes of a case are sent.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// In one write, right after the handshake.
    Whole,
    /// In one write together with the handshake.
    Early,
    /// One byte a write.
    Bytes,
    /// In pieces of random lengths, from this seed.
    Pieces(u64),
}

/// The echo example in this process; it ends with this value.
pub struct Server {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Server {
    /// Refuses messages over `limit`.
    pub async fn start(limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(echo::serve(listener, limit, tasks.clone(), stop.clone()));
        Self { address, _stop: stop.drop_guard() }
    }

    /// One connection: upgrade, these bytes, and everything that comes back until the server ends it.
    pub async fn exchange(&self, bytes: &[u8], cut: Cut) -> Vec<Reply> {
        let exchanged = tokio::time::timeout(DEADLINE, self.try_exchange(bytes, cut)).await;
        exchanged.unwrap_or_else(|_| vec![Reply::Wrong("the server did not end the connection".to_owned())])
    }

    async fn try_exchange(&self, bytes: &[u8], cut: Cut) -> Vec<Reply> {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.set_nodelay(true).expect("a TCP option");
        let mut received = Vec::new();
        let bytes = match cut {
            Cut::Early => {
                // It may fail where the case is a fault: the server is through before all of it is sent.
                drop(stream.write_all(&[UPGRADE.as_bytes(), bytes].concat()).await);
                &[]
            }
            _ => {
                stream.write_all(UPGRADE.as_bytes()).await.expect("it takes a request");
                bytes
            }
        };
        let head = loop {
            assert!(stream.read_buf(&mut received).await.expect("no reset") > 0, "the upgrade was refused");
            if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        assert!(received.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&received));
        let (mut reads, mut writes) = stream.split();
        let writing = async {
            for piece in pieces(bytes, cut) {
                // The server may have ended the connection already; what it said is what counts.
                if writes.write_all(piece).await.is_err() {
                    break;
                }
            }
        };
        let (_, read) = tokio::join!(writing, reads.read_to_end(&mut received));
        let mut replies = read_all(&received[head..]);
        replies.extend(read.err().map(|error| Reply::Wrong(error.to_string())));
        replies
    }
}

fn pieces(bytes: &[u8], cut: Cut) -> Vec<&[u8]> {
    match cut {
        Cut::Whole | Cut::Early => vec![bytes],
        Cut::Bytes => bytes.chunks(1).collect(),
        Cut::Pieces(mut seed) => {
            let (mut pieces, mut rest) = (Vec::new(), bytes);
            // A few hundred pieces at most, however long the case is.
            let longest = 20.max(bytes.len() as u64 / 100);
            while !rest.is_empty() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let len = usize::try_from(1 + (seed >> 33) % longest).unwrap_or(1).min(rest.len());
                let (piece, after) = rest.split_at(len);
                pieces.push(piece);
                rest = after;
            }
            pieces
        }
    }
}
