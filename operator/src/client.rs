//! The clients of the API server: kube's, with every request counted and none without a deadline. The one that acts writes
//! only while this replica holds the Lease.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

use crate::metrics::Metrics;
use crate::term::Term;

/// For a whole answer, with all that kube tries again by itself; of a watch, for its beginning.
const DEADLINE: Duration = Duration::from_secs(30);
/// For an answer about the Lease: several must fit into the time that it leaves.
const LEASE_DEADLINE: Duration = Duration::from_secs(3);

/// The client of everything but the Lease. It connects when it is first used.
///
/// # Errors
/// The settings of the connection are not usable.
pub fn connect(config: Config, metrics: Metrics, term: Term) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&Limits { metrics, deadline: DEADLINE, term: Some(term) }).build())
}

/// The client of the Lease, with connections of its own. It tries nothing again: whoever asks decides when, and on which
/// version.
///
/// # Errors
/// The settings of the connection are not usable.
pub fn connect_for_lease(mut config: Config, metrics: Metrics) -> Result<Client, kube::Error> {
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.with_layer(&Limits::of_lease(metrics)).build())
}

/// Why a request was not sent, or its answer not waited for.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Another replica may act by now.
    #[error("this replica may not write: its Lease was not renewed in time")]
    TermOver,
    /// The API server is slow, or the network leads nowhere.
    #[error("the API server did not answer within {} seconds", .0.as_secs())]
    Late(Duration),
}

/// The layer.
#[derive(Clone)]
pub(crate) struct Limits {
    metrics: Metrics,
    deadline: Duration,
    /// Outside of it nothing is written; none for whoever writes the Lease itself.
    term: Option<Term>,
}

impl Limits {
    pub(crate) fn of_lease(metrics: Metrics) -> Self {
        Self { metrics, deadline: LEASE_DEADLINE, term: None }
    }
}

impl<S> Layer<S> for Limits {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { limits: self.clone(), inner }
    }
}

#[derive(Clone)]
pub(crate) struct Limited<S> {
    limits: Limits,
    inner: S,
}

type Answer = UnsyncBoxBody<Bytes, BoxError>;

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Answer>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let verb = verb(&request);
        self.limits.metrics.requested(verb);
        let writes = request.method() != Method::GET;
        if writes && self.limits.term.as_ref().is_some_and(|term| !term.holds()) {
            return std::future::ready(Err(Denied::TermOver.into())).boxed();
        }
        let deadline = self.limits.deadline;
        let head = self.inner.call(request);
        let whole = async move {
            let response = head.await.map_err(Into::<BoxError>::into)?;
            // A watch goes on; kube's watcher minds that it does.
            if verb == "watch" {
                return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
            }
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(Into::<BoxError>::into)?.to_bytes();
            Ok::<_, BoxError>(Response::from_parts(
                head,
                Full::new(body).map_err(|never| match never {}).boxed_unsync(),
            ))
        };
        async move { tokio::time::timeout(deadline, whole).await.unwrap_or_else(|_| Err(Denied::Late(deadline).into())) }
            .boxed()
    }
}

/// Watches and the Lease are told apart from the rest: they go on whether or not anything happens.
fn verb(request: &Request<Body>) -> &'static str {
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    match request.method().as_str() {
        _ if request.uri().path().contains("/leases/") => "lease",
        "GET" if is_watch => "watch",
        "GET" => "get",
        "PATCH" => "patch",
        "POST" => "create",
        "DELETE" => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::{DeleteParams, WatchEvent, WatchParams};
    use serde_json::json;
    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::*;
    use crate::clock;

    /// A client of an API server of the test's own, which begins each answer or never does, and ends it when it is told to.
    fn client(begins: bool, ends: &watch::Sender<bool>, term: &Term) -> Client {
        let ends = ends.subscribe();
        let service = tower::service_fn(move |_: Request<Body>| {
            let mut ends = ends.clone();
            async move {
                if !begins {
                    pending::<()>().await;
                }
                let map = json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": "a" } });
                let mut answer = map.clone();
                (answer["type"], answer["object"]) = (json!("ADDED"), map);
                let body = stream::once(async move {
                    ends.wait_for(|ends| *ends).await.expect("the test goes on");
                    Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{answer}\n"))))
                });
                Ok::<_, Infallible>(Response::new(StreamBody::new(body.boxed())))
            }
        });
        let limits = Limits { metrics: Metrics::new(), deadline: DEADLINE, term: Some(term.clone()) };
        ClientBuilder::new(service, "chat").with_layer(&limits).build()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_begin_or_does_not_end_is_given_up() {
        let (ends, term) = (watch::Sender::new(false), Term::default());
        for begins in [false, true] {
            let began = clock::instant();
            let maps: Api<ConfigMap> = Api::default_namespaced(client(begins, &ends, &term));
            let asked = timeout(DEADLINE * 2, maps.get("a")).await.expect("it is given up");
            assert_eq!(clock::instant() - began, DEADLINE);
            let error = asked.unwrap_err().to_string();
            assert!(error.contains("did not answer within 30 seconds"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_must_begin_in_time_and_may_then_be_quiet() {
        let (ends, term) = (watch::Sender::new(false), Term::default());
        let maps: Api<ConfigMap> = Api::default_namespaced(client(false, &ends, &term));
        let begun = timeout(DEADLINE * 2, maps.watch(&WatchParams::default(), "0")).await;
        assert!(begun.expect("it is given up").is_err());
        let maps: Api<ConfigMap> = Api::default_namespaced(client(true, &ends, &term));
        let mut events = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        assert!(timeout(DEADLINE * 5, events.next()).await.is_err(), "quiet, and still open");
        ends.send_replace(true);
        let event = events.next().await.expect("an event").unwrap();
        assert!(matches!(event, WatchEvent::Added(_)), "{event:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_after_the_term() {
        let (ends, term) = (watch::Sender::new(true), Term::default());
        let maps: Api<ConfigMap> = Api::default_namespaced(client(true, &ends, &term));
        maps.get("a").await.expect("to read is always allowed");
        let delete =
            || async { maps.delete("a", &DeleteParams::default()).await.map(drop).map_err(|error| error.to_string()) };
        let refused = delete().await.unwrap_err();
        assert!(refused.contains("Lease was not renewed"), "before the first term: {refused}");
        term.prolong(clock::instant() + Duration::from_secs(10));
        delete().await.expect("within the term");
        tokio::time::advance(Duration::from_secs(10)).await;
        let refused = delete().await.unwrap_err();
        assert!(refused.contains("Lease was not renewed"), "after the term: {refused}");
    }
}
