//! Sets up logs and traces: one subscriber for the process, and the guard that sends the last traces at exit.
//!
//! Logs go to standard error, so that what commands print stays clean. It decides neither what is logged nor which
//! spans exist; the only spans that leave the process are those of `tracing_context`.

mod collector;
mod lines;
#[cfg(test)]
mod tests;

use std::time::Duration;

use opentelemetry::{Key, KeyValue, trace::TracerProvider};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::filter_fn,
    fmt::{self, MakeWriter, format::JsonFields},
    layer::SubscriberExt,
};

use self::lines::{JsonLine, TextLine};
use crate::{
    config::{LogConfig, LogFormat, TracesConfig},
    tracing_context::TRACE_TARGET,
};

/// Longest time that `Telemetry::shutdown` takes.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why logs and traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none. `Config::load` has refused it before.
    #[error("the log filter is invalid")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter does not take the `OTEL_*` variables as they are.
    #[error("traces cannot be sent")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The process has a subscriber already.
    #[error("logs are set up already")]
    AlreadySet(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Holds what must be shut down in order. Dropping it sends the last traces too, but silently.
#[derive(Debug)]
#[must_use = "the last traces are lost unless it is kept until the end and shut down"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Sets up logs and traces for the whole process. Every line names `server_id`. Traces are off without `traces`.
///
/// Needs no runtime; with traces it starts one thread of its own.
///
/// # Errors
/// See [`TelemetryError`]. A collector that is away is no error: it may come.
pub fn init(log: &LogConfig, server_id: &str, traces: Option<&TracesConfig>) -> Result<Telemetry, TelemetryError> {
    let (subscriber, telemetry) = subscriber(log, server_id, traces, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(telemetry)
}

impl Telemetry {
    /// Sends what spans are left. Blocks the calling thread, for at most 5 s, also when the collector is away or hangs.
    pub fn shutdown(self) {
        self.shutdown_within(SHUTDOWN_TIMEOUT);
    }

    fn shutdown_within(self, timeout: Duration) {
        if let Some(Err(error)) = self.traces.map(|traces| traces.shutdown_with_timeout(timeout)) {
            tracing::warn!(error = %error, "the last traces were not sent");
        }
    }
}

fn subscriber<W>(
    log: &LogConfig,
    server_id: &str,
    traces: Option<&TracesConfig>,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Telemetry), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&log.filter)?;
    let lines = fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => lines.with_ansi(log.colour).event_format(TextLine::new(server_id)).boxed(),
        LogFormat::Json => lines.fmt_fields(JsonFields::new()).event_format(JsonLine::new(server_id)).boxed(),
    };

    let traces = traces.map(|traces| provider(traces, server_id)).transpose()?;
    let spans = traces.as_ref().map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer("parley"))
            // Where in the code a span began, on which thread and how long it was idle says nothing about a message.
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TRACE_TARGET))
    });
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans);
    Ok((subscriber, Telemetry { traces }))
}

fn provider(traces: &TracesConfig, server_id: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let service_name = Key::from_static_str("service.name");
    let detected = Resource::builder().build();
    // Without OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES the SDK makes one up from the file name of the program.
    let unnamed = detected.get(&service_name).is_none_or(|name| name.as_str().starts_with("unknown_service"));
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new("service.instance.id", server_id.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if unnamed {
        resource = resource.with_service_name("parley");
    }
    let exporter = collector::exporter(traces)?;
    Ok(SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build())
}
