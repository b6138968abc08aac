//! The client of the API server: kube's, with every request counted.

use std::task::{Context, Poll};

use hyper::Request;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// Makes a client. It connects when it is first used.
///
/// # Errors
/// The settings of the connection are not usable.
pub fn connect(config: Config, metrics: Metrics) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&Counting { metrics }).build())
}

#[derive(Clone)]
struct Counting {
    metrics: Metrics,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { metrics: self.metrics.clone(), inner }
    }
}

#[derive(Clone)]
struct Counted<S> {
    metrics: Metrics,
    inner: S,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.metrics.requested(verb(&request));
        self.inner.call(request)
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
