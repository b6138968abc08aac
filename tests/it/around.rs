//! A backplane around another one, for tests that meddle with one of its calls and leave the others alone.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parley_service::backplane::{Backplane, Page, PageLimit, PublishError, Range, Unavailable};
use parley_service::delivery::EphemeralKind;
use parley_service::ids::LogName;
use parley_service::message::{Draft, Position, Stored};

/// What may be meddled with; left as it is, a call goes through.
pub trait Meddler: Send + Sync {
    fn publish<'a>(
        &'a self,
        inner: &'a dyn Backplane,
        log: &'a LogName,
        draft: &'a Draft,
    ) -> BoxFuture<'a, Result<Stored, PublishError>> {
        inner.publish(log, draft)
    }

    fn subscribe<'a>(
        &'a self,
        inner: &'a dyn Backplane,
        log: &'a LogName,
    ) -> BoxFuture<'a, Result<Position, Unavailable>> {
        inner.subscribe(log)
    }

    fn read<'a>(
        &'a self,
        inner: &'a dyn Backplane,
        log: &'a LogName,
        range: Range,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Page, Unavailable>> {
        inner.read(log, range, limit)
    }

    fn positions<'a>(
        &'a self,
        inner: &'a dyn Backplane,
        logs: &'a [LogName],
    ) -> BoxFuture<'a, Result<Vec<Position>, Unavailable>> {
        inner.positions(logs)
    }
}

pub struct Around<M> {
    pub inner: Arc<dyn Backplane>,
    pub meddler: M,
}

impl<M: Meddler> Around<M> {
    pub fn new(inner: Arc<dyn Backplane>, meddler: M) -> Arc<Self> {
        Arc::new(Self { inner, meddler })
    }
}

impl<M: Meddler> Backplane for Around<M> {
    fn publish<'a>(&'a self, log: &'a LogName, draft: &'a Draft) -> BoxFuture<'a, Result<Stored, PublishError>> {
        self.meddler.publish(&*self.inner, log, draft)
    }

    fn broadcast(&self, log: &LogName, frame: Bytes, kind: EphemeralKind) {
        self.inner.broadcast(log, frame, kind);
    }

    fn subscribe<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<Position, Unavailable>> {
        self.meddler.subscribe(&*self.inner, log)
    }

    fn unsubscribe(&self, log: &LogName) {
        self.inner.unsubscribe(log);
    }

    fn read<'a>(
        &'a self,
        log: &'a LogName,
        range: Range,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Page, Unavailable>> {
        self.meddler.read(&*self.inner, log, range, limit)
    }

    fn positions<'a>(&'a self, logs: &'a [LogName]) -> BoxFuture<'a, Result<Vec<Position>, Unavailable>> {
        self.meddler.positions(&*self.inner, logs)
    }
}
