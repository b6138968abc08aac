//! Orders to sessions on all instances: they act in time everywhere, and on an instance that was cut off from the server
//! at that moment as soon as it is back.

use std::time::Duration;

use parley_service::clock::{Clock as _, SystemClock};
use parley_service::config::{Config, Secret};
use parley_tests::client::{Client, Event};
use parley_tests::eventually::eventually_fetched;
use parley_tests::http;
use parley_tests::node::Node;
use parley_tests::proxy::{Proxy, Way, Weather};
use parley_tests::redis::{Redis, config, node};

/// How long an order may take to act on an instance that is connected.
const IN_TIME: Duration = Duration::from_secs(2);
/// How long what was missed may take. Without the repair on coming back, three times in four it would take longer: each log
/// is audited every 20 s.
const REPAIRED: Duration = Duration::from_secs(5);
/// Longer than connections that went black live: an instance on them must find that out by itself.
const PATIENCE: Duration = Duration::from_secs(20);
const KEY: &str = "the-key-of-the-api-0123456789";

/// Two instances, the second one behind a proxy.
async fn fleet(redis: &Redis) -> ([Node; 2], Proxy) {
    fleet_with(redis, |_| {}).await
}

async fn fleet_with(redis: &Redis, change: fn(&mut Config)) -> ([Node; 2], Proxy) {
    let proxy = Proxy::to_port(redis.port(), 1).await;
    let with_key = |builder: parley_tests::node::NodeBuilder| {
        let builder = builder.config(|config| config.api_key = Some(Secret::new(KEY)));
        builder.config(change).start()
    };
    let near = with_key(redis.node("near")).await;
    let url = format!("redis://{}", proxy.address());
    let far = with_key(node(config(&url, "parley"), "far")).await;
    ([near, far], proxy)
}

async fn order(node: &Node, method: &str, path: &str, body: &str) {
    let authorization = format!("Bearer {KEY}");
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let answer = http::request(node.address(), method, path, &headers, body).await;
    assert!((200..300).contains(&answer.status), "{answer:?}");
}

async fn joined(node: &Node, user: &str) -> Client {
    let mut client = node.client(user).await;
    client.join("r").await;
    client
}

/// What an order does to a session.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Effect {
    Left,
    Closed(u16),
}

async fn effect(client: &mut Client) -> Effect {
    loop {
        match client.next_whenever().await {
            Event::Frame(frame) if frame.kind() == "left" => return Effect::Left,
            Event::Frame(_) => {}
            Event::Closed(code, _) => return Effect::Closed(code),
            Event::Gone => return Effect::Closed(0),
        }
    }
}

/// Kick, disconnect and ban: of whom, how, and what comes of it.
const ORDERS: [(&str, &str, &str, &str, Effect); 3] = [
    ("kim", "DELETE", "/api/v1/rooms/r/members/kim", "", Effect::Left),
    ("dan", "POST", "/api/v1/users/dan/disconnect", "", Effect::Closed(4503)),
    ("bob", "PUT", "/api/v1/users/bob/ban", "{\"seconds\":600}", Effect::Closed(4502)),
];

#[tokio::test]
async fn kick_disconnect_and_ban_act_on_every_instance_within_two_seconds() {
    let clock = SystemClock::start();
    let mut fastest = [Duration::MAX; ORDERS.len()];
    // The machine may stand still during one round, so the fastest of each order tells.
    for _ in 0..3 {
        let redis = Redis::start().await;
        let (nodes, _proxy) = fleet(&redis).await;
        for (fastest, (user, method, path, body, expected)) in fastest.iter_mut().zip(ORDERS) {
            let mut sessions = [joined(&nodes[0], user).await, joined(&nodes[1], user).await];
            let began = clock.now().mono;
            order(&nodes[0], method, path, body).await;
            for session in &mut sessions {
                assert_eq!(tokio::time::timeout(PATIENCE, effect(session)).await, Ok(expected), "{user}");
            }
            *fastest = clock.now().mono.since(began).min(*fastest);
        }
        for node in &nodes {
            assert_eq!(effect(&mut node.connect().user("bob").open().await).await, Effect::Closed(4502));
        }
    }
    assert!(fastest.iter().all(|took| *took < IN_TIME), "{fastest:?}");
}

#[tokio::test]
async fn an_instance_that_was_cut_off_carries_orders_out_when_it_is_back() {
    let fair = Weather::default();
    let black = Weather { up: Way::Swallowed, down: Way::Swallowed, ..fair };
    let held = Weather { up: Way::Held, down: Way::Held, ..fair };
    let refusing = Weather { refusing: true, ..fair };
    for weather in [refusing, held, black] {
        let redis = Redis::start().await;
        let (nodes, proxy) = fleet(&redis).await;
        let mut sessions = Vec::new();
        for (user, ..) in ORDERS {
            sessions.push(joined(&nodes[1], user).await);
        }
        proxy.set(weather);
        if weather.refusing {
            proxy.cut();
        }
        for (_, method, path, body, _) in ORDERS {
            order(&nodes[0], method, path, body).await;
        }
        for session in &mut sessions {
            // It heard nothing of it, and still serves those that it has.
            session.expect_quiet().await;
        }
        proxy.heal();
        let clock = SystemClock::start();
        eventually_fetched(PATIENCE, async || probes(&redis).await, |instances| *instances == 2).await;
        let back = clock.now().mono;
        for (session, (user, .., expected)) in sessions.iter_mut().zip(ORDERS) {
            let came = tokio::time::timeout(PATIENCE, effect(session)).await;
            assert_eq!(came, Ok(expected), "{user} after {weather:?}");
        }
        let took = clock.now().mono.since(back);
        // Black connections look alive to the server: it cannot tell when the instance is back.
        assert!(weather == black || took < REPAIRED, "{took:?} after {weather:?}");
    }
}

#[tokio::test]
async fn orders_are_kept_whatever_rooms_keep() {
    let redis = Redis::start().await;
    let (nodes, _proxy) = fleet_with(&redis, |config| config.history.messages = 2).await;
    let users = ["u0", "u1", "u2", "u3", "u4"];
    let mut sessions = Vec::new();
    for user in users {
        sessions.push(joined(&nodes[1], user).await);
    }
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    let paths = users.map(|user| format!("/api/v1/users/{user}/disconnect"));
    let orders = paths.iter().map(|path| order(&nodes[0], "POST", path, ""));
    futures_util::future::join_all(orders).await;
    for (session, user) in sessions.iter_mut().zip(users) {
        assert_eq!(tokio::time::timeout(PATIENCE, effect(session)).await, Ok(Effect::Closed(4503)), "{user}");
    }
}

#[tokio::test]
async fn what_the_control_log_lost_is_made_good_as_far_as_it_can_be() {
    let redis = Redis::start().await;
    let (nodes, proxy) = fleet(&redis).await;
    let mut sessions = Vec::new();
    for user in ["bob", "kim", "ann"] {
        sessions.push(joined(&nodes[1], user).await);
    }
    proxy.set(Weather { refusing: true, ..Weather::default() });
    proxy.cut();
    let [kick, _, ban] = ORDERS;
    order(&nodes[0], ban.1, ban.2, ban.3).await;
    redis.ask(&["DEL", "parley:{c}:meta", "parley:{c}:log"]).await;
    order(&nodes[0], kick.1, kick.2, kick.3).await;
    proxy.heal();
    for (session, expected) in sessions.iter_mut().zip([Effect::Closed(4502), Effect::Left]) {
        assert_eq!(tokio::time::timeout(PATIENCE, effect(session)).await, Ok(expected));
    }
    sessions[2].expect_quiet().await;
}

/// Instances that listen, as the server sees it.
async fn probes(redis: &Redis) -> usize {
    redis.ask(&["PUBSUB", "SHARDCHANNELS", "parley:{n:*"]).await.texts().len()
}
