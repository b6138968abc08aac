//! Moderation: orders reach the live sessions of every instance, and those of nobody else.

use serde_json::json;
use tokio_tungstenite::connect_async;

use super::rig::{self, Client, Instance};

async fn joined(instance: &Instance, user: &str, room: &str) -> Client {
    let mut client = instance.connect(user, &[room]).await;
    while client.frame("joined").await["room"] != room {}
    client
}

/// Passes once the session has been answered, so it is alive and was told nothing that ends it.
async fn alive(client: &mut Client) {
    client.say(r#"{"type":"ping","id":"alive"}"#).await;
    client.frame("pong").await;
}

#[tokio::test]
async fn a_kick_takes_a_user_out_of_one_room_on_every_instance() {
    let instances = rig::fleet(2, |_| {}).await;
    let mut bobs = [joined(&instances[0], "bob", "r/1").await, joined(&instances[1], "bob", "r/1").await];
    let mut alice = joined(&instances[1], "alice", "r/1").await;
    let answer = instances[0].call("DELETE", "/api/v1/rooms/r%2F1/members/bob", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    for bob in &mut bobs {
        assert_eq!(bob.frame("left").await, json!({ "type": "left", "room": "r/1", "reason": "kicked" }));
        bob.say(r#"{"type":"join","id":1,"room":"r/1"}"#).await;
        assert_eq!(bob.frame("joined").await["id"], 1, "they may join again");
    }
    alive(&mut alice).await;
    instances[0].call("POST", "/api/v1/rooms/r%2F1/messages", r#"{"from":"x","msg":1}"#).await.json(200);
    assert_eq!(alice.frame("message").await["offset"], 1);
}

#[tokio::test]
async fn a_disconnect_closes_every_session_of_the_user_and_says_whether_to_come_back() {
    let instances = rig::fleet(2, |_| {}).await;
    let mut alice = joined(&instances[0], "alice", "r").await;
    for (body, code) in [("", 4503), ("{}", 4503), (r#"{"reconnect":false}"#, 4503), (r#"{"reconnect":true}"#, 4004)] {
        let mut bobs = [joined(&instances[0], "bob", "r").await, joined(&instances[1], "bob", "r").await];
        let answer = instances[1].call("POST", "/api/v1/users/bob/disconnect", body).await;
        assert_eq!((answer.status, answer.body.as_str()), (202, ""), "{body}");
        for bob in &mut bobs {
            assert_eq!(bob.closed().await, code, "{body}");
        }
    }
    alive(&mut alice).await;
    for (body, code) in [(r#"{"reconnect":1}"#, "bad_field"), ("[]", "malformed"), ("{", "malformed")] {
        instances[0].call("POST", "/api/v1/users/alice/disconnect", body).await.problem(400, code);
    }
    alive(&mut alice).await;
}

#[tokio::test]
async fn a_banned_user_is_closed_everywhere_and_cannot_sign_in_until_unbanned() {
    let instances = rig::fleet(2, |_| {}).await;
    let mut bobs = [joined(&instances[0], "bob", "r").await, joined(&instances[1], "bob", "r").await];
    let mut alice = joined(&instances[0], "alice", "r").await;
    let before = parley_service::clock::Clock::now(&*instances[0].services.clock).wall_ms;
    let banned = instances[0].call("PUT", "/api/v1/users/bob/ban", r#"{"seconds":3600}"#).await.json(200);
    assert_eq!(banned["user"], "bob");
    let until = banned["until_ms"].as_u64().unwrap();
    assert!((before + 3_600_000..before + 3_660_000).contains(&until), "{until}");
    for bob in &mut bobs {
        assert_eq!(bob.closed().await, 4502);
    }
    for instance in &instances {
        assert_eq!(instance.connect("bob", &[]).await.closed().await, 4502);
    }
    alive(&mut alice).await;

    let lifted = instances[1].call("DELETE", "/api/v1/users/bob/ban", "").await;
    assert_eq!((lifted.status, lifted.body.as_str()), (204, ""));
    for instance in &instances {
        alive(&mut joined(instance, "bob", "r").await).await;
    }
    assert_eq!(instances[0].call("DELETE", "/api/v1/users/bob/ban", "").await.status, 204, "lifting twice is no error");
}

#[tokio::test]
async fn a_ban_without_a_good_length_is_refused_and_bans_nobody() {
    let instance = rig::start().await;
    for seconds in ["0", "-1", "31536001", "1.5", "\"60\"", "true", "null", "1e99", "99999999999999999999"] {
        let body = format!(r#"{{"seconds":{seconds}}}"#);
        let detail = instance.call("PUT", "/api/v1/users/bob/ban", &body).await.problem(400, "bad_field");
        assert!(detail.contains("`seconds`"), "{detail}");
    }
    instance.call("PUT", "/api/v1/users/bob/ban", "{}").await.problem(400, "bad_field");
    instance.call("PUT", "/api/v1/users/bob/ban", "").await.problem(415, "unsupported_media_type");
    alive(&mut joined(&instance, "bob", "r").await).await;
    for seconds in ["1", "31536000"] {
        instance.call("PUT", "/api/v1/users/carl/ban", &format!(r#"{{"seconds":{seconds}}}"#)).await.json(200);
    }
}

#[tokio::test]
async fn an_order_that_may_be_lost_says_so_and_a_ban_stands_even_then() {
    let instance = rig::start().await;
    let mut bob = joined(&instance, "bob", "r").await;
    instance.faults().refuse();
    instance.call("DELETE", "/api/v1/rooms/r/members/bob", "").await.problem(503, "unavailable");
    instance.faults().refuse();
    instance.call("POST", "/api/v1/users/bob/disconnect", "").await.problem(503, "unavailable");
    alive(&mut bob).await;
    instance.faults().lose_answer();
    instance.call("DELETE", "/api/v1/rooms/r/members/bob", "").await.problem(504, "outcome_unknown");
    assert_eq!(bob.frame("left").await["reason"], "kicked");
    instance.faults().refuse();
    let answer = instance.call("PUT", "/api/v1/users/bob/ban", r#"{"seconds":60}"#).await;
    assert!(answer.problem(504, "outcome_unknown").contains("is banned"));
    let (mut again, _) = connect_async(format!("ws://{}/ws?user=bob", instance.address)).await.unwrap();
    let closed = futures_util::StreamExt::next(&mut again).await;
    assert!(matches!(closed, Some(Ok(tungstenite::Message::Close(Some(frame)))) if u16::from(frame.code) == 4502));
    instance.call("PUT", "/api/v1/users/bob/ban", r#"{"seconds":60}"#).await.json(200);
    assert_eq!(bob.closed().await, 4502);
}
