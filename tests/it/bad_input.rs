//! What is not the protocol: each fault has a typed answer, too many of them end the session, and nobody else notices.

use parley_tests::client::Client;
use parley_tests::node::Node;
use serde_json::{Value, json};

/// A frame, and the code and the word that its answer must have.
type Row = (&'static str, String, &'static str, &'static str);

fn rows() -> Vec<Row> {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let deep_object =
        format!(r#"{{"type":"chat","room":"general","msg":{}1{}}}"#, r#"{"a":"#.repeat(70), "}".repeat(70));
    let mut rows: Vec<Row> = vec![
        ("nothing", String::new(), "malformed", ""),
        ("not JSON", "hello?".into(), "malformed", ""),
        ("half a frame", r#"{"type":"ping""#.into(), "malformed", ""),
        ("two frames in one", r#"{"type":"ping"}{"type":"ping"}"#.into(), "malformed", ""),
        ("not an object", r#"["ping"]"#.into(), "malformed", "object"),
        ("a string", r#""ping""#.into(), "malformed", "object"),
        ("null", "null".into(), "malformed", "object"),
        ("a comment", r#"{"type":"ping"/**/}"#.into(), "malformed", ""),
        ("NaN", r#"{"type":"chat","room":"general","msg":NaN}"#.into(), "malformed", ""),
        (
            "a bare control character",
            "{\"type\":\"chat\",\"room\":\"general\",\"msg\":\"a\u{1}b\"}".into(),
            "malformed",
            "",
        ),
        ("a lone surrogate", r#"{"type":"chat","room":"general","msg":"\ud800"}"#.into(), "malformed", "surrogate"),
        ("a lone low one", r#"{"type":"chat","room":"general","msg":["\udc00x"]}"#.into(), "malformed", "surrogate"),
        ("one in a key", r#"{"type":"chat","room":"general","msg":{"\ud800":1}}"#.into(), "malformed", "surrogate"),
        ("one in a name", r#"{"type":"join","room":"\ud83d"}"#.into(), "malformed", "surrogate"),
        ("too deep", format!(r#"{{"type":"chat","room":"general","msg":{}}}"#, nested(64)), "malformed", "deep"),
        (
            "a depth bomb",
            format!(r#"{{"type":"chat","room":"general","msg":{}}}"#, nested(30_000)),
            "malformed",
            "deep",
        ),
        ("a bomb without an end", "[".repeat(60_000), "malformed", ""),
        ("too deep in objects", deep_object, "malformed", "deep"),
        ("no type", "{}".into(), "bad_field", "type"),
        ("a number as type", r#"{"type":1}"#.into(), "bad_field", "type"),
        ("null as type", r#"{"type":null}"#.into(), "bad_field", "type"),
        ("an unknown type", r#"{"type":"shout"}"#.into(), "unknown_type", "type"),
        ("a server's type", r#"{"type":"welcome"}"#.into(), "unknown_type", ""),
        ("an odd type", r#"{"type":"CHAT"}"#.into(), "unknown_type", ""),
        ("join without room", r#"{"type":"join"}"#.into(), "bad_field", "room"),
        ("a number as room", r#"{"type":"join","room":7}"#.into(), "bad_field", "room"),
        ("an array as room", r#"{"type":"join","room":["general"]}"#.into(), "bad_field", "room"),
        ("an empty name", r#"{"type":"join","room":""}"#.into(), "bad_name", "room"),
        ("NUL in a name", r#"{"type":"join","room":"a\u0000b"}"#.into(), "bad_name", "control"),
        ("a line feed in a name", r#"{"type":"join","room":"a\nb"}"#.into(), "bad_name", "control"),
        ("a C1 control in a name", r#"{"type":"join","room":"a\u0085b"}"#.into(), "bad_name", "control"),
        ("a long name", format!(r#"{{"type":"join","room":"{}"}}"#, "x".repeat(129)), "bad_name", "128"),
        ("a reserved name", r#"{"type":"join","room":"@bob"}"#.into(), "bad_name", "reserved"),
        ("a reserved user", r#"{"type":"chat","to":"@me","msg":1}"#.into(), "bad_name", "to"),
        ("negative history", r#"{"type":"join","room":"x","history":-1}"#.into(), "bad_field", "history"),
        ("history in words", r#"{"type":"join","room":"x","history":"all"}"#.into(), "bad_field", "history"),
        ("a fraction", r#"{"type":"join","room":"x","history":1.5}"#.into(), "bad_field", "history"),
        ("since as number", r#"{"type":"join","room":"x","since":5}"#.into(), "bad_field", "since"),
        ("since without epoch", r#"{"type":"join","room":"x","since":{"offset":5}}"#.into(), "bad_field", "since"),
        ("since without offset", r#"{"type":"join","room":"x","since":{"epoch":"a"}}"#.into(), "bad_field", "since"),
        (
            "a negative offset",
            r#"{"type":"join","room":"x","since":{"epoch":"a","offset":-1}}"#.into(),
            "bad_field",
            "since",
        ),
        (
            "an offset beyond 64 bits",
            r#"{"type":"join","room":"x","since":{"epoch":"a","offset":99999999999999999999}}"#.into(),
            "bad_field",
            "since",
        ),
        ("chat without msg", r#"{"type":"chat","room":"general"}"#.into(), "bad_field", "msg"),
        ("an empty key", r#"{"type":"chat","room":"general","msg":1,"key":""}"#.into(), "bad_name", "key"),
        ("a number as key", r#"{"type":"chat","room":"general","msg":1,"key":1}"#.into(), "bad_field", "key"),
        ("room and to", r#"{"type":"chat","room":"general","to":"bob","msg":1}"#.into(), "bad_field", "both"),
        ("before and after", r#"{"type":"history","room":"general","before":1,"after":1}"#.into(), "bad_field", "both"),
        ("a negative before", r#"{"type":"history","room":"general","before":-1}"#.into(), "bad_field", "before"),
        ("auth without token", r#"{"type":"auth"}"#.into(), "bad_field", "token"),
        ("not joined", r#"{"type":"chat","room":"elsewhere","msg":1}"#.into(), "not_joined", ""),
        ("leaving what was not joined", r#"{"type":"leave","room":"elsewhere"}"#.into(), "not_joined", ""),
        ("an object as id", r#"{"type":"ping","id":{}}"#.into(), "bad_field", "id"),
        ("a long id", format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(65)), "bad_field", "id"),
    ];
    let key = "k".repeat(65);
    rows.push((
        "a long key",
        format!(r#"{{"type":"chat","room":"general","msg":1,"key":"{key}"}}"#),
        "bad_name",
        "key",
    ));
    let large = "x".repeat(32 * 1024);
    let large = format!(r#"{{"type":"chat","room":"general","msg":"{large}"}}"#);
    rows.push(("a large message", large, "message_too_large", "32768"));
    rows
}

async fn member(node: &Node, name: &str) -> Client {
    let mut client = node.client(name).await;
    client.join("general").await;
    client
}

#[tokio::test]
async fn every_fault_is_told_and_leaves_the_others_untouched() {
    let node = Node::start().await;
    let (mut writer, mut reader) = (member(&node, "writer").await, member(&node, "reader").await);
    let mut mallory = member(&node, "mallory").await;
    for (number, (what, frame, code, word)) in rows().into_iter().enumerate() {
        // A fresh session now and then: too many faults end it.
        if number % 15 == 14 {
            mallory = member(&node, "mallory").await;
        }
        mallory.send_text(&frame).await;
        let error = mallory.next_frame().await;
        assert_eq!((error.kind(), error["code"].as_str()), ("error", Some(code)), "{what}\n{}", mallory.story());
        let message = error.text("message").to_owned();
        assert!(message.contains(word) && !message.is_empty(), "{what}: {message} does not name {word:?}");
        mallory.expect_quiet().await;
        if number % 10 == 0 {
            let offset = writer.chat("general", number).await.offset();
            for client in [&mut writer, &mut reader, &mut mallory] {
                client.expect_message("general", offset, number).await;
            }
        }
    }
    writer.expect_quiet().await;
    reader.expect_quiet().await;
    let history = reader.ask_for("history", json!({ "type": "history", "room": "general" })).await;
    let untouched = history.messages().iter().all(|message| message["from"] == "writer");
    assert!(untouched, "something of the faulty frames was stored: {history}");
}

#[tokio::test]
async fn who_goes_on_with_garbage_is_told_and_then_closed() {
    let node = Node::start().await;
    let mut reader = member(&node, "reader").await;
    let mut mallory = member(&node, "mallory").await;
    for _ in 0..40 {
        mallory.send_text("\u{fffd} garbage").await;
    }
    let told = mallory.expect_close(4500).await;
    assert!((10..40).contains(&told.len()), "told {} times", told.len());
    assert!(told.iter().all(|frame| frame["code"] == "malformed"), "{}", mallory.story());
    reader.expect_quiet().await;
}

#[tokio::test]
async fn what_is_unknown_beside_the_known_is_ignored() {
    let node = Node::start().await;
    let mut alice = member(&node, "alice").await;
    let frame = json!({ "type": "chat", "room": "general", "msg": 1, "mood": { "deep": [1, 2, 3] }, "since": null });
    alice.ask_for("ack", frame).await;
}

#[tokio::test]
async fn what_is_unusual_but_right_is_taken() {
    let node = Node::start().await;
    let mut alice = member(&node, "alice").await;
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    for msg in ["null", "\"\"", "[]", "\"\\ud83d\\ude00\"", "\"\\u0000\"", "1e400", &nested(63)] {
        alice.send_text(&format!(" {{ \"room\" : \"general\" , \"msg\":{msg},\"type\":\"ch\\u0061t\" }}\n")).await;
        let message = alice.next_text("message").await;
        assert!(message.contains(&format!("\"msg\":{msg},")), "{message}");
    }
}

#[tokio::test]
async fn faults_before_sign_in_are_told_too() {
    let node = Node::start().await;
    let mut nobody = node.connect().open().await;
    nobody.send_text("what is this?").await;
    assert_eq!(nobody.expect_error("malformed").await["id"], Value::Null);
    nobody.ask_error("unauthenticated", json!({ "type": "join", "room": "general" })).await;
}
