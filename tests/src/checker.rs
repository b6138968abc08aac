//! Decides from raw logs whether the promises of order (of sending, and of delivery), of no silent loss, of no needless gap
//! and of true presence were kept. It believes nothing but the lines: `journal.rs` says what they are, `resumer.rs` writes them. What a log really held is read from
//! the server, or, where it cannot have lost anything, concluded from what was acked and seen.

mod attempts;
mod inbox;
mod moves;
mod order;
mod presence;
mod reader;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::attempts::Attempts;
use self::reader::Reader;
use self::truth::Truth;
use crate::journal::{Event, Line, Log, Mark};

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A message that the log has and a reader should have, and has not.
    Lost(String),
    /// A reader saw what the log lost, and was not told of a gap.
    Untold(String),
    /// An offset that came twice, or a key that is stored twice.
    Repeated(String),
    /// An offset that did not follow the one before, without a gap.
    Skipped(String),
    /// What one publisher sent first over a connection stands after what it sent then, both acked at the first attempt.
    Reordered(String),
    /// A message for a room that was not joined, or that was still being replayed.
    NotJoined(String),
    /// Two readers, or a reader and the log, have different messages at one place.
    Differs(String),
    /// A gap was told to a reader that had not seen lost data.
    Needless(String),
    /// An acked message is not in a log that cannot have lost anything.
    Vanished(String),
    /// Too few publishes were acked at once while all was well.
    Refused(String),
    /// Delivery did not become whole, or readers did not come to the end of the log.
    NotWhole(String),
    /// Most of the sessions that were asked to move were asked for one instant.
    Bunched(String),
    /// Somebody is in a room and not told to be, or told to be and not there.
    Absent(String),
    /// The fault did not do what it says, so that nothing is proved.
    Spared(String),
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Broken promises, at most one of a kind per reader and place.
    pub faults: BTreeSet<Fault>,
    /// Messages that were sent, however often.
    pub attempted: usize,
    /// Acks, at most one for a message.
    pub acked: usize,
    /// Messages first sent outside the fault's window and not on their way when it struck, and how many of them were acked at the first attempt.
    pub outside: (usize, usize),
    /// Messages acked at the first attempt whose places were compared with that of the one sent before.
    pub compared: usize,
    /// The most that one publisher had sent to one room over one connection and not got acked.
    pub unacked_at_once: usize,
    /// Messages that readers got, replayed or live.
    pub received: usize,
    /// Acked messages that the log lost.
    pub lost_by_log: usize,
    /// Times that a reader was told of lost continuity.
    pub gaps: usize,
    /// Sessions that were told so at least once.
    pub gap_sessions: usize,
    /// Sessions that moved because they were asked to; and the most that were asked for within 100 ms.
    pub moved: (usize, usize),
    /// Answers about who is in a room that were compared with who is.
    pub presence: usize,
    /// From the strike until no publish and no delivery took longer than [`LATE`] any more.
    pub whole_after: Option<Duration>,
}

/// What becomes of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It keeps everything: every gap and every acked message that is not there is a fault.
    None,
    /// It may lose messages.
    May,
    /// It loses messages that were acked: otherwise the trial proved nothing.
    Must,
}

/// What a fault may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// What it does to the log.
    pub loss: Loss,
    /// Of the publishes outside its window, so many per mille must be acked at the first attempt.
    pub acked_per_mille: usize,
}

/// A publish or a delivery that takes longer is disturbed.
pub const LATE: Duration = Duration::from_secs(1);

/// Checks the records of all clients of one run in which no log lost anything, each with its name. They must have settled:
/// what is not in a record by now counts as lost.
#[must_use]
pub fn check(records: &[(String, Vec<Line>)]) -> Report {
    examine(records, &Truth::concluded(records))
}

/// Checks the records of one trial, which the runner's is one of, against what the logs held at its end.
#[must_use]
pub fn check_trial(records: &[(String, Vec<Line>)], logs: &[Log], allowed: Allowed) -> Report {
    let truth = Truth::read(logs);
    let mut report = examine(records, &truth);
    report.faults.extend(truth.contradictions());
    let gaps = report.gaps;
    if allowed.loss == Loss::Must && report.lost_by_log == 0 {
        report.faults.insert(Fault::Spared("the log lost nothing that was acked".to_owned()));
    }
    if allowed.loss == Loss::None && gaps > 0 {
        report.faults.insert(Fault::Needless(format!("{gaps} gaps were told, and the log lost nothing")));
    }
    if allowed.loss == Loss::None && report.lost_by_log > 0 {
        report.faults.insert(Fault::Vanished(format!("{} acked messages are not in the log", report.lost_by_log)));
    }
    let (attempted, acked) = report.outside;
    if acked * 1_000 < attempted * allowed.acked_per_mille || attempted == 0 {
        report.faults.insert(Fault::Refused(format!("of {attempted} publishes outside the window {acked} were acked")));
    }
    for mark in [Mark::Whole, Mark::Settled] {
        if !marks(records).contains_key(&mark) {
            report.faults.insert(Fault::NotWhole(format!("it did not come to be {mark:?}")));
        }
    }
    report
}

impl Report {
    /// How many faults are of this kind.
    #[must_use]
    pub fn count(&self, of: impl Fn(&Fault) -> bool) -> usize {
        self.faults.iter().filter(|fault| of(fault)).count()
    }

    /// Messages lost without a gap.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.count(|fault| matches!(fault, Fault::Lost(_) | Fault::Untold(_)))
    }

    /// Messages that came or are stored twice.
    #[must_use]
    pub fn repeated(&self) -> usize {
        self.count(|fault| matches!(fault, Fault::Repeated(_)))
    }

    /// Answers about who is in a room that were not true.
    #[must_use]
    pub fn untrue(&self) -> usize {
        self.count(|fault| matches!(fault, Fault::Absent(_)))
    }

    /// Messages out of their order, or where they should not be.
    #[must_use]
    pub fn disordered(&self) -> usize {
        self.count(|fault| {
            matches!(fault, Fault::Skipped(_) | Fault::Reordered(_) | Fault::NotJoined(_) | Fault::Differs(_))
        })
    }
}

/// When the runner did what.
fn marks(records: &[(String, Vec<Line>)]) -> BTreeMap<Mark, u64> {
    let marks = records.iter().flat_map(|(_, lines)| lines).filter_map(|line| match &line.event {
        Event::Mark(mark) => Some((*mark, line.at)),
        _ => None,
    });
    marks.collect()
}

fn examine(records: &[(String, Vec<Line>)], truth: &Truth) -> Report {
    let records: Vec<_> = records.iter().map(|(name, lines)| (name.clone(), inbox::renamed(lines))).collect();
    let records = records.as_slice();
    let mut report = Report::default();
    let mut attempts = Attempts::default();
    for (name, lines) in records {
        let mut reader = Reader::new(name, truth);
        for line in lines {
            attempts.take(line);
            reader.take(line, &mut report);
        }
        reader.finish(&mut report);
        order::account(name, lines, truth, &mut report);
        report.gap_sessions += usize::from(reader.gaps() > 0);
        report.gaps += reader.gaps();
        attempts.arrivals(reader.into_arrivals());
    }
    moves::account(records, &mut report);
    presence::account(records, &mut report);
    report.faults.extend(truth.stored_twice());
    attempts.account(truth, &marks(records), &mut report);
    report
}

#[cfg(test)]
mod tests;
