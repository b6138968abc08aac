//! Sends each message back, over the same socket path as the chat: accept loop, handshake, wire. It is there so that
//! protocol suites can be pointed at it: `cargo run -p parley-service --example echo -- 127.0.0.1:9001`. It knows
//! nothing of the chat, signs nobody in and limits nobody's rate: do not expose it.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::response::IntoResponse as _;
use parley_service::edge::wire::{Event, Fault, Wire};
use parley_service::edge::{accept, upgrade};
use parley_service::metrics::Metrics;
use parley_service::protocol::close_code::CloseCode;
use parley_service::protocol::framing;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Largest message: suites send up to 16 MiB and expect it back.
const LIMIT: usize = 64 * 1024 * 1024;
/// Echoes are gathered up to this size before they are written.
const GATHERED: usize = 64 * 1024;
/// Read from a socket at once.
const READ_BYTES: usize = 16 * 1024;
/// Time a peer has to take the close frame and to end its side.
const FINISH_WAIT: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "an example has no settings, only an address")]
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("echo on ws://{}", listener.local_addr()?);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tokio::select! {
        () = serve(listener, LIMIT, tasks, stop) => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Echoes on every path until stopped. Messages of more than `limit` bytes are refused with 1009.
pub async fn serve(listener: TcpListener, limit: usize, tasks: TaskTracker, stop: CancellationToken) {
    let router = {
        let tasks = tasks.clone();
        Router::new().fallback(move |request: Request| async move { handshake(request, limit, &tasks) })
    };
    accept::serve(listener, router, Metrics::new().edge, tasks, stop).await;
}

fn handshake(request: Request, limit: usize, tasks: &TaskTracker) -> Response<Body> {
    let (mut parts, _) = request.into_parts();
    let (accept, upgrade) = match upgrade::handshake(&mut parts) {
        Ok(agreed) => agreed,
        Err(problem) => return problem.into_response(),
    };
    tasks.spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let Ok((stream, early)) = upgrade::into_socket(upgraded) else { return };
        let mut echo = Echo::new(Wire::new(stream, &early, limit));
        poll_fn(|cx| echo.poll_open(cx)).await;
        drop(tokio::time::timeout(FINISH_WAIT, poll_fn(|cx| echo.wire.poll_finish(cx, &mut echo.scratch))).await);
    });
    upgrade::switching(&accept)
}

struct Echo {
    wire: Wire<TcpStream>,
    scratch: Vec<u8>,
    /// Goes out in one write.
    out: Vec<u8>,
}

impl Echo {
    fn new(wire: Wire<TcpStream>) -> Self {
        Self { wire, scratch: vec![0; READ_BYTES], out: Vec::new() }
    }

    /// Ready when there is nothing more to say.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // While the socket takes nothing, nothing is read: so a peer that does not listen cannot make us buffer.
            match self.wire.poll_flush(cx, &mut false) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            let mut open = true;
            while open && self.out.len() < GATHERED {
                match self.wire.poll_event(cx, &mut self.scratch, &mut self.out) {
                    Poll::Ready(event) => open = self.answer(&event),
                    Poll::Pending => break,
                }
            }
            let idle = self.out.is_empty();
            if self.wire.send(cx, &std::mem::take(&mut self.out)).is_err() || !open {
                return Poll::Ready(());
            }
            if idle {
                return Poll::Pending;
            }
        }
    }

    /// Whether the connection goes on.
    fn answer(&mut self, event: &Event) -> bool {
        let fault = match event {
            Event::Text(text) => {
                framing::put_text(&mut self.out, text.as_bytes());
                return true;
            }
            Event::Binary(bytes) => {
                framing::put_binary(&mut self.out, bytes);
                return true;
            }
            Event::Heard => return true,
            Event::Closed | Event::Gone => return false,
            Event::Broken(Fault::Malformed) => CloseCode::Malformed,
            Event::Broken(Fault::NotUtf8) => CloseCode::NotUtf8,
            Event::Broken(Fault::TooBig) => CloseCode::TooBig,
        };
        framing::put_close(&mut self.out, Some((fault.number(), fault.reason())));
        false
    }
}
