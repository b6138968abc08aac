//! What a trial happens on: a Redis of its own, with or without Sentinels, instances as processes, a proxy in front of
//! Redis for each of them. It knows neither clients nor what will happen.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parley_service::clock::SystemClock;
use parley_service::entropy::{Entropy as _, SeededEntropy};

use super::fault::Fault;
use crate::eventually::eventually_fetched;
use crate::fleet::Balancer;
use crate::journal::{Event, Journal, Log, Mark, Presence};
use crate::process::Process;
use crate::proxy::Proxy;
use crate::redis::{Answer, Redis, Wire};

/// How long a promotion may take.
const PROMOTION: Duration = Duration::from_secs(40);
/// Sentinels of a trial that has any.
const SENTINELS: usize = 3;

/// See the module. Dropping it ends everything.
pub(super) struct Scene {
    pub(super) fault: Fault,
    pub(super) redis: Redis,
    pub(super) replica: Option<Redis>,
    pub(super) proxies: Vec<Proxy>,
    pub(super) nodes: Vec<Process>,
    pub(super) balancer: Balancer,
    pub(super) clock: Arc<SystemClock>,
    pub(super) folder: PathBuf,
    sentinels: Vec<Redis>,
    started: usize,
    runner: Journal,
    dice: Arc<SeededEntropy>,
}

impl Scene {
    pub(super) async fn set(fault: Fault, seed: u64, folder: &Path) -> anyhow::Result<Self> {
        let redis = Redis::with(fault.settings()).await;
        let (mut replica, mut sentinels) = (None, Vec::new());
        if fault.needs_sentinels() {
            replica = Some(Redis::replica_of(&redis).await);
            sentinels = Redis::sentinels_of(&redis, SENTINELS).await;
        }
        let clock = SystemClock::start();
        let runner = Journal::in_file(Arc::clone(&clock), &folder.join("runner.jsonl"))?;
        let dice = SeededEntropy::new(seed);
        let mut scene = Self {
            fault,
            redis,
            replica,
            proxies: Vec::new(),
            nodes: Vec::new(),
            balancer: Balancer::default(),
            clock,
            folder: folder.to_owned(),
            sentinels,
            started: 0,
            runner,
            dice,
        };
        for number in 0..fault.instances() {
            if !fault.needs_sentinels() {
                scene.proxies.push(Proxy::to_port(scene.redis.port(), scene.dice.bits()).await);
            }
            scene.add(number).await;
        }
        Ok(scene)
    }

    /// Starts an instance behind the proxy of this number, waits until it is ready, and offers it to clients.
    pub(super) async fn add(&mut self, proxy: usize) {
        let url = match self.sentinels.as_slice() {
            [] => format!("redis://{}", self.proxies[proxy].address()),
            [first, others @ ..] => {
                let others = others.iter().map(|other| format!("&node=127.0.0.1:{}", other.port())).collect::<String>();
                format!("redis-sentinel://127.0.0.1:{}/0?sentinelServiceName=main{others}", first.port())
            }
        };
        let args = [
            format!("--redis-url={url}"),
            "--messages-per-second=0".to_owned(),
            "--history-messages=100000".to_owned(),
            "--drain-seconds=30".to_owned(),
            "--log-format=json".to_owned(),
        ];
        let name = format!("node-{}", self.started);
        self.started += 1;
        let node = Process::start(&name, &args, &self.folder.join(format!("{name}.log"))).await;
        node.ready().await;
        self.balancer.add(node.address());
        self.nodes.push(node);
    }

    /// Takes an instance that the seed chooses away from clients.
    pub(super) fn take_any(&mut self) -> (usize, Process) {
        let number = self.below(self.nodes.len());
        let node = self.nodes.remove(number);
        self.balancer.remove(node.address());
        (number, node)
    }

    /// A proxy that the seed chooses.
    pub(super) fn any_proxy(&self) -> &Proxy {
        &self.proxies[self.below(self.proxies.len())]
    }

    /// A number below this, as the seed says.
    pub(super) fn below(&self, limit: usize) -> usize {
        usize::try_from(self.dice.bits() % limit.max(1) as u64).unwrap_or_default()
    }

    /// A time between these, as the seed says, in milliseconds.
    pub(super) fn between(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.dice.bits() % (most - least + 1))
    }

    pub(super) fn bits(&self) -> u64 {
        self.dice.bits()
    }

    pub(super) fn mark(&self, mark: Mark) {
        self.runner.note(Event::Mark(mark));
    }

    pub(super) fn note_presence(&self, told: Vec<Presence>) {
        told.into_iter().for_each(|told| self.runner.note(Event::Presence(told)));
    }

    pub(super) fn note_logs(&self, logs: Vec<Log>) {
        logs.into_iter().for_each(|log| self.runner.note(Event::Log(log)));
    }

    /// Waits until the replica is a primary.
    pub(super) async fn promoted(&self) {
        let replica = self.replica.as_ref().expect("a trial with a failover has a replica");
        role(replica, "role:master").await;
    }

    /// The server that has the last word now.
    pub(super) fn last_word(&self) -> &Redis {
        self.replica.as_ref().unwrap_or(&self.redis)
    }

    /// What the server holds of these rooms. `None`: it does not answer, or does not have one of them.
    pub(super) async fn logs(&self, rooms: &[String]) -> Option<Vec<Log>> {
        let mut wire = Wire::open(self.last_word().port()).await?;
        let mut logs = Vec::new();
        for room in rooms {
            logs.push(log(&mut wire, room).await?);
        }
        Some(logs)
    }
}

/// Waits until a server's `INFO replication` says this.
pub(super) async fn role(redis: &Redis, wanted: &str) {
    let said = async || match Wire::open(redis.port()).await {
        Some(mut wire) => wire.ask(&["INFO", "replication"]).await.map(|info| info.text().to_owned()),
        None => None,
    };
    eventually_fetched(PROMOTION, said, |said| said.as_ref().is_some_and(|said| said.contains(wanted))).await;
}

/// Reads a room, or the inbox of `@user`, behind the service's back: its meta and its stream, as `library.lua` describes them.
async fn log(wire: &mut Wire, room: &str) -> Option<Log> {
    let tag = room.strip_prefix('@').map_or_else(|| format!("r:{room}"), |owner| format!("i:{owner}"));
    let meta = wire.ask(&["HMGET", &format!("parley:{{{tag}}}:meta"), "e", "o", "h"]).await?;
    let [epoch, top, earlier] = meta.texts()[..] else { return None };
    let top: u64 = top.parse().ok()?;
    let mut epochs: Vec<(String, u64)> = earlier
        .split_whitespace()
        .filter_map(|one| one.split_once(':').and_then(|(epoch, end)| Some((epoch.to_owned(), end.parse().ok()?))))
        .collect();
    epochs.reverse();
    epochs.push((epoch.to_owned(), top));
    let Answer::List(stream) = wire.ask(&["XRANGE", &format!("parley:{{{tag}}}:log"), "-", "+"]).await? else {
        return None;
    };
    let entries = stream.iter().map(|entry| match entry {
        Answer::List(parts) => entry_of(parts.get(1)?.texts().get(1)?),
        _ => None,
    });
    Some(Log { room: room.to_owned(), top, epochs, entries: entries.collect::<Option<_>>()? })
}

/// Epoch, offset and key of a payload.
fn entry_of(payload: &str) -> Option<(String, u64, String)> {
    let (header, frame) = payload.split_once('\n')?;
    let words: Vec<_> = header.split(' ').collect();
    let frame: serde_json::Value = serde_json::from_str(frame).ok()?;
    let key = frame["key"].as_str().unwrap_or_default();
    Some(((*words.get(2)?).to_owned(), words.get(3)?.parse().ok()?, key.to_owned()))
}
