//! What the balancer says itself: that nobody can answer now, that an upstream did not, and its own status. Counted by
//! reason. Errors are problem documents (RFC 9457), as those of an instance.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::payload::Payload;
use super::pool::Member;

/// What a client should wait at least before it asks again.
const RETRY_SECONDS: u32 = 2;

/// Why the balancer answers itself, or does not answer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No upstream takes new connections.
    NoUpstream,
    /// More client connections than allowed.
    OverCapacity,
    /// This process has no descriptor or port left.
    Exhausted,
    /// An upstream was asked and did not answer in time.
    UpstreamTimeout,
    /// An upstream was asked and ended the connection, or answered what cannot be understood.
    UpstreamBroke,
    /// A request for a tunnel: this is no forward proxy.
    Tunnel,
    /// A request that may not be passed on, and why.
    Malformed(&'static str),
}

impl Trouble {
    fn told(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoUpstream => {
                (StatusCode::SERVICE_UNAVAILABLE, "no_upstream", "no instance takes new connections now, try again")
            }
            Self::OverCapacity => (
                StatusCode::SERVICE_UNAVAILABLE,
                "over_capacity",
                "the balancer has no place for another connection now, try again (--max-connections)",
            ),
            Self::Exhausted => (
                StatusCode::SERVICE_UNAVAILABLE,
                "exhausted",
                "the balancer has no descriptor or port left, try again (ulimit -n)",
            ),
            Self::UpstreamTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "the instance did not answer in time")
            }
            Self::UpstreamBroke => {
                (StatusCode::BAD_GATEWAY, "upstream_broke", "the instance ended the connection before it had answered")
            }
            Self::Tunnel => (StatusCode::METHOD_NOT_ALLOWED, "no_tunnel", "this is a balancer, it opens no tunnels"),
            Self::Malformed(why) => (StatusCode::BAD_REQUEST, "bad_request", why),
        }
    }

    /// The answer.
    pub(super) fn answer(self, counts: &Counts) -> Response<Payload> {
        let (status, code, detail) = self.told();
        counts.of(self).fetch_add(1, Ordering::Relaxed);
        let title = status.canonical_reason().unwrap_or("Error");
        let body = json!({ "status": status.as_u16(), "title": title, "detail": detail, "code": code });
        let mut answer = made(status, "application/problem+json", &body);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        }
        answer
    }
}

/// How often what happened.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    no_upstream: AtomicU64,
    over_capacity: AtomicU64,
    exhausted: AtomicU64,
    upstream_timeout: AtomicU64,
    upstream_broke: AtomicU64,
    no_tunnel: AtomicU64,
    /// A request went to another upstream, because the first one would not have it.
    pub(super) retried: AtomicU64,
    /// A connection was closed without a word: there was not even a place to refuse it.
    pub(super) dropped: AtomicU64,
    /// A connection was closed because the headers of its (next) request did not come.
    pub(super) header_timeouts: AtomicU64,
    /// What came is no request, one with too large a head, or one that may not be passed on.
    pub(super) bad_requests: AtomicU64,
    /// A connection was closed on which nothing moved.
    pub(super) stalled: AtomicU64,
}

impl Counts {
    /// A client's connection ended with an error.
    pub(super) fn ended(&self, error: &hyper::Error) {
        tracing::debug!(%error, "connection ended with an error");
        if error.is_timeout() {
            self.header_timeouts.fetch_add(1, Ordering::Relaxed);
        } else if error.is_parse() {
            self.bad_requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn of(&self, trouble: Trouble) -> &AtomicU64 {
        match trouble {
            Trouble::NoUpstream => &self.no_upstream,
            Trouble::OverCapacity => &self.over_capacity,
            Trouble::Exhausted => &self.exhausted,
            Trouble::UpstreamTimeout => &self.upstream_timeout,
            Trouble::UpstreamBroke => &self.upstream_broke,
            Trouble::Tunnel => &self.no_tunnel,
            Trouble::Malformed(_) => &self.bad_requests,
        }
    }
}

/// What `/balancer/status` shows.
#[derive(Debug, Serialize)]
pub(super) struct Status<'a> {
    pub(super) policy: &'static str,
    /// Client connections at present.
    pub(super) connections: usize,
    pub(super) max_connections: usize,
    pub(super) upstreams: Vec<Member>,
    pub(super) counts: &'a Counts,
}

impl Status<'_> {
    pub(super) fn answer(&self) -> Response<Payload> {
        made(StatusCode::OK, "application/json", self)
    }
}

fn made(status: StatusCode, kind: &'static str, body: &impl Serialize) -> Response<Payload> {
    let mut text = serde_json::to_vec(body).unwrap_or_default();
    text.push(b'\n');
    let mut answer = Response::new(Payload::Whole(Some(Bytes::from(text))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
