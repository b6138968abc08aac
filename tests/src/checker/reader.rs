//! Walks through what one client received, room by room, and tells where continuity broke without a word. What was in the
//! log it is told by `truth.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::truth::Truth;
use super::{Fault, Report};
use crate::journal::{Event, Line};

/// When a client got the message of this room at this offset.
pub(super) type Arrival = (String, u64, u64);

/// See the module.
pub(super) struct Reader<'a> {
    name: &'a str,
    truth: &'a Truth,
    rooms: BTreeMap<String, Reading>,
    arrivals: Vec<Arrival>,
    gaps: usize,
}

/// One room.
#[derive(Default)]
struct Reading {
    /// Where the client is.
    at: Option<(String, u64)>,
    /// Live messages may come.
    live: bool,
    /// Offsets that it has, of those that survived.
    had: BTreeSet<u64>,
    /// What it had that is lost.
    lost: BTreeSet<(String, u64)>,
    /// It saw what is lost, and was not told so since.
    untold: bool,
    /// Offsets up to here need not be had: they were before the join, or a gap covers them.
    excused: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(name: &'a str, truth: &'a Truth) -> Self {
        Self { name, truth, rooms: BTreeMap::new(), arrivals: Vec::new(), gaps: 0 }
    }

    pub(super) fn gaps(&self) -> usize {
        self.gaps
    }

    pub(super) fn into_arrivals(self) -> Vec<Arrival> {
        self.arrivals
    }

    pub(super) fn take(&mut self, line: &Line, report: &mut Report) {
        match &line.event {
            Event::Connected(_) => self.rooms.values_mut().for_each(|room| room.live = false),
            Event::Received(frame) => {
                let room = frame["room"].as_str().unwrap_or_default();
                match frame["type"].as_str() {
                    Some("joined") => self.joined(room, frame, line.at, report),
                    Some("gap") => self.gap(room, frame, report),
                    Some("message") => self.message(room, frame, line.at, report),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn joined(&mut self, room: &str, frame: &Value, at: u64, report: &mut Report) {
        let (epoch, offset) = position(frame);
        let messages = frame["messages"].as_array().map_or(&[][..], Vec::as_slice);
        // One that was not asked for goes on from where the client is, like a resume.
        let resumed = frame["id"].as_str().is_none_or(|id| id.starts_with("resume "));
        let reading = self.rooms.entry(room.to_owned()).or_default();
        match reading.at.clone().filter(|_| resumed) {
            Some(_) if frame["recovered"] == false => return self.gap(room, frame, report),
            Some((_, before)) => reading.at = Some((epoch.clone(), before)),
            None => {
                let before = messages.first().map_or(offset, |first| position(first).1 - 1);
                let end = self.truth.end(room, &epoch).unwrap_or_default();
                reading.excused = reading.excused.max(before.min(end));
                reading.at = Some((epoch.clone(), before));
            }
        }
        for message in messages {
            self.got(room, message, at, report);
        }
        let reading = self.rooms.entry(room.to_owned()).or_default();
        let reached = reading.at.as_ref().map_or(0, |at| at.1);
        if reached != offset {
            let text = format!("{}: the replay of {room} ended at {reached}, and was said to at {offset}", self.name);
            report.faults.insert(Fault::Skipped(text));
        }
        reading.at = Some((epoch, offset));
        reading.live = frame["more"] != true;
    }

    fn message(&mut self, room: &str, frame: &Value, at: u64, report: &mut Report) {
        if self.rooms.get(room).is_some_and(|reading| reading.live) {
            self.got(room, frame, at, report);
        } else {
            let offset = position(frame).1;
            report.faults.insert(Fault::NotJoined(format!("{}: {offset} of {room}", self.name)));
        }
    }

    fn got(&mut self, room: &str, frame: &Value, at: u64, report: &mut Report) {
        let (name, offset) = (self.name, position(frame).1);
        let key = frame["key"].as_str().unwrap_or_default();
        let Some(reading) = self.rooms.get_mut(room) else { return };
        let Some((epoch, before)) = reading.at.clone() else { return };
        report.received += 1;
        self.arrivals.push((key.to_owned(), offset, at));
        let survives = self.truth.survives(room, &epoch, offset);
        let new = if survives { reading.had.insert(offset) } else { reading.lost.insert((epoch.clone(), offset)) };
        reading.untold |= !survives;
        if survives && self.truth.key(room, offset).is_some_and(|other| other != key) {
            report.faults.insert(Fault::Differs(format!("{name}: another message at {offset} of {room}")));
        }
        if !new {
            report.faults.insert(Fault::Repeated(format!("{name}: {offset} of {room}")));
        } else if offset != before + 1 {
            report.faults.insert(Fault::Skipped(format!("{name}: {offset} of {room} after {before}")));
        }
        reading.at = Some((epoch, offset.max(before)));
    }

    fn gap(&mut self, room: &str, frame: &Value, report: &mut Report) {
        let (name, truth) = (self.name, self.truth);
        let (epoch, offset) = position(frame);
        let reading = self.rooms.entry(room.to_owned()).or_default();
        self.gaps += 1;
        if let Some((of, at)) = &reading.at
            && truth.survives(room, of, *at)
        {
            let text = format!("{name}: a gap in {room} at {of} {at}, which the log still has");
            report.faults.insert(Fault::Needless(text));
        }
        reading.untold = false;
        reading.excused = reading.excused.max(offset.min(truth.end(room, &epoch).unwrap_or_default()));
        reading.at = Some((epoch, offset));
        reading.live = true;
    }

    /// Nothing more came.
    pub(super) fn finish(&mut self, report: &mut Report) {
        let name = self.name;
        for (room, reading) in &self.rooms {
            for offset in self.truth.after(room, reading.excused).filter(|offset| !reading.had.contains(offset)) {
                report.faults.insert(Fault::Lost(format!("{name}: {offset} of {room}")));
            }
            if reading.untold {
                let lost: Vec<_> = reading.lost.iter().take(3).collect();
                report.faults.insert(Fault::Untold(format!("{name}: saw {lost:?} of {room}, which is lost")));
            }
        }
    }
}

fn position(frame: &Value) -> (String, u64) {
    (frame["epoch"].as_str().unwrap_or_default().to_owned(), frame["offset"].as_u64().unwrap_or_default())
}
