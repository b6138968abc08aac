//! A good client: it comes back when the connection is gone or it is told to, resumes from where it was, repeats what was
//! not acked under the same key, and writes down all it did and saw in a
//! `journal.rs`, for `checker.rs`. It judges nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use parley_service::clock::SystemClock;

use crate::client::{self, Client, Connect};
use crate::eventually::eventually;
use crate::fleet::Balancer;
use crate::frame::Frame;
use crate::journal::{Event, Journal, Line};

/// Pause before another attempt to connect, to join or to publish.
const PAUSE: Duration = Duration::from_millis(20);
/// Publishes that may wait to be taken by the client.
const COMMANDS: usize = 1_024;
/// How long a client may take to settle.
const SETTLE: Duration = Duration::from_secs(30);

/// See the module. Dropping it ends it as abruptly as a process that is killed.
pub struct Resumer {
    name: String,
    journal: Journal,
    state: Arc<Mutex<State>>,
    publish: mpsc::Sender<(String, Value)>,
    /// Ends the client's task when dropped.
    _task: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Epoch and offset per room.
    at: BTreeMap<String, (String, u64)>,
    /// How many were acked per room, and where the last one is.
    acked: BTreeMap<String, (usize, String, u64)>,
    /// Close codes, 0 for connections that just ended.
    closes: Vec<u16>,
    /// `reconnect` frames obeyed.
    moves: usize,
    unacked: usize,
}

struct Driver {
    name: String,
    rooms: Vec<String>,
    balancer: Balancer,
    /// The name that it asks for, where an ingress goes by it.
    host: Option<String>,
    journal: Journal,
    state: Arc<Mutex<State>>,
    commands: mpsc::Receiver<(String, Value)>,
    /// Per room, oldest first; only the first is sent.
    unacked: BTreeMap<String, VecDeque<(String, Value)>>,
    next_key: u64,
}

/// What to do after a pause.
enum Later {
    Join(String),
    Publish(String),
    Move,
}

enum End {
    Gone,
    Move,
}

impl Resumer {
    /// Connects as `name` to what the balancer offers, and joins these rooms from now.
    #[must_use]
    pub fn start(name: &str, rooms: &[&str], balancer: Balancer) -> Self {
        Self::noting(name, rooms, balancer, Journal::in_memory(SystemClock::start()))
    }

    /// As [`Resumer::joined`], through an ingress that goes by the name of the host.
    pub async fn joined_at(name: &str, rooms: &[&str], ingress: std::net::SocketAddr, host: &str) -> Self {
        let journal = Journal::in_memory(SystemClock::start());
        let resumer = Self::begin(name, rooms, Balancer::of(ingress), journal, Some(host.to_owned()));
        resumer.has_joined(rooms.len()).await;
        resumer
    }

    /// As [`Resumer::start`], with a raw log of one's own.
    #[must_use]
    pub fn noting(name: &str, rooms: &[&str], balancer: Balancer, journal: Journal) -> Self {
        Self::begin(name, rooms, balancer, journal, None)
    }

    fn begin(name: &str, rooms: &[&str], balancer: Balancer, journal: Journal, host: Option<String>) -> Self {
        let (publish, commands) = mpsc::channel(COMMANDS);
        let state: Arc<Mutex<State>> = Arc::default();
        let driver = Driver {
            name: name.to_owned(),
            rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
            balancer,
            host,
            journal: journal.clone(),
            state: Arc::clone(&state),
            commands,
            unacked: BTreeMap::new(),
            next_key: 0,
        };
        let mut task = JoinSet::new();
        task.spawn(driver.run());
        Self { name: name.to_owned(), journal, state, publish, _task: task }
    }

    /// As [`Resumer::start`], and waits until the rooms are joined.
    pub async fn joined(name: &str, rooms: &[&str], balancer: Balancer) -> Self {
        let resumer = Self::start(name, rooms, balancer);
        resumer.has_joined(rooms.len()).await;
        resumer
    }

    /// Waits until so many rooms are joined.
    pub async fn has_joined(&self, rooms: usize) {
        eventually(SETTLE, || self.state.lock().at.len(), |count| *count == rooms).await;
    }

    /// Publishes, sooner or later, exactly once.
    ///
    /// # Panics
    /// The client has ended.
    pub async fn publish(&self, room: &str, msg: impl Into<Value>) {
        self.state.lock().unacked += 1;
        self.publish.send((room.to_owned(), msg.into())).await.expect("the client runs");
    }

    /// Its name and all it did and saw so far, for the checker.
    #[must_use]
    pub fn record(&self) -> (String, Vec<Line>) {
        (self.name.clone(), self.journal.lines())
    }

    /// Where it is in a room: epoch and offset. `None` before it joined.
    #[must_use]
    pub fn position(&self, room: &str) -> Option<(String, u64)> {
        self.state.lock().at.get(room).cloned()
    }

    /// How many of its publishes to a room were acked, and the epoch and offset of the last one.
    #[must_use]
    pub fn acked_in(&self, room: &str) -> (usize, String, u64) {
        self.state.lock().acked.get(room).cloned().unwrap_or_default()
    }

    /// Its publishes that are not acked yet.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.state.lock().unacked
    }

    /// The last offset of a room; 0 before it joined.
    #[must_use]
    pub fn offset(&self, room: &str) -> u64 {
        self.state.lock().at.get(room).map_or(0, |at| at.1)
    }

    /// The codes its connections were closed with so far, 0 for those that just ended.
    #[must_use]
    pub fn closes(&self) -> Vec<u16> {
        self.state.lock().closes.clone()
    }

    /// How often it obeyed a `reconnect`.
    #[must_use]
    pub fn moves(&self) -> usize {
        self.state.lock().moves
    }

    /// Waits until everything it published is acked.
    pub async fn acked(&self) {
        eventually(SETTLE, || self.state.lock().unacked, |unacked| *unacked == 0).await;
    }

    /// Waits until it has a room up to this offset.
    pub async fn has(&self, room: &str, offset: u64) {
        let name = &self.name;
        eventually(SETTLE, || (name, self.offset(room)), |(_, at)| *at >= offset).await;
    }
}

impl Driver {
    async fn run(mut self) {
        loop {
            let connected = match self.balancer.pick() {
                Some(address) => {
                    let connect = Connect::to(address).user(&self.name);
                    let connect = self.host.iter().fold(connect, |connect, host| connect.header("host", host));
                    connect.try_open().await.ok()
                }
                None => None,
            };
            match connected {
                Some(client) => {
                    self.journal.note(Event::Connected(client.peer()));
                    match self.live(client).await {
                        End::Move => {
                            self.journal.note(Event::Moved);
                            self.state.lock().moves += 1;
                        }
                        End::Gone => tokio::time::sleep(PAUSE).await,
                    }
                }
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// One connection, to its end.
    async fn live(&mut self, mut client: Client) -> End {
        let mut later: FuturesUnordered<BoxFuture<'static, Later>> = FuturesUnordered::new();
        for room in self.rooms.clone() {
            self.join(&mut client, &room).await;
        }
        loop {
            tokio::select! {
                event = client.next_whenever() => match event {
                    client::Event::Frame(frame) => {
                        self.journal.note(Event::Received(frame.value().clone()));
                        self.frame(&mut client, &frame, &mut later).await;
                    }
                    client::Event::Closed(code, _) => return self.ended(code),
                    client::Event::Gone => return self.ended(0),
                },
                Some(what) = later.next() => match what {
                    Later::Join(room) => self.join(&mut client, &room).await,
                    Later::Publish(room) => self.send_next(&mut client, &room).await,
                    Later::Move => return End::Move,
                },
                Some((room, msg)) = self.commands.recv() => {
                    self.next_key += 1;
                    let queue = self.unacked.entry(room.clone()).or_default();
                    queue.push_back((format!("{}-{}", self.name, self.next_key), msg));
                    if queue.len() == 1 {
                        self.send_next(&mut client, &room).await;
                    }
                }
            }
        }
    }

    fn ended(&self, code: u16) -> End {
        self.journal.note(Event::Ended(code));
        self.state.lock().closes.push(code);
        End::Gone
    }

    async fn send(&self, client: &mut Client, frame: Value) {
        self.journal.note(Event::Sent(frame.clone()));
        client.send(frame).await;
    }

    async fn join(&self, client: &mut Client, room: &str) {
        let at = self.state.lock().at.get(room).cloned();
        let mut join = json!({ "type": "join", "id": format!("join {room}"), "room": room });
        if let Some((epoch, offset)) = at {
            join["since"] = json!({ "epoch": epoch, "offset": offset });
            join["id"] = json!(format!("resume {room}"));
        }
        self.send(client, join).await;
    }

    async fn send_next(&self, client: &mut Client, room: &str) {
        if let Some((key, msg)) = self.unacked.get(room).and_then(VecDeque::front) {
            let frame = json!({ "type": "chat", "id": key, "room": room, "msg": msg, "key": key });
            self.send(client, frame).await;
        }
    }

    async fn frame(
        &mut self,
        client: &mut Client,
        frame: &Frame,
        later: &mut FuturesUnordered<BoxFuture<'static, Later>>,
    ) {
        let after = |pause: Duration, what: Later| {
            later.push(Box::pin(async move {
                tokio::time::sleep(pause).await;
                what
            }));
        };
        match frame.kind() {
            "joined" if self.rooms.iter().any(|room| room == frame.room()) => {
                let more = self.joined(frame);
                if more {
                    self.join(client, frame.room()).await;
                } else if frame["id"].is_string() {
                    // The first of the queue may have been on its way when the last connection ended.
                    self.send_next(client, frame.room()).await;
                }
            }
            "message" => {
                if let Some(at) = self.state.lock().at.get_mut(frame.room()) {
                    at.1 = frame.offset();
                }
            }
            "gap" => {
                let position = (frame.epoch().to_owned(), frame.offset());
                self.state.lock().at.insert(frame.room().to_owned(), position);
            }
            "ack" => {
                let (room, key) = (frame.room(), frame.text("id"));
                let queue = self.unacked.entry(room.to_owned()).or_default();
                if queue.front().is_some_and(|(first, _)| first == key) {
                    queue.pop_front();
                    self.acked(frame);
                    self.send_next(client, room).await;
                }
            }
            "error" => {
                let pause = frame["retry_after_ms"].as_u64().map_or(PAUSE, Duration::from_millis);
                let id = frame["id"].as_str().unwrap_or_default();
                match id.split_once(' ') {
                    Some((_, room)) => after(pause, Later::Join(room.to_owned())),
                    None => {
                        let of_key =
                            |queue: &VecDeque<(String, Value)>| queue.front().is_some_and(|(key, _)| key == id);
                        if let Some((room, _)) = self.unacked.iter().find(|(_, queue)| of_key(queue)) {
                            after(pause, Later::Publish(room.clone()));
                        }
                    }
                }
            }
            "reconnect" => after(Duration::from_millis(frame.number("after_ms")), Later::Move),
            _ => {}
        }
    }

    fn acked(&self, frame: &Frame) {
        let mut state = self.state.lock();
        state.unacked -= 1;
        let count = state.acked.get(frame.room()).map_or(1, |acked| acked.0 + 1);
        state.acked.insert(frame.room().to_owned(), (count, frame.epoch().to_owned(), frame.offset()));
    }

    fn joined(&self, frame: &Frame) -> bool {
        let position = (frame.epoch().to_owned(), frame.offset());
        self.state.lock().at.insert(frame.room().to_owned(), position);
        frame.is("more")
    }
}
