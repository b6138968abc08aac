//! Every corner of one session, in microseconds: what a client is told, what is started, when it ends.

mod continuity;
mod lifecycle;
mod publishing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::backplane::{Page, PublishError, Unavailable};
use crate::delivery::{EphemeralKind, Run};
use crate::ids::ServerId;
use crate::message::{Entry, Epoch, Position, Stored};
use crate::protocol::limits::Limits;
use crate::rights::Rights;

pub(super) const EPOCH: Epoch = Epoch::from_bits(7);

/// A session with everything it said and started, driven by hand.
pub(super) struct Driven {
    pub(super) session: Session,
    pub(super) now: Now,
    pub(super) out: Vec<Output>,
}

pub(super) fn rules(change: impl FnOnce(&mut Limits)) -> Arc<SessionRules> {
    let mut limits = Limits { outbox_bytes: 1_000, ..Limits::default() };
    change(&mut limits);
    let server = ServerId::parse("server-1").unwrap();
    Arc::new(SessionRules::new(server, limits, None))
}

pub(super) fn grant() -> Grant {
    Grant { user: user("alice"), expires: None, rights: Rights::all() }
}

pub(super) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub(super) fn room(name: &str) -> LogName {
    LogName::Room(RoomName::parse(name).unwrap())
}

pub(super) fn entry(offset: u64) -> Entry {
    Entry { offset, frame: Bytes::from(format!("m{offset}")) }
}

pub(super) fn at(offset: u64) -> Position {
    Position { epoch: EPOCH, offset }
}

pub(super) fn page(entries: std::ops::RangeInclusive<u64>, top: u64) -> Page {
    Page { entries: entries.map(entry).collect(), top: at(top), more: false, lost: false }
}

/// No messages, and where the log is.
pub(super) fn nothing(top: u64) -> Page {
    Page { entries: Vec::new(), top: at(top), more: false, lost: false }
}

pub(super) fn run(offsets: std::ops::RangeInclusive<u64>) -> Arc<Run> {
    Arc::new(Run::encode(EPOCH, &offsets.map(entry).collect::<Vec<_>>()).unwrap())
}

impl Driven {
    pub(super) fn new(rules: Arc<SessionRules>) -> Self {
        let now = Now { mono: Moment::from_nanos(1_000_000_000), wall_ms: 1_700_000_000_000 };
        Self { session: Session::new(SessionId::from_bits(1), rules, Vec::new(), now), now, out: Vec::new() }
    }

    /// Signed in, with direct messages off so that the inbox stays out of the picture.
    pub(super) fn signed_in() -> Self {
        let mut driven = Self::new(rules(|_| {}));
        let rights = Rights::from_claims(None, Some(false));
        driven.give(Input::SignedIn(Grant { rights, ..grant() }));
        driven
    }

    /// Signed in and in room `r`, whose top is 10.
    pub(super) fn joined() -> Self {
        let mut driven = Self::signed_in();
        let op = driven.start(r#"{"type":"join","room":"r"}"#);
        driven.done(op, Outcome::Page(Ok(nothing(10))));
        driven
    }

    pub(super) fn give(&mut self, input: Input<'_>) -> Vec<Output> {
        self.out.clear();
        self.session.handle(input, self.now, &mut self.out);
        std::mem::take(&mut self.out)
    }

    pub(super) fn say(&mut self, text: &str) -> Vec<Output> {
        self.give(Input::Text(text))
    }

    /// Says something that starts exactly one action; its number.
    pub(super) fn start(&mut self, text: &str) -> OpId {
        started(&self.say(text)).first().map(|(op, _)| *op).unwrap_or_else(|| panic!("{text} started nothing"))
    }

    pub(super) fn done(&mut self, op: OpId, outcome: Outcome) -> Vec<Output> {
        self.give(Input::Done(op, outcome))
    }

    pub(super) fn advance(&mut self, by: Duration) -> Vec<Output> {
        self.now.mono = self.now.mono + by;
        self.give(Input::Tick { blocked: false })
    }
}

/// What was started.
pub(super) fn started(outputs: &[Output]) -> Vec<(OpId, &Action)> {
    let actions = outputs.iter().filter_map(|output| match output {
        Output::Start(op, action) => Some((*op, action)),
        _ => None,
    });
    actions.collect()
}

/// What was said, as JSON, and what else was asked for, as words.
pub(super) fn told(outputs: &[Output]) -> Vec<String> {
    let words = outputs.iter().map(|output| match output {
        Output::Reply(frame) => String::from_utf8(frame.encode()).unwrap(),
        Output::Forward(run, after) => format!("forward {}..={}", run.first().max(after + 1), run.last()),
        Output::Close(code) => format!("close {}", code.reason()),
        Output::Start(_, action) => format!("start {action:?}").split([' ', '{']).take(2).collect::<Vec<_>>().join(" "),
        Output::Leave { slot, asked } => format!("leave {} asked={asked}", slot.0),
        Output::Ping => "ping".to_owned(),
        Output::Ephemeral(frame) => format!("ephemeral {frame:?}"),
        Output::Signal { log, .. } => format!("signal {}", log.wire_name()),
    });
    words.collect()
}

/// The code of the only error said.
pub(super) fn error_code(outputs: &[Output]) -> ErrorCode {
    let codes: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Reply(ServerFrame::Error { code, .. }) => Some(*code),
            _ => None,
        })
        .collect();
    assert_eq!(codes.len(), 1, "{outputs:?}");
    codes[0]
}
