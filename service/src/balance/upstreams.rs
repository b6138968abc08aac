//! The pool at work: shared by all tasks, it lends places at upstreams, connects to them, and wakes who looks after one.
//! Which upstream is chosen, and why, is the pool's business.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::kept::{Kept, Sender};
use super::pool::{Health, Kind, Member, Pool, Sighting, Tried};
use crate::clock::{Clock as _, SystemClock};
use crate::config::BalancePolicy;

/// Time for one connection to be made, the name's resolution included.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// A peer that acknowledges nothing for so long is gone, though nobody said so.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// Silence after which the kernel asks whether the peer is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
/// Time between two such questions; three of them unanswered end the connection.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// All upstreams.
#[derive(Debug)]
pub(super) struct Upstreams {
    pool: Mutex<Pool>,
    places: Vec<Place>,
    clock: Arc<SystemClock>,
}

/// Where one upstream is.
#[derive(Debug)]
struct Place {
    address: String,
    route: String,
    /// What the name led to when it was last asked for. Names are asked for by probes, not by requests.
    known: Mutex<Vec<SocketAddr>>,
    /// Something went wrong: look at once.
    look: Notify,
    kept: Mutex<Kept>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// It is the upstream's fault.
    #[error("{0}")]
    Upstream(io::Error),
    /// This process has no descriptor or port left.
    #[error("{0}")]
    Here(io::Error),
}

/// A place at an upstream. Counts as one of its connections until dropped.
#[derive(Debug)]
pub(super) struct Lease {
    upstreams: Arc<Upstreams>,
    index: usize,
    upgraded: bool,
}

impl Upstreams {
    pub(super) fn new(policy: BalancePolicy, addresses: &[String], clock: Arc<SystemClock>) -> Arc<Self> {
        let pool = Pool::new(policy, addresses);
        let place = |member: &Member| Place {
            address: member.address.clone(),
            route: member.route.clone(),
            known: Mutex::new(member.address.parse().into_iter().collect()),
            look: Notify::new(),
            kept: Mutex::default(),
        };
        let places = pool.members().iter().map(place).collect();
        Arc::new(Self { pool: Mutex::new(pool), places, clock })
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn address(&self, index: usize) -> &str {
        &self.places[index].address
    }

    pub(super) fn members(&self) -> Vec<Member> {
        self.pool.lock().members().to_vec()
    }

    /// See [`Pool::choose`].
    pub(super) fn choose(self: &Arc<Self>, kind: Kind, route: Option<&str>, tried: Tried) -> Option<Lease> {
        let index = self.pool.lock().choose(kind, route, tried)?;
        Some(Lease { upstreams: Arc::clone(self), index, upgraded: false })
    }

    /// Takes in what was seen and says so when it is news.
    pub(super) fn saw(&self, index: usize, sighting: Sighting) {
        let Some(health) = self.pool.lock().saw(index, sighting) else { return };
        let upstream = self.address(index);
        if health == Health::Ok {
            tracing::info!(upstream, ?health, "the upstream takes connections");
        } else {
            tracing::warn!(upstream, ?health, "the upstream gets no new connections");
        }
    }

    /// Ends when somebody had trouble with this upstream.
    pub(super) async fn trouble(&self, index: usize) {
        self.places[index].look.notified().await;
    }

    /// Closes connections that have waited too long for a request.
    pub(super) fn sweep(&self, index: usize) {
        self.places[index].kept.lock().sweep(self.clock.now().mono);
    }

    /// From now on no connection waits for a request.
    pub(super) fn keep_none(&self) {
        for place in &self.places {
            place.kept.lock().close();
        }
    }

    /// Connects. Cancel-safe: what was begun is closed.
    pub(super) async fn connect(&self, index: usize) -> Result<TcpStream, ConnectError> {
        let known = self.places[index].known.lock().clone();
        let connecting = async {
            let known = if known.is_empty() { self.resolve(index).await? } else { known };
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for address in known {
                match TcpStream::connect(address).await {
                    Ok(stream) => return tuned(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        tokio::time::timeout(CONNECT_WAIT, connecting).await.unwrap_or_else(late).map_err(|error| {
            let here = rustix::io::Errno::from_io_error(&error).is_some_and(|errno| {
                use rustix::io::Errno;
                [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM].contains(&errno)
            });
            if here { ConnectError::Here(error) } else { ConnectError::Upstream(error) }
        })
    }

    /// Asks where the name leads now. An address leads to itself.
    pub(super) async fn resolve(&self, index: usize) -> io::Result<Vec<SocketAddr>> {
        let place = &self.places[index];
        if place.address.parse::<SocketAddr>().is_err() {
            let found: Vec<SocketAddr> = tokio::net::lookup_host(&place.address).await?.collect();
            *place.known.lock() = found;
        }
        Ok(place.known.lock().clone())
    }
}

impl Lease {
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// What the client's cookie is to hold.
    pub(super) fn route(&self) -> &str {
        &self.upstreams.places[self.index].route
    }

    pub(super) fn address(&self) -> &str {
        self.upstreams.address(self.index)
    }

    /// A connection that waits for a request, if there is one.
    pub(super) fn kept(&self) -> Option<Sender> {
        self.upstreams.places[self.index].kept.lock().take(self.upstreams.clock.now().mono)
    }

    /// The place is free again, and the connection may wait for another request.
    pub(super) fn keep(self, sender: Sender) {
        self.upstreams.places[self.index].kept.lock().put(self.upstreams.clock.now().mono, sender);
    }

    /// The connection became a WebSocket.
    pub(super) fn upgraded(&mut self) {
        self.upgraded = true;
        self.upstreams.pool.lock().upgraded(self.index);
    }

    /// See [`Upstreams::saw`].
    pub(super) fn saw(&self, sighting: Sighting) {
        self.upstreams.saw(self.index, sighting);
    }

    /// The connection could not be used: somebody is to look at the upstream now.
    pub(super) fn failed(&self) {
        self.upstreams.pool.lock().failed(self.index);
        self.look();
    }

    /// Somebody is to look at the upstream now.
    pub(super) fn look(&self) {
        self.upstreams.places[self.index].look.notify_one();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstreams.pool.lock().closed(self.index, self.upgraded);
    }
}

/// A socket that sends at once and finds out when its peer has vanished.
pub(super) fn tuned(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
    Ok(stream)
}
