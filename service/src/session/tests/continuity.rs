//! Joins, replays, resynchronisation; and the promise itself over arbitrary histories: never a room not joined, never
//! an offset skipped or repeated without a gap, whatever the hub loses, repeats or swaps.

use proptest::prelude::*;

use super::*;
use crate::delivery::Shift;

#[test]
fn nothing_of_a_room_precedes_its_joined_and_the_first_live_one_follows_it() {
    let mut driven = Driven::signed_in();
    let op = driven.start(r#"{"type":"join","id":1,"room":"r","history":2}"#);
    assert_eq!(driven.give(Input::Parcel(Parcel::Run(Slot(0), run(9..=11)))), []);
    let out = driven.done(op, Outcome::Page(Ok(page(9..=10, 10))));
    assert_eq!(
        told(&out),
        [
            r#"{"type":"joined","id":1,"room":"r","epoch":"0000000000000007","offset":10,"recovered":true,"more":false,"messages":[m9,m10]}"#,
            "forward 11..=11"
        ]
    );
}

#[test]
fn a_resume_that_cannot_be_honoured_says_so_without_messages() {
    for (since, lost) in
        [(r#"{"epoch":"0000000000000007","offset":3}"#, true), (r#"{"epoch":"foreign","offset":3}"#, false)]
    {
        let mut driven = Driven::signed_in();
        let op = driven.start(&format!(r#"{{"type":"join","room":"r","since":{since}}}"#));
        let read = Page { lost, ..nothing(10) };
        assert_eq!(
            told(&driven.done(op, Outcome::Page(Ok(read)))),
            [
                r#"{"type":"joined","room":"r","epoch":"0000000000000007","offset":10,"recovered":false,"more":false,"messages":[]}"#
            ]
        );
    }
}

#[test]
fn without_the_right_to_history_no_claimed_position_is_honoured() {
    let mut driven = Driven::new(rules(|_| {}));
    let rule = crate::rights::RoomRule { pattern: "r".into(), can: vec![crate::rights::Right::Join] };
    let rights = Rights::from_claims(Some(vec![rule]), None);
    driven.give(Input::SignedIn(Grant { rights, ..grant() }));
    let out = driven.say(r#"{"type":"join","room":"r","since":{"epoch":"0000000000000007","offset":0}}"#);
    let [(op, Action::Join { start: JoinStart::Newest(0), .. })] = started(&out)[..] else { panic!("{out:?}") };
    let said = told(&driven.done(op, Outcome::Page(Ok(nothing(10)))));
    assert!(said[0].contains(r#""offset":10,"recovered":false,"more":false,"messages":[]"#), "{said:?}");
}

#[test]
fn a_long_replay_comes_in_parts_and_is_not_live_before_the_last() {
    let mut driven = Driven::signed_in();
    let join = r#"{"type":"join","room":"r","since":{"epoch":"0000000000000007","offset":3}}"#;
    let op = driven.start(join);
    let out = driven.done(op, Outcome::Page(Ok(Page { more: true, ..page(4..=5, 10) })));
    let said = told(&out);
    assert!(said[0].contains(r#""offset":5,"recovered":true,"more":true"#), "{said:?}");
    assert_eq!(said[1], "leave 0 asked=false");
    assert_eq!(driven.give(Input::Parcel(Parcel::Run(Slot(0), run(11..=11)))), [], "not a member between the parts");
    assert_eq!(error_code(&driven.say(r#"{"type":"chat","room":"r","msg":1}"#)), ErrorCode::NotJoined);
}

#[test]
fn a_hole_is_filled_from_the_log() {
    let mut driven = Driven::joined();
    let out = driven.give(Input::Parcel(Parcel::Run(Slot(0), run(13..=14))));
    let [(op, Action::Sync { since, .. })] = started(&out)[..] else { panic!("{out:?}") };
    assert_eq!(*since, at(10));
    let out = driven.done(op, Outcome::Page(Ok(page(11..=13, 13))));
    assert_eq!(told(&out), ["forward 11..=13", "forward 14..=14"]);
}

#[test]
fn a_failed_read_is_tried_again_until_the_log_answers() {
    let mut driven = Driven::joined();
    let out = driven.give(Input::Parcel(Parcel::Run(Slot(0), run(13..=13))));
    let op = started(&out)[0].0;
    assert_eq!(driven.done(op, Outcome::Page(Err(Unavailable("x".into())))), []);
    let out = driven.advance(Duration::from_millis(500));
    let op = started(&out)[0].0;
    assert_eq!(told(&driven.done(op, Outcome::Page(Ok(page(11..=13, 13))))), ["forward 11..=13"]);
}

#[test]
fn a_new_epoch_without_loss_is_told_and_with_loss_it_is_a_gap() {
    let other = Epoch::from_bits(8);
    for (lost, said) in [
        (
            false,
            r#"{"type":"joined","room":"r","epoch":"0000000000000008","offset":10,"recovered":true,"more":false,"messages":[]}"#,
        ),
        (true, r#"{"type":"gap","room":"r","epoch":"0000000000000008","offset":10}"#),
    ] {
        let mut driven = Driven::joined();
        let shift = Shift { from: at(10), to: Position { epoch: other, offset: 10 }, lost };
        assert_eq!(told(&driven.give(Input::Parcel(Parcel::Shift(Slot(0), Arc::new(shift))))), [said]);
    }
}

#[test]
fn a_loss_before_what_the_session_has_is_checked_not_told() {
    // The instance had delivered up to 7 and lost what followed; this session had read up to 10 by itself.
    let mut driven = Driven::joined();
    let shift = Shift { from: at(7), to: Position { epoch: Epoch::from_bits(8), offset: 12 }, lost: true };
    let out = driven.give(Input::Parcel(Parcel::Shift(Slot(0), Arc::new(shift))));
    assert!(matches!(started(&out)[..], [(_, Action::Sync { since, .. })] if *since == at(10)), "{out:?}");
}

#[test]
fn what_is_held_during_a_join_is_bounded_and_nothing_is_lost() {
    let mut driven = Driven::signed_in();
    let op = driven.start(r#"{"type":"join","room":"r"}"#);
    for offset in 11..=1_000 {
        driven.give(Input::Parcel(Parcel::Run(Slot(0), run(offset..=offset))));
        let (_, shared) = driven.session.held_bytes();
        assert!(shared <= 1_000 && (shared > 0 || offset > 20), "{shared} after {offset}");
    }
    let out = driven.done(op, Outcome::Page(Ok(nothing(10))));
    let [(op, Action::Sync { since, .. })] = started(&out)[..] else { panic!("{:?}", told(&out)) };
    assert_eq!(*since, at(10));
    let out = driven.done(op, Outcome::Page(Ok(page(11..=1_000, 1_000))));
    assert_eq!(told(&out), ["forward 11..=1000"]);
}

#[test]
fn a_leave_before_the_join_is_done_answers_both() {
    let mut driven = Driven::signed_in();
    let join = driven.start(r#"{"type":"join","id":1,"room":"r"}"#);
    let out = driven.say(r#"{"type":"leave","id":2,"room":"r"}"#);
    assert_eq!(told(&out), ["leave 0 asked=true", r#"{"type":"left","id":2,"room":"r"}"#]);
    let out = driven.done(join, Outcome::Page(Ok(nothing(3))));
    assert_eq!((error_code(&out), out.len()), (ErrorCode::NotJoined, 1));
}

/// A log with its lives: what a reader of a position gets, by the contract of the port.
#[derive(Debug, Clone)]
struct Log {
    epoch: u64,
    /// Contents by offset from 1; a message is named by the epoch it was written in.
    messages: Vec<u64>,
    /// Earlier epochs and the top at their end.
    earlier: Vec<(u64, u64)>,
    /// Offsets up to here are trimmed.
    trimmed: u64,
}

impl Log {
    fn top(&self) -> Position {
        Position { epoch: Epoch::from_bits(self.epoch), offset: self.messages.len() as u64 }
    }

    fn entries(&self, after: u64, most: usize) -> Vec<Entry> {
        let entries = (after + 1..=self.messages.len() as u64).map(|offset| {
            let written = self.messages[usize::try_from(offset).unwrap() - 1];
            Entry { offset, frame: Bytes::from(format!("{written}:{offset}")) }
        });
        entries.take(most).collect()
    }

    fn good(&self, position: Position) -> bool {
        let known = self.earlier.iter().find(|(epoch, _)| Epoch::from_bits(*epoch) == position.epoch);
        let within = if position.epoch == self.top().epoch {
            position.offset <= self.top().offset
        } else {
            known.is_some_and(|(_, top)| position.offset <= *top)
        };
        within && position.offset >= self.trimmed
    }

    fn since(&self, position: Position, most: usize) -> Page {
        if !self.good(position) {
            return Page { entries: Vec::new(), top: self.top(), more: false, lost: true };
        }
        let entries = self.entries(position.offset, most);
        let more = entries.last().map_or(position.offset, |entry| entry.offset) < self.top().offset;
        Page { entries, top: self.top(), more, lost: false }
    }

    /// A new life, after losing the last `lost` messages.
    fn new_epoch(&mut self, lost: usize) {
        let kept = self.messages.len().saturating_sub(lost);
        self.messages.truncate(kept);
        for (_, top) in &mut self.earlier {
            *top = (*top).min(kept as u64);
        }
        self.earlier.push((self.epoch, kept as u64));
        self.trimmed = self.trimmed.min(kept as u64);
        self.epoch += 1;
    }
}

#[derive(Debug, Clone)]
enum Event {
    Write(u8),
    Epoch(u8),
    Trim,
    /// The hub hands on a stretch of the log: from this far before the top, this many.
    Deliver(u8, u8),
    /// The hub tells of another life, from where the session is, or from elsewhere.
    Shift(u8),
    /// The oldest or newest action is answered, in full or in part, or fails.
    Answer(bool, u8, bool),
    Join(Option<u8>),
    Leave,
    Tick,
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_u8..4).prop_map(Event::Write),
        1 => (0_u8..3).prop_map(Event::Epoch),
        1 => Just(Event::Trim),
        6 => (0_u8..6, 1_u8..5).prop_map(|(back, count)| Event::Deliver(back, count)),
        1 => (0_u8..4).prop_map(Event::Shift),
        6 => (any::<bool>(), 1_u8..6, prop::bool::weighted(0.1)).prop_map(|(old, most, fails)| Event::Answer(old, most, fails)),
        2 => prop::option::of(0_u8..4).prop_map(Event::Join),
        1 => Just(Event::Leave),
        1 => Just(Event::Tick),
    ]
}

/// What the client knows, and the judge of what it is told.
struct Client {
    at: Option<Position>,
    log: Log,
    driven: Driven,
    open: Vec<(OpId, Action)>,
}

impl Client {
    fn judge(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Reply(ServerFrame::Joined { epoch, offset, recovered, more, messages, id, .. }) => {
                    let unasked = id.is_none();
                    if unasked {
                        assert_eq!(self.at.map(|at| at.offset), Some(offset), "a rebase moves no offset");
                    }
                    let first = messages.first().map(|entry| entry.offset);
                    assert!(first.is_none_or(|first| first + messages.len() as u64 == offset + 1));
                    assert!(recovered || messages.is_empty());
                    self.at = (!more).then_some(Position { epoch, offset });
                }
                Output::Reply(ServerFrame::Gap { epoch, offset, .. }) => {
                    let at = self.at.expect("a gap only where joined");
                    assert!(!self.log.good(at) || self.log.top().epoch != epoch, "a gap though nothing was lost");
                    self.at = Some(Position { epoch, offset });
                }
                Output::Reply(ServerFrame::Left { .. }) => self.at = None,
                Output::Forward(run, after) => {
                    let at = self.at.as_mut().expect("delivered to a room not joined");
                    assert_eq!(run.epoch(), at.epoch, "the epoch is that of the last `joined` or `gap`");
                    assert_eq!(after.max(run.first() - 1), at.offset, "skipped or repeated");
                    assert!(!run.frames_after(after).is_empty());
                    at.offset = run.last();
                }
                Output::Start(op, action) => self.open.push((op, action)),
                Output::Leave { .. } | Output::Reply(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn answer(&mut self, index: usize, most: usize, fails: bool) {
        let (op, action) = self.open.remove(index);
        let page = match action {
            Action::Join { start: JoinStart::Since(since), .. } | Action::Sync { since, .. } => {
                self.log.since(since, most)
            }
            Action::Join { start: JoinStart::Newest(most), .. } => {
                let from = self.log.top().offset.saturating_sub(most as u64).max(self.log.trimmed);
                Page { entries: self.log.entries(from, most), top: self.log.top(), more: false, lost: false }
            }
            other => panic!("{other:?}"),
        };
        let result = if fails { Err(Unavailable("x".into())) } else { Ok(page) };
        let outputs = self.driven.done(op, Outcome::Page(result));
        self.judge(outputs);
    }

    fn slot(&self) -> Slot {
        Slot(self.driven.session.next_slot.saturating_sub(1))
    }

    fn happen(&mut self, event: Event) {
        self.driven.now.mono = self.driven.now.mono + Duration::from_millis(200);
        self.driven.session.heartbeat = Heartbeat::new(self.driven.now.mono);
        match event {
            Event::Write(count) => self.log.messages.extend((0..count).map(|_| self.log.epoch)),
            Event::Epoch(lost) => self.log.new_epoch(usize::from(lost)),
            Event::Trim => self.log.trimmed = self.log.top().offset.saturating_sub(2).max(self.log.trimmed),
            Event::Deliver(back, count) => {
                let from = self.log.top().offset.saturating_sub(u64::from(back)).max(self.log.trimmed);
                if let Some(run) = Run::encode(self.log.top().epoch, &self.log.entries(from, usize::from(count))) {
                    let outputs = self.driven.give(Input::Parcel(Parcel::Run(self.slot(), Arc::new(run))));
                    self.judge(outputs);
                }
            }
            Event::Shift(kind) => {
                let to = self.log.top();
                // An honest hub: it tells a loss exactly when the position it was at is no longer good.
                let from = match kind {
                    0 | 1 => self.at.unwrap_or(to),
                    2 => Position { epoch: Epoch::from_bits(self.log.epoch.saturating_sub(1)), offset: to.offset },
                    _ => Position { epoch: Epoch::from_bits(0), offset: 1 },
                };
                let lost = !self.log.good(from);
                let to = if lost { to } else { Position { offset: from.offset, ..to } };
                if from != to {
                    let shift = Shift { from, to, lost };
                    let outputs = self.driven.give(Input::Parcel(Parcel::Shift(self.slot(), Arc::new(shift))));
                    self.judge(outputs);
                }
            }
            Event::Answer(oldest, most, fails) if !self.open.is_empty() => {
                let index = if oldest { 0 } else { self.open.len() - 1 };
                self.answer(index, usize::from(most), fails);
            }
            Event::Answer(..) => {}
            Event::Join(since) => {
                let text = match (since, self.at) {
                    (Some(_), Some(at)) => format!(
                        r#"{{"type":"join","id":1,"room":"r","since":{{"epoch":"{}","offset":{}}}}}"#,
                        at.epoch, at.offset
                    ),
                    (Some(n), None) => format!(r#"{{"type":"join","id":1,"room":"r","history":{n}}}"#),
                    _ => r#"{"type":"join","id":1,"room":"r"}"#.to_owned(),
                };
                // Between an unanswered join and its answer the client knows nothing of the room.
                self.at = None;
                let outputs = self.driven.say(&text);
                self.judge(outputs);
            }
            Event::Leave => {
                self.at = None;
                let outputs = self.driven.say(r#"{"type":"leave","id":2,"room":"r"}"#);
                self.judge(outputs);
            }
            Event::Tick => {
                let outputs = self.driven.give(Input::Tick { blocked: false });
                self.judge(outputs);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn exactly_once_in_order_or_a_gap_whatever_the_hub_does(events in prop::collection::vec(events(), 1..80)) {
        let log = Log { epoch: 100, messages: vec![100; 5], earlier: Vec::new(), trimmed: 0 };
        let mut client = Client { at: None, log, driven: Driven::signed_in(), open: Vec::new() };
        for event in events {
            client.happen(event);
        }
        // Once the hub has handed on the newest message and everything is answered, a member has it all.
        client.log.messages.push(client.log.epoch);
        client.happen(Event::Deliver(1, 1));
        for _ in 0..500 {
            if client.open.is_empty() {
                client.happen(Event::Tick);
            }
            if client.open.is_empty() {
                client.driven.now.mono = client.driven.now.mono + Duration::from_secs(1);
                client.happen(Event::Tick);
            }
            if client.open.is_empty() {
                break;
            }
            client.answer(0, 3, false);
        }
        prop_assert!(client.open.is_empty(), "it never comes to rest");
        if let Some(at) = client.at {
            prop_assert_eq!(at, client.log.top(), "silent loss");
        }
    }

    #[test]
    fn no_input_makes_a_session_panic(
        texts in prop::collection::vec(
            r#"\{"type":"(join|leave|chat|signal|history|presence|rooms|ping|auth)"(,"room":"(r|s|@me)")?(,"to":"u")?(,"msg":1)?(,"data":1)?(,"id":[0-9])?(,"token":"t")?\}|x"#, 0..60),
        answers in prop::collection::vec((0_u32..80, 0_u8..6), 0..60),
    ) {
        let mut driven = Driven::new(rules(|_| {}));
        driven.give(Input::SignedIn(grant()));
        let mut answers = answers.into_iter();
        for text in texts {
            driven.say(&text);
            if let Some((op, kind)) = answers.next() {
                let outcome = match kind {
                    0 => Outcome::Page(Ok(page(3..=4, 9))),
                    1 => Outcome::Page(Err(Unavailable("x".into()))),
                    2 => Outcome::Published(vec![Ok(Stored { position: at(3), at: 1 })]),
                    3 => Outcome::SignIn(Ok(grant())),
                    4 => Outcome::Roster(Ok(Roster { users: Vec::new(), count: 0 })),
                    _ => Outcome::Rooms(Ok((Vec::new(), false))),
                };
                driven.done(OpId(op), outcome);
            }
            driven.advance(Duration::from_millis(50));
        }
    }
}
