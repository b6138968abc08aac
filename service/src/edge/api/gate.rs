//! What every request of the server API passes: it is counted, and its key is checked before anything else of it is
//! looked at. It knows no endpoint.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq as _;

use super::{DOCUMENT, MOUNT, faults, routes};
use crate::edge::problem::Problem;
use crate::edge::services::Services;
use crate::edge::upgrade::bearer;
use crate::protocol::error_code::ErrorCode;

/// Lets only those pass who have the key. The body has not been read then.
pub(super) async fn check_key(State(services): State<Arc<Services>>, request: Request, next: Next) -> Response {
    let Some(key) = services.api_key.as_deref() else { return faults::off().into_response() };
    // Only the length of the key can be learned from the time that this takes.
    let given = bearer(request.headers()).unwrap_or_default();
    if bool::from(given.as_bytes().ct_eq(key.as_bytes())) {
        return next.run(request).await;
    }
    let detail = "send the key of the server API as `Authorization: Bearer <PARLEY_API_KEY>`";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthenticated.as_str(), detail);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"parley\""));
    response
}

/// Counts the request under its endpoint, method and class of status, and keeps the answer out of caches.
pub(super) async fn count(State(services): State<Arc<Services>>, request: Request, next: Next) -> Response {
    let endpoint = endpoint(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let method = method(request.method());
    let mut response = next.run(request).await;
    let class = match response.status().as_u16() {
        0..300 => "2xx",
        300..500 => "4xx",
        _ => "5xx",
    };
    let labels = [("endpoint", endpoint), ("method", method), ("status", class)];
    services.metrics.edge.api_requests.get_or_create(&labels).inc();
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The route as it is declared: never text of the caller, of which there may be any number.
fn endpoint(matched: Option<&str>) -> &'static str {
    let Some(path) = matched.and_then(|path| path.strip_prefix(MOUNT)) else { return "other" };
    let known = routes().into_iter().map(|(declared, _)| declared).chain([DOCUMENT]);
    known.into_iter().find(|declared| *declared == path).unwrap_or("other")
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
