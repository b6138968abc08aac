//! Logs as a reader sees them, and traces as a collector receives them.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
};

use parking_lot::Mutex;
use tracing::{info, info_span};

use super::*;
use crate::tracing_context::{publish_span, traceparent_of};

/// Generous: it only turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(30);
const REMOTE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("logs are UTF-8")
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

fn log(format: LogFormat) -> LogConfig {
    LogConfig { filter: "info".into(), format, colour: false }
}

fn traces_to(address: SocketAddr) -> TracesConfig {
    TracesConfig { endpoint: format!("http://{address}/v1/traces"), timeout: Duration::from_secs(10) }
}

/// Runs `story` under a subscriber of its own and returns the guard and the lines it logged.
fn run(format: LogFormat, traces: Option<&TracesConfig>, story: impl FnOnce()) -> (Telemetry, Lines) {
    let lines = Lines::default();
    let (subscriber, telemetry) = subscriber(&log(format), "server-1", traces, lines.clone()).expect("valid set-up");
    tracing::subscriber::with_default(subscriber, story);
    (telemetry, lines)
}

/// A collector on a free port that answers each request with 200 and hands over head and body.
fn collector() -> (SocketAddr, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, receiver) = mpsc::sync_channel(64);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if sender.send(receive(stream).expect("a whole request")).is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

fn receive(mut stream: TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head_end = loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..read]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = bytes.split_off(head_end);
    let missing = length.parse::<usize>().expect("a number") - body.len();
    io::copy(&mut stream.try_clone()?.take(missing as u64), &mut body)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    Ok((head, body))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Whether the text is `2026-01-02T03:04:05.678Z`.
fn is_timestamp(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

#[test]
fn a_text_line_starts_with_the_server_id() {
    let (_telemetry, lines) = run(LogFormat::Text, None, || {
        info_span!("session", conn.id = 7).in_scope(|| info!(addr = "127.0.0.1:8080", "listening"));
    });
    let text = lines.text();
    let rest = text.strip_prefix("[server-1] ").expect("a label");
    let (time, rest) = rest.split_once(' ').expect("a time");
    assert!(is_timestamp(time), "{time}");
    assert_eq!(rest, " INFO session{conn.id=7}: listening addr=\"127.0.0.1:8080\"\n");
}

#[test]
fn a_json_line_is_one_flat_object_with_the_server_id() {
    let (_telemetry, lines) = run(LogFormat::Json, None, || {
        info_span!("session", conn.id = 7).in_scope(|| info!(addr = "127.0.0.1:8080", "listening\n\"twice\""));
    });
    assert_eq!(lines.text().lines().count(), 1, "{}", lines.text());
    let mut object: serde_json::Value = serde_json::from_str(&lines.text()).expect("one JSON object");
    let time = object["timestamp"].take();
    assert!(is_timestamp(time.as_str().expect("a text")), "{time}");
    let expected = serde_json::json!({
        "server_id": "server-1",
        "timestamp": null,
        "level": "INFO",
        "target": "parley_service::telemetry::tests",
        "message": "listening\n\"twice\"",
        "addr": "127.0.0.1:8080",
        "span": { "name": "session", "conn.id": 7 },
    });
    assert_eq!(object, expected);
}

#[test]
fn a_published_message_reaches_the_collector_as_one_linked_span() {
    let (address, requests) = collector();
    let mut own = None;
    let (telemetry, lines) = run(LogFormat::Json, Some(&traces_to(address)), || {
        // A session's span around it is neither exported nor its parent.
        let _session = info_span!("session").entered();
        let span = publish_span("general", Some(REMOTE));
        own = traceparent_of(&span);
        span.in_scope(|| info!("not an event of the trace"));
    });
    telemetry.shutdown();

    let (head, body) = requests.recv_timeout(PATIENCE).expect("one export");
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    // An attribute in protobuf: the key's text, then a value that wraps a text.
    assert!(contains(&body, b"\x0a\x0cservice.name\x12\x08\x0a\x06parley"), "the service's name is missing");
    for text in ["service.instance.id", "server-1", "publish", "messaging.destination.name", "general"] {
        assert!(contains(&body, text.as_bytes()), "{text} is missing");
    }
    let own = own.expect("traces are on");
    let fields: Vec<_> = own.split('-').collect();
    assert_eq!((fields[0], fields[3]), ("00", "01"), "{own}");
    assert!(contains(&body, &hex(fields[1])) && contains(&body, &hex(fields[2])), "its own ids are missing");
    assert!(contains(&body, &hex("0af7651916cd43dd8448eb211c80319c")), "the linked trace is missing");
    assert!(contains(&body, &hex("b7ad6b7169203331")), "the linked span is missing");
    assert_ne!(fields[1], "0af7651916cd43dd8448eb211c80319c", "linked, not a child");
    assert!(!contains(&body, b"session") && !contains(&body, b"not an event"), "more than the message left");
    assert!(requests.try_recv().is_err(), "more than one export");
    assert!(!lines.text().contains("general"), "the span shows up in the log: {}", lines.text());
}

#[test]
fn a_traceparent_that_is_none_makes_no_link_and_no_fault() {
    let (address, requests) = collector();
    let (telemetry, _lines) = run(LogFormat::Json, Some(&traces_to(address)), || {
        for traceparent in
            ["", "00-0af7651916cd43dd8448eb211c80319c", "00-00000000000000000000000000000000-00-01", "\n"]
        {
            drop(publish_span("general", Some(traceparent)));
        }
    });
    telemetry.shutdown();
    let (_, body) = requests.recv_timeout(PATIENCE).expect("one export");
    assert!(contains(&body, b"publish"));
    assert!(!contains(&body, &hex("0af7651916cd43dd8448eb211c80319c")));
}

#[test]
fn without_traces_a_published_message_has_no_span() {
    let (telemetry, _lines) = run(LogFormat::Json, None, || {
        let span = publish_span("general", Some(REMOTE));
        assert!(span.is_disabled());
        assert_eq!(traceparent_of(&span), None);
    });
    telemetry.shutdown();
}

#[test]
fn shutdown_ends_when_nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let traces = traces_to(free);
    let lines = Lines::default();
    let (subscriber, telemetry) = subscriber(&log(LogFormat::Json), "server-1", Some(&traces), lines).expect("valid");
    let (done, ended) = mpsc::sync_channel(64);
    thread::spawn(move || {
        tracing::subscriber::with_default(subscriber, || drop(publish_span("general", None)));
        telemetry.shutdown();
        done.send(()).ok();
    });
    ended.recv_timeout(PATIENCE).expect("shutdown returned");
}

#[test]
fn shutdown_ends_when_the_collector_accepts_and_never_answers() {
    // Connections are taken by the system's backlog and nobody reads them.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let traces = traces_to(deaf.local_addr().expect("bound"));
    let (telemetry, _lines) = run(LogFormat::Json, Some(&traces), || drop(publish_span("general", None)));
    let (done, ended) = mpsc::sync_channel(64);
    thread::spawn(move || {
        telemetry.shutdown_within(Duration::from_millis(100));
        done.send(()).ok();
    });
    ended.recv_timeout(PATIENCE).expect("shutdown returned");
}

#[test]
fn a_filter_that_is_none_is_an_error() {
    let log = LogConfig { filter: "=banana".into(), format: LogFormat::Text, colour: false };
    let result = subscriber(&log, "server-1", None, Lines::default()).map(|_| ());
    assert!(matches!(result, Err(TelemetryError::Filter(_))), "{result:?}");
}
