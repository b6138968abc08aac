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
        Backplane::Managed(_) if !observed.valkey_ready => Verdict::no("Starting", "the managed Valkey is not ready"),
        Backplane::Managed(_) | Backplane::External { .. } if observed.ready > 0 => {
            Verdict::yes("Reachable", "instances deliver through it")
        }
        Backplane::Managed(_) => Verdict::yes("Reachable", "the managed Valkey is ready"),
        Backplane::External { .. } if observed.instances == 0 => {
            Verdict::unknown("NoInstances", "no instance runs that could tell")
        }
        Backplane::External { .. } => Verdict::no(
            "Unreachable",
            format!(
                "no instance can deliver through it; `kubectl logs deployment/{} -n {}` says why",
                cluster.names.chat(),
                cluster.namespace
            ),
        ),
    }
}
