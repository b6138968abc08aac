//! A good client: it comes back when the connection is gone or it is told to, resumes from where it was, repeats what was
//! not acked under the same key and in the same order, and writes down all it did and saw in a
//! `journal.rs`, for `checker.rs`. It judges nothing. Its inbox is the room `@me`; what it publishes to `@bob` goes to Bob.

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
/// Most publishes that a hasty client has sent to one room and not got acked: more than go into one call of the service.
pub const UNACKED_MAX: usize = 40;
/// How long a client may take to settle.
const SETTLE: Duration = Duration::from_secs(30);

/// See the module. Dropping it ends it as abruptly as a process that is killed.
pub struct Resumer {
    name: String,
    journal: Journal,
    state: Arc<Mutex<State>>,
    publish: mpsc::Sender<(String, Value)>,
    unacked_max: usize,
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
    /// Per room, oldest first; so many of the first are sent as may be unacked.
    unacked: BTreeMap<String, VecDeque<Publish>>,
    unacked_max: usize,
    next_key: u64,
    /// The join of `@me` was answered on this connection. Until then the session is in it from now on, not from where we were.
    inbox: bool,
}

/// What is to be published.
struct Publish {
    key: String,
    msg: Value,
    sent: Sent,
}

/// What became of a publish on the connection of now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    No,
    Yes,
    /// It was answered with an error, and goes once more after a pause; what comes after it waits for that.
    Refused,
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
        let resumer = Self::begin(name, rooms, Balancer::of(ingress), journal, Some(host.to_owned()), 1);
        resumer.has_joined(rooms.len()).await;
        resumer
    }

    /// As [`Resumer::start`], with a raw log of one's own.
    #[must_use]
    pub fn noting(name: &str, rooms: &[&str], balancer: Balancer, journal: Journal) -> Self {
        Self::begin(name, rooms, balancer, journal, None, 1)
    }

    /// As [`Resumer::noting`], and does not wait for an ack before it sends the next: it has up to [`UNACKED_MAX`] on their
    /// way in each room.
    #[must_use]
    pub fn hasty(name: &str, rooms: &[&str], balancer: Balancer, journal: Journal) -> Self {
        Self::begin(name, rooms, balancer, journal, None, UNACKED_MAX)
    }

    fn begin(
        name: &str,
        rooms: &[&str],
        balancer: Balancer,
        journal: Journal,
        host: Option<String>,
        unacked_max: usize,
    ) -> Self {
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
            unacked_max,
            next_key: 0,
            inbox: false,
        };
        let mut task = JoinSet::new();
        task.spawn(driver.run());
        Self { name: name.to_owned(), journal, state, publish, unacked_max, _task: task }
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

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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

    /// How many it may have on their way in one room.
    #[must_use]
    pub fn may_have_unacked(&self) -> usize {
        self.unacked_max
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
        self.unacked.values_mut().flatten().for_each(|publish| publish.sent = Sent::No);
        self.inbox = false;
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
                    Later::Publish(room) => {
                        self.forgive(&room);
                        self.send_next(&mut client, &room).await;
                    }
                    Later::Move => return End::Move,
                },
                Some((room, msg)) = self.commands.recv() => {
                    self.next_key += 1;
                    let key = format!("{}-{}", self.name, self.next_key);
                    self.unacked.entry(room.clone()).or_default().push_back(Publish { key, msg, sent: Sent::No });
                    self.send_next(&mut client, &room).await;
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

    /// What was refused may be sent again.
    fn forgive(&mut self, room: &str) {
        let refused = self.unacked.get_mut(room).into_iter().flatten().filter(|publish| publish.sent == Sent::Refused);
        refused.for_each(|publish| publish.sent = Sent::No);
    }

    /// Sends what may be on its way and is not, oldest first.
    async fn send_next(&mut self, client: &mut Client, room: &str) {
        let Some(queue) = self.unacked.get_mut(room) else { return };
        let first = queue.iter_mut().take(self.unacked_max).take_while(|publish| publish.sent != Sent::Refused);
        let mut frames = Vec::new();
        for Publish { key, msg, sent } in first.filter(|publish| publish.sent == Sent::No) {
            *sent = Sent::Yes;
            let (field, name) = room.strip_prefix('@').map_or(("room", room), |user| ("to", user));
            frames.push(json!({ "type": "chat", "id": key, field: name, "msg": msg, "key": key }));
        }
        for frame in frames {
            self.send(client, frame).await;
        }
    }

    /// With its inbox, a client takes up its direct messages again.
    async fn send_letters(&mut self, client: &mut Client, room: &str) {
        let to: Vec<_> = self.unacked.keys().filter(|to| room == "@me" && to.starts_with('@')).cloned().collect();
        for to in to {
            self.send_next(client, &to).await;
        }
    }

    /// A publish was answered with an error. The room it is for.
    fn refused(&mut self, id: &str) -> Option<String> {
        let mut all = self.unacked.iter_mut().flat_map(|(room, queue)| queue.iter_mut().map(move |one| (room, one)));
        let (room, publish) = all.find(|(_, publish)| publish.key == id)?;
        publish.sent = Sent::Refused;
        Some(room.clone())
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
            "joined" | "direct" | "gap" if frame.room() == "@me" && !self.inbox && !frame["id"].is_string() => {}
            "joined" if self.rooms.iter().any(|room| room == frame.room()) => {
                self.inbox |= frame.room() == "@me";
                let more = self.joined(frame);
                if more {
                    self.join(client, frame.room()).await;
                } else if frame["id"].is_string() {
                    // What was on its way when the last connection ended.
                    self.send_next(client, frame.room()).await;
                    self.send_letters(client, frame.room()).await;
                }
            }
            "message" | "direct" => {
                if let Some(at) = self.state.lock().at.get_mut(frame.room()) {
                    at.1 = frame.offset();
                }
            }
            "gap" => {
                let position = (frame.epoch().to_owned(), frame.offset());
                self.state.lock().at.insert(frame.room().to_owned(), position);
            }
            "ack" => {
                let key = frame.text("id");
                let first_with = |queue: &VecDeque<Publish>| queue.iter().position(|publish| publish.key == key);
                let mut all = self.unacked.iter_mut();
                let of =
                    all.find_map(|(room, queue)| first_with(queue).map(|place| (room.clone(), queue.remove(place))));
                if let Some((room, _)) = of {
                    self.acked(&room, frame);
                    self.send_next(client, &room).await;
                }
            }
            "error" => {
                let pause = frame["retry_after_ms"].as_u64().map_or(PAUSE, Duration::from_millis);
                let id = frame["id"].as_str().unwrap_or_default();
                match id.split_once(' ') {
                    Some((_, room)) => after(pause, Later::Join(room.to_owned())),
                    None => {
                        if let Some(room) = self.refused(id) {
                            after(pause, Later::Publish(room));
                        }
                    }
                }
            }
            "reconnect" => after(Duration::from_millis(frame.number("after_ms")), Later::Move),
            _ => {}
        }
    }

    fn acked(&self, room: &str, frame: &Frame) {
        let mut state = self.state.lock();
        state.unacked -= 1;
        let count = state.acked.get(room).map_or(1, |acked| acked.0 + 1);
        state.acked.insert(room.to_owned(), (count, frame.epoch().to_owned(), frame.offset()));
    }

    fn joined(&self, frame: &Frame) -> bool {
        let position = (frame.epoch().to_owned(), frame.offset());
        self.state.lock().at.insert(frame.room().to_owned(), position);
        frame.is("more")
    }
}
