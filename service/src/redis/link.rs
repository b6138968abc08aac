//! An instance's link to the server: the two connections, the calls of the library, and the probes that say whether what
//! is published comes back. It knows no ports; what is subscribed to is `backplane/redis/subscriber.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;
use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock, broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub(crate) use super::client::CallError;
use super::client::{Address, Connection, Failure, Role, SetUpError};
use super::examine::Server;
use super::health::Health;
use super::keys::Keys;
use super::library::{self, Function};
use super::payload;
use super::reply::Reply;
use super::trouble::{Trouble, Troubles};
use crate::clock::Clock;
use crate::config::RedisConfig;
use crate::entropy::Entropy;
use crate::message::Epoch;
use crate::metrics::RedisMetrics;

/// How often a probe is sent while they come through.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(2);
/// After this many in a row, a trouble that comes again is told again: a minute.
const CALM: u32 = 30;
/// How often while they do not.
const PROBE_AGAIN: Duration = Duration::from_millis(200);
/// How long a probe may take to come back.
const PROBE_WAIT: Duration = Duration::from_secs(2);
/// Without a probe for this long the instance is not ready.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);
/// Without a probe for this long, and again as long after each time, the connections are replaced.
const REPLACE_EVERY: Duration = Duration::from_secs(5);
/// Pause before a server is asked what it is while the connection does not take commands.
const EXAMINE_AGAIN: Duration = Duration::from_millis(20);
/// Pause before fred is told to connect after it gave up, as it does when there is no server at the start.
const CONNECT_AGAIN: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct Link {
    pub(crate) commands: Connection,
    pub(crate) subscriptions: Connection,
    pub(crate) keys: Keys,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) health: Health,
    pub(crate) troubles: Troubles,
    metrics: RedisMetrics,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// Names this life of this instance; 16 hexadecimal digits.
    id: Box<str>,
    /// Where the next candidate for an epoch is taken from.
    candidates: AtomicU64,
    /// The server is one that we cannot work with.
    refused: Mutex<Option<Trouble>>,
    /// The server that the subscriptions are at.
    listening_at: Mutex<Box<str>>,
    heard: watch::Sender<(u64, Box<str>)>,
    hurry: Notify,
    wants_replacement: AtomicBool,
    /// Subscriptions acknowledged so far.
    subscribed: AtomicU64,
    /// The number of the next call.
    calls: AtomicU64,
    /// Held by each call until its answer is sure, so that a connection that still works is not replaced under it.
    calling: RwLock<()>,
}

/// A command as text or bytes.
pub(crate) fn bytes(argument: impl Into<Bytes>) -> Value {
    Value::Bytes(argument.into())
}

/// A number as an argument.
pub(crate) fn number(argument: u64) -> Value {
    Value::Bytes(Bytes::from(argument.to_string()))
}

impl Link {
    /// A link that is not made yet, and what ends it when the last owner is gone.
    pub(crate) fn new(
        config: &RedisConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: RedisMetrics,
    ) -> Result<(Arc<Self>, Arc<DropGuard>), SetUpError> {
        let stop = CancellationToken::new();
        let link = Arc::new(Self {
            commands: Connection::new(config, Role::Commands)?,
            subscriptions: Connection::new(config, Role::Subscriptions)?,
            keys: Keys::new(&config.prefix),
            health: Health::default(),
            troubles: Troubles::new(&metrics.troubles),
            metrics,
            tasks: TaskTracker::new(),
            id: format!("{:016x}", entropy.bits()).into(),
            candidates: AtomicU64::new(entropy.bits()),
            refused: Mutex::default(),
            listening_at: Mutex::default(),
            heard: watch::Sender::new((0, Box::default())),
            hurry: Notify::new(),
            wants_replacement: AtomicBool::new(false),
            subscribed: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            calling: RwLock::default(),
            stop: stop.clone(),
            clock,
            entropy,
        });
        Ok((link, Arc::new(stop.drop_guard())))
    }

    /// Starts connecting and probing. Receivers of messages must have been taken before.
    pub(crate) fn start(self: &Arc<Self>) {
        for role in [Role::Commands, Role::Subscriptions] {
            let connection = self.connection(role);
            self.tasks.spawn(Arc::clone(self).watch(role, connection.errors(), connection.connections()));
        }
        self.tasks.spawn(Arc::clone(self).examine(self.commands.connections()));
        for role in [Role::Commands, Role::Subscriptions] {
            self.tasks.spawn(Arc::clone(self).keep_connected(role));
        }
        self.tasks.spawn(Arc::clone(self).probe());
    }

    /// Names this life of this instance.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// An epoch that was never used, in case a log needs a new one. A sequence (`SplitMix64`) from a random start: cheaper
    /// than asking for randomness with every publish, and unique all the same.
    pub(crate) fn candidate(&self) -> Epoch {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.candidates.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Epoch::from_bits(z ^ (z >> 31))
    }

    /// Wall clock, milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now().wall_ms
    }

    fn connection(&self, role: Role) -> &Connection {
        match role {
            Role::Commands => &self.commands,
            Role::Subscriptions => &self.subscriptions,
        }
    }

    /// Calls a function of the library, which is loaded if the server does not have it: a function that is not found was
    /// certainly not called, so the second call is no second attempt.
    pub(crate) async fn call(
        &self,
        function: Function,
        keys: Vec<String>,
        arguments: Vec<Value>,
    ) -> Result<Reply, CallError> {
        let number = Bytes::from(self.calls.fetch_add(1, Ordering::Relaxed).to_string());
        let mut all = Vec::with_capacity(3 + keys.len() + arguments.len());
        all.push(bytes(function.name()));
        all.push(bytes(keys.len().to_string()));
        all.extend(keys.into_iter().map(bytes));
        all.extend(arguments);
        all.push(bytes(number.clone()));
        match self.call_once(&number, all.clone()).await {
            Err(CallError::Refused(text)) if text == "ERR Function not found" => {
                self.load().await.map_err(|error| match error {
                    CallError::Refused(text) => CallError::Refused(text),
                    other => CallError::NotSent(other.to_string()),
                })?;
                self.call_once(&number, all).await
            }
            other => other,
        }
    }

    /// Believes only what is an answer to this call. A connection that gives another one is replaced: all behind it is
    /// shifted, too.
    async fn call_once(&self, number: &[u8], arguments: Vec<Value>) -> Result<Reply, CallError> {
        let Ok(_calling) = self.calling.try_read() else {
            return Err(CallError::NotSent("the connection is being replaced".to_owned()));
        };
        let life = self.commands.life();
        let told = match self.command("FCALL", arguments).await {
            Ok(reply) => reply.into_answer_to(number).map(Ok),
            Err(CallError::Refused(text)) => self.refused(life, number, text).await.map(Err),
            Err(other) => Some(Err(other)),
        };
        told.unwrap_or_else(|| Err(self.out_of_step(Role::Commands, life)))
    }

    /// What an error means. It does not say what it answers, but if the next answer over the same connection is the right
    /// one, so was this. `None`: it was not.
    async fn refused(&self, life: Option<u64>, number: &[u8], text: String) -> Option<CallError> {
        let own = match self.commands.call("ECHO", vec![bytes(Bytes::copy_from_slice(number))]).await {
            Ok(reply) => reply.into_bytes().filter(|told| told == number).map(|_| true)?,
            // While somebody's script keeps the server busy, or it loads its data, it refuses everything.
            Err(CallError::Refused(again)) => {
                let trouble = Trouble::of(&text);
                matches!(trouble, Trouble::Busy | Trouble::Loading) && Trouble::of(&again) == trouble
            }
            Err(_) => false,
        };
        if own && life.is_some() && self.commands.life() == life {
            return Some(CallError::Refused(text));
        }
        Some(CallError::Broken(format!("the connection ended before it was sure whose answer this is: {text}")))
    }

    /// Gives up the connection of that life, over which came an answer to something else.
    pub(crate) fn out_of_step(&self, role: Role, life: Option<u64>) -> CallError {
        let connection = self.connection(role);
        if connection.give_up(life) {
            self.troubles.note(Trouble::Shifted, role.as_str());
            let connection = connection.clone();
            let replace = async move { connection.replace().await };
            self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(replace));
        }
        CallError::Broken("the answer was to another question".to_owned())
    }

    /// Runs a command with this key. Through the library, so that its answer is known to be its own.
    pub(crate) async fn run(
        &self,
        function: Function,
        command: &'static str,
        key: String,
        arguments: Vec<Value>,
    ) -> Result<Reply, CallError> {
        let arguments = std::iter::once(bytes(command)).chain(arguments).collect();
        self.call(function, vec![key], arguments).await
    }

    /// Sends a frame to who listens to a channel. What became of it is not told.
    pub(crate) async fn send(&self, channel: String, payload: Bytes) -> Result<(), CallError> {
        self.command("SPUBLISH", vec![bytes(channel), bytes(payload)]).await.map(|_| ())
    }

    /// The same for a function that would bring something into line if it could: a server that takes no writes at the
    /// moment, for want of a disk or of replicas, is asked again by the function that only reads.
    pub(crate) async fn ask(
        &self,
        function: Function,
        read_only: Function,
        keys: Vec<String>,
        arguments: Vec<Value>,
    ) -> Result<Reply, CallError> {
        match self.call(function, keys.clone(), arguments.clone()).await {
            Err(CallError::Refused(text)) if Trouble::of(&text) == Trouble::NotWriting => {
                self.call(read_only, keys, arguments).await
            }
            other => other,
        }
    }

    async fn load(&self) -> Result<(), CallError> {
        tracing::info!("redis: loading the function library");
        match self.command("FUNCTION", vec![bytes("LOAD"), bytes(library::text())]).await {
            // Another instance was faster.
            Err(CallError::Refused(text)) if text.contains("already exists") => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Sends a command over the command connection, once. Whether the answer is its own, nobody knows.
    async fn command(&self, name: &'static str, arguments: Vec<Value>) -> Result<Reply, CallError> {
        if let Some(trouble) = *self.refused.lock() {
            return Err(CallError::NotSent(format!("the server cannot be used: {}", trouble.as_str())));
        }
        let answer = self.commands.call(name, arguments).await;
        if let Err(error) = &answer {
            self.note(error);
        }
        answer
    }

    /// Counts and tells a failed call.
    pub(crate) fn note(&self, error: &CallError) {
        match error {
            // Why there is no connection is told by the connection.
            CallError::NotSent(_) => {}
            CallError::Refused(text) if text == "ERR Function not found" || text.contains("already exists") => {}
            CallError::Refused(text) => {
                let trouble = Trouble::of(text);
                self.troubles.note(trouble, text);
                if trouble == Trouble::ReadOnly {
                    // The primary is elsewhere: Sentinel knows where, but is asked only for a new connection.
                    self.wants_replacement.store(true, Ordering::Relaxed);
                    self.hurry.notify_one();
                }
            }
            CallError::Late(text) => self.troubles.note(Trouble::Slow, text),
            CallError::Broken(text) => self.troubles.note(Trouble::Unreachable, text),
        }
    }

    async fn keep_connected(self: Arc<Self>, role: Role) {
        let connection = self.connection(role);
        loop {
            let ended = tokio::select! {
                () = self.stop.cancelled() => break,
                ended = connection.connect() => ended,
            };
            if let Ok(Err(error)) = ended {
                self.troubles.note(Trouble::of_connection(error.details()), error.details());
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(CONNECT_AGAIN) => {}
            }
        }
        connection.close().await;
    }

    async fn watch(
        self: Arc<Self>,
        role: Role,
        mut errors: broadcast::Receiver<Failure>,
        mut connections: broadcast::Receiver<Address>,
    ) {
        let connection = self.connection(role);
        loop {
            tokio::select! {
                // Errors first: taken after the connection that follows it, an error would leave a good one marked as down.
                biased;
                () = self.stop.cancelled() => return,
                error = errors.recv() => match error {
                    Ok((error, _)) => {
                        connection.is_down(true);
                        let trouble = Trouble::of_connection(error.details());
                        self.troubles.note(trouble, &format!("{} ({})", error.details(), role.as_str()));
                        self.hurry.notify_one();
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                connected = connections.recv() => match connected {
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                        connection.is_down(false);
                        self.metrics.connections.get_or_create(&[("role", role.as_str())]).inc();
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    /// Asks every server that the command connection comes to what it is.
    async fn examine(self: Arc<Self>, mut connections: broadcast::Receiver<Address>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                connected = connections.recv() => {
                    if matches!(connected, Err(broadcast::error::RecvError::Closed)) {
                        return;
                    }
                }
            }
            // fred says that a connection stands a moment before it takes commands.
            let info = loop {
                match self.commands.call("INFO", Vec::new()).await {
                    Err(CallError::NotSent(_)) if !self.stop.is_cancelled() => tokio::time::sleep(EXAMINE_AGAIN).await,
                    info => break info,
                }
            };
            match info {
                Ok(info) => self.learn(&Server::read(info.text().unwrap_or_default())),
                Err(error) => self.note(&error),
            }
            self.hurry.notify_one();
        }
    }

    fn learn(&self, server: &Server) {
        *self.refused.lock() = server.refusal;
        if let Some(trouble) = server.refusal {
            self.troubles.note(trouble, &server.version);
            return;
        }
        tracing::info!(version = server.version, run_id = &*server.run_id, "redis: connected");
        if server.evicts {
            self.troubles.note(Trouble::Eviction, "the server has a limit of memory and a policy that drops keys");
        }
    }

    /// The subscriptions stand at this server now.
    pub(crate) fn listens_at(&self, run_id: &str) {
        *self.listening_at.lock() = run_id.into();
        self.hurry.notify_one();
    }

    /// A subscription was acknowledged: the connection is at work, however long it takes.
    pub(crate) fn subscribed(&self) {
        self.subscribed.fetch_add(1, Ordering::Relaxed);
    }

    /// A probe arrived.
    pub(crate) fn heard(&self, run_id: Box<str>, number: u64) {
        self.heard.send_replace((number, run_id));
    }

    /// Sends probes for as long as the link lasts, and replaces connections through which none comes.
    async fn probe(self: Arc<Self>) {
        let (mut number, mut calm, mut misses, mut pause) = (0, 0_u32, 0_u32, PROBE_AGAIN);
        let (mut heard_or_replaced, mut subscribed) = (self.clock.now().mono, 0);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.hurry.notified() => {}
            }
            number += 1;
            let sent = self.clock.now().mono;
            let outcome = self.probe_once(number).await;
            let now = self.clock.now().mono;
            self.metrics.healthy.set(i64::from(outcome.is_ok()));
            match outcome {
                Ok(()) => {
                    pause = PROBE_EVERY;
                    heard_or_replaced = now;
                    self.metrics.probe.0.observe(now.since(sent).as_secs_f64());
                    self.wants_replacement.store(false, Ordering::Relaxed);
                    (calm, misses) = (calm + 1, 0);
                    let healed = self.health.heard(now);
                    if healed {
                        tracing::info!("redis: messages come through");
                    }
                    if healed || calm % CALM == 0 {
                        self.troubles.over();
                    }
                }
                Err(missed) => {
                    (calm, pause, misses) = (0, PROBE_AGAIN, misses + 1);
                    // The first one may have been sent while a connection was being replaced.
                    if let Some(missed) = missed.filter(|_| misses > 1) {
                        self.troubles.note(Trouble::Deaf, missed);
                    }
                    self.health.missed(now, SILENCE);
                    // While subscriptions are being restored, a new connection would begin again from nothing.
                    if std::mem::replace(&mut subscribed, self.subscribed.load(Ordering::Relaxed)) != subscribed {
                        heard_or_replaced = now;
                    }
                    let elsewhere = self.wants_replacement.swap(false, Ordering::Relaxed);
                    if elsewhere || now.since(heard_or_replaced) >= REPLACE_EVERY {
                        heard_or_replaced = now;
                        // Calls under way may yet be answered by a server that answers.
                        let last_calls = if elsewhere { PROBE_WAIT } else { Duration::ZERO };
                        let _calling = tokio::time::timeout(last_calls, self.calling.write()).await;
                        self.replace().await;
                    }
                }
            }
        }
    }

    /// `Ok`: it came back, and both connections lead to one server. The error says what is wrong, unless the failed call
    /// has said so already.
    async fn probe_once(&self, count: u64) -> Result<(), Option<&'static str>> {
        if self.listening_at.lock().is_empty() {
            // The first connection: nothing can come back yet.
            return Err(None);
        }
        let mut heard = self.heard.subscribe();
        // Two plain steps, neither of which writes: a server that is full or has lost its disk still delivers.
        let answer = self.call(Function::Primary, Vec::new(), Vec::new()).await.map_err(|_| None)?;
        let payload = payload::probe(answer.text().unwrap_or_default(), count);
        self.send(self.keys.probe_channel(&self.id), payload).await.map_err(|_| None)?;
        let came_back = tokio::time::timeout(PROBE_WAIT, heard.wait_for(|(heard, _)| *heard >= count)).await;
        let passed_on_by = match came_back {
            Ok(Ok(heard)) => heard.1.clone(),
            _ => return Err(Some("a probe did not come back")),
        };
        if answer.text() == Some(&*passed_on_by) && *passed_on_by == **self.listening_at.lock() {
            return Ok(());
        }
        Err(Some("published at one server, listening at another"))
    }

    async fn replace(&self) {
        tracing::info!("redis: replacing both connections");
        let both = async { tokio::join!(self.commands.replace(), self.subscriptions.replace()) };
        // They go on by themselves; the next probe says how it ended.
        drop(tokio::time::timeout(PROBE_WAIT, both).await);
    }
}
