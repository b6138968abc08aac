//! Signing in: by name where sign-in is open, by token everywhere else, and what a token allows and for how long.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parley_service::clock::{Clock as _, SystemClock};
use parley_service::config::{Config, FakeVars, Invocation};
use parley_service::origin::OriginPolicy;
use parley_tests::client::Client;
use parley_tests::frame::Frame;
use parley_tests::node::{Node, NodeBuilder};
use serde_json::{Value, json};

const SECRET: &str = "a-secret-of-the-scenarios-0123456789";

/// Seconds since 1970.
fn now() -> u64 {
    SystemClock::start().now().wall_ms / 1_000
}

fn signed(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("claims can be signed")
}

fn token(user: &str) -> String {
    token_with(user, json!({}))
}

fn token_with(user: &str, more: Value) -> String {
    let mut claims = json!({ "sub": user, "exp": now() + 3_600 });
    for (name, value) in more.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    signed(SECRET, &claims)
}

/// Settings as an operator gives them.
fn settings(vars: &[(&str, &str)]) -> Result<Config, String> {
    let args = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--server-id=test-1"];
    let vars = vars.iter().fold(FakeVars::default(), |vars, (name, value)| vars.with(name, value));
    let loaded = Config::load(&vars, &args.map(Into::into)).map_err(|faults| faults.to_string())?;
    match loaded.invocation {
        Invocation::Serve(config) => Ok(*config),
        other => Err(format!("{other:?}")),
    }
}

fn with_tokens() -> NodeBuilder {
    let settings = settings(&[("PARLEY_AUTH", "token"), ("PARLEY_TOKEN_SECRET", SECRET)]).expect("good settings");
    Node::builder().config(|config| *config = settings)
}

async fn in_band(node: &Node, token: &str) -> (Client, Frame) {
    let mut client = node.connect().open().await.ignoring_presence();
    client.send(json!({ "type": "auth", "id": 0, "token": token })).await;
    let first = client.next_frame().await;
    (client, first)
}

#[tokio::test]
async fn where_sign_in_is_open_a_name_is_believed() {
    let node = Node::start().await;
    let mut client = node.connect().user("Zoë & co").open().await;
    let welcome = client.expect("welcome").await;
    assert_eq!(
        (welcome.text("user"), welcome.text("server_id"), welcome.number("protocol")),
        ("Zoë & co", "test-1", 1)
    );
    assert_eq!(welcome["limits"]["message_bytes"], 32 * 1024);
    let refused = node.connect().user("").refused().await;
    assert_eq!(refused.status, 401, "{refused:?}");
    let refused = node.connect().user("@me").refused().await;
    assert_eq!(refused.status, 401, "{refused:?}");
}

#[test]
fn open_sign_in_is_refused_on_an_address_that_others_reach() {
    let load = |vars| {
        let vars: FakeVars = vars;
        Config::load(&vars, &["--listen=0.0.0.0:0", "--admin-listen=127.0.0.1:0"].map(Into::into))
    };
    let faults = load(FakeVars::default()).expect_err("anybody could speak as anybody").to_string();
    assert!(faults.contains("PARLEY_AUTH"), "{faults}");
    assert!(load(FakeVars::default().with("PARLEY_AUTH_OPEN_ANYWHERE", "true")).is_ok());
}

#[tokio::test]
async fn a_token_signs_in_by_header_by_url_and_in_band() {
    let node = with_tokens().start().await;
    for connect in [node.connect().bearer(&token("alice")), node.connect().token(&token("alice"))] {
        let mut client = connect.open().await;
        assert_eq!(client.expect("welcome").await.text("user"), "alice");
        assert_eq!(client.expect("joined").await.room(), "@me");
    }
    let (mut client, first) = in_band(&node, &token("alice")).await;
    assert_eq!((first.kind(), first.text("user")), ("welcome", "alice"));
    let ok = client.expect("ok").await;
    assert!((3_590..=3_610).contains(&ok.number("expires_in")), "{ok}");
    client.expect_quiet().await;
    client.join("@me").await;
}

#[tokio::test]
async fn a_name_is_not_enough_where_tokens_are_asked_for() {
    let node = with_tokens().start().await;
    let refused = node.connect().user("alice").refused().await;
    assert_eq!((refused.status, &refused.json()["code"]), (401, &json!("unauthenticated")));
}

#[tokio::test]
async fn expired_forged_and_misshapen_tokens_are_refused_everywhere() {
    let node = with_tokens().start().await;
    let claims = json!({ "sub": "alice", "exp": now() + 60 });
    let mut stripped = token("alice");
    stripped.truncate(stripped.rfind('.').unwrap() + 1);
    let expired = token_with("alice", json!({ "exp": now() - 60 }));
    for (what, token) in [
        ("another key", signed("another-secret-of-the-same-length-00", &claims)),
        ("no signature", stripped),
        ("no exp", signed(SECRET, &json!({ "sub": "alice" }))),
        ("no sub", signed(SECRET, &json!({ "exp": now() + 60 }))),
        ("a reserved name", token_with("@me", json!({}))),
        ("a wrong claim", token_with("alice", json!({ "rooms": "all" }))),
        ("no token", "nonsense".to_owned()),
        ("expired", expired.clone()),
    ] {
        assert_eq!(node.connect().bearer(&token).refused().await.status, 401, "{what}");
        assert_eq!(node.connect().token(&token).refused().await.status, 401, "{what}");
        let (mut client, first) = in_band(&node, &token).await;
        assert_eq!((first.kind(), first.text("code")), ("error", "unauthenticated"), "{what}");
        client.expect_close(if token == expired { 4001 } else { 4501 }).await;
    }
}

#[tokio::test]
async fn before_sign_in_nothing_else_is_done() {
    let node = with_tokens().start().await;
    let mut client = node.connect().open().await;
    for frame in [
        json!({ "type": "join", "room": "general" }),
        json!({ "type": "chat", "room": "general", "msg": 1 }),
        json!({ "type": "rooms" }),
        json!({ "type": "history", "room": "general" }),
    ] {
        client.ask_error("unauthenticated", frame).await;
    }
    let members = node.metrics().hub.members.get();
    assert!(members <= 1, "{members}, beside the instance's own membership of the control log");
}

#[tokio::test]
async fn who_does_not_sign_in_is_closed() {
    let node = with_tokens().stopped_clock().start().await;
    let mut client = node.connect().open().await;
    node.advance(Duration::from_millis(4_900)).await;
    let (_, welcome) = in_band(&node, &token("alice")).await;
    assert_eq!(welcome.kind(), "welcome");
    node.advance(Duration::from_millis(200)).await;
    assert_eq!(client.expect_close(4003).await, []);
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let node = with_tokens().stopped_clock().start().await;
    let mut client =
        node.connect().token(&token_with("alice", json!({ "exp": now() + 15 }))).open().await.welcomed().await;
    // Ten seconds of leeway, and the token was some milliseconds old.
    node.advance(Duration::from_secs(22)).await;
    client.expect_quiet().await;
    node.advance(Duration::from_secs(4)).await;
    client.expect_close(4001).await;
}

#[tokio::test]
async fn a_refresh_in_band_keeps_the_session() {
    let node = with_tokens().stopped_clock().start().await;
    let client = node.connect().token(&token_with("alice", json!({ "exp": now() + 15 }))).open().await.welcomed().await;
    let client = &mut client.ignoring_presence();
    client.join("general").await;
    let auth = |token: String| json!({ "type": "auth", "token": token });
    client.ask_error("forbidden", auth(token("bob"))).await;
    client.ask_error("unauthenticated", auth("nonsense".to_owned())).await;
    client.ask_for("ok", auth(token("alice"))).await;
    for _ in 0..6 {
        node.advance(Duration::from_secs(10)).await;
        client.expect_quiet().await;
    }
    client.chat("general", "still here").await;
}

#[tokio::test]
async fn a_refresh_that_takes_rights_away_ends_what_they_allowed() {
    let node = with_tokens().start().await;
    let mut client = node.connect().token(&token("alice")).open().await.welcomed().await.ignoring_presence();
    client.join("team-a").await;
    client.join("other").await;
    let rooms = json!([{ "match": "team-*", "can": ["join", "publish"] }]);
    let narrower = token_with("alice", json!({ "rooms": rooms, "direct": true }));
    client.ask_for("ok", json!({ "type": "auth", "token": narrower })).await;
    let left = client.expect("left").await;
    assert_eq!((left.room(), left.text("reason")), ("other", "rights_lost"));
    client.chat("team-a", 1).await;
    client.ask_error("forbidden", json!({ "type": "join", "room": "other" })).await;
}

#[tokio::test]
async fn a_session_may_do_what_its_claims_say_and_no_more() {
    let node = with_tokens().start().await;
    let rooms = json!([
        { "match": "read-*", "can": ["join", "history"] },
        { "match": "write", "can": ["join", "publish"] },
        { "match": "all", "can": ["join", "publish", "history", "presence"] },
    ]);
    let token = token_with("alice", json!({ "rooms": rooms }));
    let mut alice = node.connect().token(&token).open().await;
    alice.expect("welcome").await;
    // Without `direct` there is no inbox to join.
    alice.expect_quiet().await;
    let mut alice = alice.ignoring_presence();
    for room in ["read-1", "write", "all"] {
        alice.join(room).await;
    }
    let refused = [
        json!({ "type": "join", "room": "else" }),
        json!({ "type": "join", "room": "write", "history": 5 }),
        json!({ "type": "join", "room": "@me" }),
        json!({ "type": "chat", "room": "read-1", "msg": 1 }),
        json!({ "type": "signal", "room": "read-1", "data": 1 }),
        json!({ "type": "history", "room": "write" }),
        json!({ "type": "history", "room": "@me" }),
        json!({ "type": "presence", "room": "read-1" }),
        json!({ "type": "chat", "to": "bob", "msg": 1 }),
        json!({ "type": "signal", "to": "bob", "data": 1 }),
    ];
    for frame in refused {
        alice.ask_error("forbidden", frame).await;
    }
    alice.chat("write", 1).await;
    alice.chat("all", 1).await;
    alice.join_with_history("read-1", 5).await;
    alice.ask_for("history", json!({ "type": "history", "room": "all" })).await;
    alice.ask_for("presence", json!({ "type": "presence", "room": "all" })).await;
}

#[tokio::test]
async fn a_room_is_seen_in_the_list_only_by_who_may_join_it() {
    let node = with_tokens().start().await;
    let mut all = node.connect().token(&token("root")).open().await.welcomed().await.ignoring_presence();
    for room in ["mine", "theirs"] {
        all.join(room).await;
        all.chat(room, 1).await;
    }
    let token = token_with("alice", json!({ "rooms": [{ "match": "mine", "can": ["join"] }] }));
    let mut alice = node.connect().token(&token).open().await;
    alice.expect("welcome").await;
    let rooms = alice.ask_for("rooms", json!({ "type": "rooms" })).await;
    assert_eq!(rooms["rooms"], json!([{ "room": "mine", "offset": 1 }]));
}

#[tokio::test]
async fn pages_of_other_origins_get_no_socket() {
    let node = Node::start().await;
    let own = format!("http://{}", node.address());
    node.connect().user("alice").header("origin", &own).open().await;
    for wrong in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let refused = node.connect().user("alice").header("origin", wrong).refused().await;
        assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("origin_not_allowed")), "{wrong}");
    }
    let policy = settings(&[("PARLEY_ALLOWED_ORIGINS", "https://chat.example.com")]).expect("good").allowed_origins;
    assert_ne!(policy, OriginPolicy::SameOrigin);
    let node = Node::builder().config(|config| config.allowed_origins = policy).start().await;
    node.connect().user("alice").header("origin", "https://chat.example.com").open().await;
    node.connect().user("alice").open().await;
    assert_eq!(node.connect().user("alice").header("origin", "https://else.example").refused().await.status, 403);
}
