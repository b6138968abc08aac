//! Tests of the embedded backplane: the suite that all backplanes pass, and what is its own.

mod bounds;
mod model;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{MemoryBroker, MemoryConfig, MemoryInstance};
use crate::backplane::conformance::{self, Rig, Verdict};
use crate::backplane::{Arrivals, Backplane};
use crate::clock::ManualClock;
use crate::entropy::SeededEntropy;
use crate::ids::{LogName, RoomName, ServerId};
use crate::message::Draft;

pub(super) struct Memory {
    pub(super) clock: Arc<ManualClock>,
    pub(super) broker: Arc<MemoryBroker>,
    config: MemoryConfig,
}

impl Memory {
    pub(super) fn with(config: MemoryConfig) -> Arc<Self> {
        let clock = ManualClock::at(0);
        let broker = MemoryBroker::new(config, clock.clone(), SeededEntropy::new(1));
        Arc::new(Self { clock, broker, config })
    }

    pub(super) fn join(&self, name: &str) -> (Arc<MemoryInstance>, Arrivals) {
        self.broker.instance(ServerId::parse(name).unwrap())
    }
}

impl Rig for Memory {
    fn instance<'a>(&'a self, name: &'a str) -> BoxFuture<'a, (Arc<dyn Backplane>, Arrivals)> {
        Box::pin(async move {
            let (instance, arrivals) = self.join(name);
            (instance as Arc<dyn Backplane>, arrivals)
        })
    }

    fn pass(&self, time: Duration) -> Option<BoxFuture<'_, ()>> {
        Some(Box::pin(async move { self.clock.advance(time) }))
    }

    fn history_messages(&self) -> usize {
        self.config.history_messages
    }

    fn history_age(&self) -> Duration {
        self.config.history_age
    }
}

fn room(name: &str) -> LogName {
    LogName::Room(RoomName::parse(name).unwrap())
}

fn draft(text: &str) -> Draft {
    let tail = Bytes::from(format!(",\"msg\":\"{text}\"}}"));
    Draft { head: Bytes::from_static(b"{\"offset\":"), tail, key: None, at: 0, traceparent: None }
}

async fn keeps_every_promise(config: MemoryConfig) {
    for promise in conformance::all() {
        println!("{}", promise.name);
        assert_eq!((promise.check)(Memory::with(config)).await, Verdict::Kept, "{}", promise.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_backplane_keeps_every_promise() {
    keeps_every_promise(MemoryConfig::default()).await;
}

#[tokio::test]
async fn a_small_history_breaks_no_promise() {
    keeps_every_promise(MemoryConfig { history_messages: 20, ..MemoryConfig::default() }).await;
}
