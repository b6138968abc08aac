//! `Ready`: clients can connect and a message passes. True only when every instance of the current revision says so
//! itself, by its readiness, which hangs on the backplane.

use super::{Facts, Outcome, Rollout, Verdict};

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    let cluster = match facts.outcome {
        Outcome::Refused(_) | Outcome::Failed(..) => {
            let (reason, message) = facts.obstacle().unwrap_or_default();
            return Verdict::no(reason, message);
        }
        Outcome::Applied(cluster, _) => cluster,
    };
    let wanted = facts.observed.wanted;
    match &facts.observed.rollout {
        Rollout::Done if wanted == 0 => Verdict::no("NoInstances", "scaled to 0: nobody can connect"),
        Rollout::Done => {
            let message =
                format!("{wanted} of {wanted} instances take sessions ({} backplane)", cluster.backplane.mode());
            Verdict::yes("Ready", message)
        }
        Rollout::Unseen => Verdict::no("Starting", "the instances are being created"),
        Rollout::Going { updated, ready } => Verdict::no(
            "Starting",
            format!("{ready} of {wanted} instances take sessions, {updated} are of the current revision"),
        ),
        Rollout::Stuck(message) => Verdict::no("RolloutStuck", message.clone()),
    }
}
