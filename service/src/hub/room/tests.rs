//! A room serves its members every message once and in order, whatever arrives, or tells the shift.

use std::task::{Context, Waker};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::hub::outbox::Budget;
use crate::ids::RoomName;
use crate::message::Epoch;

const OLD: u64 = 7;

fn position(epoch: u64, offset: u64) -> Position {
    Position { epoch: Epoch::from_bits(epoch), offset }
}

fn message(epoch: u64, offset: u64) -> (Position, Entry) {
    (position(epoch, offset), Entry { offset, frame: Bytes::from(format!("{offset}")) })
}

fn page(offsets: std::ops::Range<u64>, epoch: u64, top: u64) -> Page {
    let entries = offsets.map(|offset| message(epoch, offset).1).collect();
    Page { entries, top: position(epoch, top), more: false, lost: false }
}

struct Fixture {
    room: Arc<Room>,
    outbox: Arc<Outbox>,
    tally: Tally,
}

impl Fixture {
    fn new() -> Self {
        let room = Room::new(LogName::Room(RoomName::parse("r").unwrap()), 0, Budget::new(usize::MAX));
        let outbox = Outbox::new(1_000_000, Budget::new(usize::MAX));
        room.add(Arc::clone(&outbox), Slot(0)).unwrap();
        Self { room, outbox, tally: Tally::default() }
    }

    /// Open at offset 10.
    fn open() -> Self {
        let fixture = Self::new();
        assert_eq!(fixture.room.opened(position(OLD, 10)), Continuity::Whole);
        fixture
    }

    fn arrive(&mut self, epoch: u64, offsets: &[u64]) -> Continuity {
        let arrivals: Vec<_> = offsets.iter().map(|offset| message(epoch, *offset)).collect();
        self.room.arrive(arrivals.into_iter(), &mut self.tally)
    }

    fn repaired(&mut self, page: &Page) -> Continuity {
        self.room.repaired(page, &mut self.tally)
    }

    fn served(&self) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        let _ = self.outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut parcels);
        parcels
    }

    fn words(&self) -> Vec<String> {
        let words = self.served().into_iter().map(|parcel| match parcel {
            Parcel::Run(_, run) => format!("{}..={}", run.first(), run.last()),
            Parcel::Shift(_, shift) if shift.lost => format!("gap to {}", shift.to.offset),
            Parcel::Shift(_, shift) => format!("epoch at {}", shift.to.offset),
            other => format!("{other:?}"),
        });
        words.collect()
    }
}

#[test]
fn what_waits_together_is_served_as_one_run() {
    let mut fixture = Fixture::open();
    assert_eq!(fixture.arrive(OLD, &[11, 12, 13]), Continuity::Whole);
    assert_eq!(fixture.words(), ["11..=13"]);
    assert_eq!(fixture.tally, Tally { runs: 1, ..Tally::default() });
}

#[test]
fn repeats_are_dropped_and_counted() {
    let mut fixture = Fixture::open();
    assert_eq!(fixture.arrive(OLD, &[9, 11, 11, 10]), Continuity::Whole);
    assert_eq!(fixture.words(), ["11..=11"]);
    assert_eq!(fixture.tally.duplicates, 3);
}

#[test]
fn a_hole_begins_one_repair_and_what_comes_meanwhile_follows_it() {
    let mut fixture = Fixture::open();
    assert_eq!(fixture.arrive(OLD, &[11, 13]), Continuity::Broken);
    assert_eq!(fixture.arrive(OLD, &[14]), Continuity::Whole, "one repair is enough");
    assert_eq!(fixture.words(), ["11..=11"]);
    assert_eq!(fixture.repaired(&page(12..14, OLD, 13)), Continuity::Whole);
    assert_eq!(fixture.words(), ["12..=13", "14..=14"]);
    assert_eq!(fixture.arrive(OLD, &[15]), Continuity::Whole);
    assert_eq!(fixture.words(), ["15..=15"]);
}

#[test]
fn what_arrives_before_the_position_is_known_is_read_from_the_log() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.arrive(OLD, &[11]), Continuity::Whole);
    assert_eq!(fixture.words(), [""; 0]);
    assert_eq!(fixture.room.opened(position(OLD, 10)), Continuity::Broken);
    assert_eq!(fixture.repaired(&page(11..12, OLD, 11)), Continuity::Whole);
    assert_eq!(fixture.words(), ["11..=11"]);
}

#[test]
fn another_epoch_is_told_as_the_log_says() {
    let mut fixture = Fixture::open();
    assert_eq!(fixture.arrive(8, &[11]), Continuity::Broken);
    assert_eq!(fixture.repaired(&page(11..12, 8, 11)), Continuity::Whole);
    assert_eq!(fixture.words(), ["epoch at 10", "11..=11"]);

    let mut fixture = Fixture::open();
    assert_eq!(fixture.arrive(8, &[4]), Continuity::Broken);
    assert_eq!(fixture.repaired(&Page { lost: true, ..page(0..0, 8, 4) }), Continuity::Whole);
    assert_eq!(fixture.words(), ["gap to 4"]);
    assert_eq!(fixture.tally.gaps, 1);
}

#[test]
fn a_straggler_of_an_older_life_costs_one_more_read_and_nothing_else() {
    let mut fixture = Fixture::open();
    assert_eq!(fixture.arrive(6, &[11]), Continuity::Broken);
    assert_eq!(fixture.repaired(&page(0..0, OLD, 10)), Continuity::Broken);
    assert_eq!(fixture.repaired(&page(0..0, OLD, 10)), Continuity::Whole);
    assert_eq!(fixture.words(), [""; 0]);
}

#[test]
fn more_arrivals_than_can_be_held_are_read_instead() {
    let mut fixture = Fixture::open();
    assert_eq!(fixture.arrive(OLD, &(12..1_000).collect::<Vec<_>>()), Continuity::Broken);
    assert_eq!(fixture.repaired(&page(11..12, OLD, 999)), Continuity::Broken, "read on");
    assert_eq!(fixture.repaired(&page(268..1_000, OLD, 999)), Continuity::Whole);
    assert_eq!(fixture.words(), ["11..=11", "12..=267", "268..=999"]);
}

#[test]
fn a_quiet_room_is_compared_with_its_log_and_one_in_traffic_is_left_alone() {
    let fixture = Fixture::open();
    let cursor = fixture.room.cursor();
    assert_eq!(fixture.room.compare(cursor, position(OLD, 10), false), Continuity::Whole);
    assert_eq!(fixture.room.compare(Some(position(OLD, 9)), position(OLD, 11), false), Continuity::Whole);
    assert_eq!(fixture.room.compare(cursor, position(OLD, 11), false), Continuity::Broken);
    let fixture = Fixture::open();
    assert_eq!(fixture.room.compare(Some(position(OLD, 9)), position(OLD, 11), true), Continuity::Broken);
}

#[test]
fn what_is_known_to_be_lost_while_a_repair_reads_is_read_too() {
    let mut fixture = Fixture::open();
    assert_eq!(fixture.arrive(OLD, &[12]), Continuity::Broken);
    let page_under_way = page(11..13, OLD, 12);
    let cursor = fixture.room.cursor();
    assert_eq!(
        fixture.room.compare(cursor, position(OLD, 13), false),
        Continuity::Whole,
        "not known: the repair tells"
    );
    assert_eq!(fixture.room.compare(cursor, position(OLD, 13), true), Continuity::Whole, "one repair is enough");
    assert_eq!(fixture.repaired(&page_under_way), Continuity::Broken, "read on");
    assert_eq!(fixture.repaired(&page(13..14, OLD, 13)), Continuity::Whole);
    assert_eq!(fixture.words(), ["11..=12", "13..=13"]);
}

#[test]
fn what_is_known_to_be_lost_before_the_position_is_known_is_read_too() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.room.compare(None, position(OLD, 11), true), Continuity::Whole);
    assert_eq!(fixture.room.opened(position(OLD, 10)), Continuity::Broken);
    assert_eq!(fixture.repaired(&page(11..12, OLD, 11)), Continuity::Whole);
    assert_eq!(fixture.words(), ["11..=11"]);
}

#[test]
fn an_empty_room_closes_after_its_ticks_and_takes_nobody_then() {
    let fixture = Fixture::new();
    assert!(!fixture.room.close_if_idle(2));
    fixture.room.remove(0);
    assert!(!fixture.room.close_if_idle(2));
    let key = fixture.room.add(Arc::clone(&fixture.outbox), Slot(1)).unwrap();
    fixture.room.remove(key);
    assert!(!fixture.room.close_if_idle(2) && !fixture.room.close_if_idle(2), "counted from the last leave");
    assert!(fixture.room.close_if_idle(2));
    assert_eq!(fixture.room.add(Arc::clone(&fixture.outbox), Slot(2)), None);
}

#[derive(Debug, Clone)]
enum Event {
    /// So many are published; those whose bit is set arrive, now or later.
    Publish(u8, u8),
    /// Something that was held back arrives, perhaps once more.
    Late(u8),
    /// A new life that keeps all, or loses one.
    Epoch(bool),
    /// The repair reads so many.
    Read(u8),
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_u8..5, any::<u8>()).prop_map(|(count, mask)| Event::Publish(count, mask)),
        3 => any::<u8>().prop_map(Event::Late),
        1 => any::<bool>().prop_map(Event::Epoch),
        4 => (1_u8..6).prop_map(Event::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn members_get_all_in_order_or_are_told(events in prop::collection::vec(events(), 1..60)) {
        let mut fixture = Fixture::open();
        let (mut epoch, mut top, mut floor) = (OLD, 10_u64, u64::MAX);
        let (mut late, mut repairing) = (Vec::new(), false);
        let mut at = position(OLD, 10);
        // `floor`: the top at which the last life ended; a position of that life above it has lost something.
        let read = |fixture: &mut Fixture, epoch: u64, top: u64, floor: u64, most: u64| {
            let since = fixture.room.cursor().unwrap();
            let lost = since.epoch != Epoch::from_bits(epoch) && (since.offset > floor || since.epoch != Epoch::from_bits(epoch - 1));
            let end = (since.offset + most).min(top);
            let mut answer = if lost { page(0..0, epoch, top) } else { page(since.offset + 1..end + 1, epoch, top) };
            answer.lost = lost;
            answer.more = !lost && end < top;
            fixture.repaired(&answer) == Continuity::Broken
        };
        for event in events {
            match event {
                Event::Publish(count, mask) => {
                    let new: Vec<u64> = (top + 1..=top + u64::from(count)).collect();
                    top += u64::from(count);
                    let (now, later): (Vec<u64>, Vec<u64>) = new.iter().partition(|n| mask >> (**n % 8) & 1 == 1);
                    late.extend(later.into_iter().map(|offset| (epoch, offset)));
                    repairing |= fixture.arrive(epoch, &now) == Continuity::Broken;
                }
                Event::Late(pick) if !late.is_empty() => {
                    let (epoch, offset) = late[usize::from(pick) % late.len()];
                    repairing |= fixture.arrive(epoch, &[offset]) == Continuity::Broken;
                }
                Event::Late(_) => {}
                Event::Epoch(loses) => {
                    top -= u64::from(loses && top > 0);
                    floor = top;
                    epoch += 1;
                }
                Event::Read(most) if repairing => repairing = read(&mut fixture, epoch, top, floor, u64::from(most)),
                Event::Read(_) => {}
            }
        }
        let behind = fixture.room.compare(fixture.room.cursor(), position(epoch, top), false) == Continuity::Broken;
        repairing |= behind;
        for _ in 0..200 {
            if repairing {
                repairing = read(&mut fixture, epoch, top, floor, 3);
            }
        }
        prop_assert!(!repairing, "the repair never ends");
        for parcel in fixture.served() {
            match parcel {
                Parcel::Run(_, run) => {
                    prop_assert_eq!((run.epoch(), run.first()), (at.epoch, at.offset + 1));
                    at.offset = run.last();
                }
                Parcel::Shift(_, shift) => {
                    prop_assert_eq!(shift.from, at);
                    prop_assert!(shift.lost || shift.to.offset == at.offset);
                    at = shift.to;
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(at, position(epoch, top));
    }
}
