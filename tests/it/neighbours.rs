//! One client's troubles are not another's: bursts, deaf readers, strangers' signals, slow subscriptions, many reads, late upgrades.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use parley_service::auth::open::OpenAuth;
use parley_service::auth::{Auth, AuthError, Credentials};
use parley_service::backplane::{Backplane, Page, PageLimit, Range, Unavailable};
use parley_service::clock::SystemClock;
use parley_service::delivery::Order;
use parley_service::entropy::SeededEntropy;
use parley_service::ids::{LogName, RoomName, ServerId, UserId};
use parley_service::message::{Draft, Position};
use parley_service::metrics::count;
use parley_service::protocol::close_code::CloseCode;
use parley_service::rights::Grant;
use parley_service::server::Embedded;
use parley_tests::client::Client;
use parley_tests::eventually::eventually;
use parley_tests::node::Node;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Barrier, Semaphore};
use tokio_util::task::TaskTracker;

use crate::around::{Around, Meddler};

const SOON: Duration = Duration::from_secs(10);

fn room(name: &str) -> LogName {
    LogName::Room(RoomName::parse(name).unwrap())
}

fn big() -> Draft {
    Draft {
        head: Bytes::from_static(b"{\"type\":\"message\",\"offset\":"),
        tail: Bytes::from(format!(",\"m\":\"{}\",\"at\":1}}", "x".repeat(30_000))),
        key: None,
        at: 1,
        traceparent: None,
    }
}

/// A member whose socket is full, because it reads nothing.
async fn deaf(node: &Node) -> Client {
    let connect = node.connect().user("deaf").receive_buffer(4_096);
    let mut deaf = connect.open().await.ignoring_presence().welcomed().await;
    deaf.join("general").await;
    loop {
        let before = node.metrics().edge.delivered.get();
        node.services().backplane.publish(&room("general"), &big()).await.unwrap();
        // Several looks: if the machine stands still during one, the instance has the time of the next.
        let mut looks = 0;
        while node.metrics().edge.delivered.get() == before {
            if looks == 4 {
                return deaf;
            }
            let delivered = async {
                while node.metrics().edge.delivered.get() == before {
                    tokio::task::yield_now().await;
                }
            };
            looks += u32::from(tokio::time::timeout(Duration::from_millis(100), delivered).await.is_err());
        }
    }
}

fn closed(node: &Node, reason: &'static str) -> u64 {
    count(&node.metrics().edge.closed, "reason", reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_within_everyones_rates_closes_nobody() {
    const CLIENTS: usize = 30;
    const BURST: usize = 50;
    const SIZE: usize = 500;
    let node = Node::start().await;
    let (go, tasks) = (Arc::new(Barrier::new(CLIENTS)), TaskTracker::new());
    let clients = (0..CLIENTS).map(|n| {
        let (connect, go) = (node.connect().user(&format!("user-{n}")), Arc::clone(&go));
        tasks.spawn(async move {
            let mut client = connect.open().await.ignoring_presence().welcomed().await;
            client.join("general").await;
            let text = format!(r#"{{"type":"chat","room":"general","msg":"{}"}}"#, "x".repeat(SIZE));
            let mut frame = vec![0x81, 0x80 | 126];
            frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(&[0; 4]);
            frame.extend_from_slice(text.as_bytes());
            go.wait().await;
            client.stream().write_all(&frame.repeat(BURST)).await.unwrap();
            for offset in 1..=(CLIENTS * BURST) as u64 {
                assert_eq!(client.expect("message").await.offset(), offset);
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
    assert_eq!(closed(&node, "slow"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_reaches_a_session_whose_socket_is_full() {
    let node = Node::start().await;
    let _deaf = deaf(&node).await;
    let told =
        node.services().hub.registry().order_user(&UserId::parse("deaf").unwrap(), &Order::Close(CloseCode::Banned));
    assert_eq!(told, 1);
    eventually(SOON, || node.services().hub.registry().len(), |left| *left == 0).await;
    eventually(SOON, || closed(&node, "banned"), |closed| *closed == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_signals_are_dropped_before_they_make_a_reader_slow() {
    let node = Node::start().await;
    let _deaf = deaf(&node).await;
    let mut mallory = node.client("mallory").await;
    for _ in 0..40 {
        mallory.send(json!({"type": "signal", "to": "deaf", "data": "x".repeat(30_000)})).await;
    }
    mallory.ask_for("pong", json!({"type": "ping"})).await;
    let dropped = || count(&node.metrics().hub.dropped, "reason", "ephemeral");
    eventually(SOON, dropped, |dropped| *dropped > 0).await;
    assert_eq!((node.services().hub.registry().len(), closed(&node, "slow")), (2, 0));
}

/// Whose subscriptions to `slow` wait to be let go.
struct SlowToSubscribe {
    go: Semaphore,
    fails: bool,
}

impl Meddler for SlowToSubscribe {
    fn subscribe<'a>(
        &'a self,
        inner: &'a dyn Backplane,
        log: &'a LogName,
    ) -> BoxFuture<'a, Result<Position, Unavailable>> {
        Box::pin(async move {
            if log.wire_name() == "slow" {
                self.go.acquire().await.expect("never closed").forget();
                if self.fails {
                    return Err(Unavailable("on purpose".to_owned()));
                }
            }
            inner.subscribe(log).await
        })
    }
}

async fn slow_to_subscribe(fails: bool) -> (Node, Arc<Around<SlowToSubscribe>>) {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let node = Node::builder().ports(move |config| {
        let embedded = Embedded::new(config, SystemClock::start(), SeededEntropy::new(1));
        let mut ports = embedded.ports(ServerId::parse("a").unwrap(), Arc::new(OpenAuth));
        let slow = Around::new(ports.backplane, SlowToSubscribe { go: Semaphore::new(0), fails });
        tell.send(Arc::clone(&slow)).unwrap();
        ports.backplane = slow;
        ports
    });
    (node.start().await, told.recv().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_first_and_reads_nothing_does_not_hold_up_the_others() {
    let (node, slow) = slow_to_subscribe(false).await;
    for _ in 0..10 {
        node.services().backplane.publish(&room("big"), &big()).await.unwrap();
    }
    let connect = node.connect().user("mallory").receive_buffer(4_096);
    let mut mallory = connect.open().await.ignoring_presence().welcomed().await;
    mallory.send(json!({"type": "join", "room": "slow"})).await;
    for _ in 0..45 {
        mallory.send(json!({"type": "history", "room": "big"})).await;
    }
    let mut victim = node.client("victim").await;
    victim.send(json!({"type": "join", "id": 1, "room": "slow"})).await;
    slow.meddler.go.add_permits(1);
    victim.expect("joined").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_of_one_room_fail_together_not_one_after_the_other() {
    let (node, slow) = slow_to_subscribe(true).await;
    let mut clients = Vec::new();
    for n in 0..20 {
        let mut client = node.client(&format!("user-{n}")).await;
        client.send(json!({"type": "join", "id": 1, "room": "slow"})).await;
        // Its join is under way once it is answered that it is alive.
        client.ask_for("pong", json!({"type": "ping"})).await;
        clients.push(client);
    }
    slow.meddler.go.add_permits(1);
    for client in &mut clients {
        assert_eq!(client.expect("error").await["code"], "unavailable");
    }
}

/// Whose reads of pages wait to be let go, and are counted.
struct SlowToRead {
    go: Semaphore,
    reading: AtomicUsize,
    most: AtomicUsize,
}

impl Meddler for SlowToRead {
    fn read<'a>(
        &'a self,
        inner: &'a dyn Backplane,
        log: &'a LogName,
        range: Range,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Page, Unavailable>> {
        Box::pin(async move {
            let reading = self.reading.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(reading, Ordering::SeqCst);
            self.go.acquire().await.expect("never closed").forget();
            self.reading.fetch_sub(1, Ordering::SeqCst);
            inner.read(log, range, limit).await
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_sessions_ask_only_so_many_pages_are_read_at_once_and_publishes_do_not_wait() {
    const CLIENTS: usize = 40;
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let node = Node::builder().ports(move |config| {
        let embedded = Embedded::new(config, SystemClock::start(), SeededEntropy::new(1));
        let mut ports = embedded.ports(ServerId::parse("a").unwrap(), Arc::new(OpenAuth));
        let reading = (AtomicUsize::new(0), AtomicUsize::new(0));
        let slow =
            Around::new(ports.backplane, SlowToRead { go: Semaphore::new(0), reading: reading.0, most: reading.1 });
        tell.send(Arc::clone(&slow)).unwrap();
        ports.backplane = slow;
        ports
    });
    let (node, slow) = (node.start().await, told.recv().unwrap());
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let mut client = node.client(&format!("user-{n}")).await;
        for id in 1..=4 {
            client.send(json!({"type": "history", "id": id, "room": "r"})).await;
        }
        client.ask_for("pong", json!({"type": "ping"})).await;
        clients.push(client);
    }
    let reading = || slow.meddler.reading.load(Ordering::SeqCst);
    eventually(SOON, reading, |reading| *reading == 64).await;
    // To join from now on needs no page.
    let mut writer = node.client("writer").await;
    writer.join("r").await;
    writer.chat("r", "hello").await;
    slow.meddler.go.add_permits(4 * CLIENTS);
    for client in &mut clients {
        for _ in 0..4 {
            client.expect("history").await;
        }
    }
    assert_eq!(slow.meddler.most.load(Ordering::SeqCst), 64);
}

/// Whose sign-in waits to be let go.
struct SlowAuth(Semaphore);

impl Auth for SlowAuth {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<Grant, AuthError>> {
        Box::pin(async move {
            self.0.acquire().await.expect("never closed").forget();
            OpenAuth.authenticate(credentials).await
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_comes_while_the_drain_begins_is_told_too() {
    let auth = Arc::new(SlowAuth(Semaphore::new(1)));
    let shared = Arc::clone(&auth);
    let node = Node::builder().config(|config| config.drain = Duration::from_secs(30)).ports(move |config| {
        let embedded = Embedded::new(config, SystemClock::start(), SeededEntropy::new(1));
        embedded.ports(ServerId::parse("a").unwrap(), Arc::clone(&shared) as Arc<dyn Auth>)
    });
    let node = node.start().await;
    let mut early = node.client("early").await;
    let connect = node.connect().user("late");
    let late = TaskTracker::new().spawn(async move { connect.open().await });
    eventually(SOON, || node.metrics().edge.http_connections.get(), |open| *open == 1).await;
    node.begin_stop();
    early.expect("reconnect").await;
    auth.0.add_permits(1);
    let mut late = late.await.unwrap();
    late.expect("welcome").await;
    late.expect("reconnect").await;
}
