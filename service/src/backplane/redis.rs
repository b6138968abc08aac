//! Logs in Redis or Valkey: a stream and a few fields each, changed only by the functions of `redis/library.lua`, one
//! call and one round trip for each publish. What arrives is `backplane/redis/subscriber.rs`.

mod outgoing;
mod subscriber;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use tracing::Instrument as _;

use self::outgoing::Outgoing;
use self::subscriber::Subscriber;
use super::{Arrivals, Backplane, CONTROL_AGE, CONTROL_MESSAGES, Page, PageLimit, PublishError, Range, Unavailable};
use crate::clock::Clock;
use crate::config::RedisConfig;
use crate::delivery::EphemeralKind;
use crate::entropy::Entropy;
use crate::ids::{LogName, RoomName};
use crate::message::{Draft, Entry, Epoch, Position, Stored};
use crate::metrics::Metrics;
use crate::redis::{CallError, Function, Link, Payload, Reply, bytes, number, parse};
pub use crate::redis::{Health, SetUpError, Trouble};
use crate::tracing_context::store_span;

/// How long a repeat with the same key is recognised.
const KEY_WINDOW: Duration = Duration::from_secs(300);
/// How long at least the epoch and offset of a log outlive its last use. Without them, what the log still has is dropped.
const META_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Arrivals that may wait for the hub. Beyond, up to 16,384 wait in the connection; beyond that they are lost, and the
/// hub is told that it lags.
const ARRIVALS_WAITING: usize = 4_096;
/// Positions that are asked for at the same time.
const POSITIONS_AT_ONCE: usize = 256;
/// Rooms that may wait to be indexed. One that finds no place is indexed after its next message.
const ROOMS_WAITING: usize = 65_536;

/// How long logs remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Newest messages of a log.
    pub messages: usize,
    /// Age at which a message goes.
    pub age: Duration,
}

impl Retention {
    /// Longer than any message of the log stands, so that offsets go on.
    fn meta_ms(&self) -> u64 {
        millis(META_KEPT).max(millis(self.age).saturating_mul(2))
    }
}

/// An instance's logs in Redis. Presence and the directory over the same link are made from it.
pub struct RedisBackplane {
    link: Arc<Link>,
    subscriber: Arc<Subscriber>,
    outgoing: Outgoing,
    retention: Retention,
    /// Published to since they were last indexed; see `directory/redis.rs`.
    written: Mutex<HashSet<RoomName>>,
    /// Ends the link with the last of its owners.
    guard: Arc<DropGuard>,
}

impl RedisBackplane {
    /// Begins to connect. The server need not be there yet: until it is, every call fails and [`Health`] says so.
    ///
    /// # Errors
    /// The settings cannot lead to any server.
    pub fn open(
        config: &RedisConfig,
        retention: Retention,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: &Metrics,
    ) -> Result<(Arc<Self>, Arrivals), SetUpError> {
        let (link, guard) = Link::new(config, clock, entropy, metrics.redis.clone())?;
        let (sender, arrivals) = mpsc::channel(ARRIVALS_WAITING);
        let subscriber = Subscriber::start(Arc::clone(&link), sender);
        let outgoing = Outgoing::start(Arc::clone(&link), metrics.backplane.dropped_broadcasts.clone());
        link.start();
        let written = Mutex::default();
        Ok((Arc::new(Self { link, subscriber, outgoing, retention, written, guard }), arrivals))
    }

    /// Whether messages come through.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.link.health
    }

    /// How often there was this trouble since the start.
    #[must_use]
    pub fn troubles(&self, trouble: Trouble) -> u64 {
        self.link.troubles.count(trouble)
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(crate) fn guard(&self) -> Arc<DropGuard> {
        Arc::clone(&self.guard)
    }

    /// Rooms published to since the last call.
    pub(crate) fn take_written(&self) -> HashSet<RoomName> {
        std::mem::take(&mut *self.written.lock())
    }

    /// Puts rooms back that could not be indexed.
    pub(crate) fn wrote(&self, rooms: impl IntoIterator<Item = RoomName>) {
        let mut written = self.written.lock();
        for room in rooms {
            if written.len() < ROOMS_WAITING {
                written.insert(room);
            }
        }
    }

    fn kept(&self, log: &LogName) -> Retention {
        match log {
            LogName::Control => Retention { messages: CONTROL_MESSAGES, age: CONTROL_AGE },
            LogName::Room(_) | LogName::Inbox(_) => self.retention,
        }
    }

    async fn publish_now(&self, log: &LogName, drafts: &[Draft]) -> Vec<Result<Stored, PublishError>> {
        let link = &self.link;
        let (names, kept) = (link.keys.log(log), self.kept(log));
        let mut keys = vec![names.meta(), names.log()];
        let mut arguments = vec![
            bytes(names.channel()),
            bytes(link.candidate().to_string()),
            number(link.now_ms()),
            number(kept.meta_ms()),
            number(millis(kept.age)),
            number(millis(KEY_WINDOW)),
            number(kept.messages as u64),
        ];
        for draft in drafts {
            keys.extend(draft.key.as_ref().map(|key| names.retry(key)));
            let trace = draft.traceparent.as_deref().filter(|trace| is_trace(trace)).unwrap_or("-");
            arguments.extend([
                number(draft.key.is_some().into()),
                number(draft.at),
                bytes(trace.to_owned()),
                bytes(draft.head.clone()),
                bytes(draft.tail.clone()),
            ]);
        }
        let asked = link.call(Function::Publish, keys, arguments).instrument(store_span("redis", "FCALL"));
        let error = match asked.await {
            Ok(answer) => {
                if let LogName::Room(room) = log {
                    self.wrote([room.clone()]);
                }
                return stored(&answer, drafts.len());
            }
            Err(CallError::Late(text) | CallError::Broken(text)) => PublishError::OutcomeUnknown(text),
            // A function that answers with an error has stored nothing: see `publish` in the library.
            Err(error @ (CallError::NotSent(_) | CallError::Refused(_))) => unavailable(&error).into(),
        };
        vec![Err(error); drafts.len()]
    }

    async fn subscribe_now(&self, log: &LogName) -> Result<Position, Unavailable> {
        self.subscriber.subscribe(log).await.map_err(|error| {
            self.link.note(&error);
            unavailable(&error)
        })?;
        self.position(log).await
    }

    pub(crate) async fn position(&self, log: &LogName) -> Result<Position, Unavailable> {
        let link = &self.link;
        let names = link.keys.log(log);
        let meta_ms = number(self.kept(log).meta_ms());
        let arguments = vec![bytes(link.candidate().to_string()), number(link.now_ms()), meta_ms];
        let keys = vec![names.meta(), names.log()];
        let answer = link.ask(Function::Position, Function::PositionOnly, keys, arguments).await;
        let answer = answer.map_err(|error| unavailable(&error))?.into_array();
        let [epoch, offset] = answer.as_slice() else { return Err(nonsense("position")) };
        position(epoch, offset).ok_or_else(|| nonsense("position"))
    }

    async fn positions_now(&self, logs: &[LogName]) -> Result<Vec<Position>, Unavailable> {
        let mut positions = Vec::with_capacity(logs.len());
        for part in logs.chunks(POSITIONS_AT_ONCE) {
            let mut asked = FuturesOrdered::new();
            for log in part {
                asked.push_back(self.position(log));
            }
            while let Some(position) = asked.next().await {
                positions.push(position?);
            }
        }
        Ok(positions)
    }

    async fn read_now(&self, log: &LogName, range: Range, limit: PageLimit) -> Result<Page, Unavailable> {
        let link = &self.link;
        let (names, kept) = (link.keys.log(log), self.kept(log));
        let (kind, epoch, offset, downwards) = match range {
            Range::Since(Position { epoch, offset }) => ("since", epoch.to_string(), offset, false),
            Range::Newest => ("newest", "-".to_owned(), 0, true),
            Range::Before(offset) => ("before", "-".to_owned(), offset, true),
            Range::After(offset) => ("after", "-".to_owned(), offset, false),
        };
        let arguments = vec![
            bytes(link.candidate().to_string()),
            number(link.now_ms()),
            number(kept.meta_ms()),
            number(millis(kept.age)),
            bytes(kind),
            bytes(epoch),
            number(offset),
            number(limit.messages as u64),
            number(limit.bytes as u64),
        ];
        let keys = vec![names.meta(), names.log()];
        let answer = link.ask(Function::Read, Function::ReadOnly, keys, arguments).await;
        let mut answer = answer.map_err(|error| unavailable(&error))?.into_array().into_iter();
        let mut next = || answer.next().ok_or_else(|| nonsense("read"));
        let (epoch, offset, lost, more) = (next()?, next()?, next()?, next()?);
        let top = position(&epoch, &offset).ok_or_else(|| nonsense("read"))?;
        let entries = answer.map(|payload| entry(payload).ok_or_else(|| nonsense("read")));
        let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
        if downwards {
            entries.reverse();
        }
        Ok(Page { entries, top, more: more.number() == Some(1), lost: lost.number() == Some(1) })
    }
}

impl Backplane for RedisBackplane {
    fn publish<'a>(&'a self, log: &'a LogName, draft: &'a Draft) -> BoxFuture<'a, Result<Stored, PublishError>> {
        Box::pin(async {
            let answer = self.publish_now(log, std::slice::from_ref(draft)).await.pop();
            answer.unwrap_or_else(|| Err(nonsense("publish").into()))
        })
    }

    fn publish_all<'a>(
        &'a self,
        log: &'a LogName,
        drafts: &'a [Draft],
    ) -> BoxFuture<'a, Vec<Result<Stored, PublishError>>> {
        if drafts.is_empty() {
            return Box::pin(async { Vec::new() });
        }
        Box::pin(self.publish_now(log, drafts))
    }

    fn broadcast(&self, log: &LogName, frame: Bytes, kind: EphemeralKind) {
        self.outgoing.send(self.link.keys.log(log).channel(), kind, &frame);
    }

    fn subscribe<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<Position, Unavailable>> {
        Box::pin(self.subscribe_now(log))
    }

    fn unsubscribe(&self, log: &LogName) {
        self.subscriber.unsubscribe(log);
    }

    fn read<'a>(
        &'a self,
        log: &'a LogName,
        range: Range,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Page, Unavailable>> {
        Box::pin(self.read_now(log, range, limit))
    }

    fn positions<'a>(&'a self, logs: &'a [LogName]) -> BoxFuture<'a, Result<Vec<Position>, Unavailable>> {
        Box::pin(self.positions_now(logs))
    }
}

pub(crate) fn unavailable(error: &CallError) -> Unavailable {
    Unavailable(error.to_string())
}

/// The server has a function of our name that is not ours.
pub(crate) fn nonsense(what: &str) -> Unavailable {
    Unavailable(format!("the answer to `{what}` cannot be understood"))
}

fn position(epoch: &Reply, offset: &Reply) -> Option<Position> {
    Some(Position { epoch: Epoch::parse(epoch.text()?)?, offset: u64::try_from(offset.number()?).ok()? })
}

/// Where the messages of a publish are. The server says nothing of the last ones if it could not store them; any other
/// answer says nothing about what was stored.
fn stored(answer: &Reply, drafts: usize) -> Vec<Result<Stored, PublishError>> {
    let understood = || {
        let Reply::Array(words) = answer else { return None };
        let whole = words.len() % 3 == 0 && (3..=3 * drafts).contains(&words.len());
        whole.then(|| words.chunks(3).map(stored_at).collect::<Option<Vec<_>>>())?
    };
    let Some(stored) = understood() else {
        return vec![Err(PublishError::OutcomeUnknown(nonsense("publish").0)); drafts];
    };
    let partial = || Unavailable("the server stored only the messages before this one".to_owned());
    let mut answers: Vec<_> = stored.into_iter().map(Ok).collect();
    answers.resize_with(drafts, || Err(partial().into()));
    answers
}

fn stored_at(answer: &[Reply]) -> Option<Stored> {
    let [epoch, offset, at] = answer else { return None };
    let at = at.number().and_then(|at| u64::try_from(at).ok())?;
    Some(Stored { position: position(epoch, offset)?, at })
}

fn entry(payload: Reply) -> Option<Entry> {
    match parse(&payload.into_bytes()?)? {
        Payload::Message { position, frame, .. } => Some(Entry { offset: position.offset, frame }),
        _ => None,
    }
}

/// Fits a word of the header.
fn is_trace(text: &str) -> bool {
    (2..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_to_a_publish_says_what_was_stored() {
        let words = |text: &str| {
            let words = text.split_whitespace().map(|word| Reply::Bytes(Bytes::copy_from_slice(word.as_bytes())));
            Reply::Array(words.collect())
        };
        let epoch = Epoch::from_bits(0xfeed);
        let at = |offset| Ok(Stored { position: Position { epoch, offset }, at: 5 });
        let first = "000000000000feed 7 5";
        assert_eq!(stored(&words(&format!("{first} 000000000000feed 8 5")), 2), [at(7), at(8)]);
        let partial = stored(&words(first), 2);
        assert_eq!(partial[0], at(7));
        assert!(matches!(partial[1], Err(PublishError::Unavailable(_))), "{partial:?}");
        let foreign = [
            Reply::Nil,
            Reply::Number(1),
            words(""),
            words("000000000000feed 7"),
            words(&format!("{first} 000000000000feed")),
            words(&format!("{first} {first} {first}")),
            words(&format!("{first} 0 bob carol")),
            words("alice bob carol"),
        ];
        for answer in foreign {
            let unknown = stored(&answer, 2);
            let all = unknown.iter().all(|one| matches!(one, Err(PublishError::OutcomeUnknown(_))));
            assert!(all && unknown.len() == 2, "{answer:?}: {unknown:?}");
        }
    }
}
