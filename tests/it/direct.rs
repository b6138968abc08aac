//! Direct messages: one inbox per user, addressed by its owner as `@me`.

use parley_tests::node::Node;
use serde_json::json;

#[tokio::test]
async fn a_direct_message_reaches_the_receiver_and_the_senders_other_sessions() {
    let node = Node::start().await;
    let (mut alice, mut phone) = (node.client("alice").await, node.client("alice").await);
    let (mut bob, mut carol) = (node.client("bob").await, node.client("carol").await);
    let ack = alice.ask_for("ack", json!({ "type": "chat", "to": "bob", "msg": "Hi", "key": "k" })).await;
    assert_eq!((ack.room(), ack.offset()), ("@me", 1));
    for client in [&mut alice, &mut phone, &mut bob] {
        let direct = client.expect("direct").await;
        let expected = json!({ "type": "direct", "room": "@me", "offset": 1, "from": "alice", "to": "bob",
            "msg": "Hi", "key": "k", "at": ack["at"] });
        assert_eq!(direct.value(), &expected);
    }
    carol.expect_quiet().await;
}

#[tokio::test]
async fn offsets_belong_to_the_readers_own_inbox() {
    let node = Node::start().await;
    let (mut alice, mut bob, mut carol) =
        (node.client("alice").await, node.client("bob").await, node.client("carol").await);
    carol.ask_for("ack", json!({ "type": "chat", "to": "bob", "msg": 1 })).await;
    let ack = alice.ask_for("ack", json!({ "type": "chat", "to": "bob", "msg": 2 })).await;
    assert_eq!(ack.offset(), 1);
    assert_eq!(alice.expect("direct").await.offset(), 1);
    assert_eq!(bob.expect("direct").await.offset(), 1);
    assert_eq!(bob.expect("direct").await.offset(), 2);
}

#[tokio::test]
async fn an_inbox_keeps_what_comes_while_its_owner_is_away() {
    let node = Node::start().await;
    let mut bob = node.client("bob").await;
    let seen = bob.join("@me").await.position();
    bob.close().await;
    let mut alice = node.client("alice").await;
    for n in 1..=3 {
        alice.ask_for("ack", json!({ "type": "chat", "to": "bob", "msg": n })).await;
    }
    let mut bob = node.client("bob").await;
    let joined = bob.resume("@me", &seen).await;
    assert_eq!((joined.offsets(), joined.is("recovered")), (vec![1, 2, 3], true));
    assert!(joined.messages().iter().all(|message| message.kind() == "direct" && message["from"] == "alice"));
    alice.ask_for("ack", json!({ "type": "chat", "to": "bob", "msg": "live" })).await;
    assert_eq!(bob.expect("direct").await.offset(), 4);
    let history = bob.ask_for("history", json!({ "type": "history", "room": "@me", "limit": 2 })).await;
    assert_eq!((history.offsets(), history.is("more")), (vec![3, 4], true));
}

#[tokio::test]
async fn a_user_who_was_never_here_has_an_inbox() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.ask_for("ack", json!({ "type": "chat", "to": "newcomer", "msg": "welcome" })).await;
    let mut newcomer = node.client("newcomer").await;
    assert_eq!(newcomer.join_with_history("@me", 10).await.messages()[0]["msg"], "welcome");
}

#[tokio::test]
async fn one_key_for_two_receivers_is_two_messages_in_the_sender_s_inbox_too() {
    let node = Node::start().await;
    let (mut alice, mut other) = (node.client("alice").await, node.client("alice").await);
    for (number, to) in (1..).zip(["bob", "carol"]) {
        let ack = alice.ask_for("ack", json!({ "type": "chat", "to": to, "msg": to, "key": "1" })).await;
        assert_eq!(ack.offset(), number);
        assert_eq!(other.expect("direct").await["to"], to);
    }
}

#[tokio::test]
async fn a_repeat_with_the_same_key_is_one_message_in_both_inboxes() {
    let node = Node::start().await;
    let (mut alice, mut bob) = (node.client("alice").await, node.client("bob").await);
    let chat = json!({ "type": "chat", "to": "bob", "msg": "once", "key": "k" });
    let first = alice.ask_for("ack", chat.clone()).await;
    let again = alice.ask_for("ack", chat).await;
    assert_eq!(first.offset(), again.offset());
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.expect("direct").await["msg"], "once");
        client.expect_quiet().await;
    }
}

#[tokio::test]
async fn a_direct_message_without_a_key_gets_one_that_both_sides_see() {
    let node = Node::start().await;
    let (mut alice, mut bob) = (node.client("alice").await, node.client("bob").await);
    alice.ask_for("ack", json!({ "type": "chat", "to": "bob", "msg": 1 })).await;
    let (here, there) = (alice.expect("direct").await, bob.expect("direct").await);
    assert!(!here.text("key").is_empty());
    assert_eq!(here["key"], there["key"]);
}

#[tokio::test]
async fn a_message_to_oneself_comes_once() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    let ack = alice.ask_for("ack", json!({ "type": "chat", "to": "alice", "msg": "note" })).await;
    assert_eq!(ack.offset(), 1);
    assert_eq!(alice.expect("direct").await.offset(), 1);
    alice.expect_quiet().await;
}

#[tokio::test]
async fn direct_messages_of_one_sender_stay_in_order() {
    let node = Node::start().await;
    let (mut alice, mut bob) = (node.client("alice").await, node.client("bob").await);
    for n in 1..=40 {
        alice.send(json!({ "type": "chat", "to": "bob", "msg": n })).await;
    }
    for n in 1..=40 {
        let direct = bob.expect("direct").await;
        assert_eq!((direct.offset(), &direct["msg"]), (n, &json!(n)), "{}", bob.story());
    }
}

#[tokio::test]
async fn nobody_else_can_join_or_name_an_inbox() {
    let node = Node::start().await;
    let mut mallory = node.client("mallory").await;
    for name in ["@bob", "@me/bob", "@"] {
        mallory.ask_error("bad_name", json!({ "type": "join", "room": name })).await;
    }
    mallory.ask_error("bad_name", json!({ "type": "chat", "to": "@bob", "msg": 1 })).await;
    mallory.ask_error("bad_field", json!({ "type": "presence", "room": "@me" })).await;
    let both = json!({ "type": "chat", "room": "general", "to": "bob", "msg": 1 });
    mallory.ask_error("bad_field", both).await;
}
