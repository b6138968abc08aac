//! Replicas against one API server, whose clock differs from theirs and which can fall silent or hold back a write.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response, StatusCode};
use kube::client::{Body, ClientBuilder};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::timeout;

use super::*;
use crate::client::Limits;
use crate::metrics::Metrics;

/// Of the Lease.
const NAME: &str = "parley-operator";

/// Keeps one Lease, and refuses writes that were decided on another version of it.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    /// Replicas that get no answer.
    silent: &'static str,
    /// Writes wait in the network until it heals.
    holds_back: bool,
    held_back: Vec<Vec<u8>>,
}

impl Server {
    /// A replica with connections of its own.
    fn replica(&self, identity: &'static str) -> Lease {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                if server.swallows(identity, &head.method, &body) {
                    std::future::pending::<()>().await;
                }
                let (status, answer) = server.answer(&head.method, &body);
                let response = Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, Infallible>(response.expect("a response"))
            }
        });
        let client = ClientBuilder::new(service, "system").with_layer(&Limits::of_lease(Metrics::new())).build();
        Lease::new(client, "system", NAME, identity, Term::default(), Health::default())
    }

    fn swallows(&self, identity: &str, method: &Method, body: &[u8]) -> bool {
        let mut state = self.0.lock();
        if state.holds_back && *method == Method::PATCH {
            state.held_back.push(body.to_vec());
            return true;
        }
        state.silent.contains(identity)
    }

    fn answer(&self, method: &Method, body: &[u8]) -> (StatusCode, Value) {
        let mut state = self.0.lock();
        let given: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut lease = match (&state.lease, method) {
            (None, &Method::POST) => given,
            (None, _) => return refusal(StatusCode::NOT_FOUND),
            (Some(lease), &Method::GET) => return (StatusCode::OK, lease.clone()),
            (Some(_), &Method::POST) => return refusal(StatusCode::CONFLICT),
            (Some(lease), _) => {
                let decided_on = &given["metadata"]["resourceVersion"];
                if !decided_on.is_null() && *decided_on != lease["metadata"]["resourceVersion"] {
                    return refusal(StatusCode::CONFLICT);
                }
                let mut lease = lease.clone();
                for (key, value) in given["spec"].as_object().expect("a spec") {
                    lease["spec"][key] = value.clone();
                }
                lease
            }
        };
        state.version += 1;
        lease["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.lease = Some(lease.clone());
        (StatusCode::OK, lease)
    }

    /// The network heals, and what waited in it arrives.
    fn heals(&self) {
        let held_back = {
            let mut state = self.0.lock();
            (state.silent, state.holds_back) = ("", false);
            std::mem::take(&mut state.held_back)
        };
        for body in held_back {
            self.answer(&Method::PATCH, &body);
        }
    }

    fn holder(&self) -> String {
        let lease = self.0.lock().lease.clone().unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }
}

fn refusal(status: StatusCode) -> (StatusCode, Value) {
    let reason = if status == StatusCode::NOT_FOUND { "NotFound" } else { "Conflict" };
    let answer = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
        "message": reason, "code": status.as_u16() });
    (status, answer)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn one_of_two_replicas_acts_and_goes_on_acting() {
    let server = Server::default();
    let (mut a, mut b) = (server.replica("a"), server.replica("b"));
    timeout(PAUSE * 2, a.acquire()).await.expect("it is free");
    let (kept, acquired) = tokio::join!(timeout(DURATION * 10, a.keep()), timeout(DURATION * 10, b.acquire()));
    assert!(kept.is_err() && acquired.is_err(), "the other waits, and nothing is lost");
    assert!(a.term.holds() && !b.term.holds());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_renew_stops_before_another_begins() {
    let server = Server::default();
    let (mut a, mut b) = (server.replica("a"), server.replica("b"));
    a.acquire().await;
    let renewed = clock::instant();
    server.0.lock().silent = "a";
    let stops = async {
        assert_eq!(timeout(DURATION * 10, a.keep()).await, Ok(Lost::NotRenewed));
        assert!(!a.term.holds());
        clock::instant() - renewed
    };
    let begins = async {
        timeout(DURATION * 10, b.acquire()).await.expect("nobody renews it");
        clock::instant() - renewed
    };
    let (stopped, began) = tokio::join!(stops, begins);
    assert!(stopped + SECOND * 5 <= began, "one stops after {stopped:?}, the other begins after {began:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_arrives_late_changes_nothing() {
    let server = Server::default();
    let (mut a, mut b) = (server.replica("a"), server.replica("b"));
    a.acquire().await;
    server.0.lock().holds_back = true;
    assert_eq!(a.keep().await, Lost::NotRenewed);
    server.0.lock().holds_back = false;
    timeout(DURATION * 2, b.acquire()).await.expect("it ran out");
    let taken = server.0.lock().lease.clone();
    server.heals();
    assert_eq!(server.0.lock().lease, taken);
    assert_eq!(timeout(PAUSE * 2, b.keep()).await.ok(), None, "and it keeps it");
}

#[tokio::test(start_paused = true)]
async fn what_another_machine_takes_for_the_time_does_not_count() {
    let server = Server::default();
    let long_ago = "1970-01-01T00:00:00.000000Z";
    let held = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": NAME, "resourceVersion": "x" },
        "spec": { "holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": long_ago, "acquireTime": long_ago } });
    server.0.lock().lease = Some(held);
    let mut b = server.replica("b");
    let began = clock::instant();
    timeout(DURATION * 2, b.acquire()).await.expect("nobody renews it");
    let waited = clock::instant() - began;
    assert!(waited >= DURATION && waited <= DURATION + PAUSE, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_took_is_lost_at_the_next_look() {
    let server = Server::default();
    let mut a = server.replica("a");
    a.acquire().await;
    {
        let mut state = server.0.lock();
        let lease = state.lease.as_mut().expect("a Lease");
        (lease["spec"]["holderIdentity"], lease["metadata"]["resourceVersion"]) = (json!("b"), json!("x"));
    }
    assert_eq!(timeout(PAUSE * 2, a.keep()).await, Ok(Lost::Taken));
    assert!(!a.term.holds());
    a.release().await;
    assert_eq!(server.holder(), "b", "what belongs to another is not released");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_released_is_taken_at_once() {
    let server = Server::default();
    let (mut a, mut b) = (server.replica("a"), server.replica("b"));
    a.acquire().await;
    assert!(timeout(SECOND, b.acquire()).await.is_err());
    a.release().await;
    assert!(!a.term.holds());
    timeout(PAUSE * 2, b.acquire()).await.expect("it is free");
    assert_eq!(server.holder(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_short_silence_costs_nothing() {
    let server = Server::default();
    let mut a = server.replica("a");
    a.acquire().await;
    for _ in 0..20 {
        server.0.lock().silent = "a";
        assert!(timeout(SECOND * 4, a.keep()).await.is_err());
        server.heals();
        assert!(timeout(SECOND * 5, a.keep()).await.is_err(), "it has forgotten the silence");
    }
    assert!(a.term.holds());
}
