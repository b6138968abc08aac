//! The public address: the page, `/ws`, `/health`, `/instance`, and the server API. Probes and metrics are not here.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::json;

use super::api;
use super::assets;
use super::problem::Problem;
use super::services::Services;
use super::upgrade;
use crate::drain::Health;

/// All public routes.
pub fn router(services: Arc<Services>) -> Router {
    Router::new()
        .route("/", get(assets::page))
        .route("/icon.svg", get(assets::icon))
        .route("/licenses.md", get(assets::licenses))
        .route("/ws", any(upgrade::ws))
        .route("/health", get(health))
        .route("/instance", get(instance))
        .nest(api::MOUNT, api::router(&services))
        .fallback(not_found)
        .with_state(services)
}

async fn health(State(services): State<Arc<Services>>) -> Response {
    let health = services.drain.health();
    let status = if health == Health::Ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(json!({ "status": health.as_str() }))).into_response()
}

async fn instance(State(services): State<Arc<Services>>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(json!({ "server_id": services.server_id }))).into_response()
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "nothing is here; the page is at /, the chat at /ws")
}
