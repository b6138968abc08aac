//! `/livez`, `/readyz` and `/metrics` of the operator itself.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::Metrics;

/// What is told.
#[derive(Clone)]
pub struct Admin {
    metrics: Metrics,
    health: Health,
}

impl Admin {
    /// Tells these.
    #[must_use]
    pub fn new(metrics: Metrics, health: Health) -> Self {
        Self { metrics, health }
    }

    /// Answers until `stop`.
    ///
    /// # Errors
    /// The listener broke.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        axum::serve(listener, self.router()).with_graceful_shutdown(stop.cancelled_owned()).await
    }

    fn router(self) -> Router {
        Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn live(State(admin): State<Admin>) -> Response {
    probe(admin.health.lives())
}

async fn ready(State(admin): State<Admin>) -> Response {
    probe(admin.health.ready())
}

fn probe(health: Result<(), String>) -> Response {
    match health {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], admin.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    async fn status(admin: &Admin, path: &str) -> u16 {
        let request = axum::extract::Request::get(path).body(axum::body::Body::empty()).expect("a request");
        admin.clone().router().oneshot(request).await.expect("an answer").status().as_u16()
    }

    #[tokio::test(start_paused = true)]
    async fn probes_tell_what_the_replica_does() {
        let admin = Admin::new(Metrics::new(), Health::default());
        assert_eq!((status(&admin, "/livez").await, status(&admin, "/readyz").await), (200, 503));
        admin.health.looked_at_lease(true);
        assert_eq!((status(&admin, "/livez").await, status(&admin, "/readyz").await), (200, 200));
        admin.health.awaits("Secret".into());
        tokio::time::advance(std::time::Duration::from_mins(5)).await;
        assert_eq!((status(&admin, "/livez").await, status(&admin, "/readyz").await), (503, 503));
    }
}
