//! The clients of a trial: readers in every room, publishers that do not stop for anything, correspondents who write to each
//! other, idlers. These are good clients (`resumer.rs`), and write down everything. Visitors come and go, and write nothing.

use std::sync::Arc;
use std::time::Duration;

use parley_service::entropy::{Entropy as _, SeededEntropy};
use serde_json::json;
use tokio::task::JoinSet;

use super::scene::Scene;
use crate::client::{self, Connect};
use crate::fleet::Balancer;
use crate::journal::{Journal, Presence};
use crate::process::Process;
use crate::redis::pass;
use crate::resumer::Resumer;

/// Rooms in which things are said all the time.
const ROOMS: usize = 3;
/// Sessions that listen to all of them.
const READERS: usize = 6;
/// Sessions that publish, each to one room that it has joined, and wait for the ack before they send the next.
const PUBLISHERS: usize = 4;
/// Sessions that publish many at once, so that the service takes several together; in the rooms of the first publishers.
const HASTY: usize = 2;
/// Sessions that write direct messages to each other.
const CORRESPONDENTS: [&str; 2] = ["correspondent-0", "correspondent-1"];
/// Users who come into a room for a moment, over and over.
const VISITORS: usize = 3;
/// Longest stay of one, and longest pause between two stays, in milliseconds.
const VISIT_MS: u64 = 400;
/// Time between two such heaps: at least this, and up to twice as much, in milliseconds.
const HASTY_PAUSE_MS: u64 = 500;
/// Time between two publishes of one publisher: at least this, and up to twice as much, in milliseconds.
const PAUSE_MS: u64 = 100;
/// The room of the idlers.
const QUIET: &str = "quiet";
/// Who asks who is there, and is nowhere.
const INSPECTOR: &str = "inspector";
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// See the module. Dropping it ends all of them at once.
pub(super) struct Crowd {
    clients: Vec<Client>,
    publishers: Vec<(String, Arc<Resumer>)>,
    publishing: JoinSet<()>,
    visiting: JoinSet<()>,
}

/// How a client comes to be: patient or hasty.
type Start = fn(&str, &[&str], Balancer, Journal) -> Resumer;

struct Client {
    rooms: Vec<String>,
    resumer: Arc<Resumer>,
}

impl Crowd {
    /// Starts them, and waits until all have joined.
    pub(super) async fn gather(scene: &Scene) -> anyhow::Result<Self> {
        let mut crowd =
            Self { clients: Vec::new(), publishers: Vec::new(), publishing: JoinSet::new(), visiting: JoinSet::new() };
        let rooms: Vec<_> = (0..ROOMS).map(|number| format!("room-{number}")).collect();
        for number in 0..READERS {
            crowd.client(scene, &format!("reader-{number}"), &rooms, Resumer::noting)?;
        }
        for number in 0..PUBLISHERS {
            crowd.publisher(scene, &format!("publisher-{number}"), &rooms[number % ROOMS], Resumer::noting)?;
        }
        for number in 0..HASTY {
            crowd.publisher(scene, &format!("hasty-publisher-{number}"), &rooms[number % ROOMS], Resumer::hasty)?;
        }
        for (number, name) in CORRESPONDENTS.iter().enumerate() {
            let resumer = crowd.client(scene, name, &["@me".to_owned()], Resumer::noting)?;
            let other = CORRESPONDENTS[(number + 1) % CORRESPONDENTS.len()];
            crowd.publishers.push((format!("@{other}"), resumer));
        }
        for number in 0..VISITORS {
            let dice = SeededEntropy::new(scene.bits());
            let (name, room) = (format!("visitor-{number}"), rooms[number % ROOMS].clone());
            crowd.visiting.spawn(visit(name, room, scene.balancer.clone(), dice));
        }
        for number in 0..scene.fault.idlers() {
            crowd.client(scene, &format!("idler-{number}"), &[QUIET.to_owned()], Resumer::noting)?;
        }
        if scene.fault.idlers() > 0 {
            crowd.publisher(scene, "calm-publisher", QUIET, Resumer::noting)?;
        }
        for client in &crowd.clients {
            client.resumer.has_joined(client.rooms.len()).await;
        }
        for (room, resumer) in crowd.publishers.clone() {
            let (pace, heap) = match room.as_str() {
                QUIET => (10 * PAUSE_MS, 1),
                _ if resumer.may_have_unacked() > 1 => (HASTY_PAUSE_MS, resumer.may_have_unacked()),
                _ => (PAUSE_MS, 1),
            };
            crowd.publishing.spawn(publish(room, resumer, SeededEntropy::new(scene.bits()), pace, heap));
        }
        Ok(crowd)
    }

    fn client(&mut self, scene: &Scene, name: &str, rooms: &[String], start: Start) -> anyhow::Result<Arc<Resumer>> {
        let journal = Journal::in_file(Arc::clone(&scene.clock), &scene.folder.join(format!("client-{name}.jsonl")))?;
        let names: Vec<_> = rooms.iter().map(String::as_str).collect();
        let resumer = Arc::new(start(name, &names, scene.balancer.clone(), journal));
        self.clients.push(Client { rooms: rooms.to_vec(), resumer: Arc::clone(&resumer) });
        Ok(resumer)
    }

    fn publisher(&mut self, scene: &Scene, name: &str, room: &str, start: Start) -> anyhow::Result<()> {
        let resumer = self.client(scene, name, &[room.to_owned()], start)?;
        self.publishers.push((room.to_owned(), resumer));
        Ok(())
    }

    pub(super) fn rooms(&self) -> Vec<String> {
        let mut rooms: Vec<_> = self.publishers.iter().map(|(room, _)| room.clone()).collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }

    /// Waits until in every room several publishes that were sent from now on have reached every member. `false`: not in
    /// time.
    pub(super) async fn is_whole(&self, within: Duration) -> bool {
        let before: Vec<_> = self.publishers.iter().map(|(room, one)| one.acked_in(room).0 + one.unacked()).collect();
        let whole = async {
            loop {
                let acked = self.publishers.iter().zip(&before);
                let mut acked = acked.map(|((room, one), before)| one.unacked() <= 2 && one.acked_in(room).0 > *before);
                if acked.all(|acked| acked) && self.rooms().iter().all(|room| self.has_last_ack(room)) {
                    return;
                }
                pass(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(within, whole).await.is_ok()
    }

    /// Whether all members of a room have what was acked last there. Of an inbox nobody but its owner knows where that is.
    fn has_last_ack(&self, room: &str) -> bool {
        if room.starts_with('@') {
            return true;
        }
        let acks = self.publishers.iter().filter(|(of, _)| of == room).map(|(_, one)| one.acked_in(room));
        let Some((_, epoch, offset)) = acks.max_by_key(|(_, _, offset)| *offset) else { return true };
        self.members(room).all(|one| one.position(room).is_some_and(|(of, at)| of == epoch && at >= offset))
    }

    fn members(&self, room: &str) -> impl Iterator<Item = &Resumer> {
        let is_in = move |client: &&Client| match room.strip_prefix('@') {
            Some(owner) => client.resumer.name() == owner,
            None => client.rooms.iter().any(|of| of == room),
        };
        self.clients.iter().filter(is_in).map(|client| &*client.resumer)
    }

    /// Says nothing new from now on, and waits until all is acked that was said. `false`: not in time.
    pub(super) async fn falls_silent(&mut self, within: Duration) -> bool {
        self.publishing.shutdown().await;
        self.visiting.shutdown().await;
        let acked = async {
            while self.publishers.iter().any(|(_, one)| one.unacked() > 0) {
                pass(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(within, acked).await.is_ok()
    }

    /// Asks every instance who is in every room until it tells those who are, or the time is over; what it told last.
    pub(super) async fn presence(&self, scene: &Scene, within: Duration) -> Vec<Presence> {
        let mut all = Vec::new();
        for room in self.rooms().into_iter().filter(|room| !room.starts_with('@')) {
            let mut members: Vec<_> = self.members(&room).map(|one| one.name().to_owned()).collect();
            members.sort_unstable();
            for node in &scene.nodes {
                let instance = node.address().to_string();
                let mut last = Presence { room: room.clone(), instance, members: members.clone(), told: Vec::new() };
                let told = async {
                    while last.told != last.members {
                        if let Some(told) = told_by(node, &room).await {
                            last.told = told;
                        }
                        pass(LOOK_AGAIN).await;
                    }
                };
                drop(tokio::time::timeout(within, told).await);
                all.push(last);
            }
        }
        all
    }

    /// Waits until all members are at the ends of all logs. `false`: not in time.
    pub(super) async fn settles(&self, scene: &Scene, within: Duration) -> bool {
        let rooms = self.rooms();
        let settled = async {
            loop {
                if let Some(logs) = scene.logs(&rooms).await {
                    let at_end = |log: &crate::journal::Log| {
                        let end = log.epochs.last().map(|(epoch, _)| (epoch.clone(), log.top));
                        let room = if log.room.starts_with('@') { "@me" } else { &log.room };
                        self.members(&log.room).all(|one| one.position(room) == end)
                    };
                    if logs.iter().all(at_end) {
                        return;
                    }
                }
                pass(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(within, settled).await.is_ok()
    }
}

/// Who is in a room, as an instance tells a newcomer, in order. `None`: it does not take any now.
async fn told_by(node: &Process, room: &str) -> Option<Vec<String>> {
    let mut asking = Connect::to(node.address()).user(INSPECTOR).try_open().await.ok()?;
    asking.send(json!({ "type": "presence", "id": 0, "room": room })).await;
    while let client::Event::Frame(frame) = asking.next_whenever().await {
        if frame["id"] == 0 {
            let users = frame["users"].as_array()?.iter().filter_map(|user| Some(user.as_str()?.to_owned()));
            let mut told: Vec<_> = users.collect();
            told.sort_unstable();
            return Some(told);
        }
    }
    None
}

/// Comes into a room and goes again, for ever: sometimes with a word, sometimes without.
async fn visit(name: String, room: String, balancer: Balancer, dice: Arc<SeededEntropy>) {
    let within = || Duration::from_millis(dice.bits() % VISIT_MS);
    loop {
        if let Some(address) = balancer.pick()
            && let Ok(mut client) = Connect::to(address).user(&name).try_open().await
        {
            client.send(json!({ "type": "join", "room": room })).await;
            let reading = async { while matches!(client.next_whenever().await, client::Event::Frame(_)) {} };
            drop(tokio::time::timeout(within(), reading).await);
            if dice.bits().is_multiple_of(2) {
                client.send(json!({ "type": "leave", "room": room })).await;
            }
        }
        pass(within()).await;
    }
}

/// Publishes for ever: heaps of up to so many, and no more than what may be unacked.
async fn publish(room: String, resumer: Arc<Resumer>, dice: Arc<SeededEntropy>, pace_ms: u64, heap: usize) {
    let below = |limit: usize| usize::try_from(dice.bits() % limit as u64).unwrap_or_default();
    let mut number = 0_u64;
    loop {
        let free = if heap > 1 { heap.saturating_sub(resumer.unacked()) } else { 1 };
        for _ in 0..free.min(1 + below(heap)) {
            resumer.publish(&room, format!("{number} {}", "x".repeat(below(200)))).await;
            number += 1;
        }
        pass(Duration::from_millis(pace_ms + dice.bits() % (pace_ms + 1))).await;
    }
}
