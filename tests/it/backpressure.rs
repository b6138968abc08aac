//! Readers that are slower than their rooms: closed as slow, never buffered without end, and nothing is lost to them.

use std::time::Duration;

use futures_util::future::BoxFuture;
use parley_service::backplane::{Backplane, Page, PageLimit, Range, Unavailable};
use parley_service::clock::SystemClock;
use parley_service::config::Config;
use parley_service::entropy::SeededEntropy;
use parley_service::ids::{LogName, ServerId};
use parley_service::metrics::count;
use parley_service::server::Embedded;
use parley_tests::client::Client;
use parley_tests::eventually::eventually;
use parley_tests::node::{Node, NodeBuilder, open_auth};
use serde_json::{Value, json};

use crate::around::{Around, Meddler};

/// One message; forty of them are more than a slow reader's outbox and what the kernel buffers for it.
const SIZE: usize = 30_000;

fn builder() -> NodeBuilder {
    Node::builder().config(|config| {
        config.limits.messages_per_second = None;
        config.limits.outbox_bytes = 128 * 1024;
    })
}

/// A member of the room that does not read; its kernel takes little for it.
async fn sleeper(node: &Node, name: &str) -> (Client, Value) {
    let connect = node.connect().user(name).receive_buffer(4_096);
    let mut sleeper = connect.open().await.ignoring_presence().welcomed().await;
    let position = sleeper.join("general").await.position();
    (sleeper, position)
}

fn slow(node: &Node) -> u64 {
    count(&node.metrics().edge.closed, "reason", "slow")
}

#[tokio::test]
async fn a_slow_reader_is_closed_as_slow_and_resumes_without_loss() {
    let node = builder().start().await;
    let (mut slow_one, start) = sleeper(&node, "slow").await;
    let (mut writer, mut calm) = (node.client("writer").await, node.client("calm").await);
    writer.join("general").await;
    calm.join("general").await;
    let mut sent = 0;
    // The kernel buffers some megabytes on loopback.
    while count(&node.metrics().hub.dropped, "reason", "slow") == 0 {
        sent += 1;
        assert!(sent < 2_000, "the reader was never slow");
        writer.chat("general", format!("{sent:0SIZE$}")).await;
        calm.expect("message").await;
        writer.expect("message").await;
    }
    assert_eq!(node.metrics().hub.outbox_bytes.get(), 0, "nobody else waits for anything");
    let seen = slow_one.expect_close(4000).await;
    let offsets: Vec<u64> = seen.iter().map(|message| message.offset()).collect();
    assert_eq!(offsets, (1..=offsets.len() as u64).collect::<Vec<_>>());
    let mut since = seen
        .last()
        .map_or(start.clone(), |last| serde_json::json!({ "epoch": start["epoch"], "offset": last.offset() }));
    let mut back = node.client("slow").await;
    let mut offsets = offsets;
    loop {
        let joined = back.resume("general", &since).await;
        assert!(joined.is("recovered"), "{}", back.story());
        offsets.extend(joined.offsets());
        since = joined.position();
        if !joined.is("more") {
            break;
        }
    }
    assert_eq!(offsets, (1..=sent).collect::<Vec<_>>());
    drop(slow_one);
    eventually(Duration::from_secs(5), || slow(&node), |closed| *closed == 1).await;
}

#[tokio::test]
async fn a_sleeper_holds_up_nobody_and_its_place_is_freed() {
    let node = builder().start().await;
    let mut sleepers = Vec::new();
    for n in 0..5 {
        sleepers.push(sleeper(&node, &format!("sleeper-{n}")).await);
    }
    let (mut writer, mut calm) = (node.client("writer").await, node.client("calm").await);
    writer.join("general").await;
    calm.join("general").await;
    let mut sent = 0_u64;
    while count(&node.metrics().hub.dropped, "reason", "slow") < 5 {
        sent += 1;
        assert!(sent < 2_000, "the sleepers were never slow");
        writer.chat("general", format!("{sent:0SIZE$}")).await;
        assert_eq!(calm.expect("message").await.offset(), sent);
        writer.expect("message").await;
    }
    // Their sockets take nothing, not even the close frame, so only the time limit of the close ends them.
    eventually(Duration::from_secs(15), || (slow(&node), node.metrics().edge.sessions.get()), |now| *now == (5, 2))
        .await;
    assert_eq!(node.services().hub.registry().len(), 2);
}

#[tokio::test]
async fn when_all_outboxes_hold_too_much_the_fullest_go_and_a_healthy_reader_stays() {
    const TOTAL: usize = 1024 * 1024;
    const SLEEPERS: usize = 4;
    let node = Node::builder()
        .config(|config| {
            config.limits.messages_per_second = None;
            config.limits.outbox_bytes = TOTAL;
            config.limits.outbox_total_bytes = TOTAL;
        })
        .stopped_clock()
        .start()
        .await;
    let (mut writer, mut calm) = (node.client("writer").await, node.client("calm").await);
    let mut sleepers = Vec::new();
    for n in 0..SLEEPERS {
        // A room each: what several have waiting of one room counts once.
        let room = format!("room-{n}");
        let connect = node.connect().user("sleeper").receive_buffer(4_096);
        let mut sleeper = connect.open().await.ignoring_presence().welcomed().await;
        for client in [&mut sleeper, &mut writer, &mut calm] {
            client.join(&room).await;
        }
        sleepers.push(sleeper);
    }
    let mut sent = 0;
    // Each alone would be allowed all of it.
    while count(&node.metrics().hub.dropped, "reason", "outbox_total") == 0 {
        let room = format!("room-{}", sent % SLEEPERS);
        sent += 1;
        assert!(sent < 10_000, "the budget was never used up");
        writer.chat(&room, format!("{sent:0>30000}")).await;
        for client in [&mut writer, &mut calm] {
            assert_eq!(client.expect("message").await.room(), room);
        }
    }
    // The gauge is brought up to date every five seconds.
    node.advance(Duration::from_secs(6)).await;
    let held = usize::try_from(node.metrics().hub.outbox_bytes.get()).unwrap();
    assert!(held <= TOTAL, "{held}");
    writer.expect_quiet().await;
    calm.expect_quiet().await;
}

/// Asks so often for a long answer; that many at once are allowed.
const QUESTIONS: u64 = 45;

/// Reads that run together end together, as those over a network do.
struct ReadsTakeTurns;

impl Meddler for ReadsTakeTurns {
    fn read<'a>(
        &'a self,
        inner: &'a dyn Backplane,
        log: &'a LogName,
        range: Range,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Page, Unavailable>> {
        Box::pin(async move {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            inner.read(log, range, limit).await
        })
    }
}

/// An instance with a room whose history fills more than a page, and its writer.
async fn with_history(outbox_total_bytes: usize) -> (Node, Client) {
    let limits = move |config: &mut Config| config.limits.outbox_total_bytes = outbox_total_bytes;
    let builder = Node::builder().config(limits).stopped_clock().ports(|config| {
        let embedded = Embedded::new(config, SystemClock::start(), SeededEntropy::new(1));
        let mut ports = embedded.ports(ServerId::parse("a").unwrap(), open_auth());
        ports.backplane = Around::new(ports.backplane, ReadsTakeTurns);
        ports
    });
    let node = builder.start().await;
    let mut writer = node.client("writer").await;
    writer.join("long").await;
    for n in 1..=16 {
        writer.chat("long", format!("{n:0SIZE$}")).await;
        writer.expect("message").await;
    }
    (node, writer)
}

/// Asks without reading the answers.
async fn asker(node: &Node) -> Client {
    let connect = node.connect().user("asker").receive_buffer(4_096);
    let mut asker = connect.open().await.ignoring_presence().welcomed().await;
    for id in 1..=QUESTIONS {
        asker.send(json!({"type": "history", "id": id, "room": "long"})).await;
    }
    asker
}

/// Bytes that wait for all sessions, brought up to date.
async fn waiting(node: &Node) -> usize {
    node.advance(Duration::from_secs(5)).await;
    usize::try_from(node.metrics().hub.outbox_bytes.get()).unwrap()
}

#[tokio::test]
async fn what_clients_ask_for_and_do_not_read_counts_and_the_fullest_go_although_nothing_arrives() {
    const TOTAL: usize = 4 * 1024 * 1024;
    const ASKERS: usize = 8;
    let (node, mut writer) = with_history(TOTAL).await;
    let mut askers = Vec::new();
    for _ in 0..ASKERS {
        askers.push(asker(&node).await);
    }
    let evicted = || count(&node.metrics().hub.dropped, "reason", "outbox_total");
    eventually(Duration::from_secs(10), evicted, |evicted| *evicted > 0).await;
    // Their memory is given back without waiting for them.
    let settled = || (slow(&node), node.metrics().edge.sessions.get());
    eventually(Duration::from_secs(10), settled, |(slow, open)| *slow > 0 && *slow + open.unsigned_abs() == 9).await;
    let held = waiting(&node).await;
    assert!(held <= TOTAL, "{held}");
    assert!(evicted() < ASKERS as u64, "only the fullest go");
    writer.chat("long", "still here").await;
    writer.expect("message").await;
}

#[tokio::test]
async fn a_client_that_reads_late_has_a_bounded_amount_waiting_and_gets_every_answer() {
    let (node, _writer) = with_history(64 * 1024 * 1024).await;
    let mut asker = asker(&node).await;
    asker.send(json!({"type": "presence", "id": QUESTIONS + 1, "room": "long"})).await;
    asker.send(json!({"type": "ping", "id": QUESTIONS + 2})).await;
    let mut held = 0;
    for _ in 0..5 {
        held = held.max(waiting(&node).await);
    }
    // The frame under way, a few pages that were being read when the socket became full, and requests.
    assert!((200_000..6 * 256 * 1024).contains(&held), "{held}");
    let mut answered: Vec<u64> = Vec::new();
    while answered.len() < usize::try_from(QUESTIONS).unwrap() + 2 {
        let frame = asker.next_frame().await;
        answered.extend(frame["id"].as_u64());
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=QUESTIONS + 2).collect::<Vec<_>>());
    assert_eq!(waiting(&node).await, 0);
    asker.ask_for("pong", json!({"type": "ping"})).await;
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_closed_as_dead() {
    let (node, writer) = with_history(64 * 1024 * 1024).await;
    writer.close().await;
    let asker = asker(&node).await;
    assert!(waiting(&node).await > 200_000);
    for _ in 0..10 {
        waiting(&node).await;
    }
    assert_eq!(count(&node.metrics().edge.closed, "reason", "dead"), 1);
    assert_eq!(waiting(&node).await, 0);
    drop(asker);
}

#[tokio::test]
async fn a_reader_that_is_slow_only_for_a_while_stays() {
    let node = builder().start().await;
    let (mut reader, _) = sleeper(&node, "reader").await;
    let mut writer = node.client("writer").await;
    writer.join("general").await;
    for round in 0..20 {
        for n in 1..=4 {
            writer.chat("general", format!("{n:0SIZE$}")).await;
        }
        for n in 1..=4 {
            assert_eq!(reader.expect("message").await.offset(), round * 4 + n);
        }
    }
    reader.expect_quiet().await;
    assert_eq!(slow(&node), 0);
}
