//! How sessions that are asked to move are spread over time: at no instant should most of them reconnect at once. What
//! counts is the moment for which each was asked: how soon a busy machine then gets round to all of them says nothing.

use super::{Fault, Report};
use crate::journal::{Event, Line};

/// An instant, in microseconds.
const INSTANT: u64 = 100_000;
/// Fewer sessions than this may move at once.
const FEW: usize = 40;

/// Adds what the moves come to.
pub(super) fn account(records: &[(String, Vec<Line>)], report: &mut Report) {
    let lines = || records.iter().flat_map(|(_, lines)| lines);
    let mut due: Vec<u64> = lines().filter_map(asked_for).collect();
    due.sort_unstable();
    let at_once = |from: usize| due[from..].partition_point(|at| *at < due[from] + INSTANT);
    let most = (0..due.len()).map(at_once).max().unwrap_or_default();
    report.moved = (lines().filter(|line| line.event == Event::Moved).count(), most);
    if due.len() >= FEW && 2 * most > due.len() {
        report.faults.insert(Fault::Bunched(format!("{most} of {} sessions were to move within 100 ms", due.len())));
    }
    if report.moved.0 > due.len() {
        report.faults.insert(Fault::Bunched(format!("{} sessions moved, {} were asked to", report.moved.0, due.len())));
    }
}

/// The moment at which a client was asked to move.
fn asked_for(line: &Line) -> Option<u64> {
    match &line.event {
        Event::Received(frame) if frame["type"] == "reconnect" => Some(line.at + 1_000 * frame["after_ms"].as_u64()?),
        _ => None,
    }
}
