//! The upgrade as the chat itself does it: requests that become a connection, those that are refused and with what, and
//! those that are cut off.

use std::net::SocketAddr;
use std::time::Duration;

use parley_service::config::Config;
use parley_service::server::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::frames::{CLOSE, Reply, TEXT, frame, read_all};
use super::talk::DEADLINE;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to this key, from RFC 6455 section 1.3.
const ACCEPT: &str = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
const VERSION: &str = "Sec-WebSocket-Version: 13";

/// An instance in this process and a token that stops it.
async fn chat() -> (SocketAddr, DropGuard) {
    let server = Server::from_config(&Config::for_tests()).await.expect("free ports");
    let address = server.address().expect("it is bound");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    tasks.spawn(server.run(stop.clone(), move || ready.send(()).unwrap()));
    is_ready.await.unwrap();
    (address, stop.drop_guard())
}

fn request(line: &str, headers: &[&str]) -> String {
    format!("{line}\r\nHost: localhost\r\n{}\r\n\r\n", headers.join("\r\n"))
}

async fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a TCP option");
    stream.write_all(bytes).await.expect("it takes a request");
    stream
}

/// The head of the answer, in lower case except for values, and what came after it so far.
async fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut received = Vec::new();
    let reading = async {
        loop {
            if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                return end + 4;
            }
            if stream.read_buf(&mut received).await.expect("no reset") == 0 {
                return received.len();
            }
        }
    };
    let end = tokio::time::timeout(DEADLINE, reading).await.expect("an answer");
    let rest = received.split_off(end);
    (String::from_utf8(received).expect("ASCII"), rest)
}

async fn ask(address: SocketAddr, request: &str) -> String {
    answer(&mut connect(address, request.as_bytes()).await).await.0
}

async fn to_the_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut received)).await;
    read.expect("the server ends the connection").expect("no reset");
    received
}

#[tokio::test]
async fn a_correct_upgrade_is_accepted_however_it_is_spelled() {
    let (address, _stop) = chat().await;
    let offered = "Sec-WebSocket-Protocol: chat, superchat";
    let extensions = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-own";
    let cases: &[(&str, &[&str])] = &[
        ("as in the RFC", &[UPGRADE, CONNECTION, VERSION, KEY]),
        ("in small letters", &["upgrade: websocket", "connection: upgrade", VERSION, KEY]),
        ("in capitals", &["UPGRADE: WEBSOCKET", "CONNECTION: UPGRADE", VERSION, KEY]),
        ("beside keep-alive", &[UPGRADE, "Connection: keep-alive, Upgrade", VERSION, KEY]),
        ("in a second Connection header", &[UPGRADE, "Connection: keep-alive", CONNECTION, VERSION, KEY]),
        ("in a list of upgrades", &["Upgrade: h2c,websocket", CONNECTION, VERSION, KEY]),
        ("with spaces", &["Upgrade:   websocket  ", "Connection: , Upgrade ,", VERSION, KEY]),
        ("with a subprotocol on offer", &[UPGRADE, CONNECTION, VERSION, KEY, offered]),
        ("with extensions on offer", &[UPGRADE, CONNECTION, VERSION, KEY, extensions]),
    ];
    for (what, headers) in cases {
        let head = ask(address, &request("GET /ws HTTP/1.1", headers)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{what}: {head}");
        assert!(head.contains(ACCEPT), "{what}: {head}");
        assert!(head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(
            !head.contains("sec-websocket-protocol") && !head.contains("sec-websocket-extensions"),
            "{what}: {head}"
        );
    }
}

#[tokio::test]
async fn a_request_that_is_no_correct_upgrade_is_told_why() {
    let (address, _stop) = chat().await;
    let (get, key) = ("GET /ws HTTP/1.1", |key: &str| format!("Sec-WebSocket-Key: {key}"));
    let cases: &[(&str, &str, &[&str], u16)] = &[
        ("no upgrade at all", get, &["Accept: */*"], 426),
        ("no Upgrade header", get, &[CONNECTION, VERSION, KEY], 426),
        ("no Connection header", get, &[UPGRADE, VERSION, KEY], 426),
        ("Connection without upgrade", get, &[UPGRADE, "Connection: keep-alive", VERSION, KEY], 426),
        ("another upgrade", get, &["Upgrade: h2c", CONNECTION, VERSION, KEY], 426),
        ("a word that only contains it", get, &["Upgrade: websockets", CONNECTION, VERSION, KEY], 426),
        ("no version", get, &[UPGRADE, CONNECTION, KEY], 426),
        ("version 8", get, &[UPGRADE, CONNECTION, "Sec-WebSocket-Version: 8", KEY], 426),
        ("a version that is no number", get, &[UPGRADE, CONNECTION, "Sec-WebSocket-Version: x13", KEY], 426),
        ("POST", "POST /ws HTTP/1.1", &[UPGRADE, CONNECTION, VERSION, KEY, "Content-Length: 0"], 426),
        ("no key", get, &[UPGRADE, CONNECTION, VERSION], 400),
        ("an empty key", get, &[UPGRADE, CONNECTION, VERSION, &key("")], 400),
        ("a short key", get, &[UPGRADE, CONNECTION, VERSION, &key("c2hvcnQ=")], 400),
        ("a long key", get, &[UPGRADE, CONNECTION, VERSION, &key("dGhlIHNhbXBsZSBub25jZSBsb25n")], 400),
        ("HTTP/1.0", "GET /ws HTTP/1.0", &[UPGRADE, CONNECTION, VERSION, KEY], 400),
        ("another path", "GET /wss HTTP/1.1", &[UPGRADE, CONNECTION, VERSION, KEY], 404),
    ];
    for (what, line, headers, status) in cases {
        let head = ask(address, &request(line, headers)).await;
        assert_eq!(head.split(' ').nth(1), Some(&*status.to_string()), "{what}: {head}");
        if *status == 426 {
            assert!(head.contains("\r\nsec-websocket-version: 13\r\n"), "{what}: {head}");
            assert!(head.contains("\r\nupgrade: websocket\r\n"), "{what}: {head}");
        }
    }
}

#[tokio::test]
async fn frames_in_the_segment_of_the_request_are_not_lost() {
    let (address, _stop) = chat().await;
    let mut bytes = request("GET /ws?user=alice HTTP/1.1", &[UPGRADE, CONNECTION, VERSION, KEY]).into_bytes();
    bytes.extend(frame(TEXT, br#"{"type":"ping","id":"early"}"#));
    bytes.extend(frame(CLOSE, b""));
    let mut stream = connect(address, &bytes).await;
    let (head, mut rest) = answer(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    rest.extend(to_the_end(&mut stream).await);
    let replies = read_all(&rest);
    let pong = br#""id":"early""#;
    let is_pong =
        |reply: &Reply| matches!(reply, Reply::Text(text) if text.windows(pong.len()).any(|part| part == pong));
    assert!(replies.iter().any(is_pong), "{replies:?}");
    assert_eq!(replies.last(), Some(&Reply::Close(None, Vec::new())), "{replies:?}");
}

#[tokio::test]
async fn garbage_after_the_upgrade_is_a_malformed_frame() {
    let (address, _stop) = chat().await;
    let mut bytes = request("GET /ws?user=alice HTTP/1.1", &[UPGRADE, CONNECTION, VERSION, KEY]);
    bytes.push_str("GET /health HTTP/1.1\r\n\r\n");
    let mut stream = connect(address, bytes.as_bytes()).await;
    let (head, mut rest) = answer(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    rest.extend(to_the_end(&mut stream).await);
    let replies = read_all(&rest);
    assert!(matches!(replies.last(), Some(Reply::Close(Some(1002), _))), "{replies:?}");
}

#[tokio::test]
async fn garbage_after_a_plain_request_does_not_spoil_its_answer() {
    let (address, _stop) = chat().await;
    let mut stream = connect(address, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n\0\x01garbage\r\n\r\n").await;
    let received = to_the_end(&mut stream).await;
    let text = String::from_utf8_lossy(&received);
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert!(text.contains("HTTP/1.1 400 "), "{text}");
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let (address, _stop) = chat().await;
    let many: Vec<String> = (0..200).map(|at| format!("X-{at}: x")).collect();
    let long = format!("X-Long: {}", "x".repeat(20 * 1024));
    let query = format!("GET /ws?user={} HTTP/1.1", "x".repeat(20 * 1024));
    for (what, bytes) in [
        ("many headers", request("GET /ws HTTP/1.1", &many.iter().map(String::as_str).collect::<Vec<_>>())),
        ("a long header", request("GET /ws HTTP/1.1", &[&long])),
        ("a long URL", request(&query, &[UPGRADE, CONNECTION, VERSION, KEY])),
        ("a head without end", "GET /ws HTTP/1.1\r\n".to_owned() + &"X-More: x\r\n".repeat(4000)),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server is through with it before all is written, and may reset what it did not read.
        drop(stream.write_all(bytes.as_bytes()).await);
        let mut received = Vec::new();
        let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut received)).await;
        assert!(read.is_ok(), "{what}: the server ends the connection");
        let text = String::from_utf8_lossy(&received);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 431 ") || text.starts_with("HTTP/1.1 414 "),
            "{what}: {text}"
        );
    }
}

/// The time is virtual: it passes as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn who_does_not_finish_the_headers_within_ten_seconds_is_cut_off() {
    let (address, _stop) = chat().await;
    for (what, bytes) in [
        ("nothing at all", ""),
        ("half a line", "GET /w"),
        ("half the headers", "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"),
        ("a whole request, then silence", "GET /instance HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ] {
        let mut stream = connect(address, bytes.as_bytes()).await;
        let mut received = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(9), stream.read_to_end(&mut received)).await;
        assert!(read.is_err(), "{what}: not before");
        let read = tokio::time::timeout(Duration::from_secs(6), stream.read_to_end(&mut received)).await;
        assert!(read.is_ok(), "{what}: cut off");
        let answered = received.starts_with(b"HTTP/1.1 200 ");
        assert_eq!(answered, what.starts_with("a whole"), "{what}: {}", String::from_utf8_lossy(&received));
    }
}

/// A header every few seconds does not buy more time.
#[tokio::test(start_paused = true)]
async fn headers_that_trickle_do_not_buy_time() {
    let (address, _stop) = chat().await;
    let mut stream = connect(address, b"GET /ws HTTP/1.1\r\n").await;
    let mut received = Vec::new();
    for _ in 0..3 {
        let read = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut received)).await;
        assert!(read.is_err(), "not before");
        stream.write_all(b"X-Slow: x\r\n").await.unwrap();
    }
    let read = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut received)).await;
    assert!(read.is_ok(), "ten seconds are over");
}
