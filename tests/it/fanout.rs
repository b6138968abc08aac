//! Messages to the members of a room: echo, keys, one order for all, and few writes for many messages.

use std::time::Duration;

use parley_tests::client::Client;
use parley_tests::eventually::eventually;
use parley_tests::frame::Frame;
use parley_tests::node::Node;
use serde_json::json;

async fn members(node: &Node, names: &[&str]) -> Vec<Client> {
    let mut clients = Vec::new();
    for name in names {
        let mut client = node.client(name).await;
        client.join("general").await;
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn the_sender_gets_its_own_message_with_its_key() {
    let node = Node::start().await;
    let [mut alice, mut bob] = <[_; 2]>::try_from(members(&node, &["alice", "bob"]).await).ok().unwrap();
    let ack =
        alice.ask_for("ack", json!({ "type": "chat", "room": "general", "msg": { "a": 1.50 }, "key": "k-1" })).await;
    assert_eq!(ack.offset(), 1);
    for client in [&mut alice, &mut bob] {
        let message = client.expect("message").await;
        let expected = json!({ "type": "message", "room": "general", "offset": 1, "from": "alice",
            "msg": { "a": 1.5 }, "key": "k-1", "at": ack["at"] });
        assert_eq!(message.value(), &expected);
    }
}

#[tokio::test]
async fn a_repeat_with_the_same_key_is_one_message_and_the_first_ack() {
    let node = Node::start().await;
    let [mut alice, mut bob] = <[_; 2]>::try_from(members(&node, &["alice", "bob"]).await).ok().unwrap();
    let chat = json!({ "type": "chat", "room": "general", "msg": "once", "key": "k" });
    let first = alice.ask_for("ack", chat.clone()).await;
    alice.chat("general", "between").await;
    let again = alice.ask_for("ack", chat.clone()).await;
    let said = |ack: &Frame| (ack.offset(), ack["at"].clone(), ack.epoch().to_owned());
    assert_eq!(said(&first), said(&again));
    // A key belongs to the room, whoever repeats it: another connection of the same user must be able to.
    let mut other = node.client("alice").await;
    other.join("general").await;
    assert_eq!(said(&other.ask_for("ack", chat).await), said(&first));
    bob.expect_message("general", 1, "once").await;
    bob.expect_message("general", 2, "between").await;
    bob.expect_quiet().await;
}

#[tokio::test]
async fn all_members_see_two_publishers_in_one_order() {
    const EACH: u64 = 200;
    let node = Node::builder().config(|config| config.limits.messages_per_second = None).start().await;
    let mut clients = members(&node, &["alice", "bob", "carol", "dave"]).await;
    for n in 0..EACH {
        for publisher in [0, 1] {
            clients[publisher].send(json!({ "type": "chat", "room": "general", "msg": [publisher, n] })).await;
        }
    }
    let mut seen: Vec<Vec<Frame>> = Vec::new();
    for client in &mut clients {
        let mut messages = Vec::new();
        for offset in 1..=2 * EACH {
            let message = client.expect("message").await;
            assert_eq!(message.offset(), offset, "{}", client.story());
            messages.push(message);
        }
        client.expect_quiet().await;
        seen.push(messages);
    }
    for other in &seen[1..] {
        assert_eq!(other, &seen[0]);
    }
    for publisher in [0, 1] {
        let own: Vec<_> = seen[0].iter().filter(|m| m["msg"][0] == publisher).map(|m| m["msg"][1].as_u64()).collect();
        assert_eq!(own, (0..EACH).map(Some).collect::<Vec<_>>(), "one session's messages stay in its order");
    }
}

#[tokio::test]
async fn a_message_without_a_room_goes_to_the_only_one() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    let nowhere = json!({ "type": "chat", "msg": "hi" });
    alice.ask_error("room_required", nowhere.clone()).await;
    alice.join("one").await;
    assert_eq!(alice.ask_for("ack", nowhere.clone()).await.room(), "one");
    alice.expect_message("one", 1, "hi").await;
    alice.join("two").await;
    alice.ask_error("room_required", nowhere).await;
}

#[tokio::test]
async fn a_publish_without_an_id_is_silent_and_its_errors_are_not() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.join("general").await;
    alice.send(json!({ "type": "chat", "msg": "hi" })).await;
    alice.expect_message("general", 1, "hi").await;
    alice.send(json!({ "type": "chat", "room": "other", "msg": "hi" })).await;
    assert!(alice.expect_error("not_joined").await["id"].is_null());
    alice.expect_quiet().await;
}

#[tokio::test]
async fn a_publish_right_behind_its_join_is_stored() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.send(json!({ "type": "join", "room": "general" })).await;
    alice.send(json!({ "type": "chat", "id": 9, "room": "general", "msg": "hi" })).await;
    alice.expect_joined("general").await;
    let kinds = [alice.next_frame().await, alice.next_frame().await].map(|frame| frame.kind().to_owned());
    assert!(kinds.contains(&"ack".to_owned()) && kinds.contains(&"message".to_owned()), "{}", alice.story());
}

#[tokio::test]
async fn a_message_is_forwarded_byte_for_byte() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.join("general").await;
    let msg = r#"{ "b":1.0, "a":[ 1e2,"\u00fc\/" ],"a":null }"#;
    alice.send_text(&format!(r#"{{"type":"chat","room":"general","msg":{msg}}}"#)).await;
    let received = alice.next_text("message").await;
    assert!(received.contains(&format!(r#""msg":{msg},"#)), "{received}");
}

/// What the members of a room cost in writes: everything that is queued leaves in one.
#[tokio::test]
async fn what_is_queued_for_a_session_leaves_in_one_write() {
    const BURST: u64 = 32;
    const READERS: u64 = 10;
    let node = Node::builder().config(|config| config.limits.messages_per_second = None).start().await;
    let mut writer = node.client("writer").await;
    writer.join("general").await;
    let mut readers = Vec::new();
    for n in 0..READERS {
        let mut reader = node.client(&format!("reader-{n}")).await;
        reader.join("general").await;
        readers.push(reader);
    }
    let edge = &node.metrics().edge;
    let before = eventually(
        Duration::from_secs(5),
        {
            let mut last = 0;
            move || {
                let now = edge.socket_writes.get();
                (std::mem::replace(&mut last, now), now)
            }
        },
        |(last, now)| last == now,
    );
    let (before, _) = before.await;
    let delivered = edge.delivered.get();
    // One segment, so that the instance reads all of them at once.
    let frames: Vec<u8> = (0..BURST).flat_map(|n| text_frame(&format!(r#"{{"type":"chat","msg":{n}}}"#))).collect();
    tokio::io::AsyncWriteExt::write_all(writer.stream(), &frames).await.unwrap();
    for reader in &mut readers {
        for offset in 1..=BURST {
            reader.expect_message("general", offset, offset - 1).await;
        }
    }
    let delivered = edge.delivered.get() - delivered;
    let writes = edge.socket_writes.get() - before;
    assert!(delivered >= READERS * BURST, "{delivered}");
    // One session publishes one message at a time, so the burst may come in some pieces, but never one by one.
    assert!(writes * 4 <= delivered, "{writes} writes for {delivered} deliveries");
}

/// A masked text frame with the mask 0, as RFC 6455 section 5.2 has it.
fn text_frame(text: &str) -> Vec<u8> {
    assert!(text.len() < 126);
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}
