//! The session's interface: what is put in, what comes out, what takes time and what came of it. Data only.

use std::sync::Arc;

use bytes::Bytes;

use crate::auth::AuthError;
use crate::backplane::{Page, PublishError, Range, Unavailable};
use crate::delivery::{EphemeralKind, Parcel, Run, Slot};
use crate::ids::{LogName, RoomName, UserId};
use crate::message::{Draft, Position, Stored};
use crate::presence::Roster;
use crate::protocol::close_code::CloseCode;
use crate::protocol::server_frame::{RoomTop, ServerFrame};
use crate::rights::{Grant, Rights};

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// Sign-in by URL or header succeeded.
    SignedIn(Grant),
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary,
    /// A ping or a pong.
    Heard,
    /// The peer took bytes after it had been slow to.
    Alive,
    /// Something from the outbox.
    Parcel(Parcel),
    /// The outbox went over its limit and was emptied.
    Overflow,
    /// What [`Output::Start`] asked for is done.
    Done(OpId, Outcome),
    /// `Session::deadline` has come.
    Tick {
        /// The peer takes no bytes, and is not read before it does.
        blocked: bool,
    },
}

/// What a session asks for, to be carried out in order.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send this frame.
    Reply(ServerFrame),
    /// Send the frames of a run after this offset.
    Forward(Arc<Run>, u64),
    /// Send this ready frame.
    Ephemeral(Bytes),
    /// Send a WebSocket ping.
    Ping,
    /// Begin this, and answer with [`Input::Done`].
    Start(OpId, Action),
    /// Broadcast a signal; no answer.
    Signal {
        /// To the members of this log.
        log: LogName,
        /// The client frame.
        frame: Bytes,
        /// Skips this session.
        kind: EphemeralKind,
    },
    /// Membership of this slot ends, if it began.
    Leave {
        /// The slot that [`Action::Join`] had.
        slot: Slot,
        /// The user asked for it, so that presence need not wait for a resume elsewhere.
        asked: bool,
    },
    /// Close. Nothing comes after it.
    Close(CloseCode),
}

/// Number of a request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u32);

/// What takes time.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Check a token.
    SignIn {
        /// As the client sent it.
        token: Box<str>,
        /// Who the session speaks for already, if it is a refresh.
        current: Option<UserId>,
    },
    /// Become a member, then read. Everything of the log that follows goes to the outbox under `slot`.
    Join {
        /// This membership.
        slot: Slot,
        /// Of which log.
        log: LogName,
        /// For presence.
        user: UserId,
        /// What to read once the membership stands.
        start: JoinStart,
    },
    /// Read what follows a position, as a member.
    Sync {
        /// Of which log.
        log: LogName,
        /// What the client has.
        since: Position,
    },
    /// Append, in this order.
    Publish {
        /// To which log.
        log: LogName,
        /// What; never empty.
        drafts: Vec<Draft>,
    },
    /// Append to the receiver's inbox, then to the sender's.
    Direct {
        /// The sender.
        from: UserId,
        /// The receiver.
        to: UserId,
        /// What; its key is always set.
        draft: Box<Draft>,
    },
    /// Read a part.
    History {
        /// Of which log.
        log: LogName,
        /// Which part.
        range: Range,
        /// Most messages.
        limit: usize,
    },
    /// Who is there.
    Presence {
        /// Where.
        room: RoomName,
    },
    /// Which rooms there are.
    Rooms {
        /// Only rooms that may be joined.
        rights: Rights,
    },
}

/// What a join reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinStart {
    /// What was missed.
    Since(Position),
    /// The newest messages; may be none.
    Newest(usize),
}

/// What came of an [`Action`].
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Action::SignIn`].
    SignIn(Result<Grant, AuthError>),
    /// Of [`Action::Join`], [`Action::Sync`], [`Action::History`].
    Page(Result<Page, Unavailable>),
    /// Of [`Action::Publish`], an answer for each draft, and of [`Action::Direct`], one.
    Published(Vec<Result<Stored, PublishError>>),
    /// Of [`Action::Presence`].
    Roster(Result<Roster, Unavailable>),
    /// Of [`Action::Rooms`]; `true` if there are more.
    Rooms(Result<(Vec<RoomTop>, bool), Unavailable>),
}
