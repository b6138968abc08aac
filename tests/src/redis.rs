//! A Redis server for one test: a process of its own on a free loopback port, with a folder of its own, gone with the
//! test. And a plain connection to it, to look behind the service's back.
#![expect(clippy::panic, reason = "a test without its server fails here")]

mod wire;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parley_service::clock::SystemClock;
use parley_service::config::{BackplaneChoice, Config, RedisConfig, Secret};
use parley_service::entropy::SystemEntropy;
use parley_service::server::{Ports, redis_ports};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

pub use self::wire::{Answer, Wire};
use crate::eventually::eventually_fetched;
use crate::node::{Node, NodeBuilder, open_auth};

/// How long the server may take to start or to end.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two looks at whether it answers.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Somebody else may take the port between our looking and the server's.
const ATTEMPTS: usize = 5;

/// A running server. Dropping it kills it.
pub struct Redis {
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Redis {
    /// Starts one that keeps everything in memory only.
    pub async fn start() -> Self {
        Self::with(&["--save", ""]).await
    }

    /// Starts one that has written every command to its disk before it answers.
    pub async fn durable() -> Self {
        Self::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// Starts a replica, and waits until it has everything.
    ///
    /// # Panics
    /// It does not start, or does not get there.
    pub async fn replica_of(primary: &Self) -> Self {
        let replica = Self::with(&["--save", "", "--replicaof", &format!("127.0.0.1 {}", primary.port)]).await;
        let follows = async || replica.ask(&["INFO", "replication"]).await.text().contains("master_link_status:up");
        eventually_fetched(DEADLINE, follows, |follows| *follows).await;
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

    /// Starts one with these arguments of `redis-server`.
    ///
    /// # Panics
    /// It does not start.
    pub async fn with(settings: &[&str]) -> Self {
        Self::launched(settings, "").await
    }

    async fn launched(settings: &[&str], file: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("parley-redis-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("the machine has a folder for temporary files");
        // A Sentinel writes what it learns into its file.
        std::fs::write(folder.join("conf"), file).expect("the server's folder can be written to");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut redis = Self { folder, port: 0, settings, process: None };
        for _ in 0..ATTEMPTS {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("the machine has a port left");
            redis.port = listener.local_addr().expect("a bound socket has an address").port();
            drop(listener);
            if redis.launch().await {
                return redis;
            }
        }
        panic!("redis-server does not start: {}", redis.log());
    }

    /// `false`: it ended at once.
    async fn launch(&mut self) -> bool {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.expect("the server's folder can be written to");
        let mut process = Command::new("redis-server")
            .arg(self.folder.join("conf"))
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"])
            .arg(&self.folder)
            .args(&self.settings)
            .stdin(Stdio::null())
            .stdout(log)
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        let answers = async {
            loop {
                if process.try_wait().expect("a child can be asked after").is_some() {
                    return false;
                }
                // A password is none of our business: an error is an answer, too.
                if let Some(mut wire) = Wire::open(self.port).await
                    && !matches!(wire.ask(&["PING"]).await, Some(Answer::Error(text)) if text.starts_with("LOADING"))
                {
                    return true;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let up = tokio::time::timeout(DEADLINE, answers).await.unwrap_or(false);
        self.process = Some(process);
        up
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
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
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(id.to_string()).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "the signal {signal} cannot be sent");
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
            // It may have ended by itself; what is left in the folder is of no use to anybody.
            drop(process.start_kill());
        }
        drop(std::fs::remove_dir_all(&self.folder));
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
