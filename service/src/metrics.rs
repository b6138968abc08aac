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
    /// Client frames, by outcome of reading them (`ok`, `fault`).
    pub frames_received: Counter,
    /// Errors told to clients, by code.
    pub errors: Family<Label, Counter>,
    /// Logged messages handed to sockets.
    pub delivered: Counter,
    /// Writes to sockets: far fewer than deliveries when messages come in bursts.
    pub socket_writes: Counter,
    /// Bytes written to sockets.
    pub socket_bytes: Counter,
    /// From the request's head to a session that may speak.
    pub handshake: Histogramme,
    /// From the publisher's clock to the socket, one delivery in 64.
    pub delivery: Histogramme,
    /// HTTP connections that are not WebSockets.
    pub http_connections: Gauge,
    /// Requests of the server API, by endpoint as it is declared, method, and class of status.
    pub api_requests: Family<[(&'static str, &'static str); 3], Counter>,
}

/// Local fan-out.
#[derive(Clone, Default)]
pub struct HubMetrics {
    /// Logs with a local member.
    pub rooms: Gauge,
    /// Joins of local sessions that stand.
    pub members: Gauge,
    /// Runs of messages handed to local members.
    pub runs: Counter,
    /// Handing one run to all local members.
    pub fan_out: Histogramme,
    /// Parcels not delivered, by reason (`slow`, `duplicate`).
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
    /// Publishes, by result (`ok`, `unavailable`, `outcome_unknown`).
    pub published: Family<Label, Counter>,
    /// From the call to the answer.
    pub publish: Histogramme,
}

/// A histogram of seconds from 50 µs to 26 s.
#[derive(Clone)]
pub struct Histogramme(pub Histogram);

impl Default for Histogramme {
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
            "From the publishing instance's clock to the socket, one delivery in 64",
            Unit::Seconds,
            edge.delivery.0.clone(),
        );
        registry.register("rooms", "Logs with a local member", hub.rooms.clone());
        registry.register("members", "Joins of local sessions", hub.members.clone());
        registry.register("runs", "Runs of consecutive messages handed to local members", hub.runs.clone());
        registry.register_with_unit(
            "fan_out",
            "Handing one run to all local members",
            Unit::Seconds,
            hub.fan_out.0.clone(),
        );
        registry.register("dropped", "Parcels not delivered, by reason", hub.dropped.clone());
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
        Self { registry: Arc::new(registry), edge, hub, backplane }
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
