//! Every metric of the operator, defined once and handed down. Labels are bounded: kinds, results, verbs; never a name.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Label = Vec<(&'static str, String)>;
type Count = Family<Label, Counter<u64, AtomicU64>>;

/// See the module. Clones count into the same.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciled: Count,
    written: Count,
    pruned: Count,
    requests: Count,
    watch_errors: Count,
    duration: Histogram,
    leading: Gauge,
}

impl Metrics {
    /// A registry of its own.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("parley_operator");
        let (reconciled, written, pruned, requests, watch_errors) = <(Count, Count, Count, Count, Count)>::default();
        let duration = Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let leading = Gauge::default();
        registry.register("reconciled", "Reconciles, by result", reconciled.clone());
        registry.register("written", "Children written, by kind", written.clone());
        registry.register("pruned", "Children deleted because they were not wanted any more, by kind", pruned.clone());
        registry.register("api_requests", "Requests to the API server, by verb", requests.clone());
        registry.register("watch_errors", "Watches that broke or were refused, by kind", watch_errors.clone());
        registry.register_with_unit("reconcile", "Time of a reconcile", Unit::Seconds, duration.clone());
        registry.register("leading", "1 while this operator is the one that acts", leading.clone());
        Self { registry: Arc::new(registry), reconciled, written, pruned, requests, watch_errors, duration, leading }
    }

    /// A reconcile ended: `ok`, or the reason of its error.
    pub fn reconciled(&self, result: &'static str, seconds: f64) {
        self.reconciled.get_or_create(&vec![("result", result.to_owned())]).inc();
        self.duration.observe(seconds);
    }

    /// A child was written.
    pub fn written(&self, kind: &str) {
        self.written.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// A child was pruned.
    pub fn pruned(&self, kind: &str) {
        self.pruned.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// A request goes out.
    pub fn requested(&self, verb: &'static str) {
        self.requests.get_or_create(&vec![("verb", verb.to_owned())]).inc();
    }

    /// A watch broke, or was refused.
    pub fn watch_failed(&self, kind: &str) {
        self.watch_errors.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// This operator begins or ceases to be the one that acts.
    pub fn leads(&self, leads: bool) {
        self.leading.set(i64::from(leads));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.reconciled("ok", 0.01);
        metrics.written("Service");
        metrics.requested("patch");
        let text = metrics.render();
        for line in [
            r#"parley_operator_reconciled_total{result="ok"} 1"#,
            r#"parley_operator_written_total{kind="Service"} 1"#,
            r#"parley_operator_api_requests_total{verb="patch"} 1"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
