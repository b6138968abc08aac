//! Whether what one publisher sent to one room over one connection, and got acked at the first attempt, stands in the log
//! in the order it was sent. What was repeated may stand anywhere; where it may not stand is the business of `truth.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::truth::Truth;
use super::{Fault, Report};
use crate::journal::{Event, Line};

/// A publish that was sent once so far.
struct Once<'a> {
    connection: usize,
    room: &'a str,
    /// Epoch and offset, if it was acked on that connection.
    acked: Option<(&'a str, u64)>,
}

/// The last ones of a room on a connection.
#[derive(Default)]
struct Last<'a> {
    /// Of those that the log still has.
    kept: Option<(&'a str, u64)>,
    /// Of each epoch, whether the log still has them or not.
    written: BTreeMap<&'a str, (&'a str, u64)>,
}

/// Adds what became of one client's publishes.
pub(super) fn account(name: &str, lines: &[Line], truth: &Truth, report: &mut Report) {
    let sent = sent_once(lines, report);
    let mut last: BTreeMap<(usize, &str), Last<'_>> = BTreeMap::new();
    for (key, Once { connection, room, acked }) in sent {
        let Some((epoch, offset)) = acked else { continue };
        let last = last.entry((connection, room)).or_default();
        let mut before = last.written.insert(epoch, (key, offset));
        if truth.survives(room, epoch, offset) {
            before = last.kept.replace((key, offset)).filter(|kept| before.is_none_or(|at| kept.1 > at.1)).or(before);
        }
        report.compared += usize::from(before.is_some());
        if let Some((earlier, at)) = before.filter(|(_, at)| *at >= offset) {
            let text = format!("{name}: {earlier}, sent before {key}, is at {at} of {room}, and {key} at {offset}");
            report.faults.insert(Fault::Reordered(text));
        }
    }
}

/// What was sent only once, in that order. Notes how many were unacked at a time.
fn sent_once<'a>(lines: &'a [Line], report: &mut Report) -> Vec<(&'a str, Once<'a>)> {
    let mut sent: Vec<(&str, Once<'_>)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut repeated: BTreeSet<&str> = BTreeSet::new();
    let mut unacked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut connection = 0;
    for line in lines {
        match &line.event {
            Event::Connected(_) => {
                connection += 1;
                unacked.clear();
            }
            Event::Sent(frame) if frame["type"] == "chat" => {
                let (key, room) = (text(&frame["key"]), text(&frame["room"]));
                let on_the_way = unacked.entry(room).or_default();
                on_the_way.insert(key);
                report.unacked_at_once = report.unacked_at_once.max(on_the_way.len());
                if places.contains_key(key) {
                    repeated.insert(key);
                } else {
                    places.insert(key, sent.len());
                    sent.push((key, Once { connection, room, acked: None }));
                }
            }
            Event::Received(frame) if frame["type"] == "ack" => {
                let (key, room) = (text(&frame["id"]), text(&frame["room"]));
                unacked.entry(room).or_default().remove(key);
                let once = places.get(key).map(|place| &mut sent[*place].1);
                if let Some(once) = once.filter(|once| once.connection == connection) {
                    once.acked = Some((text(&frame["epoch"]), frame["offset"].as_u64().unwrap_or_default()));
                }
            }
            _ => {}
        }
    }
    sent.retain(|(key, _)| !repeated.contains(key));
    sent
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
