//! Tests of back-pressure: who waits for whom, for how long, and what is dropped instead.

use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::poll;
use tokio::task::JoinSet;

use super::super::outlet::CAPACITY;
use super::{Memory, draft, room};
use crate::backplane::memory::MemoryConfig;
use crate::backplane::{Arrival, Arrivals, Backplane, PublishError};
use crate::delivery::EphemeralKind;

fn memory() -> Arc<Memory> {
    Memory::with(MemoryConfig::default())
}

async fn publish(backplane: &dyn Backplane, log: &str, messages: usize) {
    for _ in 0..messages {
        backplane.publish(&room(log), &draft("x")).await.unwrap();
    }
}

fn waiting_offsets(arrivals: &mut Arrivals) -> Vec<u64> {
    let mut offsets = Vec::new();
    while let Ok(Arrival::Message { position, .. }) = arrivals.try_recv() {
        offsets.push(position.offset);
    }
    offsets
}

#[tokio::test]
async fn a_publish_is_done_at_its_first_poll() {
    let memory = memory();
    let (a, mut arrivals) = memory.join("a");
    a.subscribe(&room("r")).await.unwrap();
    assert!(poll!(a.publish(&room("r"), &draft("x"))).is_ready());
    assert_eq!(waiting_offsets(&mut arrivals), [1]);
}

#[tokio::test]
async fn a_log_subscribed_twice_brings_each_message_once() {
    let memory = memory();
    let (a, mut arrivals) = memory.join("a");
    for _ in 0..2 {
        a.subscribe(&room("r")).await.unwrap();
    }
    publish(&*a, "r", 3).await;
    assert_eq!(waiting_offsets(&mut arrivals), [1, 2, 3]);
}

#[tokio::test]
async fn a_full_instance_holds_publishers_back_until_it_takes() {
    let memory = memory();
    let (a, mut arrivals) = memory.join("a");
    a.subscribe(&room("r")).await.unwrap();
    publish(&*a, "r", CAPACITY).await;
    let (log, late) = (room("r"), draft("late"));
    let mut publishing = a.publish(&log, &late);
    assert!(poll!(&mut publishing).is_pending());
    assert_eq!(a.positions(&[room("r")]).await.unwrap()[0].offset, CAPACITY as u64, "stored before there is room");
    arrivals.recv().await.unwrap();
    assert_eq!(publishing.await.unwrap().position.offset, CAPACITY as u64 + 1);
    assert_eq!(waiting_offsets(&mut arrivals), (2..=CAPACITY as u64 + 1).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_waited_in_vain_is_certainly_not_stored() {
    let memory = memory();
    let (a, arrivals) = memory.join("stuck");
    let (b, mut b_arrivals) = memory.join("b");
    for instance in [&a, &b] {
        instance.subscribe(&room("r")).await.unwrap();
    }
    publish(&*b, "r", CAPACITY).await;
    assert_eq!(waiting_offsets(&mut b_arrivals).len(), CAPACITY);
    let answer = b.publish(&room("r"), &draft("late")).await;
    let Err(PublishError::Unavailable(why)) = answer else { panic!("{answer:?}") };
    assert!(why.0.contains("stuck"), "{why}");
    assert_eq!(b.positions(&[room("r")]).await.unwrap()[0].offset, CAPACITY as u64);
    assert!(waiting_offsets(&mut b_arrivals).is_empty(), "what is not stored is not told");
    drop(arrivals);
    publish(&*b, "r", 1).await;
    assert_eq!(waiting_offsets(&mut b_arrivals), [CAPACITY as u64 + 1], "an instance that is gone is not waited for");
}

#[tokio::test]
async fn publishes_that_wait_for_one_instance_leave_the_others_free() {
    let memory = memory();
    let (a, _stuck) = memory.join("a");
    let (b, mut b_arrivals) = memory.join("b");
    for log in ["both", "only b"] {
        b.subscribe(&room(log)).await.unwrap();
    }
    a.subscribe(&room("both")).await.unwrap();
    publish(&*b, "both", CAPACITY).await;
    assert_eq!(waiting_offsets(&mut b_arrivals).len(), CAPACITY);
    let (log, late) = (room("both"), draft("late"));
    let mut waiting: Vec<_> = (0..2 * CAPACITY).map(|_| b.publish(&log, &late)).collect();
    for publish in &mut waiting {
        assert!(poll!(publish).is_pending());
    }
    publish(&*b, "only b", CAPACITY).await;
    assert_eq!(waiting_offsets(&mut b_arrivals).len(), CAPACITY);
}

#[tokio::test]
async fn who_waits_for_an_instance_that_goes_is_stored() {
    let memory = memory();
    let (a, arrivals) = memory.join("a");
    a.subscribe(&room("r")).await.unwrap();
    publish(&*a, "r", CAPACITY).await;
    let (b, _) = memory.join("b");
    let (log, late) = (room("r"), draft("late"));
    let mut waiting: Vec<_> = (0..3).map(|_| b.publish(&log, &late)).collect();
    for publish in &mut waiting {
        assert!(poll!(publish).is_pending());
    }
    drop((a, arrivals));
    assert!(join_all(waiting).await.into_iter().all(|answer| answer.is_ok()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrivals_are_whole_and_in_the_order_of_the_log_however_slow_they_are_taken() {
    const EACH: usize = 400;
    let memory = memory();
    let mut tasks = JoinSet::new();
    for name in ["a", "b", "c"] {
        let (instance, mut arrivals) = memory.join(name);
        instance.subscribe(&room("r")).await.unwrap();
        tasks.spawn(async move {
            for expected in 1..=8 * EACH as u64 {
                if expected % 100 == 0 {
                    tokio::task::yield_now().await;
                }
                let Some(Arrival::Message { position, .. }) = arrivals.recv().await else { panic!("no message") };
                assert_eq!(position.offset, expected);
            }
            drop(instance);
        });
    }
    for number in 0..8 {
        let (publisher, _) = memory.join(&format!("p{number}"));
        tasks.spawn(async move { publish(&*publisher, "r", EACH).await });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn a_broadcast_to_a_full_instance_is_dropped_and_counted() {
    let memory = memory();
    let (a, mut a_arrivals) = memory.join("a");
    let (b, mut b_arrivals) = memory.join("b");
    a.subscribe(&room("r")).await.unwrap();
    publish(&*a, "r", CAPACITY).await;
    b.subscribe(&room("r")).await.unwrap();
    a.broadcast(&room("r"), "{}".into(), EphemeralKind::Presence);
    assert_eq!(memory.broker.stats().dropped_broadcasts, 1);
    assert_eq!(waiting_offsets(&mut a_arrivals).len(), CAPACITY);
    assert!(matches!(b_arrivals.try_recv(), Ok(Arrival::Ephemeral { .. })));
}

#[tokio::test]
async fn arrivals_end_with_the_instance() {
    let memory = memory();
    let (a, mut arrivals) = memory.join("a");
    a.subscribe(&room("r")).await.unwrap();
    drop(a);
    assert_eq!(arrivals.recv().await, None);
}
