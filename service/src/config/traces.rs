//! The standard `OTEL_*` variables that say whether and where traces go.
//!
//! Only what must be known before the SDK is built; sampler, headers and resource attributes the SDK reads itself.
//! These variables are often set for a whole platform, so one that this build cannot honour is a warning, not a fault.

use std::time::Duration;

use hyper::{Uri, http::uri::Scheme};

use super::{TracesConfig, reader::Reader};

/// The specification's default for one export.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where traces go, `None` when nobody asked for any or this build cannot send them there.
pub(super) fn traces(r: &mut Reader<'_>) -> Option<TracesConfig> {
    let env = |name: &str| r.env(name).ok().flatten();
    // The name with TRACES beats the one for all signals.
    let either =
        |what: &str| env(&format!("OTEL_EXPORTER_OTLP_TRACES_{what}")).or(env(&format!("OTEL_EXPORTER_OTLP_{what}")));

    let endpoint = match (env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), env("OTEL_EXPORTER_OTLP_ENDPOINT")) {
        (Some(whole), _) => whole,
        (None, Some(base)) => format!("{}/v1/traces", base.trim_end_matches('/')),
        (None, None) => return None,
    };
    let exporter = env("OTEL_TRACES_EXPORTER").unwrap_or_else(|| "otlp".to_owned());
    if exporter == "none" || env("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }

    let timeout = match either("TIMEOUT").map(|text| text.parse()) {
        None => Ok(DEFAULT_TIMEOUT),
        Some(Ok(0)) | Some(Err(_)) => Err("OTEL_EXPORTER_OTLP_TIMEOUT must be milliseconds, at least 1"),
        Some(Ok(millis)) => Ok(Duration::from_millis(millis)),
    };
    let fault = if exporter != "otlp" {
        Some("OTEL_TRACES_EXPORTER must be otlp or none")
    } else if either("PROTOCOL").is_some_and(|protocol| protocol != "http/protobuf") {
        Some("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf")
    } else if either("COMPRESSION").is_some_and(|compression| compression != "none") {
        Some("OTEL_EXPORTER_OTLP_COMPRESSION must be none")
    } else {
        endpoint_fault(&endpoint).or(timeout.err())
    };
    if let Some(fault) = fault {
        r.warn(format!("no traces are sent: {fault}"));
        return None;
    }
    Some(TracesConfig { endpoint, timeout: timeout.ok()? })
}

fn endpoint_fault(endpoint: &str) -> Option<&'static str> {
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return Some("OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://collector:4318");
    };
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Some(
            "OTEL_EXPORTER_OTLP_ENDPOINT must start with http:// (send to a collector nearby, which can speak TLS)",
        );
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@') || authority.host().is_empty()) {
        return Some("OTEL_EXPORTER_OTLP_ENDPOINT must name a host, without user or password");
    }
    None
}
