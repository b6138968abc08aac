//! Accepts TCP connections and serves HTTP/1.1 on them, within limits that axum's own server leaves open: time for the
//! headers, their size, how many connections may wait to become something. What they ask for is the router's business.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::problem::Problem;
use crate::metrics::EdgeMetrics;

/// Time from the first wait for a request to the end of its headers. Also ends idle keep-alive connections.
const HEADERS_WAIT: Duration = Duration::from_secs(10);
/// Time a request may take from its headers to its answer, its body included.
const REQUEST_WAIT: Duration = Duration::from_secs(15);
/// Bytes of a request's head, tokens included.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// HTTP connections that are not (yet) WebSockets; over it new ones are closed at once.
const HTTP_MAX: usize = 4_096;
/// How long a connection may live that is not (yet) a WebSocket; then it is asked to close.
const HTTP_LIFE: Duration = Duration::from_secs(60);
/// How long the answer under way may take then.
const LAST_ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Pause when the process has no descriptors left: accepting again at once would spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts and serves until stopped. Connections that are being served then are told to finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: EdgeMetrics,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(HTTP_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                if !is_of_the_connection(&error) {
                    tracing::error!(%error, "cannot accept connections: is the limit of open files too low?");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics.refused.get_or_create(&[("reason", "http_connections")]).inc();
            continue;
        };
        let (router, metrics, stop) = (router.clone(), metrics.clone(), stop.clone());
        tasks.spawn(async move {
            metrics.http_connections.inc();
            serve_one(stream, router, stop).await;
            metrics.http_connections.dec();
            drop(place);
        });
    }
}

async fn serve_one(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Frames are gathered before they are written, so waiting for more (Nagle) would only delay them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = TowerToHyperService::new(tower::service_fn(move |request: hyper::Request<Incoming>| {
        let answered = router.clone().oneshot(request);
        async {
            match tokio::time::timeout(REQUEST_WAIT, answered).await {
                Ok(response) => response,
                Err(_) => Ok(late().into_response()),
            }
        }
    }));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WAIT)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // A peer that asks and does not read would keep its place for ever: after a while it has to come again.
    tokio::select! {
        biased;
        ended = connection.as_mut() => return told(ended),
        () = stop.cancelled() => {}
        () = tokio::time::sleep(HTTP_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = tokio::time::timeout(LAST_ANSWER_WAIT, connection).await {
        told(ended);
    }
}

fn late() -> Problem {
    let detail = format!("the request and its answer took longer than {} s", REQUEST_WAIT.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
}

fn told(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended with an error");
    }
}

/// The peer gave up before it was accepted: says nothing about us.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
