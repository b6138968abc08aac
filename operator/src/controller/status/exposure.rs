//! `ExposureReady`: the way in from outside is set up as far as the operator can do it.

use super::super::validate::{About, Affinity};
use super::{Facts, Outcome, Verdict};

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    let cluster = match facts.outcome {
        Outcome::Refused(_) | Outcome::Failed(..) => {
            let (reason, message) = facts.obstacle().unwrap_or_default();
            return Verdict::unknown(reason, message);
        }
        Outcome::Applied(cluster, _) => cluster,
    };
    let Some(ingress) = &cluster.ingress else {
        return Verdict::yes("NotRequested", "reachable only inside the cluster");
    };
    let about = |about: About| cluster.notes.iter().filter(move |note| note.about == about);
    if let Some(broken) = about(About::ExposureBroken).next() {
        return Verdict::no(broken.reason, broken.message.clone());
    }
    let affinity = match ingress.affinity {
        Affinity::None => "without session affinity",
        Affinity::Cookie | Affinity::HiddenCookie => "with session affinity",
    };
    let served = format!("{} leads to the instances, {affinity}", ingress.url());
    let notes: Vec<_> = about(About::Exposure).collect();
    match notes.first() {
        Some(first) => {
            let messages = notes.iter().fold(served, |text, note| format!("{text}; {}", note.message));
            Verdict::yes(first.reason, messages)
        }
        None => Verdict::yes("Configured", served),
    }
}
