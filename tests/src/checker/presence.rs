//! Whether instances told the truth of who is in a room, when nothing moved any more.

use super::{Fault, Report};
use crate::journal::{Event, Line, Presence};

/// Adds what the runner wrote down.
pub(super) fn account(records: &[(String, Vec<Line>)], report: &mut Report) {
    for line in records.iter().flat_map(|(_, lines)| lines) {
        let Event::Presence(Presence { room, instance, members, told }) = &line.event else { continue };
        report.presence += 1;
        let missing: Vec<_> = members.iter().filter(|user| !told.contains(user)).collect();
        let ghosts: Vec<_> = told.iter().filter(|user| !members.contains(user)).collect();
        if !missing.is_empty() || !ghosts.is_empty() {
            let text = format!("{instance} of {room}: {missing:?} are there and not told, {ghosts:?} are told");
            report.faults.insert(Fault::Absent(text));
        }
    }
}
