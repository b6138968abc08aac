//! Accepts client connections and serves HTTP/1.1 on them within bounds: time for the headers, their size, how many
//! connections there may be, how long nothing may move. What is done with a request is `forward`.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

use super::forward;
use super::gate::Gate;
use super::payload::{Payload, Progress};
use super::upstreams::tuned;

/// Time from the first wait for a request to the end of its headers. Also ends idle keep-alive connections.
const HEADERS_WAIT: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_MAX_BYTES: usize = 32 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// A connection on which nothing moves for so long ends. WebSockets have left it by then.
const STALL_WAIT: Duration = Duration::from_secs(60);
/// Pause when the process has no descriptors left: accepting again at once would spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A client's place. Held by its connection and by what becomes of it.
#[derive(Debug)]
pub(super) struct Seat {
    peer: IpAddr,
    spare: bool,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Who sits there.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether it is only good for being told that all others are taken.
    pub(super) fn is_spare(&self) -> bool {
        self.spare
    }
}

/// Accepts and serves until stopped; then the listener is closed and connections finish what they are at.
pub(super) async fn serve(listener: TcpListener, gate: Arc<Gate>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = gate.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_of_the_connection(&error) {
                    tracing::error!(%error, "cannot accept connections: is the limit of open files too low?");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                continue;
            }
        };
        let permit = Arc::clone(&gate.seats).try_acquire_owned().map(|permit| (permit, false));
        let permit = permit.or_else(|_| Arc::clone(&gate.spare).try_acquire_owned().map(|permit| (permit, true)));
        let Ok((permit, spare)) = permit else {
            gate.counts.dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let seat = Arc::new(Seat { peer: peer.ip(), spare, _permit: permit });
        gate.tasks.spawn(serve_one(stream, seat, Arc::clone(&gate)));
    }
}

async fn serve_one(stream: TcpStream, seat: Arc<Seat>, gate: Arc<Gate>) {
    let Ok(stream) = tuned(stream) else { return };
    let progress = Progress::new(Arc::clone(&gate.clock));
    let spare = seat.is_spare();
    let service = {
        let (gate, progress) = (Arc::clone(&gate), Arc::clone(&progress));
        service_fn(move |request: Request<Incoming>| {
            let (gate, seat, progress) = (Arc::clone(&gate), Arc::clone(&seat), Arc::clone(&progress));
            async move { Ok::<Response<Payload>, Infallible>(forward::answer(&gate, &seat, &progress, request).await) }
        })
    };
    let mut http = http1::Builder::new();
    // A client may close its half and still wait for the answer.
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WAIT)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_header_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .keep_alive(!spare)
        .half_close(true);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    gate.counts.ended(&error);
                }
                return;
            }
            () = gate.cut.cancelled() => return,
            () = gate.stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = progress.stalled(STALL_WAIT) => {
                gate.counts.stalled.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// The peer gave up before it was accepted: says nothing about us.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
