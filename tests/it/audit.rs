//! What the backplane lost without a word is found by comparing rooms with their logs, also when that fails half way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parley_service::backplane::memory::{MemoryBroker, MemoryConfig};
use parley_service::backplane::{Backplane, Unavailable};
use parley_service::clock::SystemClock;
use parley_service::delivery::{Parcel, Slot};
use parley_service::entropy::SeededEntropy;
use parley_service::hub::attendance::Attendance;
use parley_service::hub::{Hub, HubParts};
use parley_service::ids::{LogName, RoomName, ServerId};
use parley_service::message::{Draft, Position};
use parley_service::metrics::Metrics;
use parley_service::presence::memory::MemoryPresence;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::around::{Around, Meddler};

/// More than are compared in one call.
const ROOMS: usize = 600;

/// Fails one call of `positions`, in the middle of an audit.
#[derive(Default)]
struct FailsHalfWay {
    armed: AtomicBool,
    calls: AtomicUsize,
}

impl Meddler for FailsHalfWay {
    fn positions<'a>(
        &'a self,
        inner: &'a dyn Backplane,
        logs: &'a [LogName],
    ) -> BoxFuture<'a, Result<Vec<Position>, Unavailable>> {
        if self.armed.load(Ordering::SeqCst) && self.calls.fetch_add(1, Ordering::SeqCst) == 1 {
            return Box::pin(async { Err(Unavailable("on purpose".to_owned())) });
        }
        inner.positions(logs)
    }
}

#[tokio::test(start_paused = true)]
async fn an_audit_that_fails_half_way_leaves_no_room_behind() {
    let clock = SystemClock::start();
    let broker = MemoryBroker::new(MemoryConfig::default(), clock.clone(), SeededEntropy::new(1));
    let (inner, mut lost) = broker.instance(ServerId::parse("a").unwrap());
    let odd = Around::new(inner, FailsHalfWay::default());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    // Nothing that the broker sends ever arrives.
    tasks.spawn(async move { while lost.recv().await.is_some() {} });
    let (_sender, arrivals) = tokio::sync::mpsc::channel(1);
    let hub = Hub::new(HubParts {
        backplane: Arc::clone(&odd) as Arc<dyn Backplane>,
        attendance: Attendance::new(MemoryPresence::new(broker.clone()).instance(), clock.clone()),
        outbox_limit: 1 << 20,
        outbox_total: 1 << 30,
        replay_messages: 1_000,
        clock,
        metrics: Metrics::new().hub,
        tasks: tasks.clone(),
        stop: stop.clone(),
    });
    let mut members = Vec::new();
    for n in 0..ROOMS {
        let log = LogName::Room(RoomName::parse(&format!("room-{n}")).unwrap());
        let outbox = hub.outbox();
        let membership = hub.join(&log, &outbox, Slot(0), None).await.unwrap();
        let draft = Draft {
            head: Bytes::from_static(b"{\"offset\":"),
            tail: Bytes::from_static(b",\"at\":1}"),
            key: None,
            at: 1,
            traceparent: None,
        };
        odd.publish(&log, &draft).await.unwrap();
        members.push((outbox, membership));
    }
    odd.meddler.armed.store(true, Ordering::SeqCst);
    tasks.spawn(Arc::clone(&hub).run(arrivals));
    // Each room has its turn every twenty seconds of this paused clock.
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut waiting = members.iter().collect::<Vec<_>>();
    for _ in 0..60 {
        ticks.tick().await;
        waiting.retain(|(outbox, _)| {
            let mut parcels = Vec::new();
            let _ = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut parcels);
            !parcels.iter().any(|parcel| matches!(parcel, Parcel::Run(_, run) if run.last() == 1))
        });
    }
    assert!(odd.meddler.calls.load(Ordering::SeqCst) > 2, "the audit was to fail half way");
    assert_eq!(waiting.len(), 0, "rooms that still wait for their message");
    stop.cancel();
}
