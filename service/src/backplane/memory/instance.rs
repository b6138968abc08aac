//! One instance's handle on the shared logs: the port, and the waiting that belongs to it. What logs are is `log.rs`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::MemoryBroker;
use super::outlet::{Look, Outlet, Place};
use crate::backplane::{Arrival, Backplane, Page, PageLimit, PublishError, Range, Unavailable};
use crate::delivery::EphemeralKind;
use crate::ids::{LogName, ServerId};
use crate::message::{Draft, Position, Stored};

/// How long a publish waits for room in the arrivals of every subscribed instance.
const WAIT: Duration = Duration::from_secs(2);

/// An instance on a [`MemoryBroker`]. Dropping it ends its arrivals.
///
/// Nothing is lost on the way to its arrivals: a publish waits until every subscribed instance has a free place, and
/// takes all places and appends under the lock of the log. So whoever receives arrivals must not wait for a publish.
pub struct MemoryInstance {
    broker: Arc<MemoryBroker>,
    outlet: Arc<Outlet>,
}

enum Attempt {
    Done(Stored),
    Full(Arc<Outlet>),
}

impl MemoryInstance {
    pub(super) fn new(broker: Arc<MemoryBroker>, outlet: Outlet) -> Self {
        Self { broker, outlet: Arc::new(outlet) }
    }

    /// Its name.
    #[must_use]
    pub fn server_id(&self) -> &ServerId {
        self.outlet.server_id()
    }

    async fn publish_now(&self, log: &LogName, draft: &Draft) -> Result<Stored, PublishError> {
        let mut full = match self.attempt(log, draft, None) {
            Attempt::Done(stored) => return Ok(stored),
            Attempt::Full(outlet) => outlet,
        };
        let waiting = async {
            loop {
                // Only one place is held, and none while waiting for another: places that wait in one instance for a
                // slow other one would slow down everybody.
                let held = full.place().await.map(|place| (full.clone(), place));
                match self.attempt(log, draft, held) {
                    Attempt::Done(stored) => return stored,
                    Attempt::Full(outlet) => full = outlet,
                }
            }
        };
        let waited = tokio::time::timeout(WAIT, waiting).await;
        waited.map_err(|_| Unavailable(format!("{} does not take its arrivals", full.server_id())).into())
    }

    /// Stores and sends at once if every subscribed instance has a free place.
    fn attempt(&self, log: &LogName, draft: &Draft, mut held: Option<(Arc<Outlet>, Place)>) -> Attempt {
        let broker = &*self.broker;
        let (now, keep) = (broker.clock.now().mono, broker.store.keep(log));
        let attempt = broker.store.with_new(log, now, |slot| {
            let repeated = draft.key.as_ref().and_then(|key| slot.log.first_answer(key, now, &keep));
            if let Some(stored) = repeated {
                return Attempt::Done(stored);
            }
            // The first place is not in the vector: with one instance, the usual case, nothing is allocated for places.
            let (mut first, mut others, mut closed) = (None, Vec::new(), false);
            for outlet in &slot.listeners {
                let look = match held.take_if(|(of, _)| Arc::ptr_eq(of, outlet)) {
                    Some((_, place)) => Look::Found(place),
                    None => outlet.look(),
                };
                match look {
                    Look::Found(place) if first.is_none() => first = Some(place),
                    Look::Found(place) => others.push(place),
                    Look::Full => return Attempt::Full(outlet.clone()),
                    Look::Closed => closed = true,
                }
            }
            if closed {
                slot.prune();
            }
            let (stored, frame) = slot.log.append(draft, now, &keep);
            for place in first.into_iter().chain(others) {
                place.send(Arrival::Message {
                    log: log.clone(),
                    position: stored.position,
                    frame: frame.clone(),
                    traceparent: draft.traceparent.clone(),
                });
            }
            Attempt::Done(stored)
        });
        broker.relieve(now);
        attempt
    }

    fn subscribe_now(&self, log: &LogName) -> Position {
        let now = self.broker.clock.now().mono;
        let position = self.broker.store.with_new(log, now, |slot| {
            if !slot.listeners.iter().any(|other| Arc::ptr_eq(other, &self.outlet)) {
                slot.listeners.push(self.outlet.clone());
            }
            slot.log.position()
        });
        self.broker.relieve(now);
        position
    }

    fn read_now(&self, log: &LogName, range: Range, limit: PageLimit) -> Page {
        let now = self.broker.clock.now().mono;
        let read = self.broker.store.with(log, |slot| {
            slot.log.trim(now, &self.broker.store.keep(log));
            slot.log.read(range, limit)
        });
        read.unwrap_or_else(|epoch| {
            let top = Position { epoch, offset: 0 };
            let lost = matches!(range, Range::Since(position) if position != top);
            Page { entries: Vec::new(), top, more: false, lost }
        })
    }
}

impl Backplane for MemoryInstance {
    fn publish<'a>(&'a self, log: &'a LogName, draft: &'a Draft) -> BoxFuture<'a, Result<Stored, PublishError>> {
        Box::pin(self.publish_now(log, draft))
    }

    fn broadcast(&self, log: &LogName, frame: Bytes, kind: EphemeralKind) {
        self.broker.broadcast(log, &frame, kind);
    }

    fn subscribe<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<Position, Unavailable>> {
        Box::pin(async move { Ok(self.subscribe_now(log)) })
    }

    fn unsubscribe(&self, log: &LogName) {
        self.broker.store.unlisten(log, &self.outlet);
    }

    fn read<'a>(
        &'a self,
        log: &'a LogName,
        range: Range,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Page, Unavailable>> {
        Box::pin(async move { Ok(self.read_now(log, range, limit)) })
    }

    fn positions<'a>(&'a self, logs: &'a [LogName]) -> BoxFuture<'a, Result<Vec<Position>, Unavailable>> {
        Box::pin(async move {
            let position = |slot: Result<&mut super::store::Slot, _>| match slot {
                Ok(slot) => slot.log.position(),
                Err(epoch) => Position { epoch, offset: 0 },
            };
            Ok(self.broker.store.with_each(logs, position))
        })
    }
}

impl Drop for MemoryInstance {
    fn drop(&mut self) {
        self.broker.store.unlisten_all(&self.outlet);
    }
}
