//! What the logs held: which messages at which offsets, and how far each epoch is good. It judges no reader.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Fault;
use crate::journal::{Event, Line, Log};

/// All rooms of a run.
#[derive(Debug, Default)]
pub(super) struct Truth {
    rooms: BTreeMap<String, Room>,
}

/// One room.
#[derive(Debug, Default)]
struct Room {
    /// Each epoch of which the log knows, with the last offset of it that survived.
    epochs: BTreeMap<String, u64>,
    /// Offset and key. The log of an epoch is a prefix of that of the next, so an offset is enough.
    entries: BTreeMap<u64, String>,
    /// The epochs that wrote entries, with their first and last offsets.
    writers: BTreeMap<String, (u64, u64)>,
    /// Keys at more than one offset.
    twice: Vec<(String, u64)>,
}

impl Truth {
    /// From the server.
    pub(super) fn read(logs: &[Log]) -> Self {
        let mut truth = Self::default();
        for log in logs {
            let room = truth.rooms.entry(log.room.clone()).or_default();
            room.epochs = log.epochs.iter().cloned().collect();
            let mut keys = BTreeMap::new();
            for (epoch, offset, key) in &log.entries {
                room.entries.insert(*offset, key.clone());
                if keys.insert(key, offset).is_some() {
                    room.twice.push((key.clone(), *offset));
                }
                let writer = room.writers.entry(epoch.clone()).or_insert((*offset, *offset));
                *writer = (writer.0.min(*offset), writer.1.max(*offset));
            }
        }
        truth
    }

    /// From what was acked and seen, where nothing can have been lost.
    pub(super) fn concluded(records: &[(String, Vec<Line>)]) -> Self {
        let mut truth = Self::default();
        let lines = || records.iter().flat_map(|(_, lines)| lines);
        for line in lines() {
            if let Event::Received(frame) = &line.event
                && frame["type"] == "ack"
            {
                truth.conclude(frame, &frame["id"], &frame["epoch"]);
            }
        }
        for (_, lines) in records {
            let mut epochs: BTreeMap<&str, &Value> = BTreeMap::new();
            for line in lines {
                let Event::Received(frame) = &line.event else { continue };
                let room = frame["room"].as_str().unwrap_or_default();
                match frame["type"].as_str() {
                    Some("joined" | "gap") => {
                        epochs.insert(room, &frame["epoch"]);
                        for message in frame["messages"].as_array().into_iter().flatten() {
                            truth.conclude_in(room, message, &message["key"], &frame["epoch"]);
                        }
                    }
                    Some("message") => {
                        if let Some(epoch) = epochs.get(room) {
                            truth.conclude(frame, &frame["key"], epoch);
                        }
                    }
                    _ => {}
                }
            }
        }
        truth
    }

    fn conclude(&mut self, frame: &Value, key: &Value, epoch: &Value) {
        self.conclude_in(frame["room"].as_str().unwrap_or_default(), frame, key, epoch);
    }

    fn conclude_in(&mut self, room: &str, frame: &Value, key: &Value, epoch: &Value) {
        let (Some(offset), Some(epoch)) = (frame["offset"].as_u64(), epoch.as_str()) else { return };
        let key = key.as_str().unwrap_or_default();
        let room = self.rooms.entry(room.to_owned()).or_default();
        let end = room.epochs.entry(epoch.to_owned()).or_default();
        *end = (*end).max(offset);
        if room.entries.values().any(|other| other == key) && room.entries.get(&offset).is_none_or(|at| at != key) {
            room.twice.push((key.to_owned(), offset));
        }
        room.entries.entry(offset).or_insert_with(|| key.to_owned());
    }

    /// The last offset of an epoch that survived. `None`: the log knows nothing of this epoch.
    pub(super) fn end(&self, room: &str, epoch: &str) -> Option<u64> {
        self.rooms.get(room)?.epochs.get(epoch).copied()
    }

    /// Whether what somebody saw at this place is still there, and all before it.
    pub(super) fn survives(&self, room: &str, epoch: &str, offset: u64) -> bool {
        self.end(room, epoch).is_some_and(|end| offset <= end)
    }

    /// The key at an offset of the log as it is now.
    pub(super) fn key(&self, room: &str, offset: u64) -> Option<&str> {
        self.rooms.get(room)?.entries.get(&offset).map(String::as_str)
    }

    /// Whether the log of a room has this key.
    pub(super) fn has(&self, room: &str, key: &str) -> bool {
        self.rooms.get(room).is_some_and(|room| room.entries.values().any(|stored| stored == key))
    }

    /// The offsets of a room after this one.
    pub(super) fn after(&self, room: &str, offset: u64) -> impl Iterator<Item = u64> {
        let room = self.rooms.get(room);
        room.into_iter().flat_map(move |room| room.entries.range(offset + 1..).map(|(offset, _)| *offset))
    }

    /// Messages that are stored more often than sent.
    pub(super) fn stored_twice(&self) -> impl Iterator<Item = Fault> {
        let twice = self.rooms.iter().flat_map(|(room, of)| of.twice.iter().map(move |twice| (room, twice)));
        twice.map(|(room, (key, at))| Fault::Repeated(format!("{key} is stored twice in {room}, also at {at}")))
    }

    /// Where what the log says of its epochs is not what it holds.
    pub(super) fn contradictions(&self) -> Vec<Fault> {
        let mut found = Vec::new();
        for (name, room) in &self.rooms {
            for (epoch, (first, last)) in &room.writers {
                let end = room.epochs.get(epoch);
                if end.is_some_and(|end| last > end) {
                    found.push(Fault::Differs(format!("{name}: {epoch} wrote {last} and is said to end at {end:?}")));
                }
                for (other, (_, before)) in room.writers.iter().filter(|(_, writer)| writer.0 < *first) {
                    if before >= first {
                        found.push(Fault::Differs(format!("{name}: {epoch} wrote {first}, then {other} {before}")));
                    }
                }
            }
        }
        found
    }
}
