//! Who is where. Time is moved by hand (`stopped_clock`): with tokio's own paused clock, which jumps ahead whenever the
//! instance waits for a socket, heartbeats would end every session.

use std::time::Duration;

use parley_tests::client::Client;
use parley_tests::fleet::Fleet;
use parley_tests::frame::Frame;
use parley_tests::node::Node;
use serde_json::json;

/// A client that sees presence hints.
async fn watcher(node: &Node) -> Client {
    let mut watcher = node.connect().user("watcher").open().await.welcomed().await;
    watcher.join("general").await;
    event(&mut watcher, "join", "watcher").await;
    watcher
}

async fn event(client: &mut Client, event: &str, user: &str) {
    let seen = client.expect("presence").await;
    let expected = json!({ "type": "presence", "room": "general", "event": event, "user": user });
    assert_eq!(seen.value(), &expected, "{}", client.story());
}

async fn roster(client: &mut Client) -> Frame {
    client.ask_for("presence", json!({ "type": "presence", "room": "general" })).await
}

#[tokio::test]
async fn a_user_comes_and_goes_once_however_many_sessions() {
    let node = Node::builder().stopped_clock().start().await;
    let mut watcher = watcher(&node).await;
    let (mut bob, mut phone) = (node.client("bob").await, node.client("bob").await);
    bob.join("general").await;
    event(&mut watcher, "join", "bob").await;
    phone.join("general").await;
    let reply = roster(&mut watcher).await;
    assert_eq!((&reply["users"], reply.number("count")), (&json!(["bob", "watcher"]), 2));
    bob.ask_for("left", json!({ "type": "leave", "room": "general" })).await;
    assert_eq!(roster(&mut watcher).await.number("count"), 2, "the other session is still there");
    watcher.expect_quiet().await;
    phone.ask_for("left", json!({ "type": "leave", "room": "general" })).await;
    event(&mut watcher, "leave", "bob").await;
    assert_eq!(roster(&mut watcher).await["users"], json!(["watcher"]));
    watcher.expect_quiet().await;
}

#[tokio::test]
async fn a_cut_connection_is_a_leave_only_after_five_seconds() {
    let node = Node::builder().stopped_clock().start().await;
    let mut watcher = watcher(&node).await;
    let mut bob = node.client("bob").await;
    bob.join("general").await;
    event(&mut watcher, "join", "bob").await;
    drop(bob);
    gone(&node, 1).await;
    node.advance(Duration::from_millis(4_500)).await;
    assert_eq!(roster(&mut watcher).await.number("count"), 2);
    watcher.expect_quiet().await;
    node.advance(Duration::from_secs(1)).await;
    event(&mut watcher, "leave", "bob").await;
    assert_eq!(roster(&mut watcher).await.number("count"), 1);
}

#[tokio::test]
async fn a_resume_within_five_seconds_is_no_leave() {
    let node = Node::builder().stopped_clock().start().await;
    let mut watcher = watcher(&node).await;
    let mut bob = node.client("bob").await;
    bob.join("general").await;
    event(&mut watcher, "join", "bob").await;
    drop(bob);
    gone(&node, 1).await;
    node.advance(Duration::from_secs(3)).await;
    let mut bob = node.client("bob").await;
    bob.join("general").await;
    node.advance(Duration::from_secs(10)).await;
    assert_eq!(roster(&mut watcher).await.number("count"), 2);
    watcher.expect_quiet().await;
}

#[tokio::test]
async fn moving_to_another_instance_is_neither_leave_nor_join() {
    let fleet = Fleet::of(2).stopped_clock().start().await;
    let mut watcher = watcher(&fleet[0]).await;
    let mut bob = fleet[0].client("bob").await;
    bob.join("general").await;
    event(&mut watcher, "join", "bob").await;
    let mut moved = fleet[1].client("bob").await;
    moved.join("general").await;
    assert_eq!(roster(&mut moved).await.number("count"), 2);
    drop(bob);
    gone(&fleet[0], 1).await;
    for node in fleet.nodes() {
        node.advance(Duration::from_secs(6)).await;
    }
    assert_eq!(roster(&mut watcher).await.number("count"), 2);
    watcher.expect_quiet().await;
}

#[tokio::test]
async fn what_a_crashed_instance_held_is_gone_within_fifteen_seconds() {
    let mut fleet = Fleet::of(2).stopped_clock().start().await;
    let mut watcher = watcher(&fleet[0]).await;
    let mut bob = fleet[1].client("bob").await;
    bob.join("general").await;
    event(&mut watcher, "join", "bob").await;
    fleet.kill(1).await;
    fleet[0].advance(Duration::from_secs(15)).await;
    event(&mut watcher, "leave", "bob").await;
    assert_eq!(roster(&mut watcher).await["users"], json!(["watcher"]));
}

#[tokio::test]
async fn a_half_open_connection_is_closed_after_forty_seconds_and_leaves() {
    let node = Node::builder().stopped_clock().start().await;
    let mut bob = node.client("bob").await;
    bob.join("general").await;
    let mut watcher = watcher(&node).await;
    // Bob's side reads nothing, so it answers no ping; the watcher does.
    for _ in 0..10 {
        node.advance(Duration::from_secs(4)).await;
        watcher.expect_quiet().await;
    }
    node.advance(Duration::from_secs(5)).await;
    event(&mut watcher, "leave", "bob").await;
    assert_eq!(roster(&mut watcher).await["users"], json!(["watcher"]));
    bob.expect_close(4002).await;
}

#[tokio::test]
async fn the_rooms_a_user_may_join_are_listed_with_their_tops() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    for (room, messages) in [("b", 2), ("a", 1)] {
        alice.join(room).await;
        for n in 0..messages {
            alice.chat(room, n).await;
        }
    }
    let rooms = alice.ask_for("rooms", json!({ "type": "rooms" })).await;
    assert_eq!(rooms["rooms"], json!([{ "room": "a", "offset": 1 }, { "room": "b", "offset": 2 }]));
    assert_eq!(rooms["more"], false);
}

/// Waits until so many sessions are left.
async fn gone(node: &Node, left: usize) {
    let sessions = || node.services().hub.registry().len();
    parley_tests::eventually::eventually(Duration::from_secs(5), sessions, |now| *now == left).await;
}
