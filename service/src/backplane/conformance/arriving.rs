//! Checks of what arrives at an instance, and of when it starts and ends.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Instance, PLENTY, Promise, Rig, Verdict, draft, frame, inbox, promises, room};
use crate::backplane::{Arrival, Range};
use crate::delivery::EphemeralKind;
use crate::ids::{LogName, SessionId};
use crate::message::Draft;

pub(super) fn all() -> Vec<Promise<dyn Rig>> {
    promises![dyn Rig:
        every_message_after_the_position_of_subscribe_arrives,
        a_subscription_that_races_with_publishers_misses_nothing,
        every_instance_sees_the_same_message_at_the_same_position,
        a_message_arrives_with_its_position_and_trace,
        rooms_inboxes_and_control_arrive_alike,
        subscribing_again_changes_nothing,
        unsubscribing_ends_arrivals,
        arrivals_of_other_logs_go_on_after_an_unsubscribe,
        subscribing_after_an_unsubscribe_starts_again,
        a_broadcast_reaches_every_subscriber_and_no_log,
    ]
}

async fn every_message_after_the_position_of_subscribe_arrives(rig: Arc<dyn Rig>) -> Verdict {
    let (mut a, b, log) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await, room("live"));
    b.fill(&log, 3).await;
    let position = a.subscribe(&log).await;
    assert_eq!(position, b.top(&log).await);
    assert_eq!(position.offset, 3);
    for text in ["four", "five"] {
        b.publish(&log, &draft(text)).await;
    }
    let seen = a.receive(&log, 4..=5).await;
    assert_eq!(seen.into_values().collect::<Vec<_>>(), [frame(4, "four"), frame(5, "five")]);
    Verdict::Kept
}

async fn a_subscription_that_races_with_publishers_misses_nothing(rig: Arc<dyn Rig>) -> Verdict {
    const MESSAGES: u64 = 60;
    let log = room("race");
    let publisher = Instance::on(&rig, "publisher").await;
    let mut instances = JoinSet::new();
    for number in 0..4 {
        let (mut instance, log) = (Instance::on(&rig, &format!("i{number}")).await, log.clone());
        instances.spawn(async move {
            let position = instance.subscribe(&log).await;
            if position.offset < MESSAGES {
                instance.receive(&log, position.offset + 1..=MESSAGES).await;
            }
        });
    }
    for number in 1..=MESSAGES {
        publisher.publish(&log, &draft(&format!("m{number}"))).await;
        tokio::task::yield_now().await;
    }
    instances.join_all().await;
    Verdict::Kept
}

async fn every_instance_sees_the_same_message_at_the_same_position(rig: Arc<dyn Rig>) -> Verdict {
    let log = room("agreement");
    let mut instances = Vec::new();
    for name in ["a", "b", "c"] {
        let instance = Instance::on(&rig, name).await;
        instance.subscribe(&log).await;
        instances.push(instance);
    }
    let mut publishers = JoinSet::new();
    for instance in &instances {
        let (backplane, log) = (instance.backplane.clone(), log.clone());
        publishers.spawn(async move {
            for number in 0..6 {
                let stored = backplane.publish(&log, &draft(&format!("m{number}"))).await;
                stored.expect("a healthy backplane stores");
            }
        });
    }
    publishers.join_all().await;
    let page = instances[0].read(&log, Range::After(0), PLENTY).await;
    let logged: Vec<_> = page.entries.into_iter().map(|entry| (entry.offset, entry.frame)).collect();
    assert_eq!(logged.len(), 18);
    for instance in &mut instances {
        assert_eq!(instance.receive(&log, 1..=18).await.into_iter().collect::<Vec<_>>(), logged);
    }
    Verdict::Kept
}

async fn a_message_arrives_with_its_position_and_trace(rig: Arc<dyn Rig>) -> Verdict {
    let (mut a, b, log) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await, room("trace"));
    a.subscribe(&log).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = Draft { traceparent: Some(trace.into()), ..draft("x") };
    for (sent, traceparent) in [(traced, Some(trace.into())), (draft("y"), None)] {
        let position = b.publish(&log, &sent).await.position;
        let frame = sent.splice(position.offset);
        let expected = Arrival::Message { log: log.clone(), position, frame, traceparent };
        a.next("the message", |arrival| (arrival == &expected).then_some(())).await;
    }
    Verdict::Kept
}

async fn rooms_inboxes_and_control_arrive_alike(rig: Arc<dyn Rig>) -> Verdict {
    let (mut a, b) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await);
    let logs = [room("name"), inbox("name"), LogName::Control];
    for log in &logs {
        a.subscribe(log).await;
    }
    for (log, text) in logs.iter().zip(["room", "inbox", "control"]) {
        b.publish(log, &draft(text)).await;
        assert_eq!(a.receive(log, 1..=1).await[&1], frame(1, text), "{log:?}");
    }
    Verdict::Kept
}

async fn subscribing_again_changes_nothing(rig: Arc<dyn Rig>) -> Verdict {
    let (mut a, b, log) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await, room("twice"));
    a.subscribe(&log).await;
    b.publish(&log, &draft("one")).await;
    assert_eq!(a.subscribe(&log).await.offset, 1);
    b.publish(&log, &draft("two")).await;
    a.receive(&log, 1..=2).await;
    a.backplane.unsubscribe(&log);
    silence(&mut a, &b, &log).await;
    Verdict::Kept
}

async fn unsubscribing_ends_arrivals(rig: Arc<dyn Rig>) -> Verdict {
    let (mut a, b, log) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await, room("left"));
    a.backplane.unsubscribe(&log);
    a.subscribe(&log).await;
    b.publish(&log, &draft("one")).await;
    a.receive(&log, 1..=1).await;
    a.backplane.unsubscribe(&log);
    a.backplane.unsubscribe(&log);
    silence(&mut a, &b, &log).await;
    Verdict::Kept
}

async fn arrivals_of_other_logs_go_on_after_an_unsubscribe(rig: Arc<dyn Rig>) -> Verdict {
    let (mut a, mut b) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await);
    let (left, kept) = (room("name"), inbox("name"));
    for log in [&left, &kept] {
        a.subscribe(log).await;
        b.subscribe(log).await;
    }
    a.backplane.unsubscribe(&left);
    b.publish(&kept, &draft("inbox")).await;
    b.publish(&left, &draft("room")).await;
    a.receive(&kept, 1..=1).await;
    b.receive(&left, 1..=1).await;
    Verdict::Kept
}

async fn subscribing_after_an_unsubscribe_starts_again(rig: Arc<dyn Rig>) -> Verdict {
    let (mut a, b, log) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await, room("back"));
    let first = a.subscribe(&log).await;
    a.backplane.unsubscribe(&log);
    assert_eq!(a.subscribe(&log).await, first, "an empty room keeps its position");
    b.publish(&log, &draft("one")).await;
    a.receive(&log, 1..=1).await;
    a.backplane.unsubscribe(&log);
    b.publish(&log, &draft("two")).await;
    let position = a.subscribe(&log).await;
    assert_eq!((position.epoch, position.offset), (first.epoch, 2));
    b.publish(&log, &draft("three")).await;
    assert_eq!(a.receive(&log, 3..=3).await[&3], frame(3, "three"));
    Verdict::Kept
}

async fn a_broadcast_reaches_every_subscriber_and_no_log(rig: Arc<dyn Rig>) -> Verdict {
    let (mut a, mut b) = (Instance::on(&rig, "a").await, Instance::on(&rig, "b").await);
    let session = SessionId::from_bits(0xfeed_f00d_dead_beef);
    let kinds = [EphemeralKind::Signal(Some(session)), EphemeralKind::Signal(None), EphemeralKind::Presence];
    for log in [room("hints"), inbox("hints")] {
        let position = a.subscribe(&log).await;
        b.subscribe(&log).await;
        for kind in kinds {
            let frame = Bytes::from(format!("{{\"kind\":\"{kind:?}\"}}"));
            let expected = Arrival::Ephemeral { log: log.clone(), frame: frame.clone(), kind };
            for to in [&mut a, &mut b] {
                // Once is enough on a healthy backplane, also for the instance that says it.
                to.backplane.broadcast(&log, frame.clone(), kind);
                to.next(&format!("{kind:?}"), |arrival| (arrival == &expected).then_some(())).await;
            }
        }
        assert_eq!(a.top(&log).await, position);
    }
    Verdict::Kept
}

/// Publishes to the log that `left` has unsubscribed from until nothing of it arrives there any more. What another
/// message, published later, arrives before does not count as silence, so each round waits for one.
async fn silence(left: &mut Instance, publisher: &Instance, log: &LogName) {
    let fence = room("fence");
    left.subscribe(&fence).await;
    let mut silent_rounds = 0;
    for _ in 0..50 {
        publisher.publish(log, &draft("unheard")).await;
        let offset = publisher.publish(&fence, &draft("fence")).await.position.offset;
        let mut heard = false;
        let pick = |arrival: &Arrival| match arrival {
            Arrival::Message { log: of, position, .. } if *of == fence && position.offset == offset => Some(()),
            Arrival::Message { log: of, .. } => {
                heard |= of == log;
                None
            }
            _ => None,
        };
        left.next("the fence", pick).await;
        silent_rounds = if heard { 0 } else { silent_rounds + 1 };
        if silent_rounds == 2 {
            return;
        }
    }
    assert_eq!(silent_rounds, 2, "{log:?} goes on after it was unsubscribed");
}
