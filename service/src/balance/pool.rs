//! Who gets the next connection: what is known of each upstream, and the choice that follows from it. Pure: sightings in,
//! choices out. It connects to nothing and asks nobody.

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::config::BalancePolicy;

/// Probes in a row that may bring nothing before an upstream counts as gone. One may have been slow.
const SILENT_PROBES: u8 = 3;

/// What a connection is for. Each kind has its turns of its own: the files of a page are few and always as many, so
/// with shared turns every page's WebSocket could end up on the same upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request and its answer.
    Plain,
    /// A connection that asks to become a WebSocket.
    Upgrade,
}

/// What is thought of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Health {
    /// Nothing is known yet. Gets connections when no other can.
    Unknown,
    /// Gets connections.
    Ok,
    /// Says that it goes away. Keeps what it has and gets nothing new.
    Draining,
    /// Says that it cannot deliver. Keeps what it has and gets nothing new.
    Unready,
    /// Does not answer. Gets nothing new.
    Down,
}

/// What was seen of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sighting {
    /// `/health` said so.
    Said(Health),
    /// A connection could not be made.
    Unreachable,
    /// `/health` brought no answer that can be understood, or none in time.
    Silent,
}

/// The upstreams that one request was tried with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tried(u64);

impl Tried {
    pub(super) fn add(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }
}

/// One upstream, as `/balancer/status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Member {
    /// `host:port`.
    pub(super) address: String,
    /// What the affinity cookie of its clients holds. The same in every balancer and after every restart.
    pub(super) route: String,
    pub(super) health: Health,
    /// Requests and WebSockets at present.
    pub(super) connections: u64,
    /// WebSockets at present.
    pub(super) websockets: u64,
    /// How often it was chosen.
    pub(super) chosen: u64,
    /// How often a connection to it could not be made or brought no answer.
    pub(super) failures: u64,
    #[serde(skip)]
    silent: u8,
}

/// The upstreams, 1 to 64, and whose turn it is.
#[derive(Debug)]
pub(super) struct Pool {
    policy: BalancePolicy,
    members: Vec<Member>,
    turns: [usize; 2],
}

impl Pool {
    pub(super) fn new(policy: BalancePolicy, addresses: &[String]) -> Self {
        let member = |address: &String| Member {
            address: address.clone(),
            route: route(address),
            health: Health::Unknown,
            connections: 0,
            websockets: 0,
            chosen: 0,
            failures: 0,
            silent: 0,
        };
        Self { policy, members: addresses.iter().map(member).collect(), turns: [0; 2] }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The upstream for a connection, which counts from now on until [`Pool::closed`]; none if all were tried or must
    /// get nothing new. `route` is what the client's cookie holds.
    pub(super) fn choose(&mut self, kind: Kind, route: Option<&str>, tried: Tried) -> Option<usize> {
        let same = route.filter(|_| self.policy == BalancePolicy::Cookie).and_then(|route| {
            let index = self.members.iter().position(|member| member.route == route)?;
            (self.members[index].health == Health::Ok && !tried.has(index)).then_some(index)
        });
        let index = match same {
            Some(index) => index,
            None => {
                let turn = self.turns[kind as usize];
                let index = self.next(turn, Health::Ok, tried).or_else(|| self.next(turn, Health::Unknown, tried))?;
                self.turns[kind as usize] = (index + 1) % self.members.len();
                index
            }
        };
        let member = &mut self.members[index];
        member.connections += 1;
        member.chosen += 1;
        Some(index)
    }

    /// The first of this health from `turn` on, or the one with the fewest connections.
    fn next(&self, turn: usize, health: Health, tried: Tried) -> Option<usize> {
        let count = self.members.len();
        let mut able = (0..count)
            .map(|step| (turn + step) % count)
            .filter(|index| self.members[*index].health == health && !tried.has(*index));
        match self.policy {
            BalancePolicy::RoundRobin => able.next(),
            // Among equals the first, so that they take turns.
            BalancePolicy::LeastConnections | BalancePolicy::Cookie => {
                able.min_by_key(|index| self.members[*index].connections)
            }
        }
    }

    /// A connection became a WebSocket.
    pub(super) fn upgraded(&mut self, index: usize) {
        self.members[index].websockets += 1;
    }

    /// A connection ended.
    pub(super) fn closed(&mut self, index: usize, upgraded: bool) {
        let member = &mut self.members[index];
        member.connections = member.connections.saturating_sub(1);
        member.websockets = member.websockets.saturating_sub(u64::from(upgraded));
    }

    /// A connection to it could not be used.
    pub(super) fn failed(&mut self, index: usize) {
        self.members[index].failures += 1;
    }

    /// Takes in what was seen; the new health if it is another one.
    pub(super) fn saw(&mut self, index: usize, sighting: Sighting) -> Option<Health> {
        let member = &mut self.members[index];
        member.silent = if sighting == Sighting::Silent { member.silent.saturating_add(1) } else { 0 };
        let health = match sighting {
            Sighting::Said(health) => health,
            Sighting::Unreachable => Health::Down,
            Sighting::Silent if member.silent >= SILENT_PROBES => Health::Down,
            Sighting::Silent => member.health,
        };
        let changed = member.health != health;
        member.health = health;
        changed.then_some(health)
    }
}

/// What stands for an upstream in the cookie: made of its address, which it does not tell (FNV-1a, 64 bits).
fn route(address: &str) -> String {
    let hash = address
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
