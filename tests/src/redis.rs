//! A Redis server for one test: a process of its own on a free loopback port, with a folder of its own, gone with the
//! test. And a plain connection to it, to look behind the service's back.
#![expect(clippy::panic, reason = "a test without its server fails here")]

mod wire;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parley_service::clock::SystemClock;
use parley_service::config::{BackplaneChoice, Config, RedisConfig, Secret};
use parley_service::entropy::{Entropy as _, SystemEntropy};
use parley_service::server::{Ports, redis_ports};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

pub use self::wire::{Answer, Wire};
use crate::eventually::eventually_fetched;
use crate::folder::Folder;
use crate::node::{Node, NodeBuilder, open_auth};
use crate::process;

/// How long the server may take to start or to end.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two looks at whether it answers.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Somebody else may take the port between our looking and the server's.
const ATTEMPTS: usize = 5;
/// Names the program to start in place of `redis-server`, such as `valkey-server`.
const PROGRAM: &str = "PARLEY_TESTS_REDIS_SERVER";

/// The server that is started everywhere here.
#[must_use]
pub fn program() -> String {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the tests choose their server")]
    let chosen = std::env::var(PROGRAM);
    chosen.ok().filter(|program| !program.is_empty()).unwrap_or_else(|| "redis-server".to_owned())
}

/// A running server. Dropping it kills it.
pub struct Redis {
    folder: Folder,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Redis {
    /// Starts one that keeps everything in memory only.
    pub async fn start() -> Self {
        Self::with(&["--save", ""]).await
    }

    /// Starts one that has handed every command to the kernel before it answers, so that killing it loses nothing; the
    /// disk, which may be slow, has time.
    pub async fn durable() -> Self {
        Self::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "no"]).await
    }

    /// Starts a replica, and waits until it has everything.
    ///
    /// # Panics
    /// It does not start, or does not get there.
    pub async fn replica_of(primary: &Self) -> Self {
        let replica = Self::with(&["--save", "", "--replicaof", &format!("127.0.0.1 {}", primary.port)]).await;
        let follows = async || replica.ask(&["INFO", "replication"]).await.text().contains("master_link_status:up");
        eventually_fetched(3 * DEADLINE, follows, |follows| *follows).await;
        replica
    }

    /// Starts a Sentinel that alone decides over a primary, which it calls `main`, and is quick to do so.
    ///
    /// # Panics
    /// It does not start.
    pub async fn sentinel_of(primary: &Self) -> Self {
        let monitor = format!("127.0.0.1 {} 1", primary.port);
        let quick = ["sentinel down-after-milliseconds main 500", "sentinel failover-timeout main 3000"];
        Self::launched(&["--sentinel"], &format!("sentinel monitor main {monitor}\n{}\n", quick.join("\n"))).await
    }

    /// Starts Sentinels that decide together over a primary, which they call `main`, and waits until they know each other
    /// and its replica.
    ///
    /// # Panics
    /// They do not get there.
    pub async fn sentinels_of(primary: &Self, count: usize) -> Vec<Self> {
        let monitor = format!("127.0.0.1 {} {}", primary.port, count / 2 + 1);
        let quick = ["sentinel down-after-milliseconds main 500", "sentinel failover-timeout main 3000"];
        let file = format!("sentinel monitor main {monitor}\n{}\n", quick.join("\n"));
        let started = (0..count).map(|_| Self::launched(&["--sentinel"], &file));
        let sentinels = futures_util::future::join_all(started).await;
        for sentinel in &sentinels {
            let known = async |what| match sentinel.ask(&["SENTINEL", what, "main"]).await {
                Answer::List(known) => known.len(),
                _ => 0,
            };
            let both = async || (known("SENTINELS").await + 1, known("REPLICAS").await);
            eventually_fetched(2 * DEADLINE, both, |known| *known == (count, 1)).await;
        }
        sentinels
    }

    /// Starts one with these arguments of `redis-server`.
    ///
    /// # Panics
    /// It does not start.
    pub async fn with(settings: &[&str]) -> Self {
        Self::launched(settings, "").await
    }

    async fn launched(settings: &[&str], file: &str) -> Self {
        let folder = Folder::new("redis");
        // A Sentinel writes what it learns into its file.
        std::fs::write(folder.path().join("conf"), file).expect("the server's folder can be written to");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut redis = Self { folder, port: 0, settings, process: None };
        for _ in 0..ATTEMPTS {
            redis.port = free_port().await;
            if redis.launch().await {
                return redis;
            }
        }
        panic!("redis-server does not start: {}", redis.log());
    }

    /// `false`: it ended at once.
    async fn launch(&mut self) -> bool {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let log = log.expect("the server's folder can be written to");
        let mut process = Command::new(program())
            .arg(self.folder.path().join("conf"))
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"])
            .arg(self.folder.path())
            .args(&self.settings)
            .stdin(Stdio::null())
            .stdout(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("`{}` cannot be started: {error}", program()));
        let answers = async {
            loop {
                if process.try_wait().expect("a child can be asked after").is_some() {
                    return false;
                }
                if let Some(mut wire) = Wire::open(self.port).await {
                    match wire.ask(&["INFO", "server"]).await {
                        // Somebody else's server on our port would answer, too.
                        Some(Answer::Text(info)) => {
                            return process.id().is_some_and(|id| info.contains(&format!("process_id:{id}\r")));
                        }
                        Some(Answer::Error(text)) if text.starts_with("LOADING") => {}
                        // A password is none of our business: an error is an answer, too.
                        Some(_) => return true,
                        None => {}
                    }
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let up = tokio::time::timeout(DEADLINE, answers).await.unwrap_or(false);
        self.process = Some(process);
        up
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// As `kill -9`.
    ///
    /// # Panics
    /// It was killed before.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.kill().await.expect("a child can be killed");
    }

    /// Starts it again on the same port, with what it had written to its disk.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart(&mut self) {
        assert!(self.launch().await, "redis-server does not start again: {}", self.log());
    }

    /// Stops the process where it stands, or lets it go on: `STOP` or `CONT`.
    ///
    /// # Panics
    /// It does not run.
    pub async fn signal(&self, signal: &str) {
        let id = self.process.as_ref().and_then(Child::id).expect("the server runs");
        process::signal(id, signal).await;
    }

    /// Removes what it has written to its disk.
    ///
    /// # Panics
    /// It cannot be removed.
    pub fn wipe(&self) {
        for entry in std::fs::read_dir(self.folder.path()).expect("the server's folder is there").flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            if path.is_dir() {
                std::fs::remove_dir_all(path).expect("what a server wrote can be removed");
            } else if name != "conf" && name != "log" {
                std::fs::remove_file(path).expect("what a server wrote can be removed");
            }
        }
    }

    /// A plain connection.
    ///
    /// # Panics
    /// The server does not take it.
    pub async fn wire(&self) -> Wire {
        Wire::open(self.port).await.expect("the server takes connections")
    }

    /// One command over a connection of its own.
    ///
    /// # Panics
    /// The server does not answer, or with an error.
    pub async fn ask(&self, command: &[&str]) -> Answer {
        match self.wire().await.ask(command).await {
            Some(Answer::Error(error)) => panic!("{command:?}: {error}"),
            Some(answer) => answer,
            None => panic!("{command:?}: the connection ended"),
        }
    }

    /// The text of the only library of functions that it has.
    ///
    /// # Panics
    /// It has none.
    pub async fn library(&self) -> String {
        let mut lists = vec![self.ask(&["FUNCTION", "LIST", "WITHCODE"]).await];
        while let Some(list) = lists.pop() {
            match list {
                Answer::List(items) => lists.extend(items),
                Answer::Text(text) if text.starts_with("#!lua name=") => return text,
                _ => {}
            }
        }
        panic!("there is no library");
    }

    /// Makes the functions of the library do something else.
    ///
    /// # Panics
    /// The library has no such text.
    pub async fn change_library(&self, from: &str, to: &str) {
        let library = self.library().await;
        assert!(library.contains(from), "{library}");
        self.ask(&["FUNCTION", "LOAD", "REPLACE", &library.replace(from, to)]).await;
    }

    /// The settings with which an instance reaches it.
    #[must_use]
    pub fn config(&self, prefix: &str) -> RedisConfig {
        config(&format!("redis://127.0.0.1:{}", self.port), prefix)
    }

    /// An instance on it that is about to be started.
    #[must_use]
    pub fn node(&self, name: &str) -> NodeBuilder {
        node(self.config("parley"), name)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself.
            drop(process.start_kill());
        }
    }
}

/// A port on which nobody listens, and which the kernel gives nobody for a connection: while a server is down, an instance
/// that tries to reach it could otherwise be given the server's own port to try from, and reach itself.
async fn free_port() -> u16 {
    loop {
        // Connections get ports from 32,768 on.
        let port = 15_000 + u16::try_from(SystemEntropy.bits() % 17_000).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
}

/// Lets real time pass: a server has no clock that a test could move.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Settings that lead to any URL.
#[must_use]
pub fn config(url: &str, prefix: &str) -> RedisConfig {
    RedisConfig { url: Secret::new(url), ca_file: None, prefix: prefix.to_owned() }
}

/// An instance with these settings that is about to be started.
#[must_use]
pub fn node(redis: RedisConfig, name: &str) -> NodeBuilder {
    let choice = BackplaneChoice::Redis(redis.clone());
    let builder = Node::builder().server_id(name).config(|config| config.backplane = choice);
    builder.ports(move |config| ports(config, &redis))
}

/// The ports of an instance.
///
/// # Panics
/// The settings lead nowhere.
#[must_use]
pub fn ports(config: &Config, redis: &RedisConfig) -> Ports {
    let ports = redis_ports(config, redis, SystemClock::start(), Arc::new(SystemEntropy), open_auth());
    ports.unwrap_or_else(|error| panic!("{error}"))
}
