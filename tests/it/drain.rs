//! What SIGTERM begins: sessions are asked to move one after the other, and the instance ends when they have.

use std::time::Duration;

use parley_service::clock::{Clock as _, SystemClock};
use parley_service::metrics::count;
use parley_tests::checker::check;
use parley_tests::eventually::{eventually, eventually_fetched};
use parley_tests::fleet::Fleet;
use parley_tests::node::Node;
use parley_tests::resumer::Resumer;
use serde_json::json;

#[tokio::test]
async fn every_session_is_asked_in_its_turn_and_the_ones_that_stay_are_closed_1012() {
    const SESSIONS: u64 = 40;
    let mut node =
        Node::builder().config(|config| config.drain = Duration::from_secs(30)).stopped_clock().start().await;
    let mut clients = Vec::new();
    for n in 0..SESSIONS {
        let mut client = node.client(&format!("user-{n}")).await;
        client.join("general").await;
        clients.push(client);
    }
    node.begin_stop();
    let mut slots = Vec::new();
    for client in &mut clients {
        let reconnect = client.expect("reconnect").await;
        assert_eq!((reconnect.text("reason"), reconnect.is("elsewhere")), ("drain", true));
        slots.push(reconnect.number("after_ms"));
    }
    slots.sort_unstable();
    assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "not one after the other: {slots:?}");
    // Two hundred a second.
    assert!(slots.last().is_some_and(|last| (150..=200).contains(last)), "{slots:?}");

    assert_eq!(node.get("/health").await.json(), json!({ "status": "draining" }));
    assert_eq!((node.get("/health").await.status, node.admin_get("/readyz").await.status), (503, 503));
    assert_eq!(node.admin_get("/livez").await.status, 200);
    for answer in [node.connect().user("late").refused().await, node.get("/ws").await] {
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{answer:?}");
        assert_eq!(answer.json()["code"], "draining");
    }

    let (first, others) = clients.split_first_mut().unwrap();
    let offset = first.chat("general", "publishing works until the end").await.offset();
    first.expect("message").await;
    for client in others {
        assert_eq!(client.expect("message").await.offset(), offset);
    }
    node.advance(Duration::from_millis(4_900)).await;
    for client in &mut clients {
        client.expect_quiet().await;
    }
    node.advance(Duration::from_secs(1)).await;
    for mut client in clients {
        assert_eq!(client.expect_close(1012).await, []);
    }
    node.ended().await;
    assert_eq!(count(&node.metrics().edge.closed, "reason", "restart"), SESSIONS);
}

#[tokio::test]
async fn in_the_delay_before_the_drain_nobody_is_asked_to_come_and_whoever_comes_is_taken() {
    let config = |config: &mut parley_service::config::Config| {
        config.shutdown_delay = Duration::from_secs(8);
        config.drain = Duration::from_secs(30);
    };
    let node = Node::builder().config(config).stopped_clock().start().await;
    let mut early = node.client("early").await;
    node.begin_stop();
    eventually_fetched(
        Duration::from_secs(5),
        async || node.admin_get("/readyz").await.status,
        |status| *status == 503,
    )
    .await;
    assert_eq!(node.get("/health").await.json(), json!({ "status": "draining" }));
    // A balancer that has not noticed yet.
    let mut late = node.client("late").await;
    node.advance(Duration::from_millis(7_900)).await;
    late.join("general").await;
    early.expect_quiet().await;
    node.advance(Duration::from_millis(200)).await;
    for client in [&mut early, &mut late] {
        client.expect("reconnect").await;
    }
    assert_eq!(node.connect().user("too late").refused().await.status, 503);
}

#[tokio::test]
async fn an_instance_ends_when_the_last_session_has_moved() {
    let clock = SystemClock::start();
    let node = Node::builder().config(|config| config.drain = Duration::from_secs(600)).start().await;
    let mut client = node.client("alice").await;
    node.begin_stop();
    client.expect("reconnect").await;
    client.close().await;
    let began = clock.now().mono;
    node.stop().await;
    assert!(clock.now().mono.since(began) < Duration::from_secs(5), "it waited for nobody");
}

#[tokio::test]
async fn an_instance_without_sessions_ends_at_once() {
    Node::start().await.stop().await;
}

#[tokio::test]
async fn the_window_beats_the_pace() {
    let node = Node::builder().config(|config| config.drain = Duration::ZERO).stopped_clock().start().await;
    let mut clients = Vec::new();
    for n in 0..20 {
        clients.push(node.client(&format!("user-{n}")).await);
    }
    node.begin_stop();
    for client in &mut clients {
        assert_eq!(client.expect("reconnect").await.number("after_ms"), 0);
    }
}

#[tokio::test]
async fn a_peer_that_is_dead_does_not_keep_an_instance_from_ending() {
    let mut node =
        Node::builder().config(|config| config.drain = Duration::from_secs(10)).stopped_clock().start().await;
    // It never reads, so it answers neither `reconnect` nor the close frame.
    let _deaf = node.client("deaf").await;
    node.begin_stop();
    eventually_fetched(Duration::from_secs(5), async || node.get("/health").await.status, |status| *status == 503)
        .await;
    for _ in 0..10 {
        if node.services().connections.is_empty() {
            break;
        }
        node.advance(Duration::from_secs(1)).await;
    }
    assert!(node.services().connections.is_empty(), "still there ten seconds later");
    node.ended().await;
}

#[tokio::test]
async fn the_other_instances_take_the_sessions_over_without_a_lost_line() {
    const READERS: usize = 12;
    let mut fleet = Fleet::of(2).config(|config| config.limits.messages_per_second = None).start().await;
    let mut readers = Vec::new();
    for n in 0..READERS {
        readers.push(Resumer::joined(&format!("reader-{n}"), &["general", "other"], fleet.balancer()).await);
    }
    let writer = Resumer::joined("writer", &["general", "other"], fleet.balancer()).await;
    let publish = async |from: u64| {
        for n in from..from + 100 {
            writer.publish(if n % 3 == 0 { "other" } else { "general" }, n).await;
        }
    };
    publish(0).await;
    let mut leaving = fleet.take(0);
    let moving = leaving.metrics().edge.sessions.get();
    assert!(moving >= 5, "{moving} sessions are to move");
    leaving.begin_stop();
    publish(100).await;
    leaving.ended().await;
    publish(200).await;
    writer.acked().await;
    for client in readers.iter().chain([&writer]) {
        client.has("general", 200).await;
        client.has("other", 100).await;
    }
    let records: Vec<_> = readers.iter().chain([&writer]).map(Resumer::record).collect();
    let report = check(&records);
    assert_eq!((report.faults.iter().collect::<Vec<_>>(), report.gaps), (vec![], 0));
    assert_eq!(report.acked, 300);
    let moved: usize = readers.iter().chain([&writer]).map(Resumer::moves).sum();
    assert_eq!(i64::try_from(moved).unwrap(), moving, "each moved when it was asked to");
    let sessions = || fleet[1].metrics().edge.sessions.get();
    eventually(Duration::from_secs(5), sessions, |now| *now == i64::try_from(READERS).unwrap() + 1).await;
}
