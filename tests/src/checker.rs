//! Decides from what clients saw whether the promises of order and of no silent loss were kept. It believes nothing but
//! the records; `resumer.rs` writes them.

use std::collections::{BTreeMap, BTreeSet};

/// One thing that a client saw, in the order in which it saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A new connection; what was joined on the old one is not joined any more.
    Connected,
    /// A `joined`. Between two of one room with `more`, nothing live may come.
    Joined {
        /// Of which room.
        room: String,
        /// As told.
        epoch: String,
        /// As told.
        offset: u64,
        /// As told.
        recovered: bool,
        /// It answers a join with `since`.
        resumed: bool,
        /// `true`: not live yet.
        more: bool,
        /// Offset and key of each replayed message.
        messages: Vec<(u64, String)>,
    },
    /// A live message.
    Message {
        /// Of which room.
        room: String,
        /// Its place.
        offset: u64,
        /// Its key.
        key: String,
    },
    /// Continuity is lost, and said to be.
    Gap {
        /// Of which room.
        room: String,
        /// As told.
        epoch: String,
        /// As told.
        offset: u64,
    },
    /// A publish was acked.
    Acked {
        /// To which room.
        room: String,
        /// As told.
        epoch: String,
        /// As told.
        offset: u64,
        /// With which key.
        key: String,
    },
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An acked message that a reader should have and has not.
    Lost(String),
    /// An offset that came twice.
    Repeated(String),
    /// An offset that did not follow the one before, without a gap.
    Skipped(String),
    /// A message for a room that was not joined, or that was still being replayed.
    NotJoined(String),
    /// Two readers saw different messages at one place, or a key at two places.
    Differs(String),
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Broken promises, at most one of a kind per reader and place.
    pub faults: BTreeSet<Fault>,
    /// Times that a reader was told of lost continuity.
    pub gaps: usize,
    /// Messages that readers got, replayed or live.
    pub received: usize,
    /// Acks.
    pub acked: usize,
}

type Place = (String, String, u64);

#[derive(Default)]
struct Reader {
    /// Per room: epoch, last offset, and whether live messages may come.
    at: BTreeMap<String, (String, u64, bool)>,
    /// Offsets had or told to be lost, with the key if had.
    had: BTreeMap<Place, Option<String>>,
    /// Where reading of a room began, per epoch.
    began: BTreeMap<(String, String), u64>,
}

/// Checks the records of all clients of one run, each with its name. They must have settled: what was acked and is not
/// in a record by now counts as lost.
#[must_use]
pub fn check(records: &[(String, Vec<Seen>)]) -> Report {
    let mut report = Report::default();
    let mut readers = Vec::new();
    let mut acks: BTreeMap<Place, String> = BTreeMap::new();
    for (name, record) in records {
        let mut reader = Reader::default();
        for seen in record {
            reader.take(name, seen, &mut report, &mut acks);
        }
        readers.push((name, reader));
    }
    for (name, reader) in &readers {
        reader.compare(name, &acks, &mut report);
    }
    let mut places: BTreeMap<Place, &str> = acks.iter().map(|(place, key)| (place.clone(), key.as_str())).collect();
    for (name, reader) in &readers {
        for (place, key) in reader.had.iter().filter_map(|(place, key)| Some((place, key.as_deref()?))) {
            if *places.entry(place.clone()).or_insert(key) != key {
                report.faults.insert(Fault::Differs(format!("{name}: another message at {place:?}")));
            }
        }
    }
    let mut keys: BTreeMap<(&str, &str), &Place> = BTreeMap::new();
    for (place, key) in &places {
        if *keys.entry((&place.0, key)).or_insert(place) != place {
            report.faults.insert(Fault::Differs(format!("the key {key} is stored twice, also at {place:?}")));
        }
    }
    report
}

impl Reader {
    fn take(&mut self, name: &str, seen: &Seen, report: &mut Report, acks: &mut BTreeMap<Place, String>) {
        match seen {
            Seen::Connected => self.at.values_mut().for_each(|at| at.2 = false),
            Seen::Joined { room, epoch, offset, recovered, resumed, more, messages } => {
                let before = self.at.get(room).filter(|_| *resumed).cloned();
                let expected = messages.first().map_or(*offset, |(first, _)| first - 1);
                match before {
                    Some((_, at, _)) if *recovered => {
                        let (first, last) = (messages.first().map(|m| m.0), messages.last().map(|m| m.0));
                        if first.is_some_and(|first| first != at + 1) || last.unwrap_or(at) != *offset {
                            report.faults.insert(Fault::Skipped(format!(
                                "{name}: resumed {room} at {at}, got {first:?} to {last:?}, told {offset}"
                            )));
                        }
                    }
                    Some((_, at, _)) => {
                        report.gaps += 1;
                        self.lost_from(room, epoch, at, *offset);
                    }
                    None => {
                        self.began.entry((room.clone(), epoch.clone())).or_insert(expected);
                    }
                }
                for (index, (at, key)) in (0_u64..).zip(messages) {
                    if *at != expected + 1 + index {
                        report.faults.insert(Fault::Skipped(format!("{name}: a replay of {room} holds {at}")));
                    }
                    self.got(name, room, epoch, *at, key, report);
                }
                self.at.insert(room.clone(), (epoch.clone(), *offset, !more));
            }
            Seen::Message { room, offset, key } => {
                let Some((epoch, at, true)) = self.at.get(room).cloned() else {
                    report.faults.insert(Fault::NotJoined(format!("{name}: {offset} of {room}")));
                    return;
                };
                if *offset > at + 1 {
                    report.faults.insert(Fault::Skipped(format!("{name}: {offset} of {room} after {at}")));
                }
                self.got(name, room, &epoch, *offset, key, report);
                self.at.insert(room.clone(), (epoch, (*offset).max(at), true));
            }
            Seen::Gap { room, epoch, offset } => {
                report.gaps += 1;
                let at = self.at.get(room).map_or(0, |at| at.1);
                self.lost_from(room, epoch, at, *offset);
                self.at.insert(room.clone(), (epoch.clone(), *offset, true));
            }
            Seen::Acked { room, epoch, offset, key } => {
                report.acked += 1;
                acks.insert((room.clone(), epoch.clone(), *offset), key.clone());
            }
        }
    }

    fn got(&mut self, name: &str, room: &str, epoch: &str, offset: u64, key: &str, report: &mut Report) {
        report.received += 1;
        let place = (room.to_owned(), epoch.to_owned(), offset);
        if let Some(Some(_)) = self.had.insert(place, Some(key.to_owned())) {
            report.faults.insert(Fault::Repeated(format!("{name}: {offset} of {room}")));
        }
    }

    fn lost_from(&mut self, room: &str, epoch: &str, at: u64, to: u64) {
        for offset in at + 1..=to {
            self.had.entry((room.to_owned(), epoch.to_owned(), offset)).or_insert(None);
        }
    }

    fn compare(&self, name: &str, acks: &BTreeMap<Place, String>, report: &mut Report) {
        for (place, key) in acks {
            let (room, epoch, offset) = place;
            let began = self.began.get(&(room.clone(), epoch.clone()));
            if began.is_some_and(|began| offset > began) && !self.had.contains_key(place) {
                report.faults.insert(Fault::Lost(format!("{name}: {key} at {offset} of {room}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(offset: u64) -> Seen {
        replay(offset, false, true, &[])
    }

    fn replay(offset: u64, resumed: bool, recovered: bool, offsets: &[u64]) -> Seen {
        let messages = offsets.iter().map(|offset| (*offset, format!("k{offset}"))).collect();
        Seen::Joined { room: "r".into(), epoch: "e".into(), offset, recovered, resumed, more: false, messages }
    }

    fn message(offset: u64) -> Seen {
        Seen::Message { room: "r".into(), offset, key: format!("k{offset}") }
    }

    fn acked(offset: u64) -> Seen {
        Seen::Acked { room: "r".into(), epoch: "e".into(), offset, key: format!("k{offset}") }
    }

    fn gap(offset: u64) -> Seen {
        Seen::Gap { room: "r".into(), epoch: "e".into(), offset }
    }

    fn report(reader: Vec<Seen>) -> Report {
        let writer = (1..=4).map(acked).collect();
        check(&[("writer".to_owned(), writer), ("reader".to_owned(), reader)])
    }

    fn kinds(report: &Report) -> Vec<&str> {
        let kinds = report.faults.iter().map(|fault| match fault {
            Fault::Lost(_) => "lost",
            Fault::Repeated(_) => "repeated",
            Fault::Skipped(_) => "skipped",
            Fault::NotJoined(_) => "not joined",
            Fault::Differs(_) => "differs",
        });
        let mut kinds: Vec<_> = kinds.collect();
        kinds.dedup();
        kinds
    }

    #[test]
    fn a_whole_record_is_whole() {
        let seen = vec![joined(0), message(1), Seen::Connected, replay(3, true, true, &[2, 3]), message(4)];
        let report = report(seen);
        assert_eq!((kinds(&report), report.gaps, report.received, report.acked), (vec![], 0, 4, 4));
    }

    #[test]
    fn what_was_before_the_join_is_not_missed() {
        assert_eq!(kinds(&report(vec![joined(3), message(4)])), [""; 0]);
    }

    #[test]
    fn a_tail_that_never_came_is_lost() {
        assert_eq!(kinds(&report(vec![joined(0), message(1), message(2), message(3)])), ["lost"]);
    }

    #[test]
    fn a_hole_is_skipped_and_lost() {
        assert_eq!(kinds(&report(vec![joined(0), message(1), message(3), message(4)])), ["lost", "skipped"]);
    }

    #[test]
    fn a_repeat_is_found_live_and_across_a_resume() {
        let live = vec![joined(0), message(1), message(2), message(2), message(3), message(4)];
        assert_eq!(kinds(&report(live)), ["repeated"]);
        let resumed = vec![joined(0), message(1), message(2), Seen::Connected, replay(4, true, true, &[2, 3, 4])];
        assert_eq!(kinds(&report(resumed)), ["repeated", "skipped"]);
    }

    #[test]
    fn swapped_messages_are_found() {
        assert_eq!(kinds(&report(vec![joined(0), message(2), message(1), message(3), message(4)])), ["skipped"]);
    }

    #[test]
    fn a_resume_that_says_less_than_it_should_is_found() {
        let seen = vec![joined(0), message(1), Seen::Connected, replay(4, true, true, &[])];
        assert_eq!(kinds(&report(seen)), ["lost", "skipped",].to_vec());
    }

    #[test]
    fn what_a_gap_covers_is_not_lost() {
        let live = report(vec![joined(0), message(1), gap(3), message(4)]);
        assert_eq!((kinds(&live), live.gaps), (vec![], 1));
        let resumed = report(vec![joined(0), message(1), Seen::Connected, replay(4, true, false, &[])]);
        assert_eq!((kinds(&resumed), resumed.gaps), (vec![], 1));
    }

    #[test]
    fn a_message_before_its_joined_is_found() {
        assert_eq!(kinds(&report(vec![message(1)])), ["not joined"]);
        let reconnected = vec![joined(0), message(1), Seen::Connected, message(2)];
        assert_eq!(kinds(&report(reconnected)), ["lost", "not joined"]);
    }

    #[test]
    fn readers_that_saw_different_messages_are_found() {
        let other = Seen::Message { room: "r".into(), offset: 1, key: "else".into() };
        assert_eq!(kinds(&report(vec![joined(0), other, message(2), message(3), message(4)])), ["differs"]);
    }

    #[test]
    fn a_key_that_was_stored_twice_is_found() {
        let twice = Seen::Message { room: "r".into(), offset: 5, key: "k1".into() };
        let seen = vec![joined(0), message(1), message(2), message(3), message(4), twice];
        assert_eq!(kinds(&report(seen)), ["differs"]);
    }
}
