//! `RedisReady`: rooms are shared. Whether a server answers is judged by the instances, which are not ready without it:
//! they see it by the way that counts, with its network policies, names and certificates. Instances of other settings than
//! the spec's may look at another server.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::validate::Backplane;
use super::{Facts, Verdict, because, is_long_ago};
use crate::crd::{Condition, ConditionStatus};

/// The reason while it is too early to say.
pub(super) const STARTING: &str = "Starting";
/// The reason when a managed Valkey has been missing for long.
const VALKEY: &str = "ValkeyUnavailable";

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    let observed = facts.observed;
    let Some(cluster) = facts.validated() else {
        let (reason, message) = facts.obstacle().unwrap_or_default();
        return Verdict::unknown(reason, message);
    };
    let (name, namespace) = (cluster.names.chat(), &cluster.namespace);
    match &cluster.backplane {
        Backplane::Memory => Verdict::yes("NotRequested", "rooms live in the instances"),
        Backplane::Managed(_) if observed.valkey_ready && observed.ready > 0 => {
            Verdict::yes("Reachable", "instances deliver through it")
        }
        Backplane::Managed(_) if observed.valkey_ready => Verdict::yes("Reachable", "the managed Valkey is ready"),
        Backplane::Managed(_) => {
            let why = because(&observed.valkey_hindrances);
            if is_lasting(facts) {
                let message = format!("the managed Valkey has not been ready for minutes{why}");
                Verdict::no(VALKEY, message)
            } else {
                Verdict::no(STARTING, format!("the managed Valkey is not ready{why}"))
            }
        }
        Backplane::External { .. } if observed.current > 0 => Verdict::yes("Reachable", "instances deliver through it"),
        Backplane::External { .. } if observed.instances == 0 => {
            Verdict::unknown("NoInstances", "no instance runs that could tell")
        }
        Backplane::External { .. } if is_lasting(facts) || !troubles(facts).is_empty() => {
            let troubles = Vec::from_iter(troubles(facts)).join(", ");
            let met = if troubles.is_empty() { troubles } else { format!(", they met: {troubles}") };
            let message = format!(
                "no instance with the settings of now can deliver through it{met}; `kubectl logs deployment/{name} -n {namespace}` says more"
            );
            Verdict::no("Unreachable", message)
        }
        Backplane::External { .. } => {
            Verdict::unknown(STARTING, "no instance with the settings of now takes sessions yet")
        }
    }
}

/// What is wrong with it for longer than a moment.
pub(super) fn trouble(facts: Facts<'_>) -> Option<Verdict> {
    Some(of(facts)).filter(|verdict| verdict.status == ConditionStatus::False && is_lasting(facts))
}

/// Whether a managed Valkey is wanted that is not there yet, as it is wanted.
pub(super) fn is_starting(facts: Facts<'_>) -> bool {
    let managed = facts.validated().is_some_and(|cluster| matches!(cluster.backplane, Backplane::Managed(_)));
    managed && !facts.observed.valkey_ready
}

/// Since when a managed Valkey has been missing, as was told.
pub(super) fn failed_since(conditions: &[Condition]) -> Option<Timestamp> {
    let failed = conditions.iter().find(|condition| condition.type_ == "RedisReady")?;
    // That another server failed before says nothing of this one.
    let of_valkey = [STARTING, VALKEY].contains(&failed.reason.as_str());
    (failed.status == ConditionStatus::False && of_valkey).then_some(failed.last_transition_time.0)
}

/// Whether a server that does not answer has not done so for long: a managed one by its pod and by what was told, since the
/// pod may be missing or another's trouble told; another one by the instances that run.
fn is_lasting(facts: Facts<'_>) -> bool {
    let observed = facts.observed;
    if is_starting(facts) {
        let since = facts.redis_failed.map(|since| since.max(observed.valkey_unready_since.unwrap_or(since)));
        return since.is_some_and(|since| is_long_ago(since, facts.now));
    }
    observed.deaf.values().any(|since| is_long_ago(*since, facts.now))
}

/// The kinds of trouble that those met which cannot deliver.
pub(super) fn troubles(facts: Facts<'_>) -> BTreeSet<&str> {
    let observed = facts.observed;
    let met = observed.deaf.keys().filter_map(|address| observed.count.troubles.get(address));
    met.flatten().map(String::as_str).collect()
}
