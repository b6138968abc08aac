//! A balancer in this process, on a free port. Its upstreams are whatever a test puts there.
#![expect(clippy::panic, reason = "a test without its balancer fails here")]

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use parley_service::balance::Balancer as Real;
use parley_service::config::{Config, FakeVars, Invocation};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{Client, Connect};
use crate::http::{self, Answer};

/// How long it may take to start or to end.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running balancer. Dropping it stops it.
pub struct Balancer {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Balancer {
    /// Starts one with these flags, before these upstreams, and waits until it has looked at them.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(upstreams: &[SocketAddr], flags: &[&str]) -> Self {
        let mut args: Vec<OsString> = ["balance", "--listen=127.0.0.1:0"].map(OsString::from).into();
        args.extend(upstreams.iter().map(|address| format!("--upstream={address}").into()));
        args.extend(flags.iter().map(OsString::from));
        let config = match Config::load(&FakeVars::default(), &args).map(|loaded| loaded.invocation) {
            Ok(Invocation::Balance(config)) => config,
            other => panic!("these flags start no balancer: {other:?}"),
        };
        let balancer = Real::bind(&config).await.unwrap_or_else(|error| panic!("{error}"));
        let address = balancer.address().unwrap_or_else(|error| panic!("{error}"));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (started, starting) = oneshot::channel();
        let ready = move || {
            // Nobody may be waiting any more.
            let _ = started.send(());
        };
        tasks.spawn(balancer.run(stop.clone(), ready));
        tokio::time::timeout(DEADLINE, starting).await.expect("it starts in time").expect("it starts");
        Self { address, stop, tasks }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection that is not made yet.
    #[must_use]
    pub fn connect(&self) -> Connect {
        Connect::to(self.address)
    }

    /// A client that is signed in by its name, and the instance that welcomed it.
    pub async fn client(&self, user: &str) -> (Client, String) {
        welcomed(self.connect().user(user)).await
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        http::get(self.address, path).await
    }

    /// What `/balancer/status` says.
    pub async fn status(&self) -> Value {
        self.get("/balancer/status").await.json()
    }

    /// What the status says of one upstream under this name.
    pub async fn of(&self, upstream: usize, name: &str) -> Value {
        self.status().await["upstreams"][upstream][name].clone()
    }

    /// What SIGTERM does. Returns at once.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// It does not end within 20 s.
    pub async fn ended(&self) {
        self.tasks.close();
        tokio::time::timeout(DEADLINE, self.tasks.wait()).await.expect("it ends in time");
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Opens a connection that signs in, and returns it with the instance that welcomed it.
pub async fn welcomed(connect: Connect) -> (Client, String) {
    let mut client = connect.open().await.ignoring_presence();
    let instance = client.expect("welcome").await.text("server_id").to_owned();
    client.expect_joined("@me").await;
    (client, instance)
}
