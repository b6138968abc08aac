//! Signals: told to whoever is there, never logged, never to the session that sent them.

use parley_tests::node::Node;
use serde_json::json;

#[tokio::test]
async fn a_signal_reaches_the_others_and_leaves_no_trace() {
    let node = Node::start().await;
    let (mut alice, mut phone, mut bob) =
        (node.client("alice").await, node.client("alice").await, node.client("bob").await);
    for client in [&mut alice, &mut phone, &mut bob] {
        client.join("general").await;
    }
    alice.send(json!({ "type": "signal", "room": "general", "data": { "typing": true } })).await;
    let expected = json!({ "type": "signal", "room": "general", "from": "alice", "data": { "typing": true } });
    for client in [&mut phone, &mut bob] {
        assert_eq!(client.expect("signal").await.value(), &expected);
    }
    alice.expect_quiet().await;
    let mut late = node.client("late").await;
    let joined = late.join_with_history("general", 10).await;
    assert_eq!((joined.offset(), joined.messages().len()), (0, 0));
    late.expect_quiet().await;
}

#[tokio::test]
async fn a_signal_to_a_user_reaches_all_sessions_of_that_user() {
    let node = Node::start().await;
    let (mut alice, mut bob, mut phone) =
        (node.client("alice").await, node.client("bob").await, node.client("bob").await);
    alice.ask_for("ok", json!({ "type": "signal", "to": "bob", "data": "psst" })).await;
    let expected = json!({ "type": "signal", "room": "@me", "from": "alice", "data": "psst" });
    for client in [&mut bob, &mut phone] {
        assert_eq!(client.expect("signal").await.value(), &expected);
    }
    alice.expect_quiet().await;
}

#[tokio::test]
async fn a_signal_needs_a_join() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.ask_error("not_joined", json!({ "type": "signal", "room": "general", "data": 1 })).await;
    alice.ask_error("bad_field", json!({ "type": "signal", "room": "general" })).await;
    alice.ask_error("room_required", json!({ "type": "signal", "data": 1 })).await;
}

#[tokio::test]
async fn signals_and_messages_have_rates_of_their_own() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.join("general").await;
    let typing = json!({ "type": "signal", "room": "general", "data": 1 });
    let mut refused = None;
    for _ in 0..100 {
        let reply = alice.ask(typing.clone()).await;
        if reply.kind() == "error" {
            refused = Some(reply);
            break;
        }
    }
    assert_eq!(refused.expect("typing has a limit").text("code"), "rate_limited");
    alice.chat("general", "still heard").await;
}
