//! What was seen, counted: one `Tally` per thread, added up at the end. It judges nothing and prints nothing.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency that is told apart, in microseconds; longer ones count as this.
const LONGEST_US: u64 = 600_000_000;

/// Latencies in microseconds, to three digits.
#[derive(Clone)]
pub(super) struct Latencies(Histogram<u64>);

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) samples: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Latencies {
    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("1 to 600 s at three digits is a valid histogram"))
    }

    /// Counts one latency given in nanoseconds.
    pub(super) fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record((ns / 1000).max(1));
    }

    fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// The usual percentiles; all zero when nothing was recorded.
    pub(super) fn percentiles(&self) -> Percentiles {
        let ms = |quantile: f64| milliseconds(self.0.value_at_quantile(quantile));
        Percentiles {
            samples: self.0.len(),
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            max: milliseconds(self.0.max()),
        }
    }
}

fn milliseconds(us: u64) -> f64 {
    f64::from(u32::try_from(us).unwrap_or(u32::MAX)) / 1000.0
}

/// Counts by a name that is only known at run time: an error code, a close code, a fault.
pub(super) type ByName = BTreeMap<String, u64>;

/// Everything one thread has seen.
pub(super) struct Tally {
    /// From a message being due to its receipt; only inside the measured window.
    pub(super) latency: Latencies,
    /// From `connect` to the last `joined`; only first connects.
    pub(super) connect: Latencies,
    pub(super) connect_failures: ByName,
    /// Sessions at their first welcome, by `server_id`.
    pub(super) servers: ByName,
    pub(super) errors: ByName,
    pub(super) closes: ByName,
    pub(super) published: u64,
    pub(super) acked: u64,
    /// Publishes that the server certainly did not store.
    pub(super) refused: u64,
    /// Publishes sent once more with the same key.
    pub(super) repeated: u64,
    /// Publishes that were due while the session had too much unsent or no connection for too long.
    pub(super) skipped: u64,
    pub(super) delivered: u64,
    pub(super) replayed: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    /// Messages of a room that came before its `joined`.
    pub(super) before_joined: u64,
    pub(super) gaps: u64,
    /// Messages that a `gap` or an unrecovered resume told to be lost for this session.
    pub(super) told_lost: u64,
    pub(super) missing: u64,
    /// Connections that ended without our asking.
    pub(super) lost: u64,
    pub(super) told_reconnect: u64,
    /// Connections replaced, for whatever reason.
    pub(super) reconnected: u64,
    pub(super) recovered: u64,
    pub(super) not_recovered: u64,
    /// Sessions that ended because the server forbade to come back.
    pub(super) gone: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            latency: Latencies::new(),
            connect: Latencies::new(),
            connect_failures: ByName::new(),
            servers: ByName::new(),
            errors: ByName::new(),
            closes: ByName::new(),
            published: 0,
            acked: 0,
            refused: 0,
            repeated: 0,
            skipped: 0,
            delivered: 0,
            replayed: 0,
            duplicated: 0,
            out_of_order: 0,
            before_joined: 0,
            gaps: 0,
            told_lost: 0,
            missing: 0,
            lost: 0,
            told_reconnect: 0,
            reconnected: 0,
            recovered: 0,
            not_recovered: 0,
            gone: 0,
        }
    }

    /// Adds what another thread has seen. Every field is named, so that a new one cannot be forgotten.
    pub(super) fn add(&mut self, other: Self) {
        let Self {
            latency,
            connect,
            connect_failures,
            servers,
            errors,
            closes,
            published,
            acked,
            refused,
            repeated,
            skipped,
            delivered,
            replayed,
            duplicated,
            out_of_order,
            before_joined,
            gaps,
            told_lost,
            missing,
            lost,
            told_reconnect,
            reconnected,
            recovered,
            not_recovered,
            gone,
        } = other;
        self.latency.add(&latency);
        self.connect.add(&connect);
        merge(&mut self.connect_failures, connect_failures);
        merge(&mut self.servers, servers);
        merge(&mut self.errors, errors);
        merge(&mut self.closes, closes);
        self.published += published;
        self.acked += acked;
        self.refused += refused;
        self.repeated += repeated;
        self.skipped += skipped;
        self.delivered += delivered;
        self.replayed += replayed;
        self.duplicated += duplicated;
        self.out_of_order += out_of_order;
        self.before_joined += before_joined;
        self.gaps += gaps;
        self.told_lost += told_lost;
        self.missing += missing;
        self.lost += lost;
        self.told_reconnect += told_reconnect;
        self.reconnected += reconnected;
        self.recovered += recovered;
        self.not_recovered += not_recovered;
        self.gone += gone;
    }
}

/// One more of this name.
pub(super) fn count(counts: &mut ByName, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

fn merge(into: &mut ByName, from: ByName) {
    for (name, more) in from {
        *into.entry(name).or_default() += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_nothing_are_zero() {
        assert_eq!(Tally::new().latency.percentiles(), Percentiles::default());
    }

    #[test]
    fn threads_add_up() {
        let mut all = Tally::new();
        for ms in [1, 2, 3] {
            let mut one = Tally::new();
            one.latency.record_ns(ms * 1_000_000);
            one.delivered = 10;
            count(&mut one.closes, "4001");
            all.add(one);
        }
        assert_eq!(all.delivered, 30);
        assert_eq!(all.closes["4001"], 3);
        let latency = all.latency.percentiles();
        assert_eq!(latency.samples, 3);
        assert!((latency.p50 - 2.0).abs() < 0.01 && (latency.max - 3.0).abs() < 0.01, "{latency:?}");
    }
}
