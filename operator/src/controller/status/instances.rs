//! What several conditions tell of the instances.

use super::{Facts, Rollout, because, redis};

/// What is wrong with them for longer than a moment, as reason and message.
pub(super) fn trouble(facts: Facts<'_>) -> Option<(&'static str, String)> {
    let (wanted, why) = (facts.observed.wanted, hindered(facts));
    match &facts.observed.rollout {
        Rollout::Stuck(message) => Some(("RolloutStuck", format!("{message}{why}"))),
        Rollout::Lacking { ready } => {
            let message = format!("{ready} of {wanted} instances have taken sessions for the last minutes{why}");
            Some(("InstancesUnavailable", message))
        }
        Rollout::Unseen | Rollout::Going { .. } | Rollout::Done => None,
    }
}

/// What keeps them from running and delivering, as the end of a sentence.
pub(super) fn hindered(facts: Facts<'_>) -> String {
    let met = redis::troubles(facts).into_iter().map(|trouble| format!("trouble with Redis: {trouble}"));
    because(&facts.observed.hindrances.iter().cloned().chain(met).collect())
}
