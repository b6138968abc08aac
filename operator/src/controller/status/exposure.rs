//! `ExposureReady`: the way in from outside is set up as far as the operator can do it. Whether an ingress controller
//! serves it is told and not judged: many never write an address into an Ingress.

use super::super::validate::{About, Affinity};
use super::{Facts, Verdict};
use crate::crd::{Condition, ConditionStatus};

/// Whether all of this generation was applied by the time of these conditions: this one is unknown until then.
pub(super) fn was_applied(conditions: &[Condition], generation: Option<i64>) -> bool {
    conditions.iter().any(|condition| {
        condition.type_ == "ExposureReady"
            && condition.status != ConditionStatus::Unknown
            && condition.observed_generation == generation
    })
}

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    let Some(cluster) = facts.in_force() else {
        let (reason, message) = facts.obstacle().unwrap_or_default();
        return Verdict::unknown(reason, message);
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
    let address = match &facts.observed.ingress_address {
        Some(address) => format!("its controller gave it the address {address}"),
        None => "no controller has given it an address, which some never do".to_owned(),
    };
    let served = format!("an Ingress leads {} to the instances, {affinity}; {address}", ingress.url());
    let notes: Vec<_> = about(About::Exposure).collect();
    match notes.first() {
        Some(first) => {
            let messages = notes.iter().fold(served, |text, note| format!("{text}; {}", note.message));
            Verdict::yes(first.reason, messages)
        }
        None => Verdict::yes("Configured", served),
    }
}
