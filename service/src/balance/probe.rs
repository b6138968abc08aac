//! Looks after one upstream: asks its `/health` once a second, and at once when somebody had trouble with it; closes what has
//! waited too long. What follows from the answer is the pool's business.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::pool::{Health, Sighting};
use super::upstreams::Upstreams;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Time between two looks that are asked for.
const AT_MOST_EVERY: Duration = Duration::from_millis(50);
/// Time for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Longest answer that is read.
const ANSWER_BYTES: usize = 4096;

/// Looks until stopped.
pub(super) async fn follow(upstreams: Arc<Upstreams>, index: usize, stop: CancellationToken) {
    let looking = async {
        loop {
            look(&upstreams, index).await;
            upstreams.sweep(index);
            tokio::time::sleep(AT_MOST_EVERY).await;
            // Either is a reason to look again.
            let _ = tokio::time::timeout(EVERY.saturating_sub(AT_MOST_EVERY), upstreams.trouble(index)).await;
        }
    };
    stop.run_until_cancelled(looking).await;
}

/// Looks once.
pub(super) async fn look(upstreams: &Upstreams, index: usize) {
    let sighting =
        tokio::time::timeout(ANSWER_WAIT, sighting(upstreams, index)).await.unwrap_or(Some(Sighting::Silent));
    if let Some(sighting) = sighting {
        upstreams.saw(index, sighting);
    }
}

/// `None`: nothing can be said, for want of something here.
async fn sighting(upstreams: &Upstreams, index: usize) -> Option<Sighting> {
    let upstream = upstreams.address(index);
    if let Err(error) = upstreams.resolve(index).await {
        tracing::debug!(upstream, %error, "the upstream's name leads nowhere");
        return Some(Sighting::Unreachable);
    }
    let stream = match upstreams.connect(index).await {
        Ok(stream) => stream,
        Err(super::upstreams::ConnectError::Here(error)) => {
            tracing::error!(%error, "cannot connect to upstreams: is the limit of open files too low?");
            return None;
        }
        // Too slow is not the same as not there.
        Err(super::upstreams::ConnectError::Upstream(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
            return Some(Sighting::Silent);
        }
        Err(super::upstreams::ConnectError::Upstream(error)) => {
            tracing::debug!(upstream, %error, "the upstream cannot be reached");
            return Some(Sighting::Unreachable);
        }
    };
    match ask(stream, upstream).await {
        Ok((status, body)) => Some(judge(status, &body)),
        Err(error) => {
            tracing::debug!(upstream, error, "the upstream did not answer /health");
            Some(Sighting::Silent)
        }
    }
}

type AskError = Box<dyn std::error::Error + Send + Sync>;

async fn ask(stream: TcpStream, host: &str) -> Result<(StatusCode, Bytes), AskError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/health")
        .header(HOST, host)
        .header(USER_AGENT, "parley-balance")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await?;
        Ok((status, body.to_bytes()))
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        // The connection may be done before its last bytes were looked at: then the answer is about to be there.
        () = async {
            drop(connection.await);
            std::future::pending::<()>().await;
        } => Err("the connection ended".into()),
    }
}

fn judge(status: StatusCode, body: &[u8]) -> Sighting {
    #[derive(Deserialize)]
    struct Answer {
        status: String,
    }
    let word = serde_json::from_slice::<Answer>(body).map(|answer| answer.status).unwrap_or_default();
    match (status, word.as_str()) {
        (StatusCode::OK, _) => Sighting::Said(Health::Ok),
        (StatusCode::SERVICE_UNAVAILABLE, "draining") => Sighting::Said(Health::Draining),
        (StatusCode::SERVICE_UNAVAILABLE, _) => Sighting::Said(Health::Unready),
        _ => Sighting::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upstream_says_is_understood() {
        let judged = |status, body: &str| judge(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(judged(200, r#"{"status":"ok"}"#), Sighting::Said(Health::Ok));
        assert_eq!(judged(503, r#"{"status":"draining"}"#), Sighting::Said(Health::Draining));
        assert_eq!(judged(503, r#"{"status":"unready"}"#), Sighting::Said(Health::Unready));
        assert_eq!(judged(503, "busy"), Sighting::Said(Health::Unready));
        assert_eq!(judged(404, "not here"), Sighting::Silent);
    }
}
