//! What passes through: headers, bodies, and the bytes of WebSockets, which nobody looks at.

use std::time::Duration;

use parley_tests::balancer::Balancer;
use parley_tests::eventually::{eventually, eventually_fetched};
use parley_tests::http;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fake::{Fake, Manner};

const DEADLINE: Duration = Duration::from_secs(20);
const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: any\r\n\r\n";

/// A connection through the balancer to a fake that has agreed to the upgrade.
async fn upgraded(balancer: &Balancer) -> TcpStream {
    let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
    stream.write_all(UPGRADE).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Bytes without any order to hold on to.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[tokio::test]
async fn the_bytes_of_a_websocket_pass_untouched_both_ways() {
    let fake = Fake::start(Manner::Echoes).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let mut stream = upgraded(&balancer).await;
    let sent = noise(3_000_000);
    let (mut from, mut to) = stream.split();
    let send = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let take = async { from.read_to_end(&mut got).await.unwrap() };
    tokio::time::timeout(DEADLINE, async { tokio::join!(send, take) }).await.expect("it arrives in time");
    // The client had closed its half; what the upstream said after that arrived too.
    assert!(got.ends_with(b"goodbye"), "{} of {} bytes", got.len(), sent.len());
    got.truncate(got.len() - b"goodbye".len());
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    eventually_fetched(DEADLINE, async || balancer.of(0, "connections").await, |count| *count == json!(0)).await;
}

#[tokio::test]
async fn what_comes_with_the_request_to_upgrade_is_not_lost() {
    let fake = Fake::start(Manner::Echoes).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
    stream.write_all(&[UPGRADE, b"early"].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut all)).await.expect("it ends in time").unwrap();
    assert!(all.ends_with(b"\r\n\r\nearlygoodbye"), "{}", String::from_utf8_lossy(&all));
}

#[tokio::test]
async fn a_slow_reader_slows_its_upstream_and_fills_no_memory() {
    let fake = Fake::start(Manner::Floods).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let mut stream = upgraded(&balancer).await;
    // What the kernel holds for three sockets is some megabytes; then the flood must stand still.
    let mut last = 0;
    let standing = || {
        let (before, now) = (last, fake.sent());
        last = now;
        (now, now == before && now > 0)
    };
    let mut still = 0;
    let holds = |(_, stands): &(u64, bool)| {
        still = if *stands { still + 1 } else { 0 };
        still > 100
    };
    let (sent, _) = eventually(DEADLINE, standing, holds).await;
    assert!(sent < 64 * 1024 * 1024, "{sent} bytes went where nobody read them");
    stream.read_exact(&mut vec![0; usize::try_from(sent).unwrap()]).await.unwrap();
    eventually(DEADLINE, || fake.sent(), |now| *now > sent).await;
}

#[tokio::test]
async fn big_uploads_pass_with_and_without_a_length() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let body = "x".repeat(20_000_000);
    let answer = http::request(balancer.address(), "POST", "/upload", &[], &body).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "20000000"));

    let mut request =
        b"POST /upload HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in body.as_bytes().chunks(1_000_000) {
        request.extend(format!("{:x}\r\n", piece.len()).bytes());
        request.extend_from_slice(piece);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    let answer = http::exchange(balancer.address(), &request).await;
    let counted: usize = answer.body.parse().unwrap_or_default();
    assert!(answer.status == 200 && counted > body.len() && counted < body.len() + 100_000, "{answer:?}");
}

#[tokio::test]
async fn a_client_that_has_closed_its_half_still_gets_its_answer() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nfour").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut all = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut all)).await.expect("it ends in time").unwrap();
    assert!(all.starts_with("HTTP/1.1 200 ") && all.ends_with("\r\n\r\n4"), "{all}");
}

#[tokio::test]
async fn upstreams_are_told_who_asks_and_nothing_that_was_for_us() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let headers = [("Te", "trailers"), ("X-Mine", "1"), ("Accept", "a/b")];
    http::request(balancer.address(), "GET", "/path?query=1", &headers, "").await;
    let head = fake.heads().remove(0);
    assert!(head.starts_with("get /path?query=1 http/1.1\r\n"), "{head}");
    for line in [
        format!("host: {}", balancer.address()),
        format!("x-forwarded-host: {}", balancer.address()),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-proto: http".to_owned(),
        "x-mine: 1".to_owned(),
        "accept: a/b".to_owned(),
    ] {
        assert!(head.lines().any(|other| other == line), "no `{line}` in\n{head}");
    }
    assert!(!head.contains("te: trailers") && !head.contains("connection: close"), "{head}");
}

#[tokio::test]
async fn what_clients_say_of_who_they_are_is_not_passed_on() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let said =
        ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP", "Forwarded"];
    let headers = said.map(|name| (name, "invented"));
    http::request(balancer.address(), "GET", "/", &headers, "").await;
    let head = fake.heads().remove(0);
    assert!(!head.contains("invented"), "{head}");
    for line in ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"] {
        assert_eq!(head.lines().filter(|other| *other == line).count(), 1, "`{line}` in\n{head}");
    }
}

#[tokio::test]
async fn the_body_of_a_get_passes_with_and_without_a_length() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    assert_eq!(http::request(balancer.address(), "GET", "/", &[], "four").await.body, "4");
    let chunked = b"5\r\nhello\r\n0\r\n\r\n";
    let head = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = http::exchange(balancer.address(), &[&head[..], chunked].concat()).await;
    assert_eq!((answer.status, answer.body), (200, chunked.len().to_string()), "{:?}", fake.heads());
}

#[tokio::test]
async fn one_connection_may_ask_many_times() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let one = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok".repeat(5);
    let all = format!("{one}GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = http::exchange(balancer.address(), all.as_bytes()).await;
    assert_eq!(answer.body.matches("HTTP/1.1 200 OK").count(), 5, "{answer:?}");
    assert_eq!(fake.heads().len(), 6);
}
