//! The way of spans to an OpenTelemetry collector: OTLP over plain HTTP, from the batch processor's own thread.
//!
//! Encoding, batching and retries are the SDK's. TLS is not spoken: the collector is nearby.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Uri,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::config::TracesConfig;

/// A collector answers with a few bytes; what is longer is not read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A collector that is away is worth one line per this time, not one per batch.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// What went wrong last on the wire. The SDK's error says only that there was a network error.
type LastCause = Arc<Mutex<Option<String>>>;

/// An exporter to the collector of `traces` that logs its failures, seldom.
pub(super) fn exporter(
    traces: &TracesConfig,
) -> Result<Reporting<opentelemetry_otlp::SpanExporter>, ExporterBuildError> {
    let cause = LastCause::default();
    let client = PostClient { timeout: traces.timeout, cause: Arc::clone(&cause) };
    let otlp = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(&traces.endpoint)
        .with_timeout(traces.timeout)
        .build()?;
    Ok(Reporting { inner: otlp, endpoint: traces.endpoint.clone(), cause, failures: Mutex::default() })
}

/// Passes batches on and reports the failures, at most one line a minute.
#[derive(Debug)]
pub(super) struct Reporting<E> {
    inner: E,
    endpoint: String,
    cause: LastCause,
    failures: Mutex<Failures>,
}

/// Failures since the last report.
#[derive(Debug, Default)]
struct Failures {
    reported_at: Option<SystemTime>,
    lost_spans: usize,
}

impl Failures {
    /// Counts a lost batch; the number of spans to report if it is time for a report. `now` may jump in any direction.
    fn count(&mut self, spans: usize, now: SystemTime) -> Option<usize> {
        self.lost_spans += spans;
        let elapsed = |at| now.duration_since(at).unwrap_or(Duration::MAX);
        if self.reported_at.is_some_and(|at| elapsed(at) < REPORT_INTERVAL) {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.lost_spans))
    }
}

impl<E: SpanExporter> SpanExporter for Reporting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        // The newest span ended just now: no clock is needed to count the minutes.
        let now = batch.iter().map(|span| span.end_time).max();
        let result = self.inner.export(batch).await;
        if let (Err(error), Some(now)) = (&result, now)
            && let Some(lost) = self.failures.lock().count(spans, now)
        {
            let cause = self.cause.lock().take().unwrap_or_default();
            // An event is no span, so this cannot come back here as something to export.
            tracing::warn!(endpoint = self.endpoint, %error, cause, lost_spans = lost, "traces could not be sent");
        }
        result
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.inner.set_resource(resource);
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }
}

/// Posts one request over one connection. A batch leaves every few seconds, so nothing is gained by keeping it open.
#[derive(Debug)]
struct PostClient {
    timeout: Duration,
    cause: LastCause,
}

impl HttpClient for PostClient {
    // Written out, because the trait is made with a macro that nothing else here needs.
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        // Blocks where it is polled. That is right on the batch processor's thread, which exists for this and has no
        // runtime; it must not be used from a task.
        Box::pin(async move {
            let result = post(request, self.timeout);
            *self.cause.lock() = result.as_ref().err().map(ToString::to_string);
            result
        })
    }
}

fn post(request: Request<Bytes>, timeout: Duration) -> Result<Response<Bytes>, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let result = runtime.block_on(async { tokio::time::timeout(timeout, exchange(request)).await });
    // A look-up of the host's address may hang in the system; it is left behind rather than waited for.
    runtime.shutdown_background();
    result.map_err(|_| "the collector did not answer in time")?
}

async fn exchange(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().cloned().ok_or("the endpoint names no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the runtime, at the latest when `post` returns.
    #[expect(clippy::disallowed_methods, reason = "it ends with the runtime of this one export")]
    tokio::spawn(connection);

    parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    let answer = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_reported_once_a_minute_with_all_that_was_lost() {
        let mut failures = Failures::default();
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(failures.count(3, at(100)), Some(3));
        assert_eq!(failures.count(5, at(105)), None);
        assert_eq!(failures.count(5, at(159)), None);
        assert_eq!(failures.count(1, at(160)), Some(11));
        assert_eq!(failures.count(1, at(161)), None);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_silence_the_reports() {
        let mut failures = Failures::default();
        assert_eq!(failures.count(1, SystemTime::UNIX_EPOCH + Duration::from_secs(9_000)), Some(1));
        assert_eq!(failures.count(1, SystemTime::UNIX_EPOCH), Some(1));
    }
}
