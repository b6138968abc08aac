//! What brings much waits for its turn, and what waits for the peer is counted.

use std::task::Waker;

use bytes::Bytes;

use super::*;
use crate::backplane::{Page, Range};
use crate::ids::{LogName, RoomName};
use crate::message::{Epoch, Position};
use crate::presence::Roster;

fn history() -> Action {
    let log = LogName::Room(RoomName::parse("r").unwrap());
    Action::History { log, range: Range::Newest, limit: 1 }
}

fn presence() -> Action {
    Action::Presence { room: RoomName::parse("r").unwrap() }
}

fn page(bytes: usize) -> Outcome {
    let entries = vec![Entry { offset: 1, frame: Bytes::from(vec![b'x'; bytes]) }];
    let top = Position { epoch: Epoch::from_bits(1), offset: 1 };
    Outcome::Page(Ok(Page { entries, top, more: false, lost: false }))
}

/// Operations by their numbers, as a connection would run them.
#[derive(Default)]
struct Fixture {
    ops: Ops,
    next: u32,
    begun: Vec<u32>,
}

impl Fixture {
    fn ask(&mut self, action: Action, blocked: bool) {
        let op = OpId(self.next);
        self.next += 1;
        if self.ops.postpone(op, action, blocked).is_some() {
            self.begun.push(op.0);
        }
    }

    fn begin(&mut self) {
        while let Some((OpId(number), _)) = self.ops.next() {
            self.begun.push(number);
        }
    }

    fn done(&mut self, op: u32, outcome: Outcome) {
        self.ops.push(Box::pin(async move { Finished::Action(OpId(op), outcome, None) }));
        self.ops.drive(&mut Context::from_waker(Waker::noop()));
    }
}

#[test]
fn a_few_reads_run_at_once_and_the_next_begins_when_a_page_was_handed_out() {
    let mut fixture = Fixture::default();
    for _ in 0..6 {
        fixture.ask(history(), false);
    }
    fixture.begin();
    assert_eq!(fixture.begun, [0, 1, 2, 3]);
    fixture.done(2, page(1));
    fixture.begin();
    assert_eq!(fixture.begun, [0, 1, 2, 3], "nobody took the page yet");
    assert!(fixture.ops.take().is_some());
    fixture.ask(history(), false);
    assert_eq!(fixture.begun, [0, 1, 2, 3], "others asked before");
    fixture.begin();
    assert_eq!(fixture.begun, [0, 1, 2, 3, 4]);
}

#[test]
fn while_the_socket_is_full_nothing_that_brings_much_begins() {
    let mut fixture = Fixture::default();
    fixture.ask(history(), true);
    fixture.ask(presence(), true);
    fixture.ask(Action::Publish { log: LogName::Room(RoomName::parse("r").unwrap()), drafts: Vec::new() }, true);
    assert_eq!(fixture.begun, [2]);
    assert!(!fixture.ops.is_empty());
    fixture.begin();
    assert_eq!(fixture.begun, [2, 0, 1]);
}

#[test]
fn lists_have_a_queue_of_their_own() {
    let mut fixture = Fixture::default();
    for _ in 0..4 {
        fixture.ask(presence(), false);
    }
    fixture.ask(history(), false);
    assert_eq!(fixture.begun, [0, 1, 4]);
    fixture.done(1, Outcome::Roster(Ok(Roster { users: Vec::new(), count: 0 })));
    assert!(fixture.ops.take().is_some());
    fixture.begin();
    assert_eq!(fixture.begun, [0, 1, 4, 2]);
}

#[test]
fn what_waits_for_the_peer_is_counted() {
    let mut fixture = Fixture::default();
    assert_eq!(fixture.ops.held_bytes(), 0);
    fixture.ask(history(), true);
    let request = fixture.ops.held_bytes();
    assert!((100..1_000).contains(&request), "{request}");
    fixture.begin();
    assert_eq!(fixture.ops.held_bytes(), 0, "it runs");
    fixture.done(0, page(100_000));
    assert!((100_000..100_500).contains(&fixture.ops.held_bytes()), "{}", fixture.ops.held_bytes());
    assert!(fixture.ops.take().is_some());
    assert_eq!(fixture.ops.held_bytes(), 0);
    let users: Vec<_> = (0..1_000).map(|n| UserId::parse(&format!("{n:0>100}")).unwrap()).collect();
    fixture.ask(presence(), false);
    fixture.done(1, Outcome::Roster(Ok(Roster { count: users.len(), users })));
    assert!((100_000..200_000).contains(&fixture.ops.held_bytes()), "{}", fixture.ops.held_bytes());
    assert!(fixture.ops.take().is_some());
    let room = RoomName::parse(&"r".repeat(100)).unwrap();
    fixture.ask(Action::Rooms { rights: crate::rights::Rights::all() }, false);
    fixture.done(2, Outcome::Rooms(Ok((vec![RoomTop { room, offset: 1 }; 1_000], false))));
    assert!((100_000..200_000).contains(&fixture.ops.held_bytes()), "{}", fixture.ops.held_bytes());
}
