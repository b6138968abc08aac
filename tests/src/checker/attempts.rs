//! What publishers tried, when, and what became of it; and how long deliveries took. From that: which share was acked
//! while all was well, and when delivery was whole again. Order and loss are the business of `reader.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reader::Arrival;
use super::truth::Truth;
use super::{Fault, LATE, Report};
use crate::journal::{Event, Line, Mark};

/// What was on its way when the fault struck, without any answer and not yet tried again, belongs to its window, unless it
/// had been for longer than this, in microseconds: by then it has an answer, however busy the machine is.
const ON_THE_WAY: u64 = 2_000_000;

/// All publishes of a run, by key.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_key: BTreeMap<String, Attempt>,
}

#[derive(Debug, Default)]
struct Attempt {
    first: Option<u64>,
    times: usize,
    /// When it was first answered, with an ack or an error, or was sent again without one.
    settled: Option<u64>,
    /// The receiver of a direct message.
    to: Option<String>,
    /// When, and room, epoch and offset.
    acked: Option<(u64, String, String, u64)>,
    /// When the last reader got it.
    arrived: u64,
}

impl Attempts {
    pub(super) fn take(&mut self, line: &Line) {
        match &line.event {
            Event::Sent(frame) if frame["type"] == "chat" => {
                let attempt = self.of(&frame["key"]);
                attempt.first.get_or_insert(line.at);
                attempt.times += 1;
                if attempt.times > 1 {
                    attempt.settled.get_or_insert(line.at);
                }
                attempt.to = frame["to"].as_str().map(str::to_owned);
            }
            Event::Received(frame) if frame["type"] == "ack" => {
                let text = |field: &str| frame[field].as_str().unwrap_or_default().to_owned();
                let place = (line.at, text("room"), text("epoch"), frame["offset"].as_u64().unwrap_or_default());
                let attempt = self.of(&frame["id"]);
                attempt.settled.get_or_insert(line.at);
                attempt.acked.get_or_insert(place);
            }
            Event::Received(frame) if frame["type"] == "error" => {
                if let Some(attempt) = frame["id"].as_str().and_then(|key| self.by_key.get_mut(key)) {
                    attempt.settled.get_or_insert(line.at);
                }
            }
            _ => {}
        }
    }

    fn of(&mut self, key: &serde_json::Value) -> &mut Attempt {
        self.by_key.entry(key.as_str().unwrap_or_default().to_owned()).or_default()
    }

    pub(super) fn arrivals(&mut self, arrivals: Vec<Arrival>) {
        for (key, _, at) in arrivals {
            if let Some(attempt) = self.by_key.get_mut(&key) {
                attempt.arrived = attempt.arrived.max(at);
            }
        }
    }

    /// Adds what they come to.
    pub(super) fn account(&self, truth: &Truth, marks: &BTreeMap<Mark, u64>, report: &mut Report) {
        let struck = marks.get(&Mark::Struck).copied();
        let whole = marks.get(&Mark::Whole).copied().unwrap_or(u64::MAX);
        let met = |first: u64, settled: Option<u64>| {
            struck.is_none_or(|struck| {
                let young = first < struck && first + ON_THE_WAY >= struck;
                let on_the_way = young && settled.is_none_or(|at| at >= struck);
                on_the_way || (struck..=whole).contains(&first)
            })
        };
        let late = u64::try_from(LATE.as_micros()).unwrap_or(u64::MAX);
        let mut last_disturbed = None;
        for (key, attempt) in &self.by_key {
            report.attempted += usize::from(attempt.first.is_some());
            if let Some((_, room, epoch, offset)) = &attempt.acked {
                report.acked += 1;
                if !truth.survives(room, epoch, *offset) {
                    report.lost_by_log += 1;
                } else if truth.key(room, *offset).is_some_and(|stored| stored != key) {
                    report.faults.insert(Fault::Differs(format!("{key} was acked at {offset} of {room}")));
                } else if truth.key(room, *offset).is_none() {
                    report.faults.insert(Fault::Vanished(format!("{key} was acked at {offset} of {room}")));
                }
            }
            // The ack is about the sender's own inbox; the receiver's must have it too.
            if let Some(to) = attempt.to.as_ref().filter(|_| attempt.acked.is_some())
                && !truth.has(&format!("@{to}"), key)
            {
                report.lost_by_log += 1;
            }
            let Some(first) = attempt.first else { continue };
            if !met(first, attempt.settled) {
                report.outside.0 += 1;
                report.outside.1 += usize::from(attempt.times == 1 && attempt.acked.is_some());
            }
            let acked = attempt.acked.as_ref().map_or(first, |acked| acked.0);
            let done = acked.max(attempt.arrived);
            if done > first + late || attempt.times > 1 {
                last_disturbed = last_disturbed.max(Some(done));
            }
        }
        report.whole_after = struck.map(|struck| {
            let last = last_disturbed.filter(|last| *last > struck).unwrap_or(struck);
            Duration::from_micros(last - struck)
        });
    }
}
