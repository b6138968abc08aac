//! What a session may do at most, and what happens above it. What is not the protocol at all is in `bad_input.rs`.

use std::time::Duration;

use parley_service::metrics::count;
use parley_tests::client::Event;
use parley_tests::eventually::eventually;
use parley_tests::node::Node;
use serde_json::{Value, json};
use tungstenite::Message;

#[tokio::test]
async fn who_sends_too_fast_is_told_when_to_go_on_and_nothing_is_stored() {
    // No token comes back meanwhile, however long the sending takes.
    let node = Node::builder().stopped_clock().start().await;
    let mut alice = node.client("alice").await;
    alice.join("general").await;
    for n in 1..=60 {
        alice.send(json!({ "type": "chat", "id": n, "room": "general", "msg": n })).await;
    }
    let (mut acked, mut refused, mut received) = (0, 0, 0);
    while acked + refused < 60 || received < acked {
        let frame = alice.next_frame().await;
        match frame.kind() {
            "ack" => acked += 1,
            "message" => received += 1,
            _ => {
                assert_eq!(frame.text("code"), "rate_limited");
                // One token each 50 ms.
                assert_eq!(frame.number("retry_after_ms"), 50, "{frame}");
                refused += 1;
            }
        }
    }
    assert_eq!((acked, refused), (50, 10));
    node.advance(Duration::from_millis(50)).await;
    alice.chat("general", "in time").await;
    acked += 1;
    alice.ask_error("rate_limited", json!({ "type": "chat", "room": "general", "msg": "too soon" })).await;
    refused += 1;
    assert_eq!(node.client("bob").await.join("general").await.offset(), acked);
    assert_eq!(count(&node.metrics().edge.errors, "code", "rate_limited"), refused);
}

#[tokio::test]
async fn who_goes_on_after_being_refused_is_closed() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.join("general").await;
    for n in 0..2_000 {
        alice.send(json!({ "type": "chat", "room": "general", "msg": n })).await;
    }
    let before = alice.expect_close(4504).await;
    let told = before.iter().filter(|frame| frame.kind() == "error").count();
    assert!((100..=400).contains(&told), "told {told} times before the end");
    drop(alice);
    let closed = || count(&node.metrics().edge.closed, "reason", "flooding");
    eventually(Duration::from_secs(5), closed, |closed| *closed == 1).await;
}

#[tokio::test]
async fn two_hundred_rooms_are_resumed_at_once() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    for round in 0..2 {
        for n in 0..200 {
            alice.send(json!({ "type": "join", "id": format!("{round}-{n}"), "room": format!("room-{n}") })).await;
        }
        for _ in 0..200 {
            alice.expect("joined").await;
        }
    }
}

#[tokio::test]
async fn a_message_above_its_limit_is_refused_and_one_at_it_is_not() {
    let node = Node::builder().config(|config| config.limits.message_bytes = 1_000).start().await;
    let mut alice = node.client("alice").await;
    alice.join("general").await;
    let chat = |bytes: usize| json!({ "type": "chat", "room": "general", "msg": "x".repeat(bytes - 2) });
    alice.ask_for("ack", chat(1_000)).await;
    let error = alice.ask_error("message_too_large", chat(1_001)).await;
    assert!(error.text("message").contains("1000"), "{error}");
    let signal = json!({ "type": "signal", "room": "general", "data": "x".repeat(999) });
    alice.ask_error("message_too_large", signal).await;
    assert_eq!(alice.join("general").await.offset(), 1);
}

#[tokio::test]
async fn a_frame_above_64_kib_closes_1009_and_one_at_it_is_read() {
    const LIMIT: usize = 64 * 1024;
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    let padded = |size: usize| {
        let bare = r#"{"type":"ping","id":1,"pad":""}"#;
        bare.replace(r#""pad":"""#, &format!(r#""pad":"{}""#, "x".repeat(size - bare.len())))
    };
    alice.send_text(&padded(LIMIT)).await;
    alice.expect("pong").await;
    alice.send_text(&padded(LIMIT + 1)).await;
    assert_eq!(alice.expect_close(1009).await, []);
}

#[tokio::test]
async fn a_frame_in_pieces_is_bounded_like_a_whole_one() {
    use tungstenite::protocol::frame::Frame;
    use tungstenite::protocol::frame::coding::{Data, OpCode};
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    let piece = |first: bool| {
        let opcode = OpCode::Data(if first { Data::Text } else { Data::Continue });
        Message::Frame(Frame::message(vec![b' '; 1_000], opcode, false))
    };
    for n in 0..70 {
        alice.send_raw(piece(n == 0)).await;
    }
    assert_eq!(alice.expect_close(1009).await, []);
}

#[tokio::test]
async fn a_binary_frame_closes_1003() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.send_raw(Message::binary(&b"{\"type\":\"ping\"}"[..])).await;
    assert_eq!(alice.expect_close(1003).await, []);
}

#[tokio::test]
async fn bytes_that_break_rfc_6455_close_1002_and_text_that_is_not_utf_8_closes_1007() {
    let node = Node::start().await;
    for (bytes, code) in [
        // A reserved bit, an unknown opcode, an unmasked frame, a ping in pieces, a continuation of nothing.
        (&[0xc1, 0x80, 0, 0, 0, 0][..], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        (&[0x81, 0x02, b'{', b'}'], 1002),
        (&[0x09, 0x80, 0, 0, 0, 0], 1002),
        (&[0x80, 0x80, 0, 0, 0, 0], 1002),
        (&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
    ] {
        let mut alice = node.client("alice").await;
        tokio::io::AsyncWriteExt::write_all(alice.stream(), bytes).await.unwrap();
        assert_eq!(alice.expect_close(code).await, [], "{bytes:x?}");
    }
}

#[tokio::test]
async fn a_polite_close_is_answered() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.send_raw(Message::Close(None)).await;
    assert!(matches!(alice.next().await, Event::Closed(..)), "{}", alice.story());
}

#[tokio::test]
async fn a_websocket_ping_is_answered_with_its_payload() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    alice.send_raw(Message::Ping(tungstenite::Bytes::from_static(b"still there?"))).await;
    assert_eq!(alice.next_pong().await, b"still there?");
}

#[tokio::test]
async fn an_id_comes_back_as_it_was_written() {
    let node = Node::start().await;
    let mut alice = node.client("alice").await;
    for id in ["1", "-7", "1.50e3", "12345678901234567890123", r#""a\u00e9""#, r#""""#] {
        alice.send_text(&format!(r#"{{"type":"ping","id":{id}}}"#)).await;
        assert_eq!(alice.next_text("pong").await, format!(r#"{{"type":"pong","id":{id}}}"#));
    }
    let long: Value = json!("x".repeat(65));
    for bad in [json!(true), json!([1]), json!({}), long] {
        alice.send(json!({ "type": "ping", "id": bad })).await;
        assert!(alice.expect_error("bad_field").await["id"].is_null(), "{bad}");
    }
}
