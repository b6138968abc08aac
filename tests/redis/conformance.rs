//! The suites that every implementation of the ports passes, on Redis. What needs more time than a test has is left out
//! by name, so that nothing else can be.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use parley_service::backplane::conformance::{self as backplane, Instance, Promise, Verdict};
use parley_service::backplane::{Arrivals, Backplane};
use parley_service::directory::redis::RedisDirectory;
use parley_service::directory::{self, Directory};
use parley_service::presence::redis::RedisPresence;
use parley_service::presence::{self, Presence};
use parley_tests::redis::Redis;

use crate::rig::Rig;

/// Checks at the same time: they mostly wait.
const AT_ONCE: usize = 12;

impl backplane::Rig for Rig {
    fn instance<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, (Arc<dyn Backplane>, Arrivals)> {
        Box::pin(async move {
            let (backplane, arrivals) = self.open().await;
            (backplane as Arc<dyn Backplane>, arrivals)
        })
    }

    fn pass(&self, time: Duration) -> Option<BoxFuture<'_, ()>> {
        Rig::pass(time)
    }

    fn history_messages(&self) -> usize {
        self.retention.messages
    }

    fn history_age(&self) -> Duration {
        self.retention.age
    }
}

impl presence::conformance::Rig for Rig {
    fn instance<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, (Arc<dyn Presence>, Instance)> {
        Box::pin(async move {
            let (backplane, arrivals) = self.open().await;
            let presence = RedisPresence::new(&backplane);
            (presence as Arc<dyn Presence>, Instance { backplane, arrivals })
        })
    }

    fn pass(&self, time: Duration) -> Option<BoxFuture<'_, ()>> {
        Rig::pass(time)
    }
}

impl directory::conformance::Rig for Rig {
    fn instance<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, (Arc<dyn Directory>, Arc<dyn Backplane>)> {
        Box::pin(async move {
            let (backplane, _) = self.open().await;
            (RedisDirectory::new(&backplane) as Arc<dyn Directory>, backplane as Arc<dyn Backplane>)
        })
    }

    fn pass(&self, time: Duration) -> Option<BoxFuture<'_, ()>> {
        Rig::pass(time)
    }
}

/// Runs every check and returns those that need more time.
async fn keeps<R: ?Sized>(promises: Vec<Promise<R>>, on: impl Fn() -> Arc<R>) -> Vec<&'static str> {
    let checks = promises.into_iter().map(|promise| {
        let rig = on();
        async move {
            println!("{}: begins", promise.name);
            let verdict = (promise.check)(rig).await;
            println!("{}: {verdict:?}", promise.name);
            (verdict == Verdict::NeedsTime).then_some(promise.name)
        }
    });
    let mut left_out: Vec<_> =
        futures_util::stream::iter(checks).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    left_out.sort_unstable();
    left_out
}

const NEED_MINUTES: [&str; 2] =
    ["a_key_is_good_for_five_minutes_and_no_longer", "a_log_lets_go_of_old_messages_but_keeps_its_position"];

async fn backplane_keeps_its_promises(rig: impl Fn() -> Arc<Rig>) {
    assert_eq!(keeps(backplane::all(), || rig() as Arc<dyn backplane::Rig>).await, NEED_MINUTES);
}

async fn presence_keeps_its_promises(rig: impl Fn() -> Arc<Rig>) {
    let left_out = keeps(presence::conformance::all(), || rig() as Arc<dyn presence::conformance::Rig>).await;
    assert_eq!(left_out, [""; 0]);
}

async fn directory_keeps_its_promises(rig: impl Fn() -> Arc<Rig>) {
    let left_out = keeps(directory::conformance::all(), || rig() as Arc<dyn directory::conformance::Rig>).await;
    assert_eq!(left_out, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backplane_on_redis_keeps_every_promise() {
    let redis = Arc::new(Redis::start().await);
    backplane_keeps_its_promises(|| Rig::on(&redis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_presence_on_redis_keeps_every_promise() {
    let redis = Arc::new(Redis::start().await);
    presence_keeps_its_promises(|| Rig::on(&redis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_on_redis_keeps_every_promise() {
    let redis = Arc::new(Redis::start().await);
    directory_keeps_its_promises(|| Rig::on(&redis)).await;
}

/// The rights that the log advises when some are missing.
const RIGHTS: &str = "on >secret resetchannels ~rig-* &rig-* -@all +@read +@write +@connection +spublish +ssubscribe \
                      +sunsubscribe +fcall +function|load +info +time";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_as_a_user_confined_to_the_prefix() {
    let redis = Arc::new(Redis::start().await);
    let rights: Vec<_> = ["ACL", "SETUSER", "chat"].into_iter().chain(RIGHTS.split_whitespace()).collect();
    redis.ask(&rights).await;
    redis.ask(&["ACL", "SETUSER", "default", "off"]).await;
    let rig = || Rig::on_as(&redis, "chat:secret@");
    tokio::join!(
        backplane_keeps_its_promises(rig),
        presence_keeps_its_promises(rig),
        directory_keeps_its_promises(rig)
    );
}
