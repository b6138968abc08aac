//! Everything that `parley balance` runs with, read from its own settings.
//!
//! It resolves no name and opens no socket: whether an upstream is there is found out while serving.

use std::{net::SocketAddr, time::Duration};

use super::{LogConfig, check, reader::Reader, table::balance as table};

/// Everything that `parley balance` runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct BalanceConfig {
    /// Where clients connect; port 0 means any free port.
    pub listen: SocketAddr,
    /// `host:port` of each instance, 1 to 64, no two the same.
    pub upstreams: Vec<String>,
    /// Who gets a new connection.
    pub policy: BalancePolicy,
    /// Name of the cookie of the policy `cookie`.
    pub affinity_cookie: String,
    /// Most client connections at a time, at least 1.
    pub max_connections: usize,
    /// The time that connections have after SIGTERM.
    pub drain: Duration,
    /// What is logged and how.
    pub log: LogConfig,
}

/// Who gets a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BalancePolicy {
    /// Each in turn.
    RoundRobin,
    /// Who has the fewest; each in turn among equals.
    LeastConnections,
    /// Who had this client before; a new client as by `LeastConnections`.
    Cookie,
}

impl BalancePolicy {
    /// The word for it in settings and in the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::Cookie => "cookie",
        }
    }
}

/// Reads everything; `None` when there are faults, which the reader then has.
pub(super) fn config(r: &mut Reader<'_>) -> Option<BalanceConfig> {
    let listen = r.get(&table::LISTEN);
    let upstreams = r.get(&table::UPSTREAM);
    let policy = r.get(&table::POLICY);
    let cookie = r.get(&table::AFFINITY_COOKIE);
    let max_connections = r.get(&table::MAX_CONNECTIONS);
    let drain = r.get(&table::DRAIN_SECONDS);
    let log = check::log(r);
    if upstreams.as_ref().is_some_and(Vec::is_empty) {
        r.refuse(&table::UPSTREAM.spec, "name an instance: --upstream 127.0.0.1:8081 --upstream 127.0.0.1:8082");
    }
    if r.is_given(&table::AFFINITY_COOKIE.spec) && policy.is_some_and(|policy| policy != BalancePolicy::Cookie) {
        r.refuse(
            &table::AFFINITY_COOKIE.spec,
            "give --policy cookie too, or leave it out: no other policy has a cookie",
        );
    }
    Some(BalanceConfig {
        listen: listen?,
        upstreams: upstreams?,
        policy: policy?,
        affinity_cookie: cookie?.unwrap_or_else(|| table::AFFINITY_COOKIE.spec.default.to_owned()),
        max_connections: max_connections?.get(),
        drain: drain?,
        log: log?,
    })
}
