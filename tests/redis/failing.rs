//! What happens to logs and subscriptions when the server or a connection fails: the log decides what is lost.

use std::time::Duration;

use parley_service::backplane::redis::{RedisBackplane, Retention, Trouble};
use parley_service::backplane::{Arrival, Backplane as _, PublishError, Range, Unavailable};
use parley_service::clock::{Clock as _, SystemClock};
use parley_service::ids::{Key, RetryKey, RoomName};
use parley_service::message::{Draft, Position};
use parley_service::presence::redis::RedisPresence;
use parley_service::presence::{Presence as _, Roster};
use parley_tests::eventually::eventually_fetched;
use parley_tests::proxy::{Proxy, Way, Weather};
use parley_tests::redis::{Redis, config};

use crate::rig::{DEADLINE, PLENTY, draft, fill, instance, keeping, offsets, open, ready, room, since, user};

/// Publishes until it is stored, as a client with a key would.
async fn persist(backplane: &RedisBackplane, text: &str) -> Position {
    let stored = eventually_fetched(
        DEADLINE,
        async || backplane.publish(&room("r"), &draft(text)).await,
        |stored| stored.is_ok(),
    );
    stored.await.unwrap().position
}

/// Kills the server and starts it with what is on its disk.
async fn bounce(redis: &mut Redis, backplane: &RedisBackplane) {
    redis.kill().await;
    redis.restart().await;
    // Calls work again, whatever state the probe is in.
    eventually_fetched(DEADLINE, async || backplane.positions(&[room("r")]).await, Result::is_ok).await.unwrap();
}

#[tokio::test]
async fn a_server_that_comes_back_with_its_data_starts_an_epoch_and_loses_nothing() {
    let mut redis = Redis::durable().await;
    let (backplane, _instance) = instance(&redis).await;
    let before = fill(&backplane, &room("r"), 5).await;
    bounce(&mut redis, &backplane).await;
    for (offset, expected) in [(0, vec![1, 2, 3, 4, 5]), (3, vec![4, 5]), (5, vec![])] {
        let page = since(&backplane, &room("r"), Position { offset, ..before }).await;
        assert_eq!((offsets(&page), page.lost, page.top.offset), (expected, false, 5), "since {offset}");
        assert_ne!(page.top.epoch, before.epoch, "another process wrote the log");
    }
    let next = persist(&backplane, "next").await;
    assert_eq!(next.offset, 6);
    assert_eq!(offsets(&since(&backplane, &room("r"), before).await), [6]);
    assert!(since(&backplane, &room("r"), Position { offset: 6, ..before }).await.lost, "the old epoch ended at 5");
}

/// A draft that may be repeated.
fn keyed(text: &str) -> Draft {
    Draft { key: Some(RetryKey::new(&user("u"), &Key::parse("k").unwrap())), ..draft(text) }
}

#[tokio::test]
async fn a_repeat_after_a_restart_is_answered_and_not_stored_again_while_the_log_has_the_first() {
    let mut redis = Redis::durable().await;
    let (backplane, _instance) = instance(&redis).await;
    fill(&backplane, &room("r"), 2).await;
    let first = backplane.publish(&room("r"), &keyed("once")).await.unwrap();
    bounce(&mut redis, &backplane).await;
    let again = async || backplane.publish(&room("r"), &keyed("once")).await;
    let again = eventually_fetched(DEADLINE, again, Result::is_ok).await.unwrap();
    assert_ne!(again.position.epoch, first.position.epoch, "another process wrote the log");
    assert_eq!((again.position.offset, again.at), (first.position.offset, first.at));
    assert_eq!(persist(&backplane, "next").await.offset, 4);
}

#[tokio::test]
async fn a_repeat_is_stored_again_where_the_log_has_lost_the_first() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let first = backplane.publish(&room("r"), &keyed("once")).await.unwrap();
    redis.ask(&["DEL", "parley:{r:r}:meta", "parley:{r:r}:log"]).await;
    let again = backplane.publish(&room("r"), &keyed("once")).await.unwrap();
    assert_ne!(again.position.epoch, first.position.epoch);
    let page = since(&backplane, &room("r"), Position { offset: 0, ..again.position }).await;
    assert_eq!(offsets(&page), [1]);
}

#[tokio::test]
async fn a_server_that_comes_back_without_its_last_messages_has_lost_them_only_for_who_saw_them() {
    let mut redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let kept = fill(&backplane, &room("r"), 3).await;
    redis.ask(&["SAVE"]).await;
    let seen = fill(&backplane, &room("r"), 2).await;
    assert_eq!((kept.epoch, kept.offset, seen.offset), (seen.epoch, 3, 5));
    bounce(&mut redis, &backplane).await;
    let page = since(&backplane, &room("r"), Position { offset: 2, ..kept }).await;
    assert_eq!((offsets(&page), page.lost), (vec![3], false));
    assert!(!since(&backplane, &room("r"), kept).await.lost);
    for offset in [4, 5] {
        assert!(since(&backplane, &room("r"), Position { offset, ..seen }).await.lost, "saw {offset}");
    }
    assert_eq!(persist(&backplane, "again").await.offset, 4);
    assert!(since(&backplane, &room("r"), Position { offset: 4, ..seen }).await.lost, "another message has its offset");
}

#[tokio::test]
async fn a_primary_that_was_replaced_and_comes_back_with_less_has_lost_it_for_who_saw_it() {
    let redis = Redis::start().await;
    let other = Redis::replica_of(&redis).await;
    let (backplane, _instance) = instance(&redis).await;
    let kept = fill(&backplane, &room("r"), 3).await;
    let has = async |offset: &str| {
        let of_other = async || other.ask(&["HGET", "parley:{r:r}:meta", "o"]).await;
        eventually_fetched(DEADLINE, of_other, |at| at.text() == offset).await;
    };
    has("3").await;
    other.ask(&["REPLICAOF", "NO", "ONE"]).await;
    let seen = fill(&backplane, &room("r"), 2).await;
    assert_eq!((kept.epoch, seen.offset), (seen.epoch, 5));
    // The same process all the time: it follows the other, which knows nothing of the last two, and is promoted again.
    redis.ask(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]).await;
    let follows = async || redis.ask(&["INFO", "replication"]).await.text().contains("master_link_status:up");
    eventually_fetched(DEADLINE, follows, |follows| *follows).await;
    redis.ask(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(persist(&backplane, "again").await.offset, 4);
    persist(&backplane, "and again").await;
    assert!(since(&backplane, &room("r"), seen).await.lost, "another message has its offset");
    let page = since(&backplane, &room("r"), kept).await;
    assert_eq!((offsets(&page), page.lost), (vec![4, 5], false));
}

#[tokio::test]
async fn positions_survive_some_epochs_but_not_any_number() {
    let mut redis = Redis::durable().await;
    let (backplane, _instance) = instance(&redis).await;
    let mut positions = vec![fill(&backplane, &room("r"), 1).await];
    for number in 0..9 {
        bounce(&mut redis, &backplane).await;
        positions.push(persist(&backplane, &format!("life {number}")).await);
    }
    let lost = async |position: &Position| since(&backplane, &room("r"), *position).await.lost;
    assert!(lost(&positions[0]).await, "nine epochs ago");
    for position in &positions[1..] {
        assert!(!lost(position).await, "{position:?}");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_empty_has_lost_everything() {
    let mut redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let before = fill(&backplane, &room("r"), 3).await;
    bounce(&mut redis, &backplane).await;
    let page = since(&backplane, &room("r"), before).await;
    assert!(page.lost);
    assert_eq!(page.top.offset, 0);
    assert_ne!(page.top.epoch, before.epoch);
    assert_eq!(persist(&backplane, "first").await, Position { offset: 1, ..page.top });
}

#[tokio::test]
async fn a_flush_is_a_loss_also_for_a_room_without_messages() {
    let redis = Redis::start().await;
    let (backplane, instance) = instance(&redis).await;
    let (written, unwritten) = (fill(&backplane, &room("r"), 3).await, instance.subscribe(&room("unwritten")).await);
    redis.ask(&["FLUSHALL"]).await;
    redis.ask(&["FUNCTION", "FLUSH"]).await;
    for (name, before) in [("r", written), ("unwritten", unwritten)] {
        let page = since(&backplane, &room(name), before).await;
        assert!(page.lost, "{name}");
        assert_ne!(page.top.epoch, before.epoch);
        let again = since(&backplane, &room(name), page.top).await;
        assert!(!again.lost, "the new epoch stays");
    }
}

#[tokio::test]
async fn messages_too_old_are_gone_and_the_position_stays() {
    let redis = Redis::start().await;
    let hour = Retention { messages: 1_000, age: Duration::from_secs(3_600) };
    let (backplane, _arrivals) = open(&redis.config("parley"), hour).await;
    let now = SystemClock::start().now().wall_ms;
    let dated = |at: u64| Draft { tail: format!(",\"msg\":1,\"at\":{at}}}").into(), at, ..draft("") };
    let mut last = None;
    for minutes_ago in [90, 80, 70, 50, 0] {
        let stored = backplane.publish(&room("r"), &dated(now - minutes_ago * 60_000)).await.unwrap();
        last = Some(stored.position);
    }
    let top = last.unwrap();
    let newest = backplane.read(&room("r"), Range::Newest, PLENTY).await.unwrap();
    assert_eq!((offsets(&newest), newest.more, newest.top), (vec![4, 5], false, top));
    assert!(since(&backplane, &room("r"), Position { offset: 2, ..top }).await.lost);
    assert_eq!(offsets(&since(&backplane, &room("r"), Position { offset: 3, ..top }).await), [4, 5]);
}

#[tokio::test]
async fn killed_connections_are_replaced_and_the_instance_is_told_to_compare() {
    let redis = Redis::start().await;
    let (backplane, mut instance) = instance(&redis).await;
    instance.subscribe(&room("r")).await;
    for kind in ["pubsub", "normal"] {
        let killed = redis.ask(&["CLIENT", "KILL", "TYPE", kind]).await;
        assert_ne!(killed, parley_tests::redis::Answer::Number(0), "{kind}");
        if kind == "pubsub" {
            instance.next("a lag", |arrival| (*arrival == Arrival::Lagged).then_some(())).await;
        }
        let position = persist(&backplane, kind).await;
        let arrived = |arrival: &Arrival| match arrival {
            Arrival::Message { position: at, .. } => (*at == position).then_some(()),
            _ => None,
        };
        instance.next("the message", arrived).await;
    }
}

#[tokio::test]
async fn an_instance_that_does_not_take_its_arrivals_is_told_that_it_lags() {
    let redis = Redis::start().await;
    let (backplane, mut instance) = instance(&redis).await;
    instance.subscribe(&room("r")).await;
    let flood = "for i = 1, 60000 do redis.call('SPUBLISH', KEYS[1], '1 P\\n{}') end";
    redis.ask(&["EVAL", flood, "1", "parley:{r:r}:ch"]).await;
    eventually_fetched(DEADLINE, async || backplane.troubles(Trouble::Lag), |lags| *lags > 0).await;
    let mut taken = 0;
    let lagged = |arrival: &Arrival| {
        taken += 1;
        (*arrival == Arrival::Lagged).then_some(())
    };
    instance.next("a lag", lagged).await;
    assert!(taken <= 10_000, "the queue is bounded, but {taken} were in it");
}

#[tokio::test]
async fn a_paused_server_fails_publishes_in_time_and_purges_nobody() {
    let redis = Redis::start().await;
    let (a, _a) = instance(&redis).await;
    let (b, _b) = instance(&redis).await;
    let name = RoomName::parse("r").unwrap();
    let mut present = Vec::new();
    for (backplane, who) in [(&a, "alice"), (&b, "bob")] {
        let presence = RedisPresence::new(backplane);
        presence.enter(&name, &user(who)).await.unwrap();
        assert_eq!(presence.renew().await, Ok(true));
        present.push(presence);
    }
    redis.signal("STOP").await;
    let (log, lost) = (room("r"), draft("lost?"));
    let publish = a.publish(&log, &lost);
    let answer = tokio::time::timeout(Duration::from_secs(4), publish).await.expect("publishes fail in time");
    assert!(matches!(answer, Err(PublishError::OutcomeUnknown(_))), "it was sent: {answer:?}");
    ready(&a, false).await;
    redis.signal("CONT").await;
    ready(&a, true).await;
    ready(&b, true).await;
    let both = Roster { users: vec![user("alice"), user("bob")], count: 2 };
    for presence in &present {
        eventually_fetched(DEADLINE, async || presence.renew().await, Result::is_ok).await.unwrap();
        assert_eq!(presence.roster(&name, 10).await, Ok(both.clone()));
    }
}

#[tokio::test]
async fn who_was_given_up_learns_it_although_the_answer_that_said_so_was_lost() {
    let redis = Redis::start().await;
    let proxy = Proxy::to_port(redis.port(), 1).await;
    let url = format!("redis://{}", proxy.address());
    let (backplane, _arrivals) = open(&config(&url, "parley"), keeping()).await;
    let (presence, name) = (RedisPresence::new(&backplane), RoomName::parse("r").unwrap());
    presence.enter(&name, &user("alice")).await.unwrap();
    assert_eq!(presence.renew().await, Ok(true));
    // Somebody else took it for dead, cleaned up after it, and forgot it.
    redis.ask(&["DEL", "parley:{leases}:until", "parley:{r:r}:who", "parley:{r:r}:held"]).await;
    proxy.set(Weather { down: Way::Held, ..Weather::default() });
    presence.renew().await.unwrap_err();
    proxy.heal();
    let renewed = eventually_fetched(DEADLINE, async || presence.renew().await, Result::is_ok);
    assert_eq!(renewed.await, Ok(false), "what it had entered is gone");
    presence.enter(&name, &user("alice")).await.unwrap();
    assert_eq!(presence.roster(&name, 10).await.unwrap().users, [user("alice")]);
}

#[tokio::test]
async fn a_server_that_is_gone_refuses_at_once_and_comes_back() {
    let mut redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    redis.kill().await;
    let refused = eventually_fetched(
        DEADLINE,
        async || backplane.publish(&room("r"), &draft("x")).await,
        |answer| matches!(answer, Err(PublishError::Unavailable(_))),
    );
    refused.await.unwrap_err();
    redis.restart().await;
    assert_eq!(persist(&backplane, "back").await.offset, 1);
}

/// A former name stands 15 s, and a survivor judges after 10 steady ones.
const CLEANED: Duration = Duration::from_secs(40);

#[tokio::test]
async fn what_a_replaced_server_still_has_of_who_left_is_cleaned_up_although_it_lost_the_list() {
    let mut redis = Redis::durable().await;
    let (backplane, _instance) = instance(&redis).await;
    let (presence, name) = (RedisPresence::new(&backplane), RoomName::parse("r").unwrap());
    for who in ["alice", "ghost", "leaver"] {
        presence.enter(&name, &user(who)).await.unwrap();
    }
    assert_eq!(presence.renew().await, Ok(true));
    bounce(&mut redis, &backplane).await;
    for list in redis.ask(&["KEYS", "parley:{n:*}:rooms"]).await.texts() {
        redis.ask(&["DEL", list]).await;
    }
    // Before it is known that the server is another one: the list must be there for who cleans up.
    presence.enter(&name, &user("alice")).await.unwrap();
    assert_eq!(presence.renew().await, Ok(false), "something may be gone");
    presence.leave(&name, &user("leaver")).await.unwrap();
    // A call may come too late while the machine is busy; the next one will not.
    let users = async || {
        presence.renew().await?;
        Ok::<_, Unavailable>(presence.roster(&name, 10).await?.users)
    };
    let first = eventually_fetched(DEADLINE, users, Result::is_ok).await;
    assert_eq!(first.unwrap(), [user("alice"), user("ghost")], "who leaves is gone at once");
    let left = eventually_fetched(CLEANED, users, |users| users.as_ref().is_ok_and(|users| users.len() == 1)).await;
    assert_eq!(left.unwrap(), [user("alice")]);
}
