//! Answers reach who asked, or nobody: whatever users and rooms are called, and also when a connection is out of step.

use std::time::Duration;

use parley_service::backplane::redis::{RedisBackplane, Trouble};
use parley_service::backplane::{Arrival, Backplane as _, PublishError, Range};
use parley_service::directory::Directory as _;
use parley_service::directory::redis::RedisDirectory;
use parley_service::ids::{LogName, RoomName};
use parley_service::presence::redis::RedisPresence;
use parley_service::presence::{Presence as _, Roster};
use parley_service::rights::RoomSpan;
use parley_tests::eventually::eventually_fetched;
use parley_tests::redis::{Redis, config};

use crate::rig::{DEADLINE, PLENTY, draft, fill, instance, keeping, offsets, open, room, since, user};

/// With these as its first word, and two to five in all, the client takes a list for news of a subscription, and drops it.
const NEWS: [&str; 9] = [
    "message",
    "smessage",
    "pmessage",
    "subscribe",
    "psubscribe",
    "unsubscribe",
    "punsubscribe",
    "sunsubscribe",
    "pubsub",
];

/// That answers are to what was asked, with some questions behind each other.
async fn in_step(backplane: &RedisBackplane, logs: &[LogName; 3], round: usize) {
    let draft = draft("x");
    let (one, stored, all) = tokio::join!(
        backplane.positions(&logs[..1]),
        backplane.publish(&logs[2], &draft),
        backplane.positions(&logs[..2]),
    );
    let offsets = |positions: Vec<parley_service::message::Position>| {
        positions.iter().map(|position| position.offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(one.unwrap()), [1]);
    assert_eq!(stored.unwrap().position.offset, round as u64);
    assert_eq!(offsets(all.unwrap()), [1, 2]);
}

#[tokio::test]
async fn no_name_of_a_user_or_a_room_is_taken_for_news_of_a_subscription() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let (presence, directory) = (RedisPresence::new(&backplane), RedisDirectory::new(&backplane));
    let logs = [room("one"), room("two"), room("written")];
    fill(&backplane, &logs[0], 1).await;
    fill(&backplane, &logs[1], 2).await;
    let mut round = 0;
    for first in NEWS {
        for second in ["message", "pmessage", "subscribe", "bob"] {
            let mut names = vec![first, second, "x1", "x2", "x3"];
            names.dedup();
            let who = RoomName::parse(&format!("{first}, {second}")).unwrap();
            for (number, name) in names.iter().enumerate() {
                presence.enter(&who, &user(name)).await.unwrap();
                round += 1;
                let mut users: Vec<_> = names[..=number].iter().map(|name| user(name)).collect();
                users.sort_unstable();
                let (roster, ()) = tokio::join!(presence.roster(&who, 10), in_step(&backplane, &logs, round));
                assert_eq!(roster, Ok(Roster { count: users.len(), users }), "{names:?}");
            }
        }
    }

    let mut rooms = NEWS.to_vec();
    rooms.extend(["z1", "z2", "z3", "z4"]);
    rooms.sort_unstable();
    for name in &rooms {
        fill(&backplane, &room(name), 1).await;
    }
    let listed = async || directory.rooms(&[RoomSpan::all()], None, 100).await.map(|listing| listing.rooms.len());
    // The three logs and the probes of who is where have no name here, or another one.
    eventually_fetched(DEADLINE, listed, |count| *count == Ok(rooms.len() + logs.len())).await.unwrap();
    for (at, first) in rooms.iter().enumerate().take(NEWS.len()) {
        for most in 1..=4 {
            round += 1;
            let (spans, before) = ([RoomSpan::all()], first[..first.len() - 1].to_owned());
            let (listed, ()) =
                tokio::join!(directory.rooms(&spans, Some(&before), most), in_step(&backplane, &logs, round));
            let listed = listed.unwrap().rooms;
            let names: Vec<_> =
                listed.iter().map(|(room, _)| room.as_str()).filter(|name| rooms.contains(name)).collect();
            assert!(rooms[at..].starts_with(&names) && !names.is_empty(), "{before}: {names:?}");
        }
    }
    assert_eq!(backplane.troubles(Trouble::Shifted), 0);
}

/// Makes the server answer to whatever is asked of the room `poison` with what the client takes for news and drops: from
/// then on each question over that connection gets the answer to the next one.
async fn poison(redis: &Redis) {
    let head = "    local function answer(KEYS, ARGV)\n";
    let dropped = "if KEYS[1] == 'parley:{r:poison}:meta' then return { 'message', 'a', 'b' } end\n";
    redis.change_library(head, &format!("{head}{dropped}")).await;
}

#[tokio::test]
async fn a_shifted_answer_is_nobodys_and_the_connection_is_replaced() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let (presence, directory) = (RedisPresence::new(&backplane), RedisDirectory::new(&backplane));
    let (public, secret, poisoned) = (room("public"), room("secret"), room("poison"));
    fill(&backplane, &public, 1).await;
    fill(&backplane, &secret, 3).await;
    presence.enter(&RoomName::parse("public").unwrap(), &user("alice")).await.unwrap();
    directory.ban(&user("banned"), DEADLINE).await.unwrap();
    poison(&redis).await;

    let (name, text, spans) = (RoomName::parse("public").unwrap(), draft("x"), [RoomSpan::all()]);
    let (well, banned) = (user("well"), user("banned"));
    let (dropped, of_public, of_secret, stored, unbanned, still, who, at, rooms, last) = tokio::join!(
        backplane.read(&poisoned, Range::Newest, PLENTY),
        backplane.read(&public, Range::Newest, PLENTY),
        backplane.read(&secret, Range::Newest, PLENTY),
        backplane.publish(&public, &text),
        directory.banned(&well),
        directory.banned(&banned),
        presence.roster(&name, 10),
        backplane.positions(std::slice::from_ref(&secret)),
        directory.rooms(&spans, None, 10),
        backplane.publish(&secret, &text),
    );
    assert!(dropped.is_err() && of_public.is_err() && of_secret.is_err(), "{dropped:?} {of_public:?} {of_secret:?}");
    assert!(
        unbanned.is_err() && still.is_err() && who.is_err() && at.is_err() && rooms.is_err(),
        "{unbanned:?} {still:?}"
    );
    for stored in [stored, last] {
        assert!(matches!(stored, Err(PublishError::OutcomeUnknown(_))), "{stored:?}");
    }
    assert!(backplane.troubles(Trouble::Shifted) > 0);

    // Sooner than a silent connection is given up.
    let soon = Duration::from_secs(3);
    let page = async || backplane.read(&secret, Range::Newest, PLENTY).await;
    let page = eventually_fetched(soon, page, Result::is_ok).await.unwrap();
    assert_eq!((offsets(&page).len() as u64, page.top.offset > 2), (page.top.offset, true));
    assert_eq!(directory.banned(&well).await, Ok(None));
    assert!(directory.banned(&banned).await.unwrap().is_some());
}

#[tokio::test]
async fn an_error_that_answers_something_else_does_not_say_that_nothing_was_stored() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let (log, poisoned, wrong) = (room("r"), room("poison"), room("wrong"));
    let before = fill(&backplane, &log, 1).await;
    redis.ask(&["SET", "parley:{r:wrong}:meta", "not a hash"]).await;
    poison(&redis).await;
    let text = draft("x");
    let (_, stored, refused) = tokio::join!(
        backplane.read(&poisoned, Range::Newest, PLENTY),
        backplane.publish(&log, &text),
        backplane.positions(std::slice::from_ref(&wrong)),
    );
    assert!(matches!(stored, Err(PublishError::OutcomeUnknown(_))), "{stored:?}");
    refused.unwrap_err();
    let page = async || backplane.read(&log, Range::Since(before), PLENTY).await;
    let page = eventually_fetched(DEADLINE, page, Result::is_ok).await.unwrap();
    assert_eq!(offsets(&page), [2], "it was stored");
    let refused = backplane.publish(&wrong, &text).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "a connection in step says so: {refused:?}");
}

#[tokio::test]
async fn an_acknowledgement_of_another_channel_is_not_believed() {
    let redis = Redis::start().await;
    let rights = "on >secret ~parley:* &parley:* +@all -sunsubscribe";
    let rights: Vec<_> = ["ACL", "SETUSER", "chat"].into_iter().chain(rights.split_whitespace()).collect();
    redis.ask(&rights).await;
    let url = format!("redis://chat:secret@127.0.0.1:{}", redis.port());
    let (backplane, mut arrivals) = open(&config(&url, "parley"), keeping()).await;
    let logs = [room("a"), room("b"), room("c")];
    backplane.subscribe(&logs[0]).await.unwrap();
    // It is refused, and the client knows of no answer to it: it gives the error to the next question.
    backplane.unsubscribe(&logs[0]);
    let (b, c) = tokio::join!(backplane.subscribe(&logs[1]), backplane.subscribe(&logs[2]));
    assert!(b.is_err() && c.is_err(), "{b:?} {c:?}");
    for log in &logs[1..] {
        eventually_fetched(DEADLINE, async || backplane.subscribe(log).await, Result::is_ok).await.unwrap();
        let stored = backplane.publish(log, &draft("x")).await.unwrap();
        let arrived = async {
            loop {
                match arrivals.recv().await.unwrap() {
                    Arrival::Message { position, .. } if position == stored.position => return,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(DEADLINE, arrived).await.unwrap();
        assert_eq!(offsets(&since(&backplane, log, stored.position).await), [0; 0]);
    }
}
