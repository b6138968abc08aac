//! `Progressing`: something is on its way, and nobody needs to do anything.

use super::{Facts, Outcome, Rollout, Verdict, redis};

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    if let Outcome::Refused(_) | Outcome::Unread(_) | Outcome::Failed(..) = facts.outcome {
        let (reason, message) = facts.obstacle().unwrap_or_default();
        return Verdict::no(reason, message);
    }
    let observed = facts.observed;
    match &observed.rollout {
        Rollout::Unseen | Rollout::Going { .. } => Verdict::yes("RollingOut", "instances are being started"),
        Rollout::Stuck(message) => Verdict::no("RolloutStuck", message.clone()),
        Rollout::Done if redis::is_starting(facts) => Verdict::yes("Starting", redis::of(facts).message),
        Rollout::Done if observed.draining > 0 => {
            Verdict::yes("Draining", format!("{} instances hand over their sessions", observed.draining))
        }
        Rollout::Done => Verdict::no("Reconciled", "everything is as the spec says"),
    }
}
