//! Every metric of the service, defined once and handed down. Names start with `parley_`; labels are bounded sets.
//! It measures nothing itself.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::ids::LogName;

/// One label from a bounded set.
pub type Label = [(&'static str, &'static str); 1];

/// All metrics of one instance. Cloning is a reference count.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Connections and what happens on them.
    pub edge: EdgeMetrics,
    /// Rooms, deliveries, repairs.
    pub hub: HubMetrics,
    /// What goes into and comes out of the backplane.
    pub backplane: BackplaneMetrics,
    /// The link to Redis.
    pub redis: RedisMetrics,
    /// What balancers are told.
    pub state: StateMetrics,
}

/// The phase of the instance.
#[derive(Clone, Default)]
pub struct StateMetrics {
    /// 1 while new sessions are welcome.
    pub ready: Gauge,
    /// 1 while sessions are handed over.
    pub draining: Gauge,
}

/// Connections.
#[derive(Clone, Default)]
pub struct EdgeMetrics {
    /// Open WebSocket connections.
    pub sessions: Gauge,
    /// Upgrades done.
    pub connections: Counter,
    /// Upgrades and connections refused, by reason.
    pub refused: Family<Label, Counter>,
    /// Connections ended, by close reason.
    pub closed: Family<Label, Counter>,
    /// Client text frames.
    pub frames_received: Counter,
    /// Errors told to clients, by code.
    pub errors: Family<Label, Counter>,
    /// Logged messages handed to sockets.
    pub delivered: Counter,
    /// Writes to sockets: far fewer than deliveries when messages come in bursts.
    pub socket_writes: Counter,
    /// Bytes written to sockets.
    pub socket_bytes: Counter,
    /// From the request's head to the upgraded connection; sign-in by `auth` is not in it.
    pub handshake: Timing,
    /// From the publishing instance's clock, in whole milliseconds, to the frame in a session's hands, one delivery in
    /// 64.
    pub delivery: Timing,
    /// Joins that claimed a position and were told that it cannot be honoured.
    pub not_recovered: Counter,
    /// Gaps told to sessions.
    pub gaps_told: Counter,
    /// HTTP connections that are not WebSockets.
    pub http_connections: Gauge,
    /// Requests of the server API, by endpoint as it is declared, method, and class of status.
    pub api_requests: Family<[(&'static str, &'static str); 3], Counter>,
}

/// Local fan-out.
#[derive(Clone, Default)]
pub struct HubMetrics {
    /// Rooms with a local member.
    pub rooms: Gauge,
    /// Inboxes with a local session.
    pub inboxes: Gauge,
    /// The control log, followed once.
    control: Gauge,
    /// Joins of local sessions that stand.
    pub members: Gauge,
    /// Runs of messages handed to local members.
    pub runs: Counter,
    /// Handing everything that had arrived together to the local members.
    pub fan_out: Timing,
    /// Arrivals that had been delivered before; harmless.
    pub duplicates: Counter,
    /// Why outboxes were thrown away: `slow` is each parcel refused by an outbox over its own limit, `outbox_total` each
    /// session closed because all together held too much. Their clients resume.
    pub dropped: Family<Label, Counter>,
    /// Re-reads of a log, by cause.
    pub repairs: Family<Label, Counter>,
    /// Gaps told to the members of a room, by room and not by member.
    pub gaps: Counter,
    /// Bytes that wait in outboxes, shared ones once, and in front of full sockets.
    pub outbox_bytes: Gauge,
}

/// The backplane as its user sees it.
#[derive(Clone, Default)]
pub struct BackplaneMetrics {
    /// Appends to logs, by result (`ok`, `unavailable`, `outcome_unknown`); a direct message appends to two.
    pub published: Family<Label, Counter>,
    /// From the call to the answer.
    pub publish: Timing,
    /// Logs that the embedded backplane keeps.
    pub logs: Gauge,
    /// Bytes of these logs.
    pub log_bytes: Gauge,
    /// Logs that lost their messages because all together were too large.
    pub evicted_logs: Counter,
    /// Signals and hints that were dropped because too many waited.
    pub dropped_broadcasts: Counter,
}

/// The link to Redis. All of it stays at zero on the embedded backplane.
#[derive(Clone, Default)]
pub struct RedisMetrics {
    /// Troubles, by kind; one may have many consequences.
    pub troubles: Family<Label, Counter>,
    /// Connections made, by what they are for. Each one beyond the first says that there was one before.
    pub connections: Family<Label, Counter>,
    /// 1 while probes come through.
    pub healthy: Gauge,
    /// From the command to its return on the other connection.
    pub probe: Timing,
}

impl HubMetrics {
    /// The gauge that counts logs of this kind.
    #[must_use]
    pub fn logs(&self, log: &LogName) -> &Gauge {
        match log {
            LogName::Room(_) => &self.rooms,
            LogName::Inbox(_) => &self.inboxes,
            LogName::Control => &self.control,
        }
    }
}

/// A histogram of seconds from 50 µs to 26 s.
#[derive(Clone)]
pub struct Timing(pub Histogram);

impl Default for Timing {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.000_05, 2.0, 20)))
    }
}

impl Metrics {
    /// A registry of its own, so that a test reads only what its instance counted.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("parley");
        let edge = EdgeMetrics::default();
        let hub = HubMetrics::default();
        let backplane = BackplaneMetrics::default();
        let redis = RedisMetrics::default();
        let state = StateMetrics::default();

        registry.register("sessions", "Open WebSocket connections", edge.sessions.clone());
        registry.register(
            "http_connections",
            "Open connections that are not WebSockets",
            edge.http_connections.clone(),
        );
        registry.register(
            "api_requests",
            "Requests of the server API, by endpoint, method and class of status",
            edge.api_requests.clone(),
        );
        registry.register("connections", "WebSocket upgrades done", edge.connections.clone());
        registry.register("refused", "Connections refused, by reason", edge.refused.clone());
        registry.register("closed", "WebSocket connections ended, by reason", edge.closed.clone());
        registry.register("frames_received", "Client text frames", edge.frames_received.clone());
        registry.register("errors", "Error frames sent, by code", edge.errors.clone());
        registry.register("delivered", "Logged messages handed to sockets", edge.delivered.clone());
        registry.register("socket_writes", "Write calls on WebSocket connections", edge.socket_writes.clone());
        registry.register_with_unit(
            "socket_written",
            "Bytes written to WebSockets",
            Unit::Bytes,
            edge.socket_bytes.clone(),
        );
        registry.register_with_unit(
            "handshake",
            "From request head to open session",
            Unit::Seconds,
            edge.handshake.0.clone(),
        );
        registry.register_with_unit(
            "delivery",
            "From the publishing instance's clock (whole milliseconds) to a session, one delivery in 64",
            Unit::Seconds,
            edge.delivery.0.clone(),
        );
        registry.register("not_recovered", "Resumes that could not be honoured", edge.not_recovered.clone());
        registry.register("gaps_told", "Gaps told to sessions", edge.gaps_told.clone());
        registry.register("ready", "1 while new sessions are welcome", state.ready.clone());
        registry.register("draining", "1 while sessions are handed over", state.draining.clone());
        registry.register("rooms", "Rooms with a local member", hub.rooms.clone());
        registry.register("inboxes", "Inboxes with a local session", hub.inboxes.clone());
        registry.register("duplicates", "Arrivals that had been delivered before", hub.duplicates.clone());
        registry.register("members", "Joins of local sessions", hub.members.clone());
        registry.register("runs", "Runs of consecutive messages handed to local members", hub.runs.clone());
        registry.register_with_unit(
            "fan_out",
            "Handing what arrived together to the local members",
            Unit::Seconds,
            hub.fan_out.0.clone(),
        );
        registry.register("dropped", "Outboxes thrown away, by reason; their clients resume", hub.dropped.clone());
        registry.register("repairs", "Re-reads of a log, by cause", hub.repairs.clone());
        registry.register("gaps", "Gaps told to a room's local members", hub.gaps.clone());
        registry.register_with_unit("outbox", "Queued for slow readers", Unit::Bytes, hub.outbox_bytes.clone());
        registry.register("published", "Publishes, by result", backplane.published.clone());
        registry.register_with_unit(
            "publish",
            "From publish to its answer",
            Unit::Seconds,
            backplane.publish.0.clone(),
        );
        registry.register("logs", "Logs in the embedded backplane", backplane.logs.clone());
        registry.register_with_unit(
            "logs",
            "Size of the embedded backplane's logs",
            Unit::Bytes,
            backplane.log_bytes.clone(),
        );
        registry.register(
            "evicted_logs",
            "Logs emptied because all together were too large",
            backplane.evicted_logs.clone(),
        );
        registry.register(
            "dropped_broadcasts",
            "Signals and hints dropped because too many waited",
            backplane.dropped_broadcasts.clone(),
        );
        registry.register("redis_troubles", "Troubles with Redis, by kind", redis.troubles.clone());
        registry.register(
            "redis_connections",
            "Connections made to Redis, by what they are for",
            redis.connections.clone(),
        );
        registry.register("redis_healthy", "1 while probes come through Redis", redis.healthy.clone());
        registry.register_with_unit(
            "redis_probe",
            "From a probe's command to its return on the other connection",
            Unit::Seconds,
            redis.probe.0.clone(),
        );
        // A series that is not there before its first event breaks rates and alerts.
        for reason in ["slow", "ephemeral", "outbox_total"] {
            drop(hub.dropped.get_or_create(&[("reason", reason)]));
        }
        for cause in ["open", "hole", "lag", "audit"] {
            drop(hub.repairs.get_or_create(&[("cause", cause)]));
        }
        for result in ["ok", "unavailable", "outcome_unknown"] {
            drop(backplane.published.get_or_create(&[("result", result)]));
        }
        Self { registry: Arc::new(registry), edge, hub, backplane, redis, state }
    }

    /// The OpenMetrics text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads a counter of a family, for tests and log lines.
#[must_use]
pub fn count(family: &Family<Label, Counter<u64, AtomicU64>>, name: &'static str, value: &'static str) -> u64 {
    family.get_or_create(&[(name, value)]).get()
}
