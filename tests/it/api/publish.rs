//! Publishing, directly and in rooms, and what faults of the backplane look like from a back end.

use serde_json::{Value, json};

use super::rig;

const ROOM: &str = "/api/v1/rooms/general/messages";

#[tokio::test]
async fn a_published_message_reaches_members_on_every_instance_byte_for_byte() {
    let instances = rig::fleet(2, |_| {}).await;
    let mut members = Vec::new();
    for instance in &instances {
        let mut member = instance.connect("bob", &["general"]).await;
        member.frame("joined").await;
        members.push(member);
    }
    let msg = "{ \"b\" :1.0,\t\"a\":[ 1e2,\"\\u00e9\\/\" ,null]}";
    let body = format!(r#"{{"key":"k-1","msg": {msg} ,"from":"back\u0065nd"}}"#);
    let answer = instances[0].call("POST", ROOM, &body).await.json(200);
    assert_eq!((&answer["room"], &answer["offset"]), (&json!("general"), &json!(1)));
    let at = answer["at"].as_u64().unwrap();
    let frame = format!(
        r#"{{"type":"message","room":"general","offset":1,"from":"backend","msg":{msg},"key":"k-1","at":{at}}}"#
    );
    for member in &mut members {
        assert_eq!(member.raw("message").await, frame);
    }
    let read = instances[1].get(ROOM).await;
    assert!(read.body.contains(&format!("\"messages\":[{frame}]")), "{}", read.body);
    assert_eq!(read.json(200)["epoch"], answer["epoch"]);
}

#[tokio::test]
async fn null_is_a_message_and_no_key_is_made_for_a_room() {
    let instance = rig::start().await;
    instance.call("POST", ROOM, r#"{"from":"a","msg":null,"key":null}"#).await.json(200);
    let read = instance.get(ROOM).await.json(200);
    assert_eq!(read["messages"][0]["msg"], Value::Null);
    assert!(read["messages"][0].get("key").is_none());
}

#[tokio::test]
async fn a_repeat_with_the_same_key_stores_one_message_and_gets_the_first_answer() {
    let instances = rig::fleet(2, |_| {}).await;
    let first = instances[0].call("POST", ROOM, r#"{"from":"a","msg":1,"key":"k"}"#).await.json(200);
    let again = instances[1].call("POST", ROOM, r#"{"from":"a","msg":2,"key":"k"}"#).await.json(200);
    assert_eq!(first, again);
    assert_eq!(instances[0].get(ROOM).await.json(200)["top"], 1);
    let other = instances[0].call("POST", ROOM, r#"{"from":"b","msg":3,"key":"k"}"#).await.json(200);
    assert_eq!(other["offset"], 2, "another user's key is another key");
}

#[tokio::test]
async fn a_direct_message_is_in_both_inboxes_under_one_key() {
    let instance = rig::start().await;
    let (mut alice, mut bob) = (instance.connect("alice", &[]).await, instance.connect("bob", &[]).await);
    alice.frame("joined").await;
    bob.frame("joined").await;
    let answer = instance.call("POST", "/api/v1/users/bob/messages", r#"{"from":"alice","msg":"Hi"}"#).await.json(200);
    let key = answer["key"].as_str().expect("a key was made");
    assert_eq!(key.len(), 32);
    assert_eq!((&answer["from"], &answer["to"], &answer["offset"]), (&json!("alice"), &json!("bob"), &json!(1)));
    let expected = json!({
        "type": "direct", "room": "@me", "offset": 1, "from": "alice", "to": "bob", "msg": "Hi", "key": key,
        "at": answer["at"],
    });
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.frame("direct").await, expected);
    }
    for user in ["alice", "bob"] {
        let inbox = instance.get(&format!("/api/v1/users/{user}/messages")).await.json(200);
        assert_eq!((&inbox["user"], &inbox["messages"]), (&json!(user), &json!([expected])));
    }
}

#[tokio::test]
async fn a_direct_message_to_oneself_is_stored_once() {
    let instance = rig::start().await;
    instance.call("POST", "/api/v1/users/a/messages", r#"{"from":"a","msg":1,"key":"k"}"#).await.json(200);
    assert_eq!(instance.get("/api/v1/users/a/messages").await.json(200)["top"], 1);
}

#[tokio::test]
async fn what_is_certainly_not_stored_is_503_with_retry_after() {
    let instance = rig::start().await;
    for path in [ROOM, "/api/v1/users/bob/messages"] {
        instance.faults().refuse();
        let answer = instance.call("POST", path, r#"{"from":"a","msg":1,"key":"k"}"#).await;
        answer.problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), Some("2"));
        assert!(!answer.body.contains("told to"), "the reason of the backplane is not for callers");
    }
    assert_eq!(instance.get(ROOM).await.json(200)["top"], 0);
}

#[tokio::test]
async fn what_is_perhaps_stored_is_504_and_the_key_repeats_it_safely() {
    let instance = rig::start().await;
    instance.faults().lose_answer();
    let answer = instance.call("POST", ROOM, r#"{"from":"a","msg":1,"key":"k"}"#).await;
    answer.problem(504, "outcome_unknown");
    assert_eq!(answer.json(504)["key"], "k");
    assert_eq!(instance.call("POST", ROOM, r#"{"from":"a","msg":1,"key":"k"}"#).await.json(200)["offset"], 1);
    assert_eq!(instance.get(ROOM).await.json(200)["top"], 1);

    instance.faults().lose_answer();
    let answer = instance.call("POST", ROOM, r#"{"from":"a","msg":2}"#).await;
    let detail = answer.problem(504, "outcome_unknown");
    assert!(detail.contains("twice") && answer.json(504).get("key").is_none());
}

#[tokio::test]
async fn a_half_done_direct_message_is_completed_by_a_repeat_with_the_key_of_the_problem() {
    let instance = rig::start().await;
    let path = "/api/v1/users/bob/messages";
    instance.faults().lose_answer();
    let answer = instance.call("POST", path, r#"{"from":"alice","msg":1}"#).await;
    answer.problem(504, "outcome_unknown");
    let key = answer.json(504)["key"].as_str().unwrap().to_owned();
    assert_eq!(instance.get("/api/v1/users/alice/messages").await.json(200)["top"], 0);
    instance.call("POST", path, &json!({ "from": "alice", "msg": 1, "key": key }).to_string()).await.json(200);
    for user in ["alice", "bob"] {
        assert_eq!(instance.get(&format!("/api/v1/users/{user}/messages")).await.json(200)["top"], 1);
    }
}

#[tokio::test]
async fn signals_reach_members_and_are_not_logged() {
    let instance = rig::start().await;
    let mut bob = instance.connect("bob", &["general"]).await;
    bob.frame("joined").await;
    bob.frame("joined").await;
    let body = r#"{"from":"backend","data":{ "typing":true}}"#;
    for (path, room) in [("rooms/general", "general"), ("users/bob", "@me")] {
        let answer = instance.call("POST", &format!("/api/v1/{path}/signals"), body).await;
        assert_eq!((answer.status, answer.body.as_str()), (202, ""));
        let frame = format!(r#"{{"type":"signal","room":"{room}","from":"backend","data":{{ "typing":true}}}}"#);
        assert_eq!(bob.raw("signal").await, frame);
    }
    assert_eq!(instance.get(ROOM).await.json(200)["top"], 0);
    instance.call("POST", "/api/v1/rooms/general/signals", r#"{"from":"a"}"#).await.problem(400, "bad_field");
}
