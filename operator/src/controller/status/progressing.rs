//! `Progressing`: something is on its way, and nobody needs to do anything.

use super::super::validate::About;
use super::{Facts, Rollout, Verdict, instances, redis};

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    let mut verdict = without_notes(facts);
    for note in facts.outcome.notes().iter().filter(|note| note.about == About::Progress) {
        verdict.message = format!("{}; {}", verdict.message, note.message);
    }
    verdict
}

fn without_notes(facts: Facts<'_>) -> Verdict {
    if let Some((reason, message)) = facts.obstacle().or_else(|| facts.trouble()) {
        return Verdict::no(reason, message);
    }
    let observed = facts.observed;
    match &observed.rollout {
        Rollout::Done if redis::is_starting(facts) => Verdict::yes("Starting", redis::of(facts).message),
        Rollout::Done if observed.draining > 0 => {
            Verdict::yes("Draining", format!("{} instances hand over their sessions", observed.draining))
        }
        Rollout::Done => Verdict::no("Reconciled", "everything is as the spec says"),
        Rollout::Unseen | Rollout::Going { .. } | Rollout::Stuck(_) | Rollout::Lacking { .. } => {
            Verdict::yes("RollingOut", format!("instances are being started{}", instances::hindered(facts)))
        }
    }
}
