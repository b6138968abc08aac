//! Dropped connections without a lost line: clients that are cut off at random moments and come back.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use parley_service::entropy::{Entropy as _, SeededEntropy};
use parley_tests::checker::check;
use parley_tests::eventually::eventually;
use parley_tests::fleet::Balancer;
use parley_tests::node::Node;
use parley_tests::resumer::Resumer;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const SEEDS: u64 = 60;
const MESSAGES: u64 = 120;

/// Stands between clients and an instance and cuts each connection after a number of bytes that the seed decides.
async fn cutting_proxy(node: &Node, seed: u64) -> (Balancer, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, target) = (listener.local_addr().unwrap(), node.address());
    let dice = SeededEntropy::new(seed);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        let mut patience = 1_500;
        while let Ok((client, _)) = listener.accept().await {
            let budget = patience + dice.bits() % 4_000;
            // Rises, because what was missed comes in one frame: with less than its size nobody would ever catch up.
            patience += 500;
            connections.spawn(cut_after(client, target, budget));
        }
    });
    (Balancer::of(address), tasks)
}

async fn cut_after(mut client: TcpStream, target: SocketAddr, budget: u64) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    let (mut from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let mut from_server = from_server.take(budget);
    // Whichever direction ends first ends both, in the middle of whatever the other was saying.
    tokio::select! {
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_again_and_again_loses_no_line() {
    stream::iter(0..SEEDS).for_each_concurrent(8, |seed| Box::pin(cut_again_and_again(seed))).await;
}

async fn cut_again_and_again(seed: u64) {
    let node = Node::builder().config(|config| config.limits.messages_per_second = None).start().await;
    let (cutting, _proxy) = cutting_proxy(&node, seed).await;
    let calm = Balancer::of(node.address());
    let reader = Resumer::joined("cut", &["general"], cutting.clone()).await;
    let calm = Resumer::joined("calm", &["general"], calm).await;
    let writer = Resumer::joined("writer", &["general"], cutting).await;
    for n in 0..MESSAGES {
        writer.publish("general", n).await;
    }
    writer.acked().await;
    for client in [&reader, &calm, &writer] {
        client.has("general", MESSAGES).await;
    }
    let report = check(&[reader.record(), calm.record(), writer.record()]);
    assert_eq!((report.faults.iter().collect::<Vec<_>>(), report.gaps), (vec![], 0), "seed {seed}");
    assert_eq!(calm.offset("general"), MESSAGES, "seed {seed}: a key was stored twice");
    assert!(reader.closes().len() >= 2, "seed {seed}: the connection was hardly cut: {:?}", reader.closes());
}

#[tokio::test]
async fn a_session_that_is_gone_leaves_nothing_behind() {
    let node = Node::start().await;
    for n in 0..20 {
        let mut client = node.client(&format!("user-{n}")).await;
        client.join("general").await;
        drop(client);
    }
    let hub = &node.metrics().hub;
    eventually(
        Duration::from_secs(5),
        || (node.services().hub.registry().len(), hub.members.get()),
        |left| *left == (0, 0),
    )
    .await;
}
