//! What every backplane promises, as checks that every implementation runs: [`all`] of them against a [`Rig`].
//!
//! It assumes neither synchronous delivery nor a clock that can be moved: what takes time is waited for with a deadline,
//! and what needs the passing of time is left out where the rig cannot let it pass. It does not check what happens
//! under faults; that is the hub's to survive, see `faults.rs`.

mod arriving;
mod publishing;
mod reading;
mod retaining;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, LocalBoxFuture};

use super::{Arrival, Arrivals, Backplane, Page, PageLimit, Range};
use crate::ids::{Key, LogName, RetryKey, RoomName, UserId};
use crate::message::{Draft, Position, Stored};

/// How long a check waits for something that takes time before it fails.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How long a check waits before it looks again, where nothing wakes it.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// More than any check reads.
const PLENTY: PageLimit = PageLimit { messages: 10_000, bytes: 100_000_000 };

/// An empty backplane of its own for one check.
pub trait Rig: Send + Sync {
    /// A new instance on the rig's backplane.
    fn instance<'a>(&'a self, name: &'a str) -> BoxFuture<'a, (Arc<dyn Backplane>, Arrivals)>;

    /// Lets this much time pass for everything on the rig. `None`: it cannot, and the check is left out.
    fn pass(&self, time: Duration) -> Option<BoxFuture<'_, ()>>;

    /// How many messages a log keeps; at least 20 and at most 1,000.
    fn history_messages(&self) -> usize;

    /// How long a log keeps a message, counted from when it was published or from when the log was last published to.
    fn history_age(&self) -> Duration;
}

/// How a check ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The promise holds.
    Kept,
    /// Not checked: it needs time to pass, and the rig cannot let it.
    NeedsTime,
}

/// One promise and its check, which panics if it is broken.
pub struct Promise<R: ?Sized + 'static> {
    /// A sentence, with underscores.
    pub name: &'static str,
    /// The check, against a fresh rig.
    pub check: fn(Arc<R>) -> LocalBoxFuture<'static, Verdict>,
}

/// Makes a table of checks from the names of functions; for the suites of the other ports, too.
macro_rules! promises {
    ($rig:ty: $($name:ident),+ $(,)?) => {
        vec![$($crate::backplane::conformance::Promise::<$rig> {
            name: stringify!($name),
            check: |rig| Box::pin($name(rig)),
        }),+]
    };
}

pub(crate) use promises;

/// All promises of [`Backplane`].
#[must_use]
pub fn all() -> Vec<Promise<dyn Rig>> {
    let suites = [publishing::all(), arriving::all(), reading::all(), retaining::all()];
    suites.into_iter().flatten().collect()
}

/// Asks until the answer is as wanted.
///
/// # Panics
/// After [`DEADLINE`], with the last answer.
pub async fn eventually<T: std::fmt::Debug>(what: &str, wanted: impl Fn(&T) -> bool, mut ask: impl AsyncFnMut() -> T) {
    let mut last = None;
    let asking = async {
        loop {
            let answer = ask().await;
            if wanted(&answer) {
                return;
            }
            last = Some(answer);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, asking).await.is_ok();
    assert!(in_time, "{what}: not within {DEADLINE:?}; last seen {last:?}");
}

/// An instance as the checks use it.
pub struct Instance {
    /// Its handle.
    pub backplane: Arc<dyn Backplane>,
    /// What arrives at it.
    pub arrivals: Arrivals,
}

impl Instance {
    async fn on(rig: &Arc<dyn Rig>, name: &str) -> Self {
        let (backplane, arrivals) = rig.instance(name).await;
        Self { backplane, arrivals }
    }

    async fn publish(&self, log: &LogName, draft: &Draft) -> Stored {
        self.backplane.publish(log, draft).await.expect("a healthy backplane stores")
    }

    async fn fill(&self, log: &LogName, messages: usize) {
        for number in 1..=messages {
            self.publish(log, &draft(&format!("m{number}"))).await;
        }
    }

    /// Starts arrivals of a log.
    pub async fn subscribe(&self, log: &LogName) -> Position {
        self.backplane.subscribe(log).await.expect("a healthy backplane takes subscriptions")
    }

    async fn read(&self, log: &LogName, range: Range, limit: PageLimit) -> Page {
        self.backplane.read(log, range, limit).await.expect("a healthy backplane reads")
    }

    async fn top(&self, log: &LogName) -> Position {
        self.read(log, Range::Newest, PageLimit { messages: 0, bytes: 0 }).await.top
    }

    /// The next arrival that `pick` picks; others are passed over.
    ///
    /// # Panics
    /// After [`DEADLINE`], with what arrived instead.
    pub async fn next<T>(&mut self, what: &str, mut pick: impl FnMut(&Arrival) -> Option<T>) -> T {
        let mut others = Vec::new();
        let picking = async {
            loop {
                let arrival = self.arrivals.recv().await.expect("arrivals last as long as the instance");
                match pick(&arrival) {
                    Some(picked) => return picked,
                    None => others.push(arrival),
                }
            }
        };
        let picked = tokio::time::timeout(DEADLINE, picking).await.ok();
        assert!(picked.is_some(), "{what}: did not arrive within {DEADLINE:?}; arrived instead: {others:?}");
        picked.expect("just asserted")
    }

    /// The frames of a log's messages with these offsets, once all have arrived; in any order, repeated or not.
    async fn receive(&mut self, log: &LogName, offsets: RangeInclusive<u64>) -> BTreeMap<u64, Bytes> {
        let wanted = offsets.clone().count();
        let mut seen = BTreeMap::new();
        let pick = |arrival: &Arrival| {
            if let Arrival::Message { log: of, position, frame, .. } = arrival
                && of == log
                && offsets.contains(&position.offset)
            {
                let before = seen.insert(position.offset, frame.clone());
                assert!(before.is_none_or(|before| before == frame), "two messages at {position:?} of {log:?}");
            }
            (seen.len() == wanted).then_some(())
        };
        self.next(&format!("{offsets:?} of {log:?}"), pick).await;
        seen
    }
}

fn room(name: &str) -> LogName {
    LogName::Room(RoomName::parse(name).expect("checks use good names"))
}

fn inbox(name: &str) -> LogName {
    LogName::Inbox(UserId::parse(name).expect("checks use good names"))
}

fn draft(text: &str) -> Draft {
    Draft {
        head: Bytes::from_static(b"{\"offset\":"),
        tail: Bytes::from(format!(",\"msg\":\"{text}\"}}")),
        key: None,
        at: 1_763_778_000_000,
        traceparent: None,
    }
}

fn keyed(text: &str, key: &str) -> Draft {
    let (user, key) = (UserId::parse("alice").expect("a good name"), Key::parse(key).expect("checks use good keys"));
    Draft { key: Some(RetryKey::new(&user, &key)), ..draft(text) }
}

/// The frame that `draft(text)` becomes at `offset`.
fn frame(offset: u64, text: &str) -> Bytes {
    draft(text).splice(offset)
}

fn offsets(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.offset).collect()
}

fn at_most(messages: usize) -> PageLimit {
    PageLimit { messages, ..PLENTY }
}
