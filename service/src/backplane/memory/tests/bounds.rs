//! Tests of what is bounded: bytes, logs without use, keys; and of what an epoch says when something was forgotten.

use std::sync::Arc;
use std::time::Duration;

use super::{Memory, draft, room};
use crate::backplane::memory::MemoryConfig;
use crate::backplane::{Backplane, PageLimit, Range};
use crate::ids::{Key, LogName, RetryKey, UserId};
use crate::message::{Draft, Position};

const ALL: PageLimit = PageLimit { messages: 10_000, bytes: 100_000_000 };
const DAY: Duration = Duration::from_secs(86_400);

fn bounded(total_bytes: usize) -> Arc<Memory> {
    Memory::with(MemoryConfig { total_bytes, ..MemoryConfig::default() })
}

fn keyed(key: usize) -> Draft {
    let (user, key) = (UserId::parse("u").unwrap(), Key::parse(&key.to_string()).unwrap());
    Draft { key: Some(RetryKey::new(&user, &key)), ..draft("x") }
}

async fn messages(backplane: &dyn Backplane, log: &LogName) -> usize {
    backplane.read(log, Range::Newest, ALL).await.unwrap().entries.len()
}

async fn lost(backplane: &dyn Backplane, log: &LogName, position: Position) -> bool {
    backplane.read(log, Range::Since(position), ALL).await.unwrap().lost
}

#[tokio::test]
async fn over_the_total_the_logs_longest_without_a_publish_lose_first() {
    let memory = bounded(100_000);
    let (a, _) = memory.join("a");
    let logs: Vec<_> = (0..10).map(|number| room(&format!("r{number}"))).collect();
    let text = "x".repeat(700);
    for log in &logs {
        memory.clock.advance(Duration::from_secs(1));
        for _ in 0..10 {
            a.publish(log, &draft(&text)).await.unwrap();
        }
    }
    assert_eq!(memory.broker.stats().evicted_logs, 0);
    memory.clock.advance(Duration::from_secs(1));
    // Published to again: no longer the one that was silent longest.
    while memory.broker.stats().evicted_logs == 0 {
        a.publish(&logs[0], &draft(&text)).await.unwrap();
    }
    let stats = memory.broker.stats();
    assert!(stats.bytes <= 90_000, "{stats:?}");
    assert_eq!(messages(&*a, &logs[1]).await, 0);
    assert!(messages(&*a, &logs[0]).await > 10);
    assert_eq!(messages(&*a, &logs[9]).await, 10);
}

#[tokio::test]
async fn an_evicted_log_with_listeners_keeps_its_position_and_says_what_is_lost() {
    let memory = bounded(50_000);
    let (a, _arrivals) = memory.join("a");
    a.subscribe(&room("old")).await.unwrap();
    a.publish(&room("old"), &draft("1")).await.unwrap();
    let second = a.publish(&room("old"), &draft("2")).await.unwrap().position;
    memory.clock.advance(Duration::from_secs(1));
    while memory.broker.stats().evicted_logs == 0 {
        a.publish(&room("busy"), &draft(&"x".repeat(500))).await.unwrap();
    }
    assert_eq!(a.positions(&[room("old")]).await.unwrap(), [second]);
    assert!(!lost(&*a, &room("old"), second).await);
    assert!(lost(&*a, &room("old"), Position { offset: 1, ..second }).await);
}

#[tokio::test]
async fn an_evicted_log_without_listeners_is_forgotten_and_comes_back_with_another_epoch() {
    let memory = bounded(50_000);
    let (a, _) = memory.join("a");
    let first = a.publish(&room("old"), &draft("x")).await.unwrap().position;
    memory.clock.advance(Duration::from_secs(1));
    while memory.broker.stats().evicted_logs == 0 {
        a.publish(&room("busy"), &draft(&"x".repeat(500))).await.unwrap();
    }
    assert!(lost(&*a, &room("old"), first).await);
    let again = a.publish(&room("old"), &draft("y")).await.unwrap().position;
    assert_eq!(again.offset, first.offset);
    assert_ne!(again.epoch, first.epoch);
    assert!(lost(&*a, &room("old"), first).await);
}

#[tokio::test]
async fn keys_are_bounded_too_and_a_log_that_loses_them_begins_a_new_epoch() {
    let memory = bounded(100_000);
    let (a, mut arrivals) = memory.join("a");
    a.subscribe(&room("r")).await.unwrap();
    let mut epochs = Vec::new();
    for key in 0..5_000 {
        epochs.push(a.publish(&room("r"), &keyed(key)).await.unwrap().position.epoch);
        arrivals.try_recv().unwrap();
        assert!(memory.broker.stats().bytes <= 100_000);
    }
    assert!(memory.broker.stats().keys < 700, "{:?}", memory.broker.stats());
    epochs.dedup();
    assert!(epochs.len() > 5, "{}", epochs.len());
    let repeat = a.publish(&room("r"), &keyed(0)).await.unwrap().position;
    assert_ne!(repeat.epoch, epochs[0], "a key holds within one epoch");
}

#[tokio::test]
async fn what_cannot_be_freed_does_not_stop_anybody() {
    let memory = bounded(10_000);
    let (a, _arrivals) = memory.join("a");
    for number in 0..200 {
        a.subscribe(&room(&format!("r{number}"))).await.unwrap();
    }
    let empty = memory.broker.stats().bytes;
    assert!(empty > 10_000);
    for _ in 0..200 {
        a.publish(&room("r7"), &draft("x")).await.unwrap();
    }
    let stats = memory.broker.stats();
    assert!(stats.bytes <= empty + 2_000, "{stats:?}");
    assert!(stats.evicted_logs < 50, "looked for what to free at nearly every publish: {stats:?}");
}

#[tokio::test]
async fn a_log_that_is_only_looked_at_takes_no_place() {
    let memory = bounded(100_000);
    let (a, _) = memory.join("a");
    messages(&*a, &room("r")).await;
    a.positions(&[room("r")]).await.unwrap();
    a.broadcast(&room("r"), "{}".into(), crate::delivery::EphemeralKind::Presence);
    a.subscribe(&LogName::Inbox(UserId::parse("u").unwrap())).await.unwrap();
    a.unsubscribe(&LogName::Inbox(UserId::parse("u").unwrap()));
    let stats = memory.broker.stats();
    assert_eq!((stats.logs, stats.bytes), (0, 0));
}

#[tokio::test]
async fn a_sweep_gives_back_what_is_over() {
    let memory = bounded(1_000_000);
    let (a, arrivals) = memory.join("a");
    a.subscribe(&room("left by a crash")).await.unwrap();
    let unwritten = a.positions(&[room("unwritten")]).await.unwrap()[0];
    let written = a.publish(&room("written"), &keyed(1)).await.unwrap().position;
    drop((a, arrivals));
    let (b, _) = memory.join("b");

    memory.clock.advance(DAY);
    memory.broker.sweep();
    let stats = memory.broker.stats();
    assert_eq!((stats.logs, stats.keys), (1, 0));
    assert!(!lost(&*b, &room("written"), written).await, "nothing followed it");
    assert!(!lost(&*b, &room("unwritten"), unwritten).await, "no log with messages was forgotten");

    memory.clock.advance(29 * DAY);
    memory.broker.sweep();
    let stats = memory.broker.stats();
    assert_eq!((stats.logs, stats.bytes, stats.evicted_logs), (0, 0, 0));
    assert!(lost(&*b, &room("written"), written).await, "its offsets are forgotten");
    let again = b.publish(&room("written"), &draft("x")).await.unwrap().position;
    assert_ne!(again.epoch, written.epoch);
}

#[tokio::test]
async fn a_log_with_listeners_is_never_forgotten() {
    let memory = bounded(1_000_000);
    let (a, _arrivals) = memory.join("a");
    let other = a.publish(&room("other"), &draft("x")).await.unwrap().position;
    let (empty, written) = (room("empty"), room("written"));
    let position = a.subscribe(&empty).await.unwrap();
    a.subscribe(&written).await.unwrap();
    let top = a.publish(&written, &draft("x")).await.unwrap().position;
    memory.clock.advance(31 * DAY);
    memory.broker.sweep();
    assert!(lost(&*a, &room("other"), other).await);
    assert_eq!(a.positions(&[empty, written]).await.unwrap(), [position, top]);
}

#[tokio::test]
async fn every_byte_is_given_back() {
    let memory = bounded(1_000_000);
    let (a, _) = memory.join("a");
    for key in 0..200 {
        a.publish(&room(&format!("r{}", key % 7)), &keyed(key)).await.unwrap();
    }
    assert_eq!(memory.broker.stats().keys, 200);
    memory.clock.advance(31 * DAY);
    memory.broker.sweep();
    let stats = memory.broker.stats();
    assert_eq!((stats.logs, stats.bytes, stats.keys), (0, 0, 0));
}
