//! Who gets in over HTTP: caps, plain requests, and heads that are huge or never end.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use parley_tests::eventually::eventually;
use parley_tests::http;
use parley_tests::node::Node;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn over_the_cap_on_connections_the_answer_is_503_until_one_is_gone() {
    let node = Node::builder().config(|config| config.admission.max_connections = NonZeroUsize::new(2)).start().await;
    let (first, _second) = (node.client("a").await, node.client("b").await);
    let refused = node.connect().user("c").refused().await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|s| s > 0)));
    assert_eq!(refused.json()["code"], "max_connections");
    first.close().await;
    eventually(Duration::from_secs(5), || node.metrics().edge.sessions.get(), |open| *open == 1).await;
    node.client("c").await.expect_quiet().await;
}

#[tokio::test]
async fn over_the_cap_on_handshakes_the_answer_is_503_until_the_next_second() {
    let node = Node::builder()
        .config(|config| config.admission.max_handshakes_per_second = NonZeroU32::new(3))
        .stopped_clock()
        .start()
        .await;
    let mut clients = Vec::new();
    for n in 0..3 {
        clients.push(node.client(&format!("user-{n}")).await);
    }
    let refused = node.connect().user("late").refused().await;
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
    node.advance(Duration::from_secs(1)).await;
    node.client("late").await.expect_quiet().await;
}

#[tokio::test]
async fn a_plain_get_says_what_would_be_right() {
    let node = Node::start().await;
    let answer = node.get("/ws").await;
    assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")));
    assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.json()["code"], "upgrade_required");
    for (what, headers) in [
        ("another version", vec![("Sec-WebSocket-Version", "8")]),
        ("no version", vec![]),
        ("another protocol", vec![("Upgrade", "h2c")]),
    ] {
        let mut head = vec![("Connection", "upgrade"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")];
        head.extend(headers);
        assert_eq!(http::request(node.address(), "GET", "/ws?user=a", &head, "").await.status, 426, "{what}");
    }
    assert_eq!(http::request(node.address(), "POST", "/ws?user=a", &[], "{}").await.status, 426);
}

#[tokio::test]
async fn an_instance_says_who_and_how_it_is() {
    let node = Node::start().await;
    assert_eq!(node.get("/instance").await.json(), json!({ "server_id": "test-1" }));
    assert_eq!(node.get("/health").await.json(), json!({ "status": "ok" }));
    assert_eq!((node.admin_get("/livez").await.status, node.admin_get("/readyz").await.status), (200, 200));
    assert_eq!(node.get("/nowhere").await.status, 404);
    assert_eq!(node.get("/metrics").await.status, 404, "metrics are not for the public");
    let _client = node.client("alice").await;
    let metrics = node.admin_get("/metrics").await;
    assert!(metrics.body.contains("\nparley_sessions 1\n"), "{}", metrics.body);
}

#[tokio::test]
async fn a_bad_room_in_the_url_is_refused_with_a_sentence() {
    let node = Node::start().await;
    let refused = node.connect().user("alice").room("@bob").refused().await;
    assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("bad_name")));
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let node = Node::start().await;
    let padding = "x".repeat(64 * 1024);
    let head = format!("GET /instance HTTP/1.1\r\nHost: x\r\nX-Padding: {padding}\r\n\r\n");
    let answer = http::exchange(node.address(), head.as_bytes()).await;
    assert!([0, 431].contains(&answer.status), "{answer:?}");
    let many: String = (0..1_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let head = format!("GET /instance HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    let answer = http::exchange(node.address(), head.as_bytes()).await;
    assert!([0, 431].contains(&answer.status), "{answer:?}");
    assert_eq!(node.get("/instance").await.status, 200);
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_cut_off() {
    let node = Node::builder().stopped_clock().start().await;
    let mut silent = TcpStream::connect(node.address()).await.unwrap();
    let mut slow = TcpStream::connect(node.address()).await.unwrap();
    slow.write_all(b"GET /instance HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    let mut idle = TcpStream::connect(node.address()).await.unwrap();
    idle.write_all(b"GET /instance HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 64];
    assert!(idle.read(&mut first).await.unwrap() > 0);
    let open = || node.metrics().edge.http_connections.get();
    eventually(Duration::from_secs(5), open, |open| *open == 3).await;
    for _ in 0..4 {
        node.advance(Duration::from_secs(2)).await;
        slow.write_all(b"x").await.unwrap();
    }
    node.advance(Duration::from_secs(4)).await;
    eventually(Duration::from_secs(5), open, |open| *open == 0).await;
    for stream in [&mut silent, &mut slow, &mut idle] {
        let mut rest = Vec::new();
        // An answer (408) or none; in any case the end.
        tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("it is closed").ok();
    }
}
