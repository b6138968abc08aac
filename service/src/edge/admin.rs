//! The admin address: probes and metrics. Never exposed by an ingress, so it needs no sign-in.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::services::Services;
use crate::drain::Health;

/// All admin routes.
pub fn router(services: Arc<Services>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(services)
}

async fn ready(State(services): State<Arc<Services>>) -> Response {
    let health = services.drain.health();
    let status = if health == Health::Ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", health.as_str())).into_response()
}

async fn metrics(State(services): State<Arc<Services>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], services.metrics.render()).into_response()
}
