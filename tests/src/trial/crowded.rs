//! Many rooms on two instances: what they cost in memory, how long it takes to subscribe to all of them, and how long until
//! an instance has all of them again after its connections were killed or Redis came back. It measures; it judges only
//! whether every room delivers in the end.

use std::fmt;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use parley_service::clock::{Clock as _, Moment, SystemClock};

use super::fault::Fault;
use super::scene::Scene;
use crate::client::Client;
use crate::eventually::eventually_fetched;
use crate::folder::Folder;
use crate::process::Process;
use crate::redis::Redis;

/// Rooms of one session: half of what a session may have.
const ROOMS_EACH: usize = 100;
/// Sessions that join at the same time.
const AT_ONCE: usize = 20;
/// How long a step may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// Rooms that are tried in the end: every so many.
const EVERY: usize = 100;

/// What was measured.
#[derive(Debug)]
pub struct Crowded {
    /// Rooms, each with one member on each of two instances.
    pub rooms: usize,
    /// Until all members had joined: twice as many joins as rooms.
    pub joined: Duration,
    /// Private memory of each instance, KiB, before and after.
    pub memory: Vec<(u64, u64)>,
    /// Memory that Redis reports, KiB, before and after.
    pub redis_memory: (u64, u64),
    /// Until every instance had every subscription again after `CLIENT KILL TYPE pubsub`.
    pub killed: Duration,
    /// The same, from the end of a restart of Redis with its data.
    pub restarted: Duration,
    /// Rooms that were tried after all that; each delivered.
    pub tried: usize,
}

/// Measures with this many rooms.
///
/// # Errors
/// The raw logs cannot be written.
///
/// # Panics
/// Something did not happen in time.
pub async fn measure(rooms: usize) -> anyhow::Result<Crowded> {
    let folder = Folder::new("crowded");
    let mut scene = Scene::set(Fault::RestartedWhole, 1, folder.path()).await?;
    let clock = SystemClock::start();
    let since = |began: Moment| clock.now().mono.since(began);
    let names: Vec<String> = (0..rooms).map(|number| format!("room-{number:05}")).collect();
    let private = |scene: &Scene| scene.nodes.iter().map(private_kib).collect::<Vec<_>>();
    let (before, redis_before) = (private(&scene), used_kib(&scene.redis).await);

    let began = clock.now().mono;
    let mut members = Vec::new();
    for (number, node) in scene.nodes.iter().enumerate() {
        let joining = names.chunks(ROOMS_EACH).enumerate().map(|(part, rooms)| member(node, number, part, rooms));
        members.push(stream::iter(joining).buffered(AT_ONCE).collect::<Vec<_>>().await);
    }
    let joined = since(began);
    let memory = before.into_iter().zip(private(&scene)).collect();
    let redis_memory = (redis_before, used_kib(&scene.redis).await);

    let began = clock.now().mono;
    scene.redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    subscribed(&scene.redis, scene.nodes.len(), rooms).await;
    let killed = since(began);

    scene.redis.kill().await;
    scene.redis.restart().await;
    let began = clock.now().mono;
    subscribed(&scene.redis, scene.nodes.len(), rooms).await;
    let restarted = since(began);

    let [speakers, hearers] = &mut members[..] else { anyhow::bail!("there are two instances") };
    let mut tried = 0;
    for (number, room) in names.iter().enumerate().step_by(EVERY) {
        let (speaker, hearer) = (&mut speakers[number / ROOMS_EACH], &mut hearers[number / ROOMS_EACH]);
        let chat = serde_json::json!({ "type": "chat", "room": room, "msg": "still here", "key": room });
        // The connection for commands may come back after the other one.
        let said = eventually_fetched(DEADLINE, async || speaker.ask(chat.clone()).await, |said| said.kind() == "ack");
        let offset = said.await.offset();
        hearer.expect_message(room, offset, "still here").await;
        tried += 1;
    }
    Ok(Crowded { rooms, joined, memory, redis_memory, killed, restarted, tried })
}

async fn member(node: &Process, number: usize, part: usize, rooms: &[String]) -> Client {
    let connect = crate::client::Connect::to(node.address()).user(&format!("user-{number}-{part}"));
    // A new epoch without a loss is told by `joined`.
    let mut client = connect.open().await.ignoring_presence().welcomed().await.ignoring(&["joined"]);
    for room in rooms {
        client.join(room).await;
    }
    client
}

/// Waits until so many instances have so many channels each: rooms, inboxes and their own.
async fn subscribed(redis: &Redis, instances: usize, rooms: usize) {
    let counts = async || {
        let list = redis.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
        let counts = list.text().split_whitespace().filter_map(|word| word.strip_prefix("ssub=")?.parse().ok());
        counts.collect::<Vec<usize>>()
    };
    let whole = |counts: &Vec<usize>| counts.iter().filter(|count| **count > rooms).count() >= instances;
    eventually_fetched(DEADLINE, counts, whole).await;
}

/// Private resident memory.
fn private_kib(node: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

async fn used_kib(redis: &Redis) -> u64 {
    let info = redis.ask(&["INFO", "memory"]).await;
    let used = info.text().lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<u64>().ok());
    used.unwrap_or_default() / 1024
}

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rooms, joined, memory, redis_memory, killed, restarted, tried } = self;
        writeln!(f, "{rooms} rooms, each with one member on each of {} instances", memory.len())?;
        let joins = rooms * memory.len();
        writeln!(f, "all joined         {joined:.1?}  ({:.0} joins/s)", joins as f64 / joined.as_secs_f64())?;
        for (before, after) in memory {
            let each = (after - before) as f64 / *rooms as f64;
            writeln!(f, "instance, private  {before} KiB before, {after} KiB after  ({each:.2} KiB a room)")?;
        }
        writeln!(f, "Redis, used        {} KiB before, {} KiB after", redis_memory.0, redis_memory.1)?;
        writeln!(f, "connections killed {killed:.2?} until all is subscribed again")?;
        writeln!(f, "Redis restarted    {restarted:.2?} until all is subscribed again")?;
        write!(f, "{tried} rooms tried: each delivers")
    }
}
