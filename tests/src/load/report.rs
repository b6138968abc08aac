//! The results as data: what `--json` prints and the table is drawn from. The names of the fields are a contract with
//! whoever reads the JSON; `tests/LOAD.md` says what each means.

use serde::Serialize;

use super::floor::Floor;
use super::plan::Shape;
use super::process::Memory;
use super::tally::{ByName, Percentiles, Tally};

/// Results of `run` or `idle`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) mode: &'static str,
    pub(super) settings: Settings,
    pub(super) connect: Connect,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traffic: Option<Traffic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle: Option<IdleTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) broadcast: Option<Broadcast>,
    /// From a message being due to its receipt, inside the measured window.
    pub(super) latency_ms: Percentiles,
    pub(super) integrity: Integrity,
    pub(super) connections: Connections,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) servers: Option<Servers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) floor: Option<FloorRatio>,
    /// What a reader should know before believing the figures.
    pub(super) remarks: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    pub(super) urls: Vec<String>,
    pub(super) sessions: usize,
    pub(super) rooms: usize,
    pub(super) members: usize,
    pub(super) publishers: usize,
    pub(super) size: usize,
    pub(super) burst: usize,
    /// 0: saturating.
    pub(super) rate: f64,
    pub(super) keys: bool,
    pub(super) threads: usize,
    /// Its threads never slept: their share of a processor says nothing.
    pub(super) busy_poll: bool,
}

/// The ramp.
#[derive(Debug, Serialize)]
pub(super) struct Connect {
    pub(super) sessions: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    /// From `connect` to the last `joined`.
    pub(super) latency_ms: Percentiles,
    pub(super) failures: ByName,
    /// Sessions by the `server_id` they were welcomed by.
    pub(super) by_server: ByName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_cpu_us_per_connect: Option<f64>,
}

/// The measured window.
#[derive(Debug, Serialize)]
pub(super) struct Traffic {
    pub(super) seconds: f64,
    pub(super) published: u64,
    pub(super) published_per_second: f64,
    pub(super) delivered: u64,
    pub(super) delivered_per_second: f64,
    /// Mean bytes on the wire of a delivered message, frame header included.
    pub(super) frame_bytes: f64,
    /// Delivered messages per read: about how many left the server in one write.
    pub(super) messages_per_read: f64,
    /// Processor time of the load generator itself / wall time / threads; near 1 it is the bottleneck.
    pub(super) load_cpu_share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_cpu_us_per_delivery: Option<f64>,
}

/// The idle time.
#[derive(Debug, Serialize)]
pub(super) struct IdleTime {
    pub(super) seconds: f64,
    /// What sessions did before: `chat`, `ping` or `none`.
    pub(super) exchange: &'static str,
    pub(super) exchanged: u64,
    /// Processor time of all servers / wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_cpu_share: Option<f64>,
}

/// One message to every room after the idle time.
#[derive(Debug, Serialize)]
pub(super) struct Broadcast {
    pub(super) expected: u64,
    pub(super) received: u64,
    pub(super) seconds: f64,
    /// Messages sent to every room at once afterwards; 0 when not asked for.
    pub(super) burst: u32,
    pub(super) burst_received: u64,
}

/// Every delivery judged by its offset, over the whole run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Integrity {
    pub(super) delivered: u64,
    /// Of them, those that a resume replayed.
    pub(super) replayed: u64,
    pub(super) missing: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    pub(super) before_joined: u64,
    pub(super) gaps_told: u64,
    pub(super) told_lost: u64,
}

/// What happened to publishes and connections, over the whole run.
#[derive(Debug, Serialize)]
pub(super) struct Connections {
    pub(super) published: u64,
    pub(super) acked: u64,
    pub(super) refused: u64,
    pub(super) repeated: u64,
    pub(super) skipped: u64,
    pub(super) unanswered: u64,
    pub(super) lost: u64,
    pub(super) told_to_reconnect: u64,
    pub(super) reconnected: u64,
    pub(super) rooms_recovered: u64,
    pub(super) rooms_not_recovered: u64,
    pub(super) gone: u64,
    pub(super) closes_by_code: ByName,
    pub(super) errors_by_code: ByName,
}

/// Memory of all servers together, and what a session adds to it.
#[derive(Debug, Serialize)]
pub(super) struct Servers {
    pub(super) pids: Vec<u32>,
    pub(super) memory: Vec<MemoryAt>,
}

/// Memory at one moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MemoryAt {
    pub(super) when: &'static str,
    #[serde(flatten)]
    pub(super) memory: Memory,
    /// Private memory above that before the first connect, per session.
    pub(super) bytes_per_session: f64,
}

/// The floor before and after, and the server's cost against it.
#[derive(Debug, Serialize)]
pub(super) struct FloorRatio {
    pub(super) before: Floor,
    pub(super) after: Floor,
    /// Mean of both.
    pub(super) us_per_send: f64,
    /// Server CPU per delivery / bare send of one message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ratio: Option<f64>,
}

impl Settings {
    pub(super) fn new(shape: &Shape, urls: Vec<String>, threads: usize) -> Self {
        Self {
            urls,
            sessions: shape.sessions,
            rooms: shape.rooms,
            members: shape.members,
            publishers: shape.publishers,
            size: shape.size,
            burst: 1,
            rate: 0.0,
            keys: shape.keys,
            threads,
            busy_poll: false,
        }
    }
}

impl Integrity {
    pub(super) fn of(tally: &Tally) -> Self {
        Self {
            delivered: tally.delivered + tally.replayed,
            replayed: tally.replayed,
            missing: tally.missing,
            duplicated: tally.duplicated,
            out_of_order: tally.out_of_order,
            before_joined: tally.before_joined,
            gaps_told: tally.gaps,
            told_lost: tally.told_lost,
        }
    }

    /// Nothing happened that the promises forbid.
    pub(super) fn sound(&self) -> bool {
        self.missing == 0 && self.duplicated == 0 && self.out_of_order == 0 && self.before_joined == 0
    }
}

impl Connections {
    pub(super) fn of(tally: &Tally) -> Self {
        Self {
            published: tally.published,
            acked: tally.acked,
            refused: tally.refused,
            repeated: tally.repeated,
            skipped: tally.skipped,
            unanswered: tally.published.saturating_sub(tally.acked + tally.refused),
            lost: tally.lost,
            told_to_reconnect: tally.told_reconnect,
            reconnected: tally.reconnected,
            rooms_recovered: tally.recovered,
            rooms_not_recovered: tally.not_recovered,
            gone: tally.gone,
            closes_by_code: tally.closes.clone(),
            errors_by_code: tally.errors.clone(),
        }
    }
}

/// Figures for people: an `f64` has digits to spare for every count that a run can reach.
#[expect(clippy::cast_precision_loss, reason = "counts of a run stay far below 2^53")]
pub(super) fn figure(count: u64) -> f64 {
    count as f64
}

/// `a / b`, and 0 when there is nothing to divide by.
pub(super) fn per(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}
