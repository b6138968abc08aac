//! Tests of the faults themselves: that they happen, as planned, and that a plan without any changes nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc::error::TryRecvError;

use super::{Counts, FaultPlan, Faulty};
use crate::backplane::conformance::{self, Rig, eventually};
use crate::backplane::memory::{MemoryBroker, MemoryConfig};
use crate::backplane::{Arrival, Arrivals, Backplane, PageLimit, PublishError, Range};
use crate::clock::ManualClock;
use crate::delivery::EphemeralKind;
use crate::entropy::SeededEntropy;
use crate::ids::{LogName, RoomName, ServerId};
use crate::message::Draft;

const ALL: PageLimit = PageLimit { messages: 10_000, bytes: 10_000_000 };

struct Spared {
    clock: Arc<ManualClock>,
    broker: Arc<MemoryBroker>,
}

impl Rig for Spared {
    fn instance<'a>(&'a self, name: &'a str) -> BoxFuture<'a, (Arc<dyn Backplane>, Arrivals)> {
        Box::pin(async move {
            let (inner, arrivals) = self.broker.instance(ServerId::parse(name).unwrap());
            let (faulty, arrivals, _pump) = Faulty::wrap(inner, arrivals, 1, FaultPlan::default());
            (faulty as Arc<dyn Backplane>, arrivals)
        })
    }

    fn pass(&self, time: Duration) -> Option<BoxFuture<'_, ()>> {
        Some(Box::pin(async move { self.clock.advance(time) }))
    }

    fn history_messages(&self) -> usize {
        MemoryConfig::default().history_messages
    }

    fn history_age(&self) -> Duration {
        MemoryConfig::default().history_age
    }
}

fn spared() -> Arc<Spared> {
    let clock = ManualClock::at(0);
    let broker = MemoryBroker::new(MemoryConfig::default(), clock.clone(), SeededEntropy::new(1));
    Arc::new(Spared { clock, broker })
}

fn log() -> LogName {
    LogName::Room(RoomName::parse("r").unwrap())
}

fn draft() -> Draft {
    let (head, tail) = (Bytes::from_static(b"{\"offset\":"), Bytes::from_static(b"}"));
    Draft { head, tail, key: None, at: 0, traceparent: None }
}

/// A spared publisher and a subscribed instance with faults.
async fn pair(seed: u64, plan: FaultPlan) -> (Arc<dyn Backplane>, Arc<Faulty>, Arrivals) {
    let broker = spared().broker.clone();
    let (publisher, _) = broker.instance(ServerId::parse("publisher").unwrap());
    let (inner, arrivals) = broker.instance(ServerId::parse("faulty").unwrap());
    inner.subscribe(&log()).await.unwrap();
    let (faulty, arrivals, _pump) = Faulty::wrap(inner, arrivals, seed, plan);
    (publisher, faulty, arrivals)
}

async fn seen(faulty: &Faulty, arrivals: u64) {
    eventually("the pump", |seen| *seen == arrivals, async || faulty.counts().seen).await;
}

fn offsets(arrivals: &mut Arrivals) -> Vec<u64> {
    let mut offsets = Vec::new();
    loop {
        match arrivals.try_recv() {
            Ok(Arrival::Message { position, .. }) => offsets.push(position.offset),
            Ok(Arrival::Lagged) => offsets.push(0),
            Ok(Arrival::Ephemeral { .. }) => {}
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return offsets,
        }
    }
}

/// What arrives of `messages` messages; 0 stands for `Lagged`.
async fn story(seed: u64, plan: FaultPlan, messages: u64) -> (Vec<u64>, Counts) {
    let (publisher, faulty, mut arrivals) = pair(seed, plan).await;
    let mut story = Vec::new();
    for published in 1..=messages {
        publisher.publish(&log(), &draft()).await.unwrap();
        if published % 200 == 0 || published == messages {
            seen(&faulty, published).await;
            story.extend(offsets(&mut arrivals));
        }
    }
    faulty.release();
    faulty.say_lagged();
    loop {
        let next = arrivals.recv().await;
        match next {
            Some(Arrival::Message { position, .. }) => story.push(position.offset),
            _ => return (story, faulty.counts()),
        }
    }
}

#[tokio::test]
async fn without_faults_every_promise_is_kept() {
    for promise in conformance::all() {
        println!("{}", promise.name);
        (promise.check)(spared()).await;
    }
}

#[tokio::test]
async fn every_planned_fault_happens_and_is_counted() {
    let (story, counts) = story(7, FaultPlan::rough(), 2_000).await;
    let Counts { seen, lost, lagged, repeated, delayed, .. } = counts;
    assert_eq!(seen, 2_000);
    for (name, count) in [("lost", lost), ("lagged", lagged), ("repeated", repeated), ("delayed", delayed)] {
        assert!(count > 5, "{name}: {counts:?}");
    }
    let mut messages: Vec<_> = story.iter().copied().filter(|offset| *offset != 0).collect();
    assert!(!messages.is_sorted(), "nothing was swapped");
    assert_eq!(messages.len() as u64, seen - lost - lagged + repeated);
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages.len() as u64, seen - lost - lagged);
    assert_eq!(story.len() as u64 - lagged, seen - lost - lagged + repeated);
}

#[tokio::test]
async fn an_arrival_is_overtaken_by_no_more_than_planned() {
    let plan = FaultPlan { delay: 300, overtaken_by: 4, ..FaultPlan::default() };
    let (story, counts) = story(3, plan, 500).await;
    assert!(counts.delayed > 50);
    assert_eq!(story.len(), 500);
    for (index, offset) in story.iter().enumerate() {
        let overtook = story[..index].iter().filter(|earlier| *earlier > offset).count();
        assert!(overtook <= 4, "{overtook} overtook {offset}");
    }
}

#[tokio::test]
async fn the_same_seed_tells_the_same_story_and_another_one_another() {
    let first = story(7, FaultPlan::rough(), 300).await;
    assert_eq!(first, story(7, FaultPlan::rough(), 300).await);
    assert_ne!(first.0, story(8, FaultPlan::rough(), 300).await.0);
}

#[tokio::test]
async fn nothing_arrives_through_a_partition_and_everything_asked_fails() {
    let (publisher, faulty, mut arrivals) = pair(1, FaultPlan::default()).await;
    faulty.partition();
    publisher.publish(&log(), &draft()).await.unwrap();
    seen(&faulty, 1).await;
    assert!(faulty.subscribe(&log()).await.is_err());
    assert!(faulty.read(&log(), Range::Newest, ALL).await.is_err());
    assert!(faulty.positions(&[log()]).await.is_err());
    faulty.broadcast(&log(), Bytes::from_static(b"{}"), EphemeralKind::Presence);
    assert!(offsets(&mut arrivals).is_empty());
    let counts = faulty.counts();
    assert_eq!((counts.cut, counts.refused_others, counts.unheard), (1, 3, 1));

    faulty.heal();
    assert_eq!(arrivals.recv().await, Some(Arrival::Lagged));
    assert_eq!(faulty.publish(&log(), &draft()).await.unwrap().position.offset, 2);
    seen(&faulty, 2).await;
    assert_eq!(offsets(&mut arrivals), [2]);

    faulty.partition();
    faulty.heal_silently();
    publisher.publish(&log(), &draft()).await.unwrap();
    seen(&faulty, 3).await;
    assert_eq!(offsets(&mut arrivals), [3]);
}

#[tokio::test]
async fn a_publish_into_a_partition_is_refused_or_left_open_and_the_log_tells_which() {
    let (publisher, faulty, _arrivals) = pair(5, FaultPlan::default()).await;
    faulty.partition();
    let (mut refused, mut unsure) = (0, 0);
    for _ in 0..200 {
        match faulty.publish(&log(), &draft()).await {
            Err(PublishError::Unavailable(_)) => refused += 1,
            Err(PublishError::OutcomeUnknown(_)) => unsure += 1,
            Ok(stored) => panic!("stored in a partition: {stored:?}"),
        }
    }
    let counts = faulty.counts();
    assert_eq!((counts.refused, counts.unsure_stored + counts.unsure_not_stored), (refused, unsure));
    assert!(counts.refused > 50 && counts.unsure_stored > 20 && counts.unsure_not_stored > 20, "{counts:?}");
    assert_eq!(publisher.positions(&[log()]).await.unwrap()[0].offset, counts.unsure_stored);
}

#[tokio::test]
async fn a_plan_for_what_is_asked_holds_without_a_partition() {
    let plan = FaultPlan { refuse: 200, unsure: 200, refuse_others: 300, ..FaultPlan::default() };
    let (_, faulty, mut arrivals) = pair(2, plan).await;
    let (mut failed, mut stored) = (0, 0);
    for _ in 0..300 {
        failed += u64::from(faulty.read(&log(), Range::Newest, ALL).await.is_err());
        stored += u64::from(faulty.publish(&log(), &draft()).await.is_ok());
        offsets(&mut arrivals);
    }
    let counts = faulty.counts();
    assert_eq!(counts.refused_others, failed);
    assert!((60..120).contains(&failed), "{counts:?}");
    assert_eq!(stored, 300 - counts.refused - counts.unsure_stored - counts.unsure_not_stored);
    assert!(counts.refused > 30 && counts.unsure_stored > 10 && counts.unsure_not_stored > 10, "{counts:?}");
    faulty.set_plan(FaultPlan::default());
    assert!(faulty.publish(&log(), &draft()).await.is_ok());
}

#[tokio::test]
async fn the_pump_ends_with_either_side() {
    let broker = spared().broker.clone();
    let (inner, arrivals) = broker.instance(ServerId::parse("a").unwrap());
    let (faulty, mut arrivals, pump) = Faulty::wrap(inner, arrivals, 1, FaultPlan::default());
    drop(faulty);
    assert_eq!(arrivals.recv().await, None);
    pump.await.unwrap();

    let (inner, arrivals) = broker.instance(ServerId::parse("b").unwrap());
    let (_faulty, arrivals, pump) = Faulty::wrap(inner, arrivals, 1, FaultPlan::default());
    drop(arrivals);
    pump.await.unwrap();
}
