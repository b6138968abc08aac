//! How sessions that are asked to move are spread over time: at no instant should most of them reconnect at once.

use super::{Fault, Report};
use crate::journal::{Event, Line};

/// An instant, in microseconds.
const INSTANT: u64 = 100_000;
/// Fewer sessions than this may move at once.
const FEW: usize = 40;

/// Adds what the moves come to.
pub(super) fn account(records: &[(String, Vec<Line>)], report: &mut Report) {
    let lines = records.iter().flat_map(|(_, lines)| lines);
    let mut moves: Vec<u64> = lines.filter(|line| line.event == Event::Moved).map(|line| line.at).collect();
    moves.sort_unstable();
    report.moved += moves.len();
    let at_once = |from: usize| moves[from..].partition_point(|at| *at < moves[from] + INSTANT);
    let most = (0..moves.len()).map(at_once).max().unwrap_or_default();
    if moves.len() >= FEW && 2 * most > moves.len() {
        report.faults.insert(Fault::Bunched(format!("{most} of {} sessions moved within 100 ms", moves.len())));
    }
}
