//! `Ready`: clients can connect and a message passes. True only when every instance of the current revision says so
//! itself, by its readiness, which hangs on the backplane, and when neither the managed Valkey nor the way in from outside
//! is known to be missing.

use super::{Facts, Rollout, Verdict, exposure, redis};
use crate::crd::ConditionStatus;

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    let Some(cluster) = facts.in_force() else {
        let (reason, message) = facts.obstacle().unwrap_or_default();
        return Verdict::no(reason, message);
    };
    let wanted = facts.observed.wanted;
    match &facts.observed.rollout {
        Rollout::Done if wanted == 0 => Verdict::no("NoInstances", "scaled to 0: nobody can connect"),
        Rollout::Done => {
            let missing = [redis::of(facts), exposure::of(facts)];
            missing.into_iter().find(|verdict| verdict.status == ConditionStatus::False).unwrap_or_else(|| {
                let mode = cluster.backplane.mode();
                Verdict::yes("Ready", format!("{wanted} of {wanted} instances take sessions ({mode} backplane)"))
            })
        }
        Rollout::Unseen => Verdict::no("Starting", "the instances are being created"),
        Rollout::Going { updated, ready } => Verdict::no(
            "Starting",
            format!("{ready} of {wanted} instances take sessions, {updated} are of the current revision"),
        ),
        Rollout::Stuck(message) => Verdict::no("RolloutStuck", message.clone()),
    }
}
