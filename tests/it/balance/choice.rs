//! Which instance a connection gets: turns, fewest connections, the cookie, and what health and drain change.

use std::time::Duration;

use parley_tests::balancer::{Balancer, welcomed};
use parley_tests::eventually::eventually_fetched;
use parley_tests::http::{self, Answer};
use parley_tests::node::Node;
use serde_json::json;

use super::fake::{Fake, Manner};

const DEADLINE: Duration = Duration::from_secs(10);

async fn node(name: &str) -> Node {
    Node::builder().server_id(name).config(|config| config.drain = Duration::from_secs(600)).start().await
}

/// Asks which instance answers, with these headers.
async fn instance(balancer: &Balancer, headers: &[(&str, &str)]) -> (String, Answer) {
    let answer = http::request(balancer.address(), "GET", "/instance", headers, "").await;
    let name = answer.json()["server_id"].as_str().unwrap_or_default().to_owned();
    (name, answer)
}

/// The cookie that an answer sets, as a client sends it back.
fn cookie(answer: &Answer) -> Option<String> {
    let line = answer.header("set-cookie")?;
    Some(line.split(';').next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn round_robin_alternates_and_people_chat_through_it() {
    let (one, two) = (node("server-1").await, node("server-2").await);
    let balancer = Balancer::start(&[one.address(), two.address()], &[]).await;
    let (mut alice, at_alice) = balancer.client("alice").await;
    let (mut bob, at_bob) = balancer.client("bob").await;
    let (mut charlie, at_charlie) = balancer.client("charlie").await;
    assert_eq!([at_alice, at_bob, at_charlie], ["server-1", "server-2", "server-1"]);
    alice.join("general").await;
    charlie.join("general").await;
    bob.join("general").await;
    alice.chat("general", "hi").await;
    alice.expect_message("general", 1, "hi").await;
    charlie.expect_message("general", 1, "hi").await;
}

#[tokio::test]
async fn a_page_and_its_files_do_not_shift_the_turns_of_websockets() {
    let (one, two) = (node("server-1").await, node("server-2").await);
    let balancer = Balancer::start(&[one.address(), two.address()], &[]).await;
    let mut seen = Vec::new();
    for n in 0..4 {
        instance(&balancer, &[]).await;
        seen.push(balancer.client(&format!("user-{n}")).await.1);
    }
    assert_eq!(seen, ["server-1", "server-2", "server-1", "server-2"]);
}

#[tokio::test]
async fn least_connections_fills_up_where_there_are_fewest() {
    let (one, two) = (node("server-1").await, node("server-2").await);
    let balancer = Balancer::start(&[one.address(), two.address()], &["--policy=least-connections"]).await;
    let (_alice, first) = balancer.client("alice").await;
    let (bob, second) = balancer.client("bob").await;
    assert_eq!([first, second], ["server-1", "server-2"]);
    drop(bob);
    eventually_fetched(DEADLINE, async || balancer.of(1, "connections").await, |count| *count == json!(0)).await;
    assert_eq!(balancer.client("charlie").await.1, "server-2");
}

#[tokio::test]
async fn a_killed_upstream_loses_new_connections_at_once() {
    let (one, two) = (node("server-1").await, node("server-2").await);
    let balancer = Balancer::start(&[one.address(), two.address()], &[]).await;
    one.kill().await;
    for n in 0..10 {
        assert_eq!(balancer.client(&format!("user-{n}")).await.1, "server-2");
        assert_eq!(instance(&balancer, &[]).await.0, "server-2");
    }
    assert_eq!(balancer.of(0, "health").await, json!("down"));
}

#[tokio::test]
async fn an_upstream_that_comes_back_gets_connections_again() {
    let one = node("server-1").await;
    let address = one.address();
    let two = node("server-2").await;
    let balancer = Balancer::start(&[address, two.address()], &[]).await;
    one.kill().await;
    assert_eq!(balancer.client("alice").await.1, "server-2");
    let again = Node::builder().server_id("server-1").config(|config| config.listen = address).start().await;
    eventually_fetched(DEADLINE, async || balancer.of(0, "health").await, |health| *health == json!("ok")).await;
    let seen = [balancer.client("bob").await.1, balancer.client("charlie").await.1];
    assert!(seen.contains(&"server-1".to_owned()), "{seen:?}");
    drop(again);
}

#[tokio::test]
async fn a_draining_upstream_keeps_who_is_there_and_gets_nobody_new() {
    let (one, two) = (node("server-1").await, node("server-2").await);
    let balancer = Balancer::start(&[one.address(), two.address()], &[]).await;
    let (mut alice, at_alice) = balancer.client("alice").await;
    assert_eq!(at_alice, "server-1");
    alice.join("general").await;
    one.begin_stop();
    alice.expect("reconnect").await;
    // At once, without waiting for a probe: the instance refuses, and the next one is asked.
    for n in 0..6 {
        assert_eq!(balancer.client(&format!("user-{n}")).await.1, "server-2");
    }
    eventually_fetched(DEADLINE, async || balancer.of(0, "health").await, |health| *health == json!("draining")).await;
    alice.chat("general", "still here").await;
    alice.expect_message("general", 1, "still here").await;
    assert_eq!(balancer.of(0, "websockets").await, json!(1));
}

#[tokio::test]
async fn a_cookie_brings_back_to_the_same_instance_also_by_websocket() {
    let (one, two) = (node("server-1").await, node("server-2").await);
    let flags = ["--policy=cookie", "--affinity-cookie=route"];
    let balancer = Balancer::start(&[one.address(), two.address()], &flags).await;
    let (first, answer) = instance(&balancer, &[]).await;
    let cookie = cookie(&answer).expect("a new client gets a cookie");
    let line = answer.header("set-cookie").unwrap().to_owned();
    assert!(cookie.starts_with("route=") && !line.to_lowercase().contains("httponly"), "{line}");
    for _ in 0..4 {
        let (again, answer) = instance(&balancer, &[("Cookie", &cookie)]).await;
        assert_eq!((&again, answer.header("set-cookie")), (&first, None));
        let (_, welcomed_by) = welcomed(balancer.connect().user("alice").header("cookie", &cookie)).await;
        assert_eq!(welcomed_by, first);
    }
}

#[tokio::test]
async fn a_cookie_never_brings_back_to_a_draining_or_dead_instance() {
    let (one, two) = (node("server-1").await, node("server-2").await);
    let balancer = Balancer::start(&[one.address(), two.address()], &["--policy=cookie"]).await;
    let (first, answer) = instance(&balancer, &[]).await;
    assert_eq!(first, "server-1");
    let old = cookie(&answer).unwrap();
    // Somebody stays, so that the drain lasts.
    let (_stays, stays_at) = welcomed(balancer.connect().user("stays").header("cookie", &old)).await;
    assert_eq!(stays_at, "server-1");

    one.begin_stop();
    // The very first upgrade finds out, whether or not a probe has.
    let alice = balancer.connect().user("alice").header("cookie", &old);
    assert_eq!(welcomed(alice).await.1, "server-2");
    eventually_fetched(DEADLINE, async || balancer.of(0, "health").await, |health| *health == json!("draining")).await;
    let (moved, answer) = instance(&balancer, &[("Cookie", &old)]).await;
    assert_eq!(moved, "server-2");
    let new = cookie(&answer).expect("who moved gets a new cookie");
    assert_ne!(new, old);

    one.kill().await;
    let (after, answer) = instance(&balancer, &[("Cookie", &old)]).await;
    assert_eq!((after.as_str(), cookie(&answer)), ("server-2", Some(new)));
}

#[tokio::test]
async fn with_no_upstream_left_the_answer_is_503_with_retry_after() {
    let one = node("server-1").await;
    let balancer = Balancer::start(&[one.address()], &[]).await;
    one.kill().await;
    for path in ["/", "/ws"] {
        let answer = balancer.get(path).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{answer:?}");
        assert_eq!(answer.json()["code"], json!("no_upstream"));
    }
    let refused = balancer.connect().user("alice").refused().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("2")));
}

#[tokio::test]
async fn where_all_refuse_the_refusal_is_passed_on() {
    let (one, two) = (Fake::start(Manner::Refuses).await, Fake::start(Manner::Refuses).await);
    let balancer = Balancer::start(&[one.address(), two.address()], &[]).await;
    let refused = balancer.connect().user("alice").refused().await;
    assert_eq!(refused.status, 503);
    assert_eq!((one.heads().len(), two.heads().len()), (1, 1));
}

#[tokio::test]
async fn the_status_tells_of_each_upstream() {
    let (one, two) = (node("server-1").await, Fake::start(Manner::Counts).await);
    let balancer = Balancer::start(&[one.address(), two.address()], &[]).await;
    two.drain();
    let (_alice, _) = balancer.client("alice").await;
    let draining = async || balancer.status().await;
    let status = eventually_fetched(DEADLINE, draining, |status| status["upstreams"][1]["health"] == "draining").await;
    assert_eq!(status["policy"], json!("round-robin"));
    assert_eq!(status["max_connections"], json!(20_000));
    let upstream = &status["upstreams"][0];
    assert_eq!(upstream["address"], json!(one.address().to_string()));
    let counted = [&upstream["health"], &upstream["connections"], &upstream["websockets"], &upstream["failures"]];
    assert_eq!(counted, [&json!("ok"), &json!(1), &json!(1), &json!(0)]);
    assert_eq!(status["counts"]["no_upstream"], json!(0));
}
