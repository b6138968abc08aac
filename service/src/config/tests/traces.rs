//! The standard variables that switch traces on, and those that this build cannot honour.

use super::*;

const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

fn collector() -> FakeVars {
    env(BASE, "http://collector:4318")
}

fn traces(vars: &FakeVars) -> Option<TracesConfig> {
    serve(vars, &[]).traces
}

#[test]
fn an_endpoint_switches_traces_on() {
    let expected =
        TracesConfig { endpoint: "http://collector:4318/v1/traces".into(), timeout: Duration::from_secs(10) };
    assert_eq!(traces(&FakeVars::default()), None);
    assert_eq!(traces(&collector()), Some(expected.clone()));
    assert_eq!(traces(&env(BASE, "http://collector:4318/")), Some(expected));
}

#[test]
fn the_endpoint_for_traces_is_taken_whole_and_wins() {
    let vars = collector()
        .with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other/in")
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", "2500");
    let expected = TracesConfig { endpoint: "http://other/in".into(), timeout: Duration::from_millis(2500) };
    assert_eq!(traces(&vars), Some(expected));
}

#[test]
fn traces_can_be_switched_off_without_a_word() {
    for (name, value) in [("OTEL_SDK_DISABLED", "True"), ("OTEL_TRACES_EXPORTER", "none")] {
        let loaded = load(&collector().with(name, value), &[]).expect("no faults");
        assert_eq!(loaded.warnings, Vec::<String>::new());
        assert_eq!(traces(&collector().with(name, value)), None);
    }
}

#[test]
fn what_cannot_be_honoured_is_a_warning_and_the_chat_starts() {
    for (name, value, says) in [
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER must be otlp or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "OTEL_EXPORTER_OTLP_COMPRESSION must be none"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "OTEL_EXPORTER_OTLP_TIMEOUT must be milliseconds, at least 1"),
        (BASE, "https://c", "OTEL_EXPORTER_OTLP_ENDPOINT must start with http://"),
        (BASE, "collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT must "),
        (BASE, "http://user:pass@c", "OTEL_EXPORTER_OTLP_ENDPOINT must name a host"),
        (BASE, "http:// c", "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL"),
    ] {
        let vars = collector().with(name, value);
        let warnings = load(&vars, &[]).expect("no faults").warnings;
        assert!(warnings.len() == 1 && warnings[0].starts_with(&format!("no traces are sent: {says}")), "{warnings:?}");
        assert_eq!(traces(&vars), None);
    }
}
