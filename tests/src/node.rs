//! One instance of the service in this process: real sockets on free ports, a thread and a runtime of its own, so that
//! it can be killed like a process and its clock can be stopped. Several on one backplane are `fleet.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parley_service::auth::Auth;
use parley_service::auth::open::OpenAuth;
use parley_service::config::Config;
use parley_service::edge::services::Services;
use parley_service::metrics::Metrics;
use parley_service::server::{Ports, Server};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Connect};
use crate::http::{self, Answer};

/// How long an instance may take to start, to end, or to move its clock.
const DEADLINE: Duration = Duration::from_secs(20);
/// A stopped clock moves in steps, so that what is due in between happens in its order.
const CLOCK_STEP: Duration = Duration::from_millis(250);

/// Makes the ports of an instance; called on the instance's own runtime.
pub type MakePorts = Box<dyn FnOnce(&Config) -> Ports + Send>;

/// An instance that is about to be started.
pub struct NodeBuilder {
    config: Config,
    ports: Option<MakePorts>,
    stopped_clock: bool,
}

/// A running instance. Dropping it kills it.
pub struct Node {
    address: SocketAddr,
    admin: SocketAddr,
    services: Arc<Services>,
    stop: CancellationToken,
    /// Dropping it drops the instance's runtime.
    life: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
    clock: mpsc::Sender<Move>,
    stopped_clock: bool,
    thread: Option<JoinHandle<()>>,
}

/// Moves a stopped clock.
struct Move {
    by: Duration,
    step: Duration,
    done: oneshot::Sender<()>,
}

struct Bound {
    address: SocketAddr,
    admin: SocketAddr,
    services: Arc<Services>,
}

impl NodeBuilder {
    /// Changes settings.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// The name of the instance.
    #[must_use]
    pub fn server_id(self, name: &str) -> Self {
        self.config(|config| config.server_id = name.to_owned())
    }

    /// Puts the instance on these ports instead of an embedded backplane of its own.
    #[must_use]
    pub fn ports(mut self, make: impl FnOnce(&Config) -> Ports + Send + 'static) -> Self {
        self.ports = Some(Box::new(make));
        self
    }

    /// Time stands still for the instance's timers until [`Node::advance`]. Sockets work as ever; the wall clock runs.
    #[must_use]
    pub fn stopped_clock(mut self) -> Self {
        self.stopped_clock = true;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// It cannot start.
    pub async fn start(self) -> Node {
        let (bound_in, bound) = oneshot::channel();
        let (ended_in, ended) = oneshot::channel();
        let (life, death) = oneshot::channel::<()>();
        let (clock, moves) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let (stopping, stopped_clock) = (stop.clone(), self.stopped_clock);
        // It logs and traces to where the test that starts it does.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let thread = std::thread::Builder::new().name(self.config.server_id.clone()).spawn(move || {
            let _dispatch = tracing::dispatcher::set_default(&dispatch);
            live(self, bound_in, stopping, death, moves);
            // Nobody need wait for the end.
            let _ = ended_in.send(());
        });
        let thread = thread.expect("the machine has a thread left");
        let bound = tokio::time::timeout(DEADLINE, bound).await.expect("the instance starts in time");
        let Bound { address, admin, services } = bound.expect("the instance starts");
        let node = Node {
            address,
            admin,
            services,
            stop,
            life: Some(life),
            ended,
            clock,
            stopped_clock,
            thread: Some(thread),
        };
        crate::eventually::eventually(DEADLINE, || node.services.drain.health().as_str(), |health| *health == "ok")
            .await;
        node
    }
}

/// The instance's whole life, on its own thread.
fn live(
    builder: NodeBuilder,
    bound: oneshot::Sender<Bound>,
    stop: CancellationToken,
    death: oneshot::Receiver<()>,
    mut moves: mpsc::Receiver<Move>,
) {
    let NodeBuilder { config, ports, stopped_clock } = builder;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(stopped_clock).build();
    let runtime = runtime.expect("the machine has room for a runtime");
    // While a blocking task runs, a stopped clock does not jump to the next timer by itself.
    let (hold, held) = std::sync::mpsc::sync_channel::<()>(0);
    if stopped_clock {
        drop(runtime.spawn_blocking(move || held.recv()));
    }
    let life = async {
        let server = match ports {
            Some(make) => Server::bind(&config, make(&config)).await,
            None => Server::from_config(&config).await,
        };
        let server = server.expect("an instance with these settings can start");
        let address = server.address().expect("a bound socket has an address");
        let admin = server.admin_address().expect("a bound socket has an address");
        let services = Arc::clone(server.services());
        // Nobody may be waiting any more.
        let ready = move || drop(bound.send(Bound { address, admin, services }));
        // Boxed: it is the largest future of all.
        let running = Box::pin(server.run(stop, ready));
        let clockwork = async {
            while let Some(Move { by, step, done }) = moves.recv().await {
                advance(by, step).await;
                let _ = done.send(());
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = running => {}
            _ = death => {}
            () = clockwork => {}
        }
    };
    runtime.block_on(life);
    // Everything that the instance was doing is dropped here, at whatever point it was.
    drop(hold);
    runtime.shutdown_background();
}

async fn advance(by: Duration, step: Duration) {
    let mut left = by;
    while !left.is_zero() {
        let step = left.min(step);
        tokio::time::advance(step).await;
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        left -= step;
    }
}

impl Node {
    /// An instance with the defaults of [`Config::for_tests`].
    #[must_use]
    pub fn builder() -> NodeBuilder {
        NodeBuilder { config: Config::for_tests(), ports: None, stopped_clock: false }
    }

    /// Starts one with the defaults.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where probes and metrics are.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Its insides.
    #[must_use]
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.services.metrics
    }

    /// A connection that is not made yet.
    #[must_use]
    pub fn connect(&self) -> Connect {
        Connect::to(self.address)
    }

    /// A client that is signed in by its name, has been welcomed and ignores presence hints.
    pub async fn client(&self, user: &str) -> Client {
        self.connect().user(user).open().await.ignoring_presence().welcomed().await
    }

    /// `GET path` of the public address.
    pub async fn get(&self, path: &str) -> Answer {
        http::get(self.address, path).await
    }

    /// `GET path` of the admin address.
    pub async fn admin_get(&self, path: &str) -> Answer {
        http::get(self.admin, path).await
    }

    /// Moves a stopped clock. An instance that ends meanwhile is fine.
    ///
    /// # Panics
    /// The clock was not stopped.
    pub async fn advance(&self, by: Duration) {
        self.move_clock(by, CLOCK_STEP).await;
    }

    /// The same in one step, however far: what was due in between comes late.
    ///
    /// # Panics
    /// The clock was not stopped.
    pub async fn leap(&self, by: Duration) {
        self.move_clock(by, by).await;
    }

    async fn move_clock(&self, by: Duration, step: Duration) {
        assert!(self.stopped_clock, "the clock of this instance runs by itself: start it with `stopped_clock`");
        let (done, moved) = oneshot::channel();
        if self.clock.send(Move { by, step, done }).await.is_ok() {
            let _ = tokio::time::timeout(DEADLINE, moved).await.expect("the clock moves in time");
        }
    }

    /// What SIGTERM does: the drain begins. Returns at once.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the instance has ended by itself.
    ///
    /// # Panics
    /// It does not end within 20 s.
    pub async fn ended(&mut self) {
        if let Some(thread) = self.thread.take() {
            tokio::time::timeout(DEADLINE, &mut self.ended).await.expect("it ends in time").expect("it did not panic");
            thread.join().expect("it did not panic");
        }
    }

    /// Drains and waits for the end.
    pub async fn stop(mut self) {
        self.begin_stop();
        self.ended().await;
    }

    /// Drops everything at once, as `kill -9` does: sockets are closed by the kernel, nobody is told anything.
    pub async fn kill(mut self) {
        drop(self.life.take());
        self.ended().await;
    }
}

/// Sign-in by name alone.
#[must_use]
pub fn open_auth() -> Arc<dyn Auth> {
    Arc::new(OpenAuth)
}
