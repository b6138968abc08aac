//! Tests of one session's judgement, without sockets: frames in, frames and counts out.

use std::sync::Arc;

use serde_json::Value;

use super::super::board::Board;
use super::super::plan::Plan;
use super::super::plan::tests::shape;
use super::super::world::{Habits, World};
use super::*;

struct Bench {
    seat: Seat,
    world: World,
    cues: Vec<Cue>,
}

impl Bench {
    /// A session in two rooms, not yet welcomed.
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Habits)) -> Self {
        let plan = Arc::new(Plan::new(shape(2, 2, 2, 1)).unwrap());
        let mut habits = Habits { history: 0, burst: 1, inflight: 1, saturate: false };
        change(&mut habits);
        let world = World::new(Arc::clone(&plan), Arc::new(Board::new(2)), habits);
        Self { seat: Seat::new(0, plan.rooms_of(0)), world, cues: Vec::new() }
    }

    fn room(&self, room: usize) -> String {
        self.world.plan.room_name(room)
    }

    /// Lets the session hear a frame and returns what it sends.
    fn hear(&mut self, frame: &str) -> Vec<Value> {
        let mut out = Vec::new();
        self.world.begin_turn();
        self.seat.hear(frame.as_bytes(), &mut out, &mut self.cues, &mut self.world);
        unmask(&out)
    }

    fn act(&mut self) -> Vec<Value> {
        let mut out = Vec::new();
        self.world.begin_turn();
        self.seat.carry_out(&mut out, &mut self.world);
        unmask(&out)
    }

    fn joined(&mut self, room: usize, offset: u64) -> Vec<Value> {
        let name = self.room(room);
        self.hear(&format!(
            r#"{{"type":"joined","id":"j{room}","room":"{name}","epoch":"e1","offset":{offset},"recovered":false,"more":false,"messages":[]}}"#
        ))
    }

    fn arrive(&mut self) {
        self.hear(r#"{"type":"welcome","server_id":"one"}"#);
        self.joined(0, 10);
        self.joined(1, 0);
        assert!(self.seat.present());
    }

    fn message(&mut self, room: usize, offset: u64) {
        let name = self.room(room);
        self.hear(&format!(r#"{{"type":"message","room":"{name}","offset":{offset},"from":"x","msg":1,"at":1}}"#));
    }
}

/// The JSON of the frames a client has sent; all of them are short or of middle length.
fn unmask(mut bytes: &[u8]) -> Vec<Value> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (header, length) = match bytes[1] & 0x7f {
            126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
            short => (2, usize::from(short)),
        };
        let (mask, rest) = bytes[header..].split_at(4);
        let payload: Vec<u8> = rest[..length].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        frames.push(serde_json::from_slice(&payload).unwrap());
        bytes = &rest[length..];
    }
    frames
}

#[test]
fn a_welcome_is_answered_by_joining_every_room() {
    let mut bench = Bench::with(|habits| habits.history = 50);
    let sent = bench.hear(r#"{"type":"welcome","server_id":"one"}"#);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0]["type"], "join");
    assert_eq!(sent[0]["room"], bench.room(0));
    assert_eq!(sent[1]["history"], 50);
    bench.joined(0, 0);
    assert!(!bench.seat.present());
    bench.joined(1, 0);
    assert!(bench.seat.present());
}

#[test]
fn a_new_connection_resumes_where_the_last_one_stood() {
    let mut bench = Bench::new();
    bench.arrive();
    bench.message(0, 11);
    bench.seat.leave();
    let sent = bench.hear(r#"{"type":"welcome","server_id":"two"}"#);
    assert_eq!(sent[0]["since"], serde_json::json!({"epoch": "e1", "offset": 11}));
    assert_eq!(sent[1]["since"], serde_json::json!({"epoch": "e1", "offset": 0}));
}

#[test]
fn a_replay_in_parts_is_followed_to_its_end() {
    let mut bench = Bench::new();
    bench.arrive();
    bench.seat.leave();
    bench.hear(r#"{"type":"welcome","server_id":"two"}"#);
    let name = bench.room(0);
    let sent = bench.hear(&format!(
        r#"{{"type":"joined","id":"j0","room":"{name}","epoch":"e1","offset":12,"recovered":true,"more":true,"messages":[{{"offset":11}},{{"offset":12}}]}}"#
    ));
    assert_eq!(sent[0]["since"]["offset"], 12);
    bench.hear(&format!(
        r#"{{"type":"joined","id":"j0","room":"{name}","epoch":"e1","offset":13,"recovered":true,"more":false,"messages":[{{"offset":13}}]}}"#
    ));
    let tally = &bench.world.tally;
    assert_eq!((tally.replayed, tally.recovered, tally.not_recovered), (3, 1, 0));
    assert_eq!(bench.seat.missing(&bench.world), 0);
}

#[test]
fn a_resume_that_is_not_honoured_is_told_loss_and_not_missing() {
    let mut bench = Bench::new();
    bench.arrive();
    bench.seat.leave();
    bench.hear(r#"{"type":"welcome","server_id":"two"}"#);
    bench.joined(0, 15);
    assert_eq!((bench.world.tally.not_recovered, bench.world.tally.told_lost), (1, 5));
    bench.message(0, 16);
    assert_eq!(bench.seat.missing(&bench.world), 0);
}

#[test]
fn a_message_before_joined_breaks_the_promise() {
    let mut bench = Bench::new();
    bench.hear(r#"{"type":"welcome","server_id":"one"}"#);
    bench.message(0, 1);
    assert_eq!(bench.world.tally.before_joined, 1);
}

#[test]
fn rooms_of_others_are_not_counted() {
    let mut bench = Bench::new();
    bench.arrive();
    bench.hear(r#"{"type":"message","room":"general","offset":9,"from":"x","msg":1,"at":1}"#);
    bench.hear(r#"{"type":"direct","room":"@me","offset":9,"from":"x","to":"y","msg":1,"at":1}"#);
    assert_eq!(bench.world.tally.delivered, 0);
}

#[test]
fn what_was_not_acked_is_repeated_with_its_key_before_anything_new() {
    let mut bench = Bench::new();
    bench.arrive();
    assert!(bench.seat.publish_next(7, 1));
    let first = bench.act();
    bench.seat.leave();
    assert!(bench.seat.publish_next(8, 1));
    bench.hear(r#"{"type":"welcome","server_id":"two"}"#);
    assert_eq!(bench.act(), [] as [Value; 0]);
    bench.joined(0, 10);
    let sent = bench.joined(1, 0);
    assert_eq!(sent[0], first[0]);
    assert_ne!(sent[1]["key"], first[0]["key"]);
    assert_eq!(bench.world.tally.repeated, 1);
}

#[test]
fn an_unknown_outcome_is_repeated_and_a_refusal_is_not() {
    let mut bench = Bench::new();
    bench.arrive();
    bench.seat.publish_next(7, 2);
    bench.act();
    bench.hear(r#"{"type":"error","id":0,"code":"outcome_unknown","message":"?","retry_after_ms":40}"#);
    bench.hear(r#"{"type":"error","id":1,"code":"unavailable","message":"?"}"#);
    assert_eq!(bench.cues, [Cue::RetryAfter { ms: 40, todo: Todo::Repeat(0) }]);
    assert_eq!(bench.world.tally.refused, 1);
    bench.seat.ask(Todo::Repeat(0));
    assert_eq!(bench.act()[0]["id"], 0);
    assert!(!bench.seat.all_acked());
    let name = bench.room(0);
    bench.hear(&format!(r#"{{"type":"ack","id":0,"room":"{name}","epoch":"e1","offset":11,"at":1}}"#));
    assert!(bench.seat.all_acked());
    assert_eq!(bench.seat.missing(&bench.world), 1);
}

#[test]
fn a_saturating_publisher_sends_the_next_burst_when_the_last_is_acked() {
    let mut bench = Bench::with(|habits| (habits.saturate, habits.burst, habits.inflight) = (true, 2, 2));
    bench.world.board.publishing.store(true, Relaxed);
    bench.hear(r#"{"type":"welcome","server_id":"one"}"#);
    bench.joined(0, 0);
    let name = bench.room(0);
    assert_eq!(bench.joined(1, 0).len(), 2);
    let ack =
        |id, offset| format!(r#"{{"type":"ack","id":{id},"room":"{name}","epoch":"e1","offset":{offset},"at":1}}"#);
    assert_eq!(bench.hear(&ack(0, 1)).len(), 0);
    assert_eq!(bench.hear(&ack(1, 2)).len(), 2);
    bench.world.board.publishing.store(false, Relaxed);
    assert_eq!(bench.hear(&ack(2, 3)).len() + bench.hear(&ack(3, 4)).len(), 0);
}

#[test]
fn a_refused_join_is_asked_again() {
    let mut bench = Bench::new();
    bench.hear(r#"{"type":"welcome","server_id":"one"}"#);
    bench.hear(r#"{"type":"error","id":"j1","code":"unavailable","message":"?","retry_after_ms":30}"#);
    assert_eq!(bench.cues, [Cue::RetryAfter { ms: 30, todo: Todo::Join(1) }]);
}
