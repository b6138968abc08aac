//! The span of one published message and its way across processes as a W3C `traceparent`.
//!
//! A message has one span where it is published, one for the call that stores it, and one on each instance that hands it
//! to members: none per member. Where spans go is set up in `telemetry`; while they go nowhere the functions here cost
//! one load of an atomic each.

use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Target of the spans that are exported. The exporter takes this target and no other, so that a session's span, open
/// for hours, never becomes a trace.
pub const TRACE_TARGET: &str = "parley::trace";

/// The span of one message on its way into the log of `room`. It ends when the last clone is dropped.
///
/// It is the root of a trace of its own and linked to the publisher's context where `traceparent` is a valid one; an
/// invalid one is ignored, as the W3C asks. The span is disabled unless traces are sent. Its level is `trace`, so that
/// the usual log filters do not create it for the log's sake.
pub fn publish_span(room: &str, traceparent: Option<&str>) -> Span {
    let span = tracing::trace_span!(
        target: TRACE_TARGET,
        parent: None,
        "publish",
        otel.kind = "producer",
        messaging.system = "parley",
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = room,
    );
    if let Some(traceparent) = traceparent.filter(|_| !span.is_disabled()) {
        let remote = TraceContextPropagator::new().extract_with_context(&Context::new(), &Received(traceparent));
        // An invalid context makes no link.
        span.add_link(remote.span().span_context().clone());
    }
    span
}

/// The span of one call that stores a message, within that of the publish.
pub fn store_span(system: &'static str, operation: &'static str) -> Span {
    tracing::trace_span!(
        target: TRACE_TARGET,
        "store",
        otel.kind = "client",
        db.system.name = system,
        db.operation.name = operation,
    )
}

/// The span of one message on its way from its log to the members of `room` on this instance. It belongs to the trace of
/// the publish, whose `traceparent` came with the message; an invalid one makes it a root.
pub fn deliver_span(room: &str, traceparent: &str) -> Span {
    let span = tracing::trace_span!(
        target: TRACE_TARGET,
        parent: None,
        "deliver",
        otel.kind = "consumer",
        messaging.system = "parley",
        messaging.operation.name = "deliver",
        messaging.operation.type = "process",
        messaging.destination.name = room,
    );
    if !span.is_disabled() {
        let remote = TraceContextPropagator::new().extract_with_context(&Context::new(), &Received(traceparent));
        // Fails only for a span that has begun, and this one has not.
        drop(span.set_parent(remote));
    }
    span
}

/// The `traceparent` of a span, to be sent along with what the span is about. `None` unless traces are sent.
pub fn traceparent_of(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let mut sent = Sent(None);
    TraceContextPropagator::new().inject_context(&span.context(), &mut sent);
    sent.0
}

/// A carrier that holds one `traceparent`.
struct Received<'a>(&'a str);

impl Extractor for Received<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// A carrier that keeps the `traceparent` and drops all else.
struct Sent(Option<String>);

impl Injector for Sent {
    fn set(&mut self, key: &str, value: String) {
        if key == "traceparent" {
            self.0 = Some(value);
        }
    }
}
