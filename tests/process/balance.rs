//! `parley balance` as a process: what it needs to start, and how it ends.

use parley_tests::client::{Connect, Event};
use parley_tests::eventually::eventually_fetched;
use parley_tests::http;
use parley_tests::program::{DEADLINE, listening, run, serve};
use serde_json::json;
use tokio::net::TcpStream;

#[tokio::test]
async fn it_says_where_it_listens_and_ends_when_its_connections_have() {
    let one = serve(&[]).await;
    let upstream = format!("--upstream={}", one.address);
    let mut balancer = listening(&["balance", "--listen=127.0.0.1:0", &upstream, "--drain-seconds=60"], &[]).await;
    let status = http::get(balancer.address, "/balancer/status").await.json();
    assert_eq!(status["upstreams"][0]["health"], json!("ok"));
    let mut alice = Connect::to(balancer.address).user("alice").open().await.welcomed().await;

    balancer.signal("TERM").await;
    // She need not leave at once.
    alice.ask_for("pong", json!({ "type": "ping" })).await;
    alice.close().await;
    assert_eq!(balancer.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let one = serve(&[]).await;
    let upstream = format!("--upstream={}", one.address);
    let mut balancer = listening(&["balance", "--listen=127.0.0.1:0", &upstream, "--drain-seconds=3600"], &[]).await;
    let mut alice = Connect::to(balancer.address).user("alice").open().await.welcomed().await;
    balancer.signal("TERM").await;
    // Two signals of which the first was not taken in yet are one.
    let closed = async || TcpStream::connect(balancer.address).await.is_err();
    eventually_fetched(DEADLINE, closed, |closed| *closed).await;
    alice.ask_for("pong", json!({ "type": "ping" })).await;
    balancer.signal("TERM").await;
    assert_eq!(balancer.ended().await.code(), Some(130));
    assert_eq!(alice.next().await, Event::Gone);
}

#[tokio::test]
async fn settings_that_cannot_be_are_told_by_name() {
    let args = ["balance", "--policy=random", "--upstream=nowhere", "--max-connections=0", "--redis-url=redis://h"];
    let output = run(&args, &[("PARLEY_DRAIN_SECONDS", "soon")]).await;
    assert_eq!((output.status.code(), output.stdout.as_str()), (Some(2), ""));
    for name in ["PARLEY_POLICY", "PARLEY_UPSTREAM", "PARLEY_MAX_CONNECTIONS", "PARLEY_DRAIN_SECONDS", "--redis-url"] {
        assert!(output.stderr.contains(name), "{name} is not named:\n{}", output.stderr);
    }
    let output = run(&["balance"], &[]).await;
    assert!(output.stderr.contains("PARLEY_UPSTREAM: name an instance"), "{}", output.stderr);
}

#[tokio::test]
async fn an_address_in_use_is_a_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = run(&["balance", "--upstream=127.0.0.1:1", "--listen", &address], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains(&address) && output.stderr.contains("in use"), "{}", output.stderr);
}
