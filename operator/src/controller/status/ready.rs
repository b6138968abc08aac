//! `Ready`: clients can connect and a message passes. True only when every instance of the current revision says so
//! itself, by its readiness, which hangs on the backplane, and when neither the managed Valkey nor the way in from outside
//! is known to be missing.

use super::{Facts, Rollout, Verdict, exposure, instances, redis};
use crate::crd::ConditionStatus;

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    let Some(cluster) = facts.in_force() else {
        let (reason, message) = facts.obstacle().unwrap_or_default();
        return Verdict::no(reason, message);
    };
    let (wanted, rollout) = (facts.observed.wanted, &facts.observed.rollout);
    if *rollout == Rollout::Done && wanted == 0 {
        return Verdict::no("NoInstances", "scaled to 0: nobody can connect");
    }
    let redis = redis::of(facts);
    if redis.status == ConditionStatus::False && (redis.reason != redis::STARTING || *rollout == Rollout::Done) {
        return redis;
    }
    if let Some((reason, message)) = instances::trouble(facts) {
        return Verdict::no(reason, message);
    }
    match rollout {
        Rollout::Done => {
            let exposure = exposure::of(facts);
            if exposure.status == ConditionStatus::False {
                return exposure;
            }
            let mode = cluster.backplane.mode();
            Verdict::yes("Ready", format!("{wanted} of {wanted} instances take sessions ({mode} backplane)"))
        }
        Rollout::Going { updated, ready } => {
            let why = instances::hindered(facts);
            let message =
                format!("{ready} of {wanted} instances take sessions, {updated} are of the current revision{why}");
            Verdict::no("Starting", message)
        }
        Rollout::Unseen | Rollout::Stuck(_) | Rollout::Lacking { .. } => {
            Verdict::no("Starting", "the instances are being created")
        }
    }
}
