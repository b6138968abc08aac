//! A TCP proxy that fails as networks do: it delays, throttles, holds back, swallows, refuses and cuts, in front of a
//! Redis or an instance, until it is healed. It understands nothing of what it carries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use parley_service::entropy::{Entropy, SeededEntropy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes carried at once.
const CHUNK: usize = 16 * 1024;
/// A throttled way carries at most this part of a second's bytes at once.
const PARTS: usize = 20;

/// What happens to bytes on their way in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// They arrive.
    #[default]
    Open,
    /// They are not taken, so that the sender's buffers fill up; they arrive after the healing.
    Held,
    /// They are taken and lost without a word. A connection that lost any loses all from then on, also after the healing:
    /// only a new one helps.
    Swallowed,
}

/// How the proxy behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// From clients to the server.
    pub up: Way,
    /// From the server to clients.
    pub down: Way,
    /// Each piece waits at least this long in each direction, and up to the second time longer.
    pub delay: Option<(Duration, Duration)>,
    /// Bytes per second in each direction of each connection.
    pub rate: Option<usize>,
    /// New connections are ended at once.
    pub refusing: bool,
}

/// See the module. Dropping it ends all connections.
pub struct Proxy {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    weather: watch::Sender<Weather>,
    cuts: watch::Sender<u64>,
    accepted: watch::Receiver<u64>,
    _tasks: JoinSet<()>,
}

/// What a connection needs to know.
#[derive(Clone)]
struct Sky {
    weather: watch::Receiver<Weather>,
    dice: Arc<SeededEntropy>,
}

impl Proxy {
    /// Listens on a free loopback port, in front of `target`. Its jitter follows the seed.
    ///
    /// # Panics
    /// The machine has no port left.
    pub async fn to(target: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the machine has a port left");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (weather, sky) = watch::channel(Weather::default());
        let (cuts, cut) = watch::channel(0);
        let (count, accepted) = watch::channel(0);
        let target = Arc::new(Mutex::new(target));
        let sky = Sky { weather: sky, dice: SeededEntropy::new(seed) };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&target), sky, cut, count));
        Self { address, target, weather, cuts, accepted, _tasks: tasks }
    }

    /// In front of a server on a loopback port.
    pub async fn to_port(port: u16, seed: u64) -> Self {
        Self::to(([127, 0, 0, 1], port).into(), seed).await
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on new connections lead here.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock() = target;
    }

    /// Changes how it behaves, for connections of now and new ones.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// All is well again, for connections that can be well again.
    pub fn heal(&self) {
        self.set(Weather::default());
    }

    /// Ends all connections. New ones are taken.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Connections taken so far, also those that were refused.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }
}

async fn serve(
    listener: TcpListener,
    target: Arc<Mutex<SocketAddr>>,
    sky: Sky,
    cut: watch::Receiver<u64>,
    count: watch::Sender<u64>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                count.send_modify(|count| *count += 1);
                if sky.weather.borrow().refusing {
                    // A reset, as from a port where nobody listens.
                    drop(client.set_zero_linger());
                    continue;
                }
                let (target, sky, mut cut) = (*target.lock(), sky.clone(), cut.clone());
                cut.mark_unchanged();
                connections.spawn(async move {
                    tokio::select! {
                        // Dropping both sockets closes them, in the middle of whatever they were carrying.
                        _ = cut.changed() => {}
                        () = carry(client, target, sky) => {}
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until either side ends it.
async fn carry(client: TcpStream, target: SocketAddr, sky: Sky) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pump(from_client, to_server, sky.clone(), |weather| weather.up) => {}
        () = pump(from_server, to_client, sky, |weather| weather.down) => {}
    }
}

/// One direction. Returns when it has ended; one that has lost anything never ends by itself.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut sky: Sky, way: fn(&Weather) -> Way) {
    let mut buffer = vec![0; CHUNK];
    let mut black = false;
    loop {
        // The proxy is gone: so is the connection.
        if sky.weather.wait_for(|weather| way(weather) != Way::Held).await.is_err() {
            return;
        }
        let now = *sky.weather.borrow_and_update();
        let limit = now.rate.map_or(CHUNK, |rate| (rate / PARTS).clamp(1, CHUNK));
        let read = tokio::select! {
            read = from.read(&mut buffer[..limit]) => read,
            // Another weather may mean that nothing is to be read.
            _ = sky.weather.changed() => continue,
        };
        let length = match read {
            Ok(length) if length > 0 => length,
            // Its end is lost, too.
            _ if black => return std::future::pending().await,
            _ => return,
        };
        let now = *sky.weather.borrow();
        black |= way(&now) == Way::Swallowed;
        if black {
            continue;
        }
        if let Some((least, more)) = now.delay {
            let share = u32::try_from(sky.dice.bits() % 1_000).unwrap_or_default();
            tokio::time::sleep(least + more * share / 1_000).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        if let Some(rate) = now.rate {
            tokio::time::sleep(Duration::from_secs(1).mul_f64(length as f64 / rate.max(1) as f64)).await;
        }
    }
}

#[cfg(test)]
mod tests;
