//! `Degraded`: somebody should look. The first reason that holds is told; all notes are in the message.

use super::super::validate::About;
use super::{Facts, Verdict};

pub(super) fn of(facts: Facts<'_>) -> Verdict {
    if let Some((reason, message)) = facts.obstacle().or_else(|| facts.trouble()) {
        return Verdict::yes(reason, message);
    }
    let of_spec = facts.validated().into_iter().flat_map(|cluster| &cluster.notes);
    let notes: Vec<_> = of_spec.chain(facts.outcome.notes()).filter(|note| note.about == About::Whole).collect();
    match notes.first() {
        Some(first) => {
            let messages: Vec<_> = notes.iter().map(|note| note.message.as_str()).collect();
            Verdict::yes(first.reason, messages.join("; "))
        }
        None => Verdict::no("AsExpected", "nothing is wrong"),
    }
}
