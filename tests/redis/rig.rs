//! Instances on one Redis server, without sessions: what the conformance suites and most tests stand on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parley_service::backplane::conformance::Instance;
use parley_service::backplane::redis::{RedisBackplane, Retention, Trouble};
use parley_service::backplane::{Arrivals, Backplane as _, Page, PageLimit, Range};
use parley_service::clock::SystemClock;
use parley_service::config::RedisConfig;
use parley_service::entropy::SystemEntropy;
use parley_service::ids::{LogName, RoomName, UserId};
use parley_service::message::{Draft, Position};
use parley_service::metrics::Metrics;
use parley_tests::redis::{Redis, config, pass};

/// How long what takes time may take.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// Real time that a test lets pass: Redis has no clock that can be moved.
const LONGEST_PASS: Duration = Duration::from_secs(16);
/// More than any test reads.
pub const PLENTY: PageLimit = PageLimit { messages: 1_000, bytes: 1_000_000 };

/// Instances with a prefix of their own on a server that others use, too.
pub struct Rig {
    redis: Arc<Redis>,
    credentials: &'static str,
    prefix: String,
    pub retention: Retention,
}

impl Rig {
    pub fn on(redis: &Arc<Redis>) -> Arc<Self> {
        Self::on_as(redis, "")
    }

    /// As a user: `name:password@`.
    pub fn on_as(redis: &Arc<Redis>, credentials: &'static str) -> Arc<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("rig-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let retention = Retention { messages: 100, age: Duration::from_secs(86_400) };
        Arc::new(Self { redis: Arc::clone(redis), credentials, prefix, retention })
    }

    pub async fn open(&self) -> (Arc<RedisBackplane>, Arrivals) {
        let url = format!("redis://{}127.0.0.1:{}", self.credentials, self.redis.port());
        open(&config(&url, &self.prefix), self.retention).await
    }

    pub fn pass(time: Duration) -> Option<futures_util::future::BoxFuture<'static, ()>> {
        (time <= LONGEST_PASS).then(|| Box::pin(pass(time)) as _)
    }
}

/// A backplane that is not waited for.
pub fn connect(config: &RedisConfig, retention: Retention) -> (Arc<RedisBackplane>, Arrivals) {
    let entropy = Arc::new(SystemEntropy);
    RedisBackplane::open(config, retention, SystemClock::start(), entropy, &Metrics::new()).unwrap()
}

/// A backplane whose messages come through.
pub async fn open(config: &RedisConfig, retention: Retention) -> (Arc<RedisBackplane>, Arrivals) {
    let (backplane, arrivals) = connect(config, retention);
    ready(&backplane, true).await;
    (backplane, arrivals)
}

/// Waits until the instance is ready, or no longer.
pub async fn ready(backplane: &RedisBackplane, wanted: bool) {
    let mut ready = backplane.health().ready();
    let became = tokio::time::timeout(DEADLINE, ready.wait_for(|ready| *ready == wanted)).await;
    let troubles: Vec<_> = Trouble::ALL.iter().map(|trouble| (trouble, backplane.troubles(*trouble))).collect();
    assert!(became.is_ok(), "ready did not become {wanted}: {troubles:?}");
}

/// An instance with plain settings on a server.
pub async fn instance(redis: &Redis) -> (Arc<RedisBackplane>, Instance) {
    let (backplane, arrivals) = open(&redis.config("parley"), keeping()).await;
    let instance = Instance { backplane: Arc::clone(&backplane) as _, arrivals };
    (backplane, instance)
}

/// A retention that no test outlives.
pub fn keeping() -> Retention {
    Retention { messages: 1_000, age: Duration::from_secs(86_400) }
}

pub fn room(name: &str) -> LogName {
    LogName::Room(RoomName::parse(name).unwrap())
}

pub fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub fn draft(text: &str) -> Draft {
    let tail = Bytes::from(format!(",\"msg\":\"{text}\"}}"));
    Draft { head: Bytes::from_static(b"{\"offset\":"), tail, key: None, at: 5, traceparent: None }
}

/// Publishes this many, one after the other, and returns where the last one is.
pub async fn fill(backplane: &RedisBackplane, log: &LogName, messages: usize) -> Position {
    let mut last = None;
    for number in 0..messages {
        last = Some(backplane.publish(log, &draft(&format!("m{number}"))).await.unwrap().position);
    }
    last.unwrap()
}

pub async fn since(backplane: &RedisBackplane, log: &LogName, position: Position) -> Page {
    backplane.read(log, Range::Since(position), PLENTY).await.unwrap()
}

pub fn offsets(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.offset).collect()
}
