//! When a managed Valkey that the spec does not name any more goes: with the last instance that uses it, and not before the
//! instances of now serve. Until then everything of it stays as it is, also for those who change their mind: an instance
//! that begins anew finds its credentials, and rooms that are kept nowhere else are not lost by a wrong URL.

use super::super::build::settings_checksum;
use super::super::children::Children;
use super::super::status::{Latest, Rollout, observe};
use super::super::validate::{About, Note};
use super::writer::Writer;
use crate::clock;

/// Whether it must stay. Told by what the watches saw of this spec, so also by an operator that has just begun.
pub(super) fn is_early(writer: &Writer<'_>, children: &Children) -> bool {
    let (cluster, names) = (writer.cluster(), &writer.cluster().names);
    let latest = Latest {
        deployment: writer.ledger().generation(&writer.key("Deployment", &names.chat())),
        stateful_set: None,
        settings: Some(settings_checksum(cluster)),
    };
    let observed = observe(children, &cluster.namespace, names, &latest, clock::now());
    observed.rollout != Rollout::Done || observed.former > 0
}

/// Says that it stays.
pub(super) fn note() -> Note {
    let message = "the managed Valkey is kept until the instances of now take sessions and the former ones are gone";
    Note { about: About::Progress, reason: "ValkeyKept", message: message.to_owned() }
}
