//! How a log line looks: a text line that starts with `[server-1]`, or a JSON object that begins with `server_id`.
//!
//! The fields in between are written by `tracing-subscriber`.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Json, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// `[server-1] 2026-01-02T03:04:05.678Z  INFO listening addr=127.0.0.1:8080`
pub(super) struct TextLine {
    label: String,
    rest: Format<Full, Milliseconds>,
}

impl TextLine {
    pub(super) fn new(server_id: &str) -> Self {
        let rest = Format::default().with_timer(Milliseconds).with_target(false);
        Self { label: format!("[{server_id}] "), rest }
    }
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        line.write_str(&self.label)?;
        self.rest.format_event(context, line, event)
    }
}

/// `{"server_id":"server-1","timestamp":"2026-01-02T03:04:05.678Z","level":"INFO","message":"listening",…}`
pub(super) struct JsonLine {
    /// The object's opening and first field, with the comma after it.
    opening: String,
    rest: Format<Json, Milliseconds>,
}

impl JsonLine {
    pub(super) fn new(server_id: &str) -> Self {
        let rest = Format::default().with_timer(Milliseconds).json();
        let rest = rest.flatten_event(true).with_current_span(true).with_span_list(false);
        Self { opening: format!("{{\"server_id\":{},", serde_json::Value::from(server_id)), rest }
    }
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // The formatter has no place for a field that belongs to every line, so its object is opened anew.
        let mut rest = String::with_capacity(256);
        self.rest.format_event(context, Writer::new(&mut rest), event)?;
        line.write_str(&self.opening)?;
        line.write_str(rest.strip_prefix('{').unwrap_or(&rest))
    }
}

/// UTC after RFC 3339 with milliseconds.
struct Milliseconds;

impl FormatTime for Milliseconds {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        // The library's own clock writes microseconds: `…:05.678901Z`.
        let mut text = String::with_capacity(32);
        SystemTime.format_time(&mut Writer::new(&mut text))?;
        match text.find('.').and_then(|dot| text.get(..dot + 4)) {
            Some(to_milliseconds) => write!(line, "{to_milliseconds}Z"),
            None => line.write_str(&text),
        }
    }
}
