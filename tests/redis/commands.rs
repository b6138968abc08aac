//! What reaches the server: one command for a publish, and nothing outside the prefix.

use std::time::Duration;

use parley_service::backplane::Backplane as _;
use parley_service::backplane::redis::Retention;
use parley_service::delivery::EphemeralKind;
use parley_service::directory::redis::RedisDirectory;
use parley_service::directory::{Directory as _, InstanceRecord};
use parley_service::ids::{Key, LogName, RetryKey, RoomName, ServerId};
use parley_service::message::Draft;
use parley_service::presence::Presence as _;
use parley_service::presence::redis::RedisPresence;
use parley_service::rights::RoomSpan;
use parley_tests::eventually::eventually_fetched;
use parley_tests::redis::{Answer, Redis, Wire};

use crate::rig::{DEADLINE, draft, fill, instance, open, room, user};

/// The commands that clients sent until the one that says `over`; without what instances do by themselves.
async fn until_over(monitor: &mut Wire) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = tokio::time::timeout(DEADLINE, monitor.line()).await.unwrap().unwrap();
        if line.contains("\"over\"") {
            return lines;
        }
        let by_itself = ["_primary\"", "\"1 H ", "\"INFO\"", "\"HELLO\"", "\"CLIENT\"", " lua] "];
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

/// How many commands of each kind something sent.
async fn counted(redis: &Redis, monitor: &mut Wire, kinds: &[&str]) -> Vec<usize> {
    redis.ask(&["ECHO", "over"]).await;
    let lines = until_over(monitor).await;
    kinds.iter().map(|kind| lines.iter().filter(|line| line.contains(kind)).count()).collect()
}

/// Puts names into the index, without logs.
async fn index(redis: &Redis, names: impl Iterator<Item = String>) {
    let scored: Vec<_> = names.flat_map(|name| ["0".to_owned(), name]).collect();
    let command: Vec<_> =
        ["ZADD", "parley:{rooms}:index"].into_iter().chain(scored.iter().map(String::as_str)).collect();
    redis.ask(&command).await;
}

#[tokio::test]
async fn a_listing_looks_only_at_rooms_that_the_rights_allow() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let directory = RedisDirectory::new(&backplane);
    for name in ["team-1", "team-2", "mine"] {
        fill(&backplane, &room(name), 1).await;
    }
    let all = [RoomSpan::all()];
    let listed = async || directory.rooms(&all, None, 10).await.map(|listing| listing.rooms.len());
    eventually_fetched(DEADLINE, listed, |rooms| *rooms == Ok(3)).await.unwrap();
    index(&redis, (0..500).map(|number| format!("n{number}"))).await;
    let mut monitor = redis.wire().await;
    monitor.ask(&["MONITOR"]).await.unwrap();
    let name = |name: &str| RoomSpan::One(RoomName::parse(name).unwrap());
    let spans = [name("mine"), name("nobody"), name("other"), RoomSpan::Beginning("team-".into())];
    let rooms = directory.rooms(&spans, None, 1_000).await.unwrap().rooms;
    let names: Vec<_> = rooms.iter().map(|(room, _)| room.as_str()).collect();
    assert_eq!(names, ["mine", "team-1", "team-2"]);
    let kinds = ["\"ZMSCORE\"", "\"ZRANGE\"", "_position\"", "\""];
    assert_eq!(counted(&redis, &mut monitor, &kinds).await, [1, 1, 3, 5]);
}

#[tokio::test]
async fn a_listing_among_rooms_that_are_gone_ends_and_goes_on_where_it_was() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let directory = RedisDirectory::new(&backplane);
    fill(&backplane, &room("z"), 1).await;
    let all = [RoomSpan::all()];
    let listed = async || directory.rooms(&all, None, 10).await.map(|listing| listing.rooms.len());
    eventually_fetched(DEADLINE, listed, |rooms| *rooms == Ok(1)).await.unwrap();
    index(&redis, (0..100).map(|number| format!("gone-{number:02}"))).await;
    let mut monitor = redis.wire().await;
    monitor.ask(&["MONITOR"]).await.unwrap();
    let mut next = None::<RoomName>;
    for round in 0..4 {
        let listed = directory.rooms(&all, next.as_ref().map(RoomName::as_str), 10).await.unwrap();
        let (rooms, last) = if round < 3 { (0, Some(format!("gone-{}", round * 30 + 29))) } else { (1, None) };
        assert_eq!(listed.rooms.len(), rooms, "{listed:?}");
        assert_eq!(listed.next.as_ref().map(ToString::to_string), last);
        let looked = counted(&redis, &mut monitor, &["\"ZRANGE\"", "_position\""]).await;
        assert_eq!(looked, if round < 3 { [3, 30] } else { [2, 11] }, "round {round}");
        next = listed.next;
    }
    assert_eq!(redis.ask(&["ZRANGE", "parley:{rooms}:index", "0", "-1"]).await.texts(), ["z"]);
}

/// How many names are in the index.
async fn indexed(redis: &Redis) -> i64 {
    match redis.ask(&["ZCARD", "parley:{rooms}:index"]).await {
        Answer::Number(count) => count,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rooms_that_are_gone_leave_the_index_some_at_a_time() {
    let redis = Redis::start().await;
    let ((backplane, _a), (other, _b)) = (instance(&redis).await, instance(&redis).await);
    for name in ["a", "gone-123", "z"] {
        fill(&backplane, &room(name), 1).await;
    }
    index(&redis, (0..500).map(|number| format!("gone-{number:03}")).chain(["a".to_owned(), "z".to_owned()])).await;
    // The first sweep comes by itself, and is everybody's.
    let directories = [RedisDirectory::new(&backplane), RedisDirectory::new(&other)];
    let swept = 502 - (200 - 2);
    eventually_fetched(DEADLINE, async || indexed(&redis).await, |count| *count == swept).await;
    for directory in &directories {
        assert_eq!(directory.sweep().await, Ok(0));
    }
    let mut monitor = redis.wire().await;
    monitor.ask(&["MONITOR"]).await.unwrap();
    // Each name is looked at before it is removed and behind that, and no other is.
    for (directory, removed, looks) in [(0, 200, [20, 0, 1]), (1, 101, [0, 20, 1]), (0, 0, [0, 0, 0])] {
        // A minute later.
        redis.ask(&["HDEL", "parley:{rooms}:sweep", "until"]).await;
        assert_eq!(directories[directory].sweep().await, Ok(removed));
        assert_eq!(counted(&redis, &mut monitor, &["{r:gone-25", "{r:gone-45", "\"ZREM\""]).await, looks);
    }
    let left = redis.ask(&["ZRANGE", "parley:{rooms}:index", "0", "-1"]).await;
    assert_eq!(left.texts(), ["a", "gone-123", "z"]);
    let made = redis.ask(&["EXISTS", "parley:{r:gone-000}:meta"]).await;
    assert_eq!(made, Answer::Number(0), "looking makes nothing");
}

#[tokio::test]
async fn a_room_that_comes_back_while_it_is_removed_stays_in_the_index() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    backplane.positions(&[room("r")]).await.unwrap();
    let head = "local function command(KEYS, ARGV)\n";
    let comes_back = "if ARGV[1] == 'ZREM' then redis.call('HSET', 'parley:{r:back}:meta', 'o', '1') end\n";
    redis.change_library(head, &format!("{head}{comes_back}")).await;
    index(&redis, ["back".to_owned(), "gone".to_owned()].into_iter()).await;
    let _directory = RedisDirectory::new(&backplane);
    let gone = async || redis.ask(&["ZRANGE", "parley:{rooms}:index", "0", "-1"]).await;
    let left = eventually_fetched(DEADLINE, gone, |left| left.texts() == ["back"]).await;
    assert_eq!(left.texts(), ["back"]);
}

#[tokio::test]
async fn a_roster_of_a_large_room_is_not_fetched_as_a_whole() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let presence = RedisPresence::new(&backplane);
    let users: Vec<_> = (0..3_000).flat_map(|number| [format!("u{number}"), "holder".to_owned()]).collect();
    let command: Vec<_> = ["HSET", "parley:{r:r}:who"].into_iter().chain(users.iter().map(String::as_str)).collect();
    redis.ask(&command).await;
    let name = RoomName::parse("r").unwrap();
    let mut monitor = redis.wire().await;
    monitor.ask(&["MONITOR"]).await.unwrap();
    let roster = presence.roster(&name, 100).await.unwrap();
    assert_eq!((roster.users.len(), roster.count), (100, 3_000));
    assert!(roster.users.is_sorted_by(|a, b| a < b), "{:?}", roster.users);
    let counts = counted(&redis, &mut monitor, &["\"HKEYS\"", "\"HLEN\"", "\"HSCAN\""]).await;
    assert_eq!(counts[..2], [0, 1]);
    assert!((1..=2).contains(&counts[2]), "a scan may tell some less than its count: {counts:?}");
    let roster = presence.roster(&name, 3_000).await.unwrap();
    assert_eq!((roster.users.len(), roster.count), (3_000, 3_000));
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
    eventually_fetched(
        DEADLINE,
        async || directory.rooms(&[RoomSpan::all()], None, 10).await.map(|listing| listing.rooms.len()),
        |rooms| *rooms == Ok(1),
    )
    .await
    .unwrap();

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
            "parley:{rooms}:sweep",
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
    backplane.positions(&[room("never written to")]).await.unwrap();
    let seconds = async |key: &str| match redis.ask(&["TTL", key]).await {
        Answer::Number(seconds) => seconds,
        other => panic!("{other:?}"),
    };
    let day = 86_400;
    let log = seconds("parley:{r:r}:log").await;
    assert!((day..=day + day / 8).contains(&log), "{log}");
    let meta = seconds("parley:{r:r}:meta").await;
    assert!((29 * day..=30 * day).contains(&meta), "{meta}");
    let unwritten = seconds("parley:{r:never%20written%20to}:meta").await;
    assert!((590..=600).contains(&unwritten), "a name that somebody made up: {unwritten}");
    let key = seconds("parley:{r:r}:k:u%0Ak").await;
    assert!((290..=300).contains(&key), "{key}");
}

#[tokio::test]
async fn what_says_where_a_log_is_outlives_the_log_also_with_a_year_of_history() {
    let redis = Redis::start().await;
    let day = 86_400;
    let year = Retention { messages: 1_000, age: Duration::from_secs(365 * day) };
    let (backplane, _arrivals) = open(&redis.config("parley"), year).await;
    let (former, _instance) = instance(&redis).await;
    let days = async |key: &str| match redis.ask(&["TTL", key]).await {
        Answer::Number(seconds) => (u64::try_from(seconds).unwrap() + day / 2) / day,
        other => panic!("{other:?}"),
    };
    let all = async |name: &str| {
        (days(&format!("parley:{{r:{name}}}:log")).await, days(&format!("parley:{{r:{name}}}:meta")).await)
    };
    backplane.publish(&room("r"), &draft("x")).await.unwrap();
    assert_eq!(all("r").await, (411, 730));

    // Written with a day of history, and again some hours after that became a year.
    former.publish(&room("s"), &draft("x")).await.unwrap();
    assert_eq!(all("s").await, (1, 30));
    for when in ["t", "x"] {
        redis.ask(&["HINCRBY", "parley:{r:s}:meta", when, "-14400000"]).await;
    }
    backplane.publish(&room("s"), &draft("y")).await.unwrap();
    assert_eq!(all("s").await, (411, 730));
}

#[tokio::test]
async fn one_survivor_cleans_up_with_one_call_for_a_room_and_bounded_ones_for_a_large_one() {
    let redis = Redis::start().await;
    let ((dead, _dead), (a, _a), (b, _b)) = (instance(&redis).await, instance(&redis).await, instance(&redis).await);
    let survivors = [RedisPresence::new(&a), RedisPresence::new(&b)];
    let gone = RedisPresence::new(&dead);
    let (large, stays) = (RoomName::parse("large").unwrap(), RoomName::parse("s0").unwrap());
    for number in 0..1_200 {
        gone.enter(&large, &user(&format!("u{number}"))).await.unwrap();
    }
    for number in 0..40 {
        let small = RoomName::parse(&format!("s{number}")).unwrap();
        gone.enter(&small, &user("x/\"é")).await.unwrap();
        gone.enter(&small, &user("y")).await.unwrap();
    }
    survivors[0].enter(&stays, &user("y")).await.unwrap();
    drop(gone);
    let mut monitor = redis.wire().await;
    monitor.ask(&["MONITOR"]).await.unwrap();
    let leases = async || {
        let (one, other) = tokio::join!(survivors[0].renew(), survivors[1].renew());
        // No answer in time is no news; that something is gone would be.
        assert!(one != Ok(false) && other != Ok(false), "{one:?} {other:?}");
        redis.ask(&["ZCARD", "parley:{leases}:until"]).await
    };
    let two = |count: &Answer| matches!(count, Answer::Number(2));
    eventually_fetched(DEADLINE * 2, leases, two).await;
    redis.ask(&["ECHO", "over"]).await;
    let commands = until_over(&mut monitor).await;
    let clears = |room: &str| commands.iter().filter(|line| line.contains("_clear\"") && line.contains(room)).count();
    for number in 0..40 {
        assert_eq!(clears(&format!("{{r:s{number}}}:who")), 1, "one call clears room s{number}");
    }
    assert!((3..=12).contains(&clears("{r:large}:who")), "{}", clears("{r:large}:who"));
    assert!(!commands.iter().any(|line| line.contains("_leave\"")), "nobody leaves one by one");
    assert_eq!(survivors[1].roster(&large, 1).await.unwrap().count, 0);
    assert_eq!(survivors[1].roster(&stays, 9).await.unwrap().users, [user("y")], "held by who lives");
    let keys = redis.ask(&["KEYS", "parley:{r:*"]).await;
    assert_eq!(keys.texts().len(), 2, "nothing is left but who is there: {keys:?}");
}
