//! `RedisReady`: rooms are shared. Whether a server answers is judged by the instances, which are not ready without it:
//! they see it by the way that counts, with its network policies, names and certificates.

use super::super::validate::Backplane;
use super::{Facts, Verdict};

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    let observed = facts.observed;
    let Some(cluster) = facts.validated() else {
        let (reason, message) = facts.obstacle().unwrap_or_default();
        return Verdict::unknown(reason, message);
    };
    match &cluster.backplane {
        Backplane::Memory => Verdict::yes("NotRequested", "rooms live in the instances"),
        Backplane::Managed(_) if is_starting(facts) => Verdict::no("Starting", "the managed Valkey is not ready"),
        Backplane::Managed(_) | Backplane::External { .. } if observed.ready > 0 => {
            Verdict::yes("Reachable", "instances deliver through it")
        }
        Backplane::Managed(_) => Verdict::yes("Reachable", "the managed Valkey is ready"),
        Backplane::External { .. } if observed.instances == 0 => {
            Verdict::unknown("NoInstances", "no instance runs that could tell")
        }
        Backplane::External { .. } => {
            let troubles: Vec<_> = observed.count.troubles.iter().map(String::as_str).collect();
            let seen = if troubles.is_empty() { String::new() } else { format!(", they met: {}", troubles.join(", ")) };
            let (name, namespace) = (cluster.names.chat(), &cluster.namespace);
            let message = format!(
                "no instance can deliver through it{seen}; `kubectl logs deployment/{name} -n {namespace}` says more"
            );
            Verdict::no("Unreachable", message)
        }
    }
}

/// Whether a managed Valkey is wanted that is not there yet, as it is wanted.
pub(super) fn is_starting(facts: Facts<'_>) -> bool {
    let managed = facts.validated().is_some_and(|cluster| matches!(cluster.backplane, Backplane::Managed(_)));
    managed && !facts.observed.valkey_ready
}
