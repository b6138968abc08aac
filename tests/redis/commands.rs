//! What reaches the server: one command for a publish, and nothing outside the prefix.

use parley_service::backplane::Backplane as _;
use parley_service::delivery::EphemeralKind;
use parley_service::directory::redis::RedisDirectory;
use parley_service::directory::{Directory as _, InstanceRecord};
use parley_service::ids::{Key, LogName, RetryKey, RoomName, ServerId};
use parley_service::message::Draft;
use parley_service::presence::Presence as _;
use parley_service::presence::redis::RedisPresence;
use parley_tests::redis::{Redis, Wire};

use crate::rig::{DEADLINE, draft, fill, instance, room, user};

/// The commands that clients sent until the one that says `over`; without what instances do by themselves.
async fn until_over(monitor: &mut Wire) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = tokio::time::timeout(DEADLINE, monitor.line()).await.unwrap().unwrap();
        if line.contains("\"over\"") {
            return lines;
        }
        let by_itself = ["_probe\"", "\"INFO\"", "\"HELLO\"", "\"CLIENT\"", " lua] "];
        if !by_itself.iter().any(|word| line.contains(word)) {
            lines.push(line);
        }
    }
}

#[tokio::test]
async fn a_publish_is_one_command() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    // The library is loaded, the log is there.
    fill(&backplane, &room("r"), 1).await;
    let mut monitor = redis.wire().await;
    monitor.ask(&["MONITOR"]).await.unwrap();
    let keyed = Draft { key: Some(RetryKey::new(&user("u"), &Key::parse("k").unwrap())), ..draft("x") };
    for drafts in [vec![draft("x")], vec![keyed.clone()], vec![keyed.clone()], vec![draft("y"), keyed, draft("z")]] {
        let answers = backplane.publish_all(&room("r"), &drafts).await;
        assert!(answers.iter().all(Result::is_ok) && answers.len() == drafts.len(), "{answers:?}");
        redis.ask(&["ECHO", "over"]).await;
        let commands = until_over(&mut monitor).await;
        assert_eq!(commands.len(), 1, "{commands:#?}");
        assert!(commands[0].contains("\"FCALL\"") && commands[0].contains("_publish\""), "{commands:?}");
    }
}

#[tokio::test]
async fn nothing_lies_outside_the_prefix() {
    let redis = Redis::start().await;
    let (backplane, instance) = instance(&redis).await;
    let (presence, directory) = (RedisPresence::new(&backplane), RedisDirectory::new(&backplane));
    let name = RoomName::parse("a {b}:c").unwrap();
    for log in [LogName::Room(name.clone()), LogName::Inbox(user("u{}")), LogName::Control] {
        instance.subscribe(&log).await;
        let key = Some(RetryKey::new(&user("u"), &Key::parse("k").unwrap()));
        backplane.publish(&log, &Draft { key, ..draft("x") }).await.unwrap();
        backplane.broadcast(&log, "{}".into(), EphemeralKind::Presence);
    }
    presence.enter(&name, &user("u")).await.unwrap();
    presence.renew().await.unwrap();
    directory.ban(&user("u"), DEADLINE).await.unwrap();
    let record = InstanceRecord { server_id: ServerId::parse("s").unwrap(), sessions: 1, draining: false };
    directory.announce(record).await.unwrap();
    parley_tests::eventually::eventually_fetched(
        DEADLINE,
        async || directory.rooms(None, 10).await.unwrap().len(),
        |rooms| *rooms == 1,
    )
    .await;

    let mut keys: Vec<_> = redis.ask(&["KEYS", "*"]).await.texts().iter().map(|key| (*key).to_owned()).collect();
    keys.retain(|key| !key.starts_with("parley:{n:"));
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "parley:{b:u}:ban",
            "parley:{c}:k:u%0Ak",
            "parley:{c}:log",
            "parley:{c}:meta",
            "parley:{i:u%7B%7D}:k:u%0Ak",
            "parley:{i:u%7B%7D}:log",
            "parley:{i:u%7B%7D}:meta",
            "parley:{instances}:records",
            "parley:{instances}:until",
            "parley:{leases}:until",
            "parley:{r:a%20%7Bb%7D%3Ac}:held",
            "parley:{r:a%20%7Bb%7D%3Ac}:k:u%0Ak",
            "parley:{r:a%20%7Bb%7D%3Ac}:log",
            "parley:{r:a%20%7Bb%7D%3Ac}:meta",
            "parley:{r:a%20%7Bb%7D%3Ac}:who",
            "parley:{rooms}:index",
        ]
    );
    let channels = redis.ask(&["PUBSUB", "SHARDCHANNELS"]).await;
    assert_eq!(channels.texts().len(), 4, "three logs and the probe: {channels:?}");
    assert!(channels.texts().iter().all(|channel| channel.starts_with("parley:{")), "{channels:?}");
    assert_eq!(redis.ask(&["PUBSUB", "CHANNELS"]).await.texts(), [""; 0]);
}

#[tokio::test]
async fn what_is_stored_expires() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let key = Some(RetryKey::new(&user("u"), &Key::parse("k").unwrap()));
    backplane.publish(&room("r"), &Draft { key, ..draft("x") }).await.unwrap();
    let seconds = async |key: &str| match redis.ask(&["TTL", key]).await {
        parley_tests::redis::Answer::Number(seconds) => seconds,
        other => panic!("{other:?}"),
    };
    let day = 86_400;
    let log = seconds("parley:{r:r}:log").await;
    assert!((day..=day + day / 8).contains(&log), "{log}");
    let meta = seconds("parley:{r:r}:meta").await;
    assert!((29 * day..=30 * day).contains(&meta), "{meta}");
    let key = seconds("parley:{r:r}:k:u%0Ak").await;
    assert!((290..=300).contains(&key), "{key}");
}
