//! An upstream that does what a test needs of it. It answers `/health`, remembers the heads of all other requests, and
//! treats each in one and the same way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answered with how many bytes its body had.
    Counts,
    /// Agrees to any upgrade, then sends everything back, and ends when the other side has.
    Echoes,
    /// Agrees to any upgrade, then sends without end and counts what it got rid of.
    Floods,
    /// Read, never answered.
    Hangs,
    /// Read, then the connection is closed.
    Breaks,
    /// So many on each connection are answered with the connection's number, the next is read, then it is closed.
    Answers(u64),
    /// Answered 503, as by an instance without a place.
    Refuses,
}

/// A running one. Dropping it closes everything it has.
pub struct Fake {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: CancellationToken,
}

struct Shared {
    manner: Manner,
    heads: Mutex<Vec<String>>,
    draining: AtomicBool,
    sent: AtomicU64,
    connections: AtomicU64,
}

impl Fake {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            manner,
            heads: Mutex::default(),
            draining: false.into(),
            sent: 0.into(),
            connections: 0.into(),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let accepting = {
            let (shared, stop, tasks) = (Arc::clone(&shared), stop.clone(), tasks.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let talk = talk(stream, Arc::clone(&shared));
                    tasks.spawn(stop.clone().run_until_cancelled_owned(talk));
                }
            }
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(accepting));
        Self { shared, address, stop }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of its requests so far, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().clone()
    }

    /// From now on `/health` says that it drains.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// How many bytes it got rid of while flooding.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The next head in lower case, and what came after it. Ends with the connection.
async fn head_of(stream: &mut TcpStream, mut bytes: Vec<u8>) -> std::io::Result<(String, Vec<u8>)> {
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&bytes).to_ascii_lowercase(), rest));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn talk(mut stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let (head, rest) = head_of(&mut stream, Vec::new()).await?;
    if head.starts_with("get /health") {
        let (status, word) = match shared.draining.load(Ordering::Relaxed) {
            true => ("503 Service Unavailable", "draining"),
            false => ("200 OK", "ok"),
        };
        return say(&mut stream, status, &format!("{{\"status\":\"{word}\"}}")).await;
    }
    shared.heads.lock().push(head.clone());
    match shared.manner {
        Manner::Counts => {
            let counted = count(&mut stream, &head, rest).await?;
            say(&mut stream, "200 OK", &counted.to_string()).await
        }
        Manner::Echoes => {
            agree(&mut stream).await?;
            stream.write_all(&rest).await?;
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await?;
            to.write_all(b"goodbye").await
        }
        Manner::Floods => {
            agree(&mut stream).await?;
            loop {
                let count = stream.write(&[7; 4096]).await?;
                shared.sent.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
        Manner::Hangs => std::future::pending().await,
        Manner::Breaks | Manner::Answers(0) => Ok(()),
        Manner::Answers(many) => {
            let number = shared.connections.fetch_add(1, Ordering::Relaxed).to_string();
            let mut rest = rest;
            for n in 0..many {
                if n > 0 {
                    let (head, more) = head_of(&mut stream, rest).await?;
                    shared.heads.lock().push(head);
                    rest = more;
                }
                let length = number.len();
                stream
                    .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{number}").as_bytes())
                    .await?;
            }
            let (head, _) = head_of(&mut stream, rest).await?;
            shared.heads.lock().push(head);
            Ok(())
        }
        Manner::Refuses => say(&mut stream, "503 Service Unavailable", "full").await,
    }
}

async fn agree(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: any\r\n\r\n").await
}

async fn say(stream: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await
}

/// The bytes of a body; of a chunked one with its framing.
async fn count(stream: &mut TcpStream, head: &str, rest: Vec<u8>) -> std::io::Result<usize> {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    let (mut counted, mut last) = (rest.len(), rest);
    let chunked = head.contains("transfer-encoding: chunked");
    let mut piece = vec![0; 64 * 1024];
    while length.is_some_and(|length| counted < length) || (chunked && !last.ends_with(b"0\r\n\r\n")) {
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            break;
        }
        counted += count;
        last.extend_from_slice(&piece[..count]);
        last.drain(..last.len().saturating_sub(5));
    }
    Ok(counted)
}
