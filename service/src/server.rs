//! The composition root: the only place that knows every part. Binds, then serves until told to stop, then drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Auth;
use crate::auth::jwks::{JwksError, JwksFile};
use crate::auth::keys::{FixedKeys, KeyError, KeySource};
use crate::auth::open::OpenAuth;
use crate::auth::token::TokenAuth;
use crate::backplane::memory::{MemoryBroker, MemoryConfig};
use crate::backplane::redis::{Health, RedisBackplane, Retention, SetUpError};
use crate::backplane::{Arrivals, Backplane};
use crate::clock::{Clock, SystemClock};
use crate::config::{AuthMode, BackplaneChoice, Config, RedisConfig, TokenSource};
use crate::delivery::Order;
use crate::directory::memory::MemoryDirectory;
use crate::directory::redis::RedisDirectory;
use crate::directory::{Directory, InstanceRecord};
use crate::drain::{self, Drain};
use crate::edge::admission::Admission;
use crate::edge::outage::Outage;
use crate::edge::services::Services;
use crate::edge::{accept, admin, public};
use crate::entropy::{Entropy, SystemEntropy};
use crate::hub::attendance::Attendance;
use crate::hub::{Hub, HubParts, control};
use crate::ids::ServerId;
use crate::metrics::{BackplaneMetrics, Metrics};
use crate::presence::Presence;
use crate::presence::memory::MemoryPresence;
use crate::presence::redis::RedisPresence;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::limits::Limits;
use crate::session::SessionRules;

/// Pages that are fetched for sessions at the same time. What is asked for together waits in the store and on the way from
/// there, where nobody counts it and everything else queues behind it.
const READS_AT_ONCE: usize = 64;
/// The same of lists, each of which takes several calls.
const LISTS_AT_ONCE: usize = 8;
/// How often an instance describes itself to the others.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(5);
/// How often the embedded backplane lets go of what is too old.
const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// How often what is left at the very end is told to look around.
const WAKE_EVERY: Duration = Duration::from_millis(200);
/// How long connections may take to end after the drain window.
const LAST_CLOSES: Duration = Duration::from_secs(6);

/// What an instance stands on: the ports. Made from a `Config`, or by a test.
pub struct Ports {
    /// Where logs live.
    pub backplane: Arc<dyn Backplane>,
    /// What it brings.
    pub arrivals: Arrivals,
    /// Who is where.
    pub presence: Arc<dyn Presence>,
    /// Rooms, instances, bans.
    pub directory: Arc<dyn Directory>,
    /// Who is who.
    pub auth: Arc<dyn Auth>,
    /// Time.
    pub clock: Arc<SystemClock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Whether the backplane delivers; readiness follows it. `None`: always.
    pub health: Option<Health>,
    /// What is behind the ports counts in the same registry as the rest of the instance.
    pub metrics: Metrics,
}

/// Why an instance cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}; is another process using it?")]
    Bind {
        /// Which one.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server's name breaks the rules of names.
    #[error("PARLEY_SERVER_ID: {0}")]
    ServerId(#[from] crate::ids::NameError),
    /// The secret for sign-in cannot be used.
    #[error("PARLEY_TOKEN_SECRET")]
    Secret(#[from] KeyError),
    /// The file of keys for sign-in cannot be used.
    #[error("PARLEY_TOKEN_JWKS")]
    Jwks(#[from] JwksError),
    /// The settings of Redis lead nowhere. That it cannot be reached is no error.
    #[error(transparent)]
    Redis(#[from] SetUpError),
}

/// The embedded backplane, shared by all instances that are made from it.
pub struct Embedded {
    broker: Arc<MemoryBroker>,
    presence: Arc<MemoryPresence>,
    directory: Arc<MemoryDirectory>,
    clock: Arc<SystemClock>,
    entropy: Arc<dyn Entropy>,
}

impl Embedded {
    /// An empty one with the retention of `config`.
    #[must_use]
    pub fn new(config: &Config, clock: Arc<SystemClock>, entropy: Arc<dyn Entropy>) -> Self {
        let memory = MemoryConfig {
            history_messages: config.history.messages,
            history_age: config.history.age,
            total_bytes: config.history.total_bytes,
            key_window: Duration::from_secs(300),
        };
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let broker = MemoryBroker::new(memory, shared, Arc::clone(&entropy));
        let presence = MemoryPresence::new(Arc::clone(&broker));
        let directory = MemoryDirectory::new(Arc::clone(&broker));
        Self { broker, presence, directory, clock, entropy }
    }

    /// The ports of one instance on it.
    #[must_use]
    pub fn ports(&self, server_id: ServerId, auth: Arc<dyn Auth>) -> Ports {
        let (backplane, arrivals) = self.broker.instance(server_id);
        Ports {
            backplane,
            arrivals,
            presence: self.presence.instance(),
            directory: Arc::clone(&self.directory) as Arc<dyn Directory>,
            auth,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            health: None,
            metrics: Metrics::new(),
        }
    }

    /// Lets go of what is too old and shows how much is kept, until stopped.
    pub async fn sweep(self, metrics: BackplaneMetrics, stop: CancellationToken) {
        let mut every = tokio::time::interval(SWEEP_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            self.broker.sweep();
            let stats = self.broker.stats();
            let shown = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            metrics.logs.set(shown(stats.logs as u64));
            metrics.log_bytes.set(shown(stats.bytes as u64));
            metrics.evicted_logs.inner().store(stats.evicted_logs, Ordering::Relaxed);
            metrics.dropped_broadcasts.inner().store(stats.dropped_broadcasts, Ordering::Relaxed);
        }
    }
}

/// The ports of one instance on Redis, which need not be there yet. To be called within a runtime.
///
/// # Errors
/// The settings cannot lead to any server.
pub fn redis_ports(
    config: &Config,
    redis: &RedisConfig,
    clock: Arc<SystemClock>,
    entropy: Arc<dyn Entropy>,
    auth: Arc<dyn Auth>,
) -> Result<Ports, SetUpError> {
    let retention = Retention { messages: config.history.messages, age: config.history.age };
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let metrics = Metrics::new();
    let (backplane, arrivals) = RedisBackplane::open(redis, retention, shared, Arc::clone(&entropy), &metrics)?;
    Ok(Ports {
        presence: RedisPresence::new(&backplane),
        directory: RedisDirectory::new(&backplane),
        health: Some(backplane.health().clone()),
        backplane,
        arrivals,
        auth,
        clock,
        entropy,
        metrics,
    })
}

/// An instance whose addresses are bound and known.
pub struct Server {
    services: Arc<Services>,
    arrivals: Arrivals,
    health: Option<Health>,
    public: TcpListener,
    admin: TcpListener,
    shutdown_delay: Duration,
    drain_window: Duration,
    /// Tasks besides the connections.
    tasks: TaskTracker,
    /// Ends them.
    stop: CancellationToken,
    embedded: Option<Embedded>,
    jwks: Option<Arc<JwksFile>>,
}

impl Server {
    /// Binds an instance with everything that `config` asks for.
    ///
    /// # Errors
    /// An address in use, or keys that cannot be read.
    pub async fn from_config(config: &Config) -> Result<Self, StartError> {
        let clock = SystemClock::start();
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let (auth, jwks) = auth(config, Arc::clone(&clock) as Arc<dyn Clock>)?;
        let (ports, embedded) = match &config.backplane {
            BackplaneChoice::Memory => {
                let embedded = Embedded::new(config, clock, entropy);
                (embedded.ports(ServerId::parse(&config.server_id)?, auth), Some(embedded))
            }
            BackplaneChoice::Redis(redis) => (redis_ports(config, redis, clock, entropy, auth)?, None),
        };
        let mut server = Self::bind(config, ports).await?;
        server.embedded = embedded;
        server.jwks = jwks;
        Ok(server)
    }

    /// Binds an instance on given ports.
    ///
    /// # Errors
    /// An address in use, or a server name that is none.
    pub async fn bind(config: &Config, ports: Ports) -> Result<Self, StartError> {
        let server_id = ServerId::parse(&config.server_id)?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let metrics = ports.metrics;
        for code in ErrorCode::ALL {
            drop(metrics.edge.errors.get_or_create(&[("code", code.as_str())]));
        }
        let attendance = Attendance::new(Arc::clone(&ports.presence), Arc::clone(&ports.clock) as Arc<dyn Clock>);
        let hub = Hub::new(HubParts {
            backplane: Arc::clone(&ports.backplane),
            attendance: Arc::clone(&attendance),
            outbox_limit: config.limits.outbox_bytes,
            outbox_total: config.limits.outbox_total_bytes,
            replay_messages: config.history.replay_messages,
            clock: Arc::clone(&ports.clock) as Arc<dyn Clock>,
            metrics: metrics.hub.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        let services = Arc::new(Services {
            rules: Arc::new(rules(config, &server_id)),
            server_id,
            hub,
            backplane: ports.backplane,
            presence: ports.presence,
            attendance,
            directory: ports.directory,
            auth: ports.auth,
            origins: config.allowed_origins.clone(),
            admission: Admission::new(
                config.admission.max_connections.map_or(0, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
                config.admission.max_handshakes_per_second.map_or(0, std::num::NonZeroU32::get),
            ),
            drain: Drain::default(),
            api_key: config.api_key.as_ref().map(|key| key.expose().into()),
            clock: ports.clock,
            entropy: ports.entropy,
            outage: Outage::default(),
            reading: Semaphore::new(READS_AT_ONCE),
            listing: Semaphore::new(LISTS_AT_ONCE),
            metrics,
            connections: TaskTracker::new(),
        });
        Ok(Self {
            services,
            arrivals: ports.arrivals,
            health: ports.health,
            public: listen(config.listen).await?,
            admin: listen(config.admin_listen).await?,
            shutdown_delay: config.shutdown_delay,
            drain_window: config.drain,
            tasks,
            stop,
            embedded: None,
            jwks: None,
        })
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// The socket has no address any more.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where probes and metrics are.
    ///
    /// # Errors
    /// The socket has no address any more.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// What its connections share.
    #[must_use]
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Serves until `stop`, then drains: readiness false, after the delay no newcomers, every session asked to move in its
    /// turn, those that stay closed, then everything ended. Returns when nothing of the instance is left. `ready` is called
    /// once, when the first session may come.
    pub async fn run(self, stop: CancellationToken, ready: impl FnOnce()) {
        let Self {
            services,
            arrivals,
            health,
            public,
            admin,
            shutdown_delay,
            drain_window,
            tasks,
            stop: end,
            embedded,
            jwks,
        } = self;
        let edge = services.metrics.edge.clone();
        let public_router = public::router(Arc::clone(&services));
        let admin_router = admin::router(Arc::clone(&services));
        tasks.spawn(deliver(Arc::clone(&services), arrivals, end.clone()));
        tasks.spawn(Arc::clone(&services.attendance).run(end.clone()));
        let (followed, control) = oneshot::channel();
        let (hub, directory) = (Arc::clone(&services.hub), Arc::clone(&services.directory));
        tasks.spawn(control::follow(hub, directory, followed, end.clone()));
        tasks.spawn(announce(Arc::clone(&services), end.clone()));
        tasks.spawn(accept::serve(public, public_router, edge.clone(), tasks.clone(), end.clone()));
        tasks.spawn(accept::serve(admin, admin_router, edge, tasks.clone(), end.clone()));
        if let Some(embedded) = embedded {
            tasks.spawn(embedded.sweep(services.metrics.backplane.clone(), end.clone()));
        }
        if let Some(jwks) = jwks {
            tasks.spawn(end.clone().run_until_cancelled_owned(jwks.follow()));
        }
        // An order of the application must find every session, so none is let in before they are heard.
        if let Some(Ok(())) = stop.run_until_cancelled(control).await {
            match health {
                Some(health) => drop(tasks.spawn(follow_health(Arc::clone(&services), health, end.clone()))),
                None => set_ready(&services, true),
            }
            ready();
        }
        stop.cancelled().await;
        leave(&services, shutdown_delay).await;
        hand_over(&services, drain_window).await;
        end.cancel();
        tasks.close();
        if tokio::time::timeout(LAST_CLOSES, tasks.wait()).await.is_err() {
            tracing::warn!(tasks = tasks.len(), "some tasks did not end in time");
        }
    }
}

/// Is not ready any more, but takes whom balancers still bring: they learn of it a moment later.
async fn leave(services: &Services, delay: Duration) {
    services.drain.leave();
    services.metrics.state.ready.set(0);
    if !delay.is_zero() {
        tracing::info!(delay_s = delay.as_secs(), "not ready any more; the drain begins after a delay");
        tokio::time::sleep(delay).await;
    }
}

/// Asks every session to move and waits until they have, or until the window is over.
async fn hand_over(services: &Services, window: Duration) {
    services.drain.begin();
    services.metrics.state.draining.set(1);
    let told = services.hub.registry().order_all(|index, count| {
        let after = drain::slot(index, count, window);
        Order::Drain { after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX) }
    });
    tracing::info!(sessions = told, window_s = window.as_secs(), "draining: sessions are asked to move");
    services.connections.close();
    if tokio::time::timeout(window + LAST_CLOSES, services.connections.wait()).await.is_err() {
        tracing::warn!(sessions = services.connections.len(), "the drain window is over: ending what is left");
        services.drain.end();
        // Again and again: a task that is just being polled may miss one call.
        loop {
            services.hub.registry().wake_all();
            if tokio::time::timeout(WAKE_EVERY, services.connections.wait()).await.is_ok() {
                break;
            }
        }
    }
}

/// Runs the hub. Without it nothing is delivered, so an instance whose hub ended is not ready.
async fn deliver(services: Arc<Services>, arrivals: Arrivals, end: CancellationToken) {
    let hub = Arc::clone(&services.hub);
    let tracker = TaskTracker::new();
    let ended = tracker.spawn(hub.run(arrivals)).await;
    if !end.is_cancelled() {
        services.drain.set_ready(false);
        services.metrics.state.ready.set(0);
        let error = ended.err().map(tracing::field::display);
        tracing::error!(error, "delivery has ended: this instance is not ready any more, restart it");
    }
}

fn set_ready(services: &Services, ready: bool) {
    services.drain.set_ready(ready);
    services.metrics.state.ready.set(i64::from(services.drain.health() == drain::Health::Ok));
}

/// Keeps readiness true to whether the backplane delivers. Sockets stay as they are.
async fn follow_health(services: Arc<Services>, health: Health, stop: CancellationToken) {
    let mut ready = health.ready();
    loop {
        let now = *ready.borrow_and_update();
        set_ready(&services, now);
        tracing::info!(ready = now, "the backplane decides whether this instance is ready");
        if !matches!(stop.run_until_cancelled(ready.changed()).await, Some(Ok(()))) {
            return;
        }
    }
}

async fn announce(services: Arc<Services>, stop: CancellationToken) {
    let mut every = tokio::time::interval(ANNOUNCE_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        let record = InstanceRecord {
            server_id: services.server_id.clone(),
            sessions: services.hub.registry().len(),
            draining: matches!(services.drain.health(), drain::Health::Leaving | drain::Health::Draining),
        };
        if let Err(error) = services.directory.announce(record).await {
            tracing::debug!(%error, "cannot announce this instance");
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = match TcpListener::bind(address).await {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => match without_ipv6(address) {
            Some(address) => TcpListener::bind(address).await,
            None => Err(error),
        },
        bound => bound,
    };
    bound.map_err(|source| StartError::Bind { address, source })
}

/// `[::]` is every address of both families; on a kernel that has only one of them, it is `0.0.0.0`.
fn without_ipv6(address: SocketAddr) -> Option<SocketAddr> {
    let anywhere = std::net::Ipv4Addr::UNSPECIFIED;
    (address.is_ipv6() && address.ip().is_unspecified()).then(|| SocketAddr::from((anywhere, address.port())))
}

fn rules(config: &Config, server_id: &ServerId) -> SessionRules {
    let limits = Limits {
        message_bytes: config.limits.message_bytes,
        rooms: config.limits.rooms_per_session,
        messages_per_second: config.limits.messages_per_second.map_or(0, std::num::NonZeroU32::get),
        messages_burst: config.limits.messages_burst.get(),
        replay_messages: config.history.replay_messages,
        ping_seconds: config.limits.ping.as_secs(),
        sign_in_seconds: config.limits.sign_in.as_secs(),
        outbox_bytes: config.limits.outbox_bytes,
        history_messages: config.history.messages,
        history_seconds: config.history.age.as_secs(),
        ..Limits::default()
    };
    SessionRules::new(server_id.clone(), limits, config.affinity_cookie.as_deref().map(Into::into))
}

type AuthSetUp = (Arc<dyn Auth>, Option<Arc<JwksFile>>);

fn auth(config: &Config, clock: Arc<dyn Clock>) -> Result<AuthSetUp, StartError> {
    let token = match &config.auth.mode {
        AuthMode::Open => return Ok((Arc::new(OpenAuth), None)),
        AuthMode::Token(token) => token,
    };
    let (keys, file): (Arc<dyn KeySource>, _) = match &token.source {
        TokenSource::Secret(secret) => (Arc::new(FixedKeys::from_secret(secret.expose().as_bytes())?), None),
        TokenSource::Jwks(path) => {
            let file = JwksFile::open(path)?;
            (Arc::clone(&file) as Arc<dyn KeySource>, Some(file))
        }
    };
    Ok((Arc::new(TokenAuth::new(keys, token.audience.as_deref(), token.issuer.as_deref(), clock)), file))
}
