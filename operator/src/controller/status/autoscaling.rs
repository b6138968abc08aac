//! `AutoscalingReady`: the autoscaler has its metric.

use super::super::validate::Scale;
use super::{Facts, Verdict};

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    let Some(cluster) = facts.validated() else {
        let (reason, message) = facts.obstacle().unwrap_or_default();
        return Verdict::unknown(reason, message);
    };
    match (cluster.scale, &facts.observed.autoscaler) {
        (Scale::Fixed(_), _) => Verdict::yes("NotRequested", "the spec gives the number of instances"),
        (Scale::Auto { .. }, None) => Verdict::unknown("Starting", "the autoscaler has not looked yet"),
        (Scale::Auto { .. }, Some(Ok(()))) => Verdict::yes("Active", "the autoscaler has its metric"),
        (Scale::Auto { .. }, Some(Err(message))) => Verdict::no("MetricUnavailable", message.clone()),
    }
}
