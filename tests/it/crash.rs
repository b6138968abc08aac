//! Ends without a word: clients that vanish by the hundred, and instances that are killed.

use std::time::Duration;

use parley_service::entropy::{Entropy as _, SeededEntropy};
use parley_tests::checker::check;
use parley_tests::eventually::eventually;
use parley_tests::fleet::Fleet;
use parley_tests::node::Node;
use parley_tests::resumer::Resumer;
use serde_json::json;

/// Sessions, memberships, tasks, entries of the registry, HTTP connections.
fn left(node: &Node) -> [i64; 5] {
    let (edge, services) = (&node.metrics().edge, node.services());
    let size = |size: usize| i64::try_from(size).unwrap();
    [
        edge.sessions.get(),
        node.metrics().hub.members.get(),
        size(services.connections.len()),
        size(services.hub.registry().len()),
        edge.http_connections.get(),
    ]
}

/// What an instance has when it has just begun: nothing.
async fn baseline(node: &Node) -> [i64; 5] {
    eventually(Duration::from_secs(5), || left(node), |now| *now == [0, 0, 0, 0, 0]).await
}

#[tokio::test]
async fn two_hundred_clients_that_vanish_mid_stream_leave_nothing_behind() {
    const CLIENTS: usize = 200;
    let node = Node::builder().config(|config| config.limits.messages_per_second = None).stopped_clock().start().await;
    let hub = &node.metrics().hub;
    let baseline = (baseline(&node).await, hub.rooms.get());
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let mut client = node.client(&format!("user-{n}")).await;
        client.join("general").await;
        client.join(&format!("room-{}", n % 20)).await;
        clients.push(client);
    }
    for client in &mut clients {
        // Nobody reads: answers and messages are on their way when the connections end.
        for n in 0..5 {
            client.send(json!({ "type": "chat", "id": n, "room": "general", "msg": "x".repeat(1_000) })).await;
        }
        client.send(json!({ "type": "history", "room": "general" })).await;
    }
    drop(clients);
    eventually(Duration::from_secs(10), || left(&node), |now| *now == baseline.0).await;
    // Rooms are let go of some seconds after their last member.
    node.advance(Duration::from_secs(20)).await;
    assert_eq!((left(&node), hub.rooms.get(), hub.outbox_bytes.get()), (baseline.0, baseline.1, 0));
    let mut alice = node.client("alice").await;
    let roster = alice.ask_for("presence", json!({ "type": "presence", "room": "general" })).await;
    assert_eq!(roster.number("count"), 0);
    let stored = alice.join("general").await.offset();
    assert_eq!(alice.chat("general", "as ever").await.offset(), stored + 1);
}

#[tokio::test]
async fn half_made_connections_leave_nothing_behind() {
    let node = Node::builder().stopped_clock().start().await;
    let baseline = baseline(&node).await;
    for n in 0..50 {
        let mut stream = tokio::net::TcpStream::connect(node.address()).await.unwrap();
        let half: &[u8] = if n % 2 == 0 { b"GET /ws?user=a HTTP/1.1\r\nHost: x\r\n" } else { b"" };
        tokio::io::AsyncWriteExt::write_all(&mut stream, half).await.unwrap();
    }
    eventually(Duration::from_secs(10), || left(&node), |now| *now == baseline).await;
}

#[tokio::test]
async fn a_killed_instance_loses_nobody_a_line() {
    const SEEDS: u64 = 8;
    for seed in 0..SEEDS {
        let dice = SeededEntropy::new(seed);
        let mut fleet = Fleet::of(3).config(|config| config.limits.messages_per_second = None).start().await;
        let mut clients = Vec::new();
        for n in 0..9 {
            clients.push(Resumer::joined(&format!("client-{n}"), &["general"], fleet.balancer()).await);
        }
        let mut alive = vec![0, 1, 2];
        let mut published = 0;
        for round in 0..4 {
            for client in &clients {
                for n in 0..10 {
                    client.publish("general", n).await;
                    published += 1;
                }
            }
            let some = published / 2 + dice.bits() % 20;
            clients[0].has("general", some.min(published)).await;
            if round < 3 {
                let victim = alive.swap_remove(usize::try_from(dice.bits() % 3).unwrap());
                fleet.kill(victim).await;
                alive.push(fleet.add().await);
            }
        }
        for client in &clients {
            client.acked().await;
            client.has("general", published).await;
        }
        let report = check(&clients.iter().map(Resumer::record).collect::<Vec<_>>());
        assert_eq!((report.faults.iter().collect::<Vec<_>>(), report.gaps), (vec![], 0), "seed {seed}");
        assert_eq!((report.acked as u64, clients[0].offset("general")), (published, published), "seed {seed}");
    }
}
