//! A load balancer for instances of Parley (`parley balance`): HTTP and WebSocket, aware of health and drain. Knows
//! nothing of the chat: it reads heads of requests, and bytes after an upgrade pass unseen. No TLS and no HTTP/2.

mod accept;
mod affinity;
mod answer;
mod forward;
mod gate;
mod headers;
mod kept;
mod payload;
mod pool;
mod probe;
mod relay;
mod upstreams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::answer::Counts;
use self::gate::{Gate, SPARE_SEATS};
use self::pool::Health;
use self::upstreams::Upstreams;
use crate::clock::SystemClock;
use crate::config::{BalanceConfig, BalancePolicy};

/// How long tasks that were cut off may take to end.
const LAST_CLOSES: Duration = Duration::from_secs(2);
/// Descriptors besides those of connections: listener, probes, standard streams, the runtime's.
const OTHER_DESCRIPTORS: u64 = 256;

/// Why a balancer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BalanceError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; is another process using it?")]
    Bind {
        /// Which one.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A balancer whose address is bound and known.
#[derive(Debug)]
pub struct Balancer {
    gate: Arc<Gate>,
    listener: TcpListener,
    drain: Duration,
}

impl Balancer {
    /// Binds one. To be called within a runtime.
    ///
    /// # Errors
    /// The address is in use.
    pub async fn bind(config: &BalanceConfig) -> Result<Self, BalanceError> {
        let address = config.listen;
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| BalanceError::Bind { address, source })?;
        let clock = SystemClock::start();
        let gate = Gate {
            policy: config.policy,
            cookie: config.affinity_cookie.clone(),
            max_connections: config.max_connections,
            upstreams: Upstreams::new(config.policy, &config.upstreams, Arc::clone(&clock)),
            seats: Arc::new(Semaphore::new(config.max_connections)),
            spare: Arc::new(Semaphore::new(SPARE_SEATS)),
            counts: Counts::default(),
            clock,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        Ok(Self { gate: Arc::new(gate), listener, drain: config.drain })
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// The socket has no address any more.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`. Then nothing new is accepted, what is there may end by itself for as long as the settings
    /// say, and what is left then is cut off. `ready` is called once, when every upstream was looked at.
    pub async fn run(self, stop: CancellationToken, ready: impl FnOnce()) {
        let Self { gate, listener, drain } = self;
        let all = 0..gate.upstreams.len();
        // Whoever comes first should not be the one to find out who is not there.
        stop.run_until_cancelled(join_all(all.clone().map(|index| probe::look(&gate.upstreams, index)))).await;
        for index in all {
            gate.tasks.spawn(probe::follow(Arc::clone(&gate.upstreams), index, gate.stop.clone()));
        }
        ready();
        // A task, which workers run: what awaits this function may be on a thread beside them, and each connection would have
        // to be handed from there to them.
        gate.tasks.spawn(accept::serve(listener, Arc::clone(&gate)));
        stop.cancelled().await;
        gate.stop.cancel();
        gate.upstreams.keep_none();
        gate.tasks.close();
        tracing::info!(tasks = gate.tasks.len(), window_s = drain.as_secs(), "no new connections; the others may end");
        if tokio::time::timeout(drain, gate.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = gate.tasks.len(), "the time is over: what is left is cut off");
            gate.cut.cancel();
            if tokio::time::timeout(LAST_CLOSES, gate.tasks.wait()).await.is_err() {
                tracing::warn!(tasks = gate.tasks.len(), "some tasks did not end in time");
            }
        }
    }
}

/// Whether an instance takes new connections.
pub async fn is_ok(address: SocketAddr) -> bool {
    let upstreams = Upstreams::new(BalancePolicy::RoundRobin, &[address.to_string()], SystemClock::start());
    probe::look(&upstreams, 0).await;
    upstreams.members().iter().all(|member| member.health == Health::Ok)
}

/// The most descriptors that are open at a time. Connections to instances that wait are beside those in use: what cannot be
/// repeated goes over another one.
fn descriptors(connections: usize, upstreams: usize) -> u64 {
    (connections * 2 + upstreams * kept::MOST + SPARE_SEATS) as u64 + OTHER_DESCRIPTORS
}

/// Lets this process open as many sockets as its settings need if the system does. The warning to log if it does not.
#[must_use]
pub fn allow_descriptors(config: &BalanceConfig) -> Option<String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = descriptors(config.max_connections, config.upstreams.len());
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX).min(wanted);
    if limit.current.unwrap_or(u64::MAX) < allowed {
        // Refused or not: what is in force is looked at next.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum });
    }
    let have = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (have < wanted).then(|| {
        let holds = have.saturating_sub(descriptors(0, config.upstreams.len())) / 2;
        format!(
            "the limit of open files, {have}, is enough for {holds} connections and not for {}: raise it (ulimit -n), \
             or lower --max-connections",
            config.max_connections
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_wait_and_those_that_are_refused_have_descriptors_too() {
        let more = |connections, upstreams| descriptors(connections, upstreams) - descriptors(0, 1);
        assert_eq!((more(10, 1), more(0, 3)), (20, 2 * kept::MOST as u64));
        assert_eq!(descriptors(0, 1), OTHER_DESCRIPTORS + (SPARE_SEATS + kept::MOST) as u64);
    }
}
