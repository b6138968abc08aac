//! Whole instances on one Redis: it is one chat. And on two memories, to see that the test sees the difference.

use std::time::Duration;

use futures_util::future::join_all;
use parley_tests::client::{Client, Event};
use parley_tests::frame::Frame;
use parley_tests::node::Node;
use parley_tests::redis::{Answer, Redis, pass};
use serde_json::{Value, json};

/// Members of the room on each instance.
const MEMBERS: usize = 5;
/// How long a member listens before it is taken for deaf.
const PATIENCE: Duration = Duration::from_secs(5);

async fn two_on(redis: &Redis) -> [Node; 2] {
    [redis.node("node-0").start().await, redis.node("node-1").start().await]
}

async fn members(nodes: &[Node], room: &str) -> Vec<Client> {
    let mut members = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        for member in 0..MEMBERS {
            let mut client = node.client(&format!("user-{number}-{member}")).await;
            client.join(room).await;
            members.push(client);
        }
    }
    members
}

/// How many members of a room that is spread over these instances hear what is said on the first one.
async fn hearers(nodes: &[Node]) -> usize {
    let mut members = members(nodes, "general").await;
    let mut speaker = nodes[0].client("speaker").await;
    speaker.join("general").await;
    speaker.chat("general", "hello").await;
    let heard =
        members.iter_mut().map(|member| tokio::time::timeout(PATIENCE, member.expect_message("general", 1, "hello")));
    join_all(heard).await.iter().filter(|heard| heard.is_ok()).count()
}

#[tokio::test]
async fn two_instances_on_one_redis_are_one_room() {
    let redis = Redis::start().await;
    assert_eq!(hearers(&two_on(&redis).await).await, 2 * MEMBERS);
}

#[tokio::test]
async fn redis_sends_a_message_to_each_instance_and_not_to_each_member() {
    let redis = Redis::start().await;
    let nodes = two_on(&redis).await;
    let _members = members(&nodes, "general").await;
    let channels = redis.ask(&["PUBSUB", "SHARDCHANNELS", "*r:general*"]).await;
    let channels: Vec<String> = channels.texts().iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(channels.len(), 1, "{channels:?}");
    let receivers = redis.ask(&["PUBSUB", "SHARDNUMSUB", &channels[0]]).await;
    assert_eq!(receivers, Answer::List(vec![Answer::Text(channels[0].clone()), Answer::Number(2)]));
}

#[tokio::test]
async fn two_instances_with_a_memory_each_are_two_rooms() {
    let isolated = [Node::start().await, Node::start().await];
    assert_eq!(hearers(&isolated).await, MEMBERS, "only those on the speaker's instance");
}

#[tokio::test]
async fn everybody_sees_one_order() {
    let redis = Redis::start().await;
    let nodes = two_on(&redis).await;
    let mut members = members(&nodes, "busy").await;
    let speakers = nodes.iter().flat_map(|node| [(node, "ann"), (node, "ben")]);
    join_all(speakers.map(|(node, name)| async move {
        let mut client = node.client(name).await;
        client.join("busy").await;
        for number in 0..10 {
            client.chat("busy", number).await;
        }
    }))
    .await;
    let mut seen = Vec::new();
    for member in &mut members {
        let mut messages = Vec::new();
        for offset in 1..=40 {
            let frame = member.expect("message").await;
            assert_eq!(frame.offset(), offset, "{}", member.story());
            messages.push((frame["from"].clone(), frame["msg"].clone()));
        }
        seen.push(messages);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "all saw the same");
}

#[tokio::test]
async fn direct_messages_signals_presence_and_rooms_cross_instances() {
    let redis = Redis::start().await;
    let nodes = two_on(&redis).await;
    let (mut ann, mut ben) = (nodes[0].client("ann").await, nodes[1].client("ben").await);
    for client in [&mut ann, &mut ben] {
        client.join("general").await;
    }
    ann.ask_for("ack", json!({ "type": "chat", "to": "ben", "msg": "psst" })).await;
    assert_eq!(ben.expect("direct").await["msg"], "psst");
    assert_eq!(ann.expect("direct").await["msg"], "psst");
    ann.send(json!({ "type": "signal", "room": "general", "data": 1 })).await;
    assert_eq!(ben.expect("signal").await["from"], "ann");
    ben.chat("general", "hi").await;
    ann.expect_message("general", 1, "hi").await;
    let present = ask_until(&mut ann, json!({ "type": "presence", "room": "general" }), |frame| frame["count"] == 2);
    assert_eq!(present.await["users"], json!(["ann", "ben"]));
    let listed = |frame: &Frame| frame["rooms"].as_array().is_some_and(|rooms| !rooms.is_empty());
    let rooms = ask_until(&mut ben, json!({ "type": "rooms" }), listed).await;
    assert_eq!(rooms["rooms"], json!([{ "room": "general", "offset": 1 }]));
}

/// Keeps a client that asks again below its limit of requests.
const BREATH: Duration = Duration::from_millis(100);

/// Asks until the reply is as wanted.
async fn ask_until(client: &mut Client, frame: Value, wanted: impl Fn(&Frame) -> bool) -> Frame {
    for _ in 0..100 {
        let reply = client.ask(frame.clone()).await;
        if wanted(&reply) {
            return reply;
        }
        pass(BREATH).await;
    }
    panic!("not in time\n{}", client.story());
}

/// Says it until it is stored: clients repeat with the same key.
async fn say(client: &mut Client, room: &str, msg: &str) {
    let frame = json!({ "type": "chat", "room": room, "msg": msg, "key": msg });
    ask_until(client, frame, |reply| reply.kind() == "ack").await;
}

/// The messages of a room up to this one, in order. Only a new epoch without a loss may be told besides.
async fn hear(client: &mut Client, until: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        match client.next().await {
            Event::Frame(frame) if frame.kind() == "message" => {
                heard.push(frame.text("msg").to_owned());
                if frame["msg"] == until {
                    return heard;
                }
            }
            Event::Frame(frame) if frame.kind() == "joined" && frame["recovered"] == true => {}
            other => panic!("{other:?}\n{}", client.story()),
        }
    }
}

#[tokio::test]
async fn a_restart_of_redis_with_its_data_costs_nobody_a_message_or_a_gap() {
    let mut redis = Redis::durable().await;
    let nodes = two_on(&redis).await;
    let (mut ann, mut ben) = (nodes[0].client("ann").await, nodes[1].client("ben").await);
    for client in [&mut ann, &mut ben] {
        client.join("r").await;
    }
    say(&mut ann, "r", "before").await;
    redis.kill().await;
    redis.restart().await;
    say(&mut ben, "r", "between").await;
    say(&mut ann, "r", "after").await;
    for client in [&mut ann, &mut ben] {
        assert_eq!(hear(client, "after").await, ["before", "between", "after"]);
    }
}

#[tokio::test]
async fn killed_connections_cost_nobody_a_message_or_a_gap() {
    let redis = Redis::start().await;
    let nodes = two_on(&redis).await;
    let (mut ann, mut ben) = (nodes[0].client("ann").await, nodes[1].client("ben").await);
    for client in [&mut ann, &mut ben] {
        client.join("r").await;
    }
    let mut expected = Vec::new();
    for round in 0..4 {
        let kind = if round % 2 == 0 { "pubsub" } else { "normal" };
        redis.ask(&["CLIENT", "KILL", "TYPE", kind]).await;
        for number in 0..10 {
            let text = format!("{round}-{number}");
            say(&mut ann, "r", &text).await;
            expected.push(text);
        }
    }
    for client in [&mut ann, &mut ben] {
        assert_eq!(hear(client, "3-9").await, expected);
    }
}

/// Longer than it takes until the audit has looked at every log.
const AUDITED: Duration = Duration::from_secs(40);

/// The log of a gap, which is what comes next, whenever that is.
async fn gap(client: &mut Client) -> String {
    loop {
        match client.next_whenever().await {
            Event::Frame(frame) if frame.kind() == "gap" => return frame.room().to_owned(),
            // Who comes is hinted at.
            Event::Frame(frame) if frame.kind() == "presence" => {}
            other => panic!("{other:?} before a gap\n{}", client.story()),
        }
    }
}

#[tokio::test]
async fn a_flush_is_told_as_a_gap_and_the_room_goes_on() {
    let redis = Redis::start().await;
    let nodes = two_on(&redis).await;
    let (mut ann, mut ben) = (nodes[0].client("ann").await, nodes[1].client("ben").await);
    for client in [&mut ann, &mut ben] {
        client.join("r").await;
    }
    ann.chat("r", "before").await;
    for client in [&mut ann, &mut ben] {
        client.expect_message("r", 1, "before").await;
    }
    redis.ask(&["FLUSHALL"]).await;
    for client in [&mut ann, &mut ben] {
        // The inboxes are gone, too. Nobody writes, so it takes an audit to see it, and each log has its turn.
        let both = async { [gap(client).await, gap(client).await] };
        let mut gaps = tokio::time::timeout(AUDITED, both).await.expect("two gaps");
        gaps.sort_unstable();
        assert_eq!(gaps, ["@me", "r"]);
    }
    ben.chat("r", "after").await;
    for client in [&mut ann, &mut ben] {
        client.expect_message("r", 1, "after").await;
    }
}
