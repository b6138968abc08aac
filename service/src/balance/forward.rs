//! One request: an upstream is chosen and asked, the next one if it would not have the request, and its answer passed on.
//! A request that becomes a WebSocket leaves a relay behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::accept::Seat;
use super::affinity;
use super::answer::Trouble;
use super::gate::Gate;
use super::headers;
use super::kept::{Answered, Sender, Stay};
use super::payload::{Payload, Progress};
use super::pool::{Kind, Sighting, Tried};
use super::relay::Relay;
use super::upstreams::{ConnectError, Lease};
use crate::config::BalancePolicy;

/// Without a byte of the request going or of the answer coming for so long, the upstream is late.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How long all attempts to connect may take together.
const TRIES_WAIT: Duration = Duration::from_secs(5);
/// How long both sockets may take to become ours after the upgrade was agreed on.
const UPGRADE_WAIT: Duration = Duration::from_secs(10);
/// Bytes of an answer's head.
const HEAD_MAX_BYTES: usize = 64 * 1024;
/// Where the balancer answers itself.
const STATUS_PATH: &str = "/balancer/status";

/// A request on its way.
struct Passage<'a> {
    gate: &'a Arc<Gate>,
    seat: &'a Arc<Seat>,
    progress: &'a Arc<Progress>,
    kind: Kind,
    /// Its head as upstreams get it.
    head: Parts,
    /// Its body until it was sent.
    body: Payload,
    /// It has none, and changes nothing.
    repeatable: bool,
    /// The client's side of the WebSocket that it may become.
    client: Option<OnUpgrade>,
    route: Option<String>,
}

/// What became of one attempt.
enum Attempt {
    /// This is the answer.
    Answered(Answered),
    /// This is the answer, and another upstream may have a better one.
    Refused(Answered),
    /// The connection had ended before anything was sent.
    Unsent,
    /// It ended later: nobody knows what the upstream did with the request.
    Broke,
    /// There is still no answer.
    Late,
}

/// Answers a request.
pub(super) async fn answer(
    gate: &Arc<Gate>,
    seat: &Arc<Seat>,
    progress: &Arc<Progress>,
    request: Request<Incoming>,
) -> Response<Payload> {
    progress.note();
    if let Some(fault) = headers::fault(&request) {
        return Trouble::Malformed(fault).answer(&gate.counts);
    }
    if request.uri().path() == STATUS_PATH {
        return gate.status();
    }
    if seat.is_spare() {
        return Trouble::OverCapacity.answer(&gate.counts);
    }
    if request.method() == Method::CONNECT {
        return Trouble::Tunnel.answer(&gate.counts);
    }
    Passage::new(gate, seat, progress, request).run().await
}

impl<'a> Passage<'a> {
    fn new(
        gate: &'a Arc<Gate>,
        seat: &'a Arc<Seat>,
        progress: &'a Arc<Progress>,
        mut request: Request<Incoming>,
    ) -> Self {
        let asked = request.version() == Version::HTTP_11;
        let protocol = headers::upgrade(request.headers()).filter(|_| asked && request.method() == Method::GET);
        let client = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        let cookie = gate.cookie.as_str();
        let route = affinity::route(request.headers(), cookie).filter(|_| gate.policy == BalancePolicy::Cookie);
        let route = route.map(str::to_owned);
        let (mut head, body) = request.into_parts();
        let repeatable = body.is_end_stream() && head.method.is_safe();
        let body = Payload::passing(body, progress, None);
        // A client that takes us for a forward proxy names the host in the target.
        if let Some(host) = head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
            head.headers.insert(HOST, host);
        }
        head.uri = head.uri.path_and_query().map_or_else(|| Uri::from_static("/"), |path| path.clone().into());
        head.version = Version::HTTP_11;
        let kind = if protocol.is_some() { Kind::Upgrade } else { Kind::Plain };
        headers::to_upstream(&mut head.headers, seat.peer(), protocol);
        if body.size_hint().exact().is_none() {
            // Said here, because hyper takes a GET without it for one without a body and sends none.
            head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Self { gate, seat, progress, kind, head, body, repeatable, client, route }
    }

    async fn run(mut self) -> Response<Payload> {
        let mut tried = Tried::default();
        let mut refusal = None;
        let too_long = tokio::time::sleep(TRIES_WAIT);
        let mut too_long = std::pin::pin!(too_long);
        loop {
            let chosen = self.gate.upstreams.choose(self.kind, self.route.as_deref(), tried);
            let Some(lease) = chosen.filter(|_| !too_long.is_elapsed()) else { break };
            tried.add(lease.index());
            let attempt = match self.ask_over_kept(&lease).await {
                Some(attempt) => attempt,
                None => {
                    let connected = tokio::select! {
                        biased;
                        connected = self.gate.upstreams.connect(lease.index()) => connected,
                        () = too_long.as_mut() => break,
                    };
                    match connected {
                        Ok(stream) => self.ask_over_new(&lease, stream).await,
                        Err(ConnectError::Here(error)) => {
                            tracing::error!(%error, "cannot connect to upstreams: is the limit of open files too low?");
                            return Trouble::Exhausted.answer(&self.gate.counts);
                        }
                        Err(ConnectError::Upstream(error)) => {
                            tracing::debug!(upstream = lease.address(), %error, "the upstream cannot be reached");
                            lease.saw(Sighting::Unreachable);
                            Attempt::Unsent
                        }
                    }
                }
            };
            match attempt {
                Attempt::Answered(answered) => return self.pass_on(answered, lease),
                Attempt::Refused(answered) => {
                    // It may have begun to drain since it was last asked.
                    lease.look();
                    refusal = Some((answered, lease));
                }
                Attempt::Unsent => lease.failed(),
                Attempt::Broke if self.repeatable => lease.failed(),
                Attempt::Broke => {
                    lease.failed();
                    return Trouble::UpstreamBroke.answer(&self.gate.counts);
                }
                Attempt::Late => {
                    lease.failed();
                    return Trouble::UpstreamTimeout.answer(&self.gate.counts);
                }
            }
            self.gate.counts.retried.fetch_add(1, Ordering::Relaxed);
        }
        match refusal {
            Some((answered, lease)) => self.pass_on(answered, lease),
            None => Trouble::NoUpstream.answer(&self.gate.counts),
        }
    }

    /// Over a connection that is there already; `None` if there is none that still stands. Only what can be sent again goes
    /// there: the upstream may be closing it, and then nobody knows what became of the request.
    async fn ask_over_kept(&mut self, lease: &Lease) -> Option<Attempt> {
        while self.kind == Kind::Plain
            && self.repeatable
            && let Some(sender) = lease.kept()
        {
            match self.ask(lease, sender).await {
                // The upstream was about to close it: says nothing about the upstream.
                Attempt::Unsent | Attempt::Broke => {}
                attempt => return Some(attempt),
            }
        }
        None
    }

    async fn ask_over_new(&mut self, lease: &Lease, stream: TcpStream) -> Attempt {
        let mut http = http1::Builder::new();
        let shaken = http.max_buf_size(HEAD_MAX_BYTES).handshake(TokioIo::new(stream)).await;
        let Ok((sender, connection)) = shaken else { return Attempt::Unsent };
        // It ends as soon as nobody waits for its answer, nor keeps it for another.
        self.gate.tasks.spawn(self.gate.cut.clone().run_until_cancelled_owned(connection.with_upgrades()));
        self.ask(lease, sender).await
    }

    /// Sends the request and waits for the head of its answer.
    async fn ask(&mut self, lease: &Lease, mut sender: Sender) -> Attempt {
        let upstream = lease.address();
        let body = std::mem::replace(&mut self.body, Payload::EMPTY);
        self.progress.note();
        let answered = tokio::select! {
            biased;
            answered = sender.try_send_request(Request::from_parts(self.head.clone(), body)) => answered,
            () = self.progress.stalled(ANSWER_WAIT) => {
                tracing::warn!(upstream, "the upstream did not answer in time");
                return Attempt::Late;
            }
        };
        match answered {
            Ok(answer) => {
                let refuses = self.kind == Kind::Upgrade && answer.status() == StatusCode::SERVICE_UNAVAILABLE;
                if refuses && self.repeatable {
                    return Attempt::Refused((answer, sender));
                }
                Attempt::Answered((answer, sender))
            }
            Err(mut failure) => {
                tracing::debug!(upstream, error = %failure.error(), "the upstream did not answer");
                let Some(unsent) = failure.take_message() else { return Attempt::Broke };
                self.body = unsent.into_body();
                Attempt::Unsent
            }
        }
    }

    fn pass_on(self, (mut answer, sender): Answered, lease: Lease) -> Response<Payload> {
        self.progress.note();
        // Nobody is to come back to where there was no place, nor need be told what they know.
        let stays = self.gate.policy == BalancePolicy::Cookie && answer.status() != StatusCode::SERVICE_UNAVAILABLE;
        let route = Some(lease.route()).filter(|route| stays && self.route.as_deref() != Some(route));
        let route = route.map(str::to_owned);
        let mut passed = if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = self.client else { return Trouble::UpstreamBroke.answer(&self.gate.counts) };
            let upstream = hyper::upgrade::on(&mut answer);
            let (mut head, _) = answer.into_parts();
            let protocol = head.headers.get(hyper::header::UPGRADE).cloned();
            headers::to_client(&mut head.headers, protocol);
            self.gate.tasks.spawn(relay(Arc::clone(self.gate), client, upstream, lease, Arc::clone(self.seat)));
            Response::from_parts(head, Payload::EMPTY)
        } else {
            let (mut head, from) = answer.into_parts();
            headers::to_client(&mut head.headers, None);
            head.version = Version::HTTP_11;
            Response::from_parts(head, Payload::passing(from, self.progress, Some(Stay::new(lease, sender))))
        };
        if let Some(route) = route {
            affinity::set(passed.headers_mut(), &self.gate.cookie, &route);
        }
        passed
    }
}

/// Waits until both sockets are ours and sets a task between them that is as small as it can be.
async fn relay(gate: Arc<Gate>, client: OnUpgrade, upstream: OnUpgrade, mut lease: Lease, seat: Arc<Seat>) {
    let both = tokio::time::timeout(UPGRADE_WAIT, async { tokio::try_join!(client, upstream) }).await;
    let Ok(Ok((client, upstream))) = both else {
        tracing::debug!("a connection ended in the middle of its upgrade");
        return;
    };
    let (Some((client, from_client)), Some((upstream, from_upstream))) = (bare(client), bare(upstream)) else { return };
    lease.upgraded();
    let relay = Relay::new(client, from_client, upstream, from_upstream);
    let cut = gate.cut.clone();
    gate.tasks.spawn(async move {
        cut.run_until_cancelled_owned(relay).await;
        drop((lease, seat));
    });
}

/// The socket and what was read from it already. Ours are never anything but TCP.
fn bare(upgraded: Upgraded) -> Option<(TcpStream, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf.to_vec()))
}
