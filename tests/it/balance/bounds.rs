//! Where passing on ends: upstreams that fail, clients that stall, caps, and the balancer's own end. Where time matters
//! the clock is stopped, and jumps to whatever is due next.

use std::time::Duration;

use parley_tests::balancer::Balancer;
use parley_tests::eventually::eventually_fetched;
use parley_tests::http::{self, Answer};
use parley_tests::node::Node;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fake::{Fake, Manner};

const DEADLINE: Duration = Duration::from_secs(10);

async fn post(balancer: &Balancer) -> Answer {
    http::request(balancer.address(), "POST", "/", &[], "body").await
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_costs_nobody_anything() {
    let gone = {
        let fake = Fake::start(Manner::Counts).await;
        fake.address()
    };
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[gone, fake.address()], &[]).await;
    for _ in 0..4 {
        assert_eq!(post(&balancer).await.body, "4");
    }
}

#[tokio::test]
async fn what_was_sent_is_not_sent_again_unless_it_changes_nothing() {
    let (breaks, counts) = (Fake::start(Manner::Breaks).await, Fake::start(Manner::Counts).await);
    let balancer = Balancer::start(&[breaks.address(), counts.address()], &[]).await;
    let answer = post(&balancer).await;
    assert_eq!((answer.status, &answer.json()["code"]), (502, &json!("upstream_broke")));
    assert_eq!((breaks.heads().len(), counts.heads().len()), (1, 0));

    let before = breaks.heads().len();
    for _ in 0..4 {
        assert_eq!(balancer.get("/").await.status, 200);
    }
    assert!(breaks.heads().len() > before, "no GET was tried with the upstream that breaks");
    assert_eq!(balancer.status().await["counts"]["upstream_broke"], json!(1));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_never_answers_is_late_and_not_asked_twice() {
    let (hangs, other) = (Fake::start(Manner::Hangs).await, Fake::start(Manner::Counts).await);
    let balancer = Balancer::start(&[hangs.address(), other.address()], &[]).await;
    let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 504 ") && all.contains("upstream_timeout"), "{all}");
    assert_eq!((hangs.heads().len(), other.heads().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_never_ends_its_headers_is_let_go() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ").await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert!(!all.contains("200"), "{all}");
    assert_eq!(fake.heads(), Vec::<String>::new());
    assert_eq!(balancer.status().await["counts"]["header_timeouts"], json!(1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_ends_the_request() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert!(!all.contains("200"), "{all}");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let large = "x".repeat(40_000);
    let answer = http::request(balancer.address(), "GET", "/", &[("X-Large", &large)], "").await;
    assert_eq!(answer.status, 431);
    let many: Vec<(String, &str)> = (0..120).map(|n| (format!("X-Many-{n}"), "x")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let answer = http::request(balancer.address(), "GET", "/", &many, "").await;
    assert_eq!(answer.status, 431);
    assert_eq!(fake.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn beyond_the_cap_is_503_and_who_is_there_stays() {
    let node = Node::start().await;
    let balancer = Balancer::start(&[node.address()], &["--max-connections=1"]).await;
    let (mut alice, _) = balancer.client("alice").await;
    let refused = balancer.connect().user("bob").refused().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("2")));
    // The status is for those who look after it, also then.
    let status = balancer.status().await;
    assert_eq!((&status["connections"], &status["counts"]["over_capacity"]), (&json!(1), &json!(1)));
    alice.join("general").await;
    drop(alice);
    let bob = async || balancer.connect().user("bob").try_open().await.is_ok();
    eventually_fetched(DEADLINE, bob, |admitted| *admitted).await;
}

#[tokio::test]
async fn it_is_no_forward_proxy() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let answer =
        http::exchange(balancer.address(), b"CONNECT example.com:443 HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n")
            .await;
    assert_eq!(answer.status, 405);
    let absolute = b"GET http://example.com/x HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
    assert_eq!(http::exchange(balancer.address(), absolute).await.status, 200);
    let head = fake.heads().remove(0);
    assert!(head.starts_with("get /x http/1.1\r\n") && head.contains("\r\nhost: example.com\r\n"), "{head}");
}

#[tokio::test]
async fn two_lengths_are_no_request() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 40\r\n\r\nfour";
    assert_eq!(http::exchange(balancer.address(), request).await.status, 400);
    assert_eq!(fake.heads(), Vec::<String>::new());
    let counted = async || balancer.status().await["counts"]["bad_requests"].clone();
    eventually_fetched(DEADLINE, counted, |count| *count == json!(1)).await;
}

#[tokio::test]
async fn a_request_has_one_host() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    let asked = async |line: &str, hosts: &str| {
        let request = format!("{line}\r\n{hosts}Connection: close\r\n\r\n");
        http::exchange(balancer.address(), request.as_bytes()).await
    };
    let refused = [
        ("GET / HTTP/1.1", ""),
        ("GET / HTTP/1.1", "Host: one\r\nHost: two\r\n"),
        ("GET / HTTP/1.1", "Host: one\r\nHost: one\r\n"),
        ("GET / HTTP/1.1", "Host: o n e\r\n"),
        ("GET / HTTP/1.1", "Host: me@one\r\n"),
        ("GET / HTTP/1.0", "Host: one\r\nHost: two\r\n"),
        ("GET http://me@one/ HTTP/1.1", "Host: one\r\n"),
        ("GET /balancer/status HTTP/1.1", ""),
    ];
    for (line, hosts) in refused {
        let answer = asked(line, hosts).await;
        assert_eq!(answer.status, 400, "{line} {hosts}");
        assert_eq!(answer.json()["code"], json!("bad_request"));
    }
    assert_eq!(fake.heads(), Vec::<String>::new());
    assert_eq!(balancer.status().await["counts"]["bad_requests"], json!(refused.len()));

    assert_eq!(asked("GET / HTTP/1.0", "").await.status, 200);
    assert_eq!(asked("GET / HTTP/1.1", "Host: [::1]:80\r\n").await.status, 200);
    let hosts = ["\r\nhost: \r\n", "\r\nhost: [::1]:80\r\n"];
    for (head, host) in fake.heads().iter().zip(hosts) {
        assert!(head.contains(host), "no host as {host:?} in\n{head}");
    }
}

#[tokio::test]
async fn connection_takes_nothing_away_that_is_for_the_instance() {
    let fake = Fake::start(Manner::Counts).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    for name in [
        "Host",
        "origin",
        "Authorization",
        "Cookie",
        "Content-Length",
        "Sec-WebSocket-Key",
        "X-Forwarded-For",
        "X-Forwarded-User",
        "Forwarded",
    ] {
        let headers = [("Origin", "http://evil.example"), ("Connection", &format!("keep-alive, {name}"))];
        let answer = http::request(balancer.address(), "GET", "/", &headers, "").await;
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(answer.json()["code"], json!("bad_request"));
    }
    assert_eq!(fake.heads(), Vec::<String>::new());
    let headers = [("X-Mine", "1"), ("Connection", "x-mine")];
    assert_eq!(http::request(balancer.address(), "GET", "/", &headers, "").await.status, 200);
    assert!(!fake.heads().remove(0).contains("x-mine"));
}

#[tokio::test]
async fn at_its_end_nobody_new_comes_and_who_stays_has_a_bounded_time() {
    let node = Node::start().await;
    let balancer = Balancer::start(&[node.address()], &["--drain-seconds=5"]).await;
    let (mut alice, _) = balancer.client("alice").await;
    balancer.begin_stop();
    let closed = async || TcpStream::connect(balancer.address()).await.is_err();
    eventually_fetched(DEADLINE, closed, |closed| *closed).await;
    // Still served, until the five seconds are over.
    alice.join("general").await;
    balancer.ended().await;
    assert_eq!(alice.next().await, parley_tests::client::Event::Gone);
}
