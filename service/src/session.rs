//! One client's session as a pure state machine: an input and the time go in, outputs come out. Every rule of the
//! protocol that concerns one client is decided here or in the files below. It does no IO, waits for nothing and knows
//! no socket; `edge/connection.rs` carries out what it asks for.

mod feed;
mod heartbeat;
mod interface;
mod publish_queue;
mod rate_limit;
mod requests;
mod rooms;
mod rules;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

pub use self::interface::{Action, Input, JoinStart, OpId, Outcome, Output};
pub use self::rules::SessionRules;

use self::heartbeat::{Beat, Heartbeat};
use self::publish_queue::PublishQueue;
use self::rate_limit::Bucket;
use self::rooms::Joined;
use crate::auth::AuthError;
use crate::clock::{Moment, Now};
use crate::delivery::{Order, Parcel, Slot};
use crate::drain;
use crate::ids::{LogName, RoomName, SessionId, UserId};
use crate::presence::Roster;
use crate::protocol::client_frame::{self, Refusal};
use crate::protocol::close_code::CloseCode;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::server_frame::{FrameId, LeftReason, ReconnectReason, ServerFrame, Welcome};
use crate::rights::Grant;

/// Publishes of one session that may wait for their turn; with more, its socket is not read.
const WAITING_MAX: usize = 64;
/// Bytes of publishes that may wait; with more, the socket is not read.
const WAITING_MAX_BYTES: usize = 128 * 1024;
/// Requests in flight; with more, the socket is not read. Far above the default room limit, so that a resume never stalls.
const PENDING_MAX: usize = 1_200;

#[derive(Debug)]
enum Pending {
    SignIn { id: Option<FrameId> },
    Join { id: Option<FrameId>, slot: Slot, resume: bool, foreign: bool },
    Sync { slot: Slot },
    Publish { log: LogName, asked: Vec<Asked> },
    Read { id: Option<FrameId>, log: LogName },
    Presence { id: Option<FrameId>, room: RoomName },
    Rooms { id: Option<FrameId> },
}

/// What the client asked for with one publish in flight.
#[derive(Debug)]
struct Asked {
    id: Option<FrameId>,
    key: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    SigningIn { until: Moment },
    Active,
    Closed,
}

#[derive(Debug, Default)]
struct Buckets {
    messages: Bucket,
    signals: Bucket,
    questions: Bucket,
    joins: Bucket,
    faults: Bucket,
    floods: Bucket,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    rules: Arc<SessionRules>,
    phase: Phase,
    grant: Option<Grant>,
    /// Ascending by slot.
    rooms: Vec<Joined>,
    /// One per log with a publish in flight; direct messages share the queue of the own inbox.
    queues: Vec<(LogName, PublishQueue)>,
    pending: Vec<(OpId, Pending)>,
    next_slot: u32,
    next_op: u32,
    next_key: u64,
    buckets: Buckets,
    heartbeat: Heartbeat,
    drained_at: Option<Moment>,
    /// From `?room=`, to be joined once signed in.
    url_rooms: Vec<RoomName>,
}

impl Session {
    /// A session that is not signed in yet, and joins `url_rooms` once it is.
    #[must_use]
    pub fn new(id: SessionId, rules: Arc<SessionRules>, url_rooms: Vec<RoomName>, now: Now) -> Self {
        let until = now.mono + rules.sign_in;
        Self {
            id,
            rules,
            phase: Phase::SigningIn { until },
            grant: None,
            rooms: Vec::new(),
            queues: Vec::new(),
            pending: Vec::new(),
            next_slot: 0,
            next_op: 0,
            next_key: 0,
            buckets: Buckets::default(),
            heartbeat: Heartbeat::new(now.mono),
            drained_at: None,
            url_rooms,
        }
    }

    /// Its id, as in `welcome`.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Who the session speaks for, once signed in.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.grant.as_ref().map(|grant| &grant.user)
    }

    /// Whether the membership of this slot is still wanted.
    #[must_use]
    pub fn has_joined(&self, slot: Slot) -> bool {
        self.rooms.binary_search_by_key(&slot, |joined| joined.slot).is_ok()
    }

    /// Whether another frame of the client may be given: not while a sign-in is being checked, nor while more publishes
    /// wait than the session may hold. The socket is then not read, which slows the client down instead of losing.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        let (count, bytes) = self.queues.iter().fold((0, 0), |(n, b), (_, q)| (n + q.len(), b + q.bytes()));
        count < WAITING_MAX
            && bytes < WAITING_MAX_BYTES
            && self.pending.len() < PENDING_MAX
            && !self.pending.iter().any(|(_, pending)| matches!(pending, Pending::SignIn { .. }))
    }

    /// Bytes that wait in here, first its own, then such that it shares with others. For a peer that does not read, what
    /// is done is not given in, so all of them wait for the peer.
    #[must_use]
    pub fn held_bytes(&self) -> (usize, usize) {
        let waiting = |queue: &PublishQueue| queue.bytes() + queue.len() * size_of::<publish_queue::Waiting>();
        let queued: usize = self.queues.iter().map(|(_, queue)| waiting(queue)).sum();
        let shared = self.rooms.iter().map(|joined| joined.feed.held_bytes()).sum();
        (queued + self.pending.len() * size_of::<(OpId, Pending)>(), shared)
    }

    /// When to give [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let mut deadline = self.heartbeat.deadline(self.rules.ping);
        let mut consider = |moment: Option<Moment>| deadline = moment.map_or(deadline, |m| deadline.min(m));
        if let Phase::SigningIn { until } = self.phase {
            consider(Some(until));
        }
        consider(self.grant.as_ref().and_then(|grant| grant.expires));
        consider(self.drained_at);
        for room in &self.rooms {
            consider(room.feed.retry_at());
        }
        deadline
    }

    /// Takes an input and appends what follows from it to `out`. After a close, nothing follows from anything.
    pub fn handle(&mut self, input: Input<'_>, now: Now, out: &mut Vec<Output>) {
        if self.phase == Phase::Closed {
            return;
        }
        match input {
            Input::SignedIn(grant) => self.signed_in(grant, now, out),
            Input::Text(text) => self.text(text, now, out),
            Input::Binary => self.close(CloseCode::Binary, out),
            Input::Heard => self.heard(now, out),
            Input::Alive => self.heartbeat.heard(now.mono),
            Input::Parcel(parcel) => self.parcel(parcel, now, out),
            Input::Overflow => self.close(CloseCode::Slow, out),
            Input::Done(op, outcome) => self.done(op, outcome, now, out),
            Input::Tick { blocked } => self.tick(blocked, now, out),
        }
    }

    /// Pings and pongs cost little, but not nothing.
    fn heard(&mut self, now: Now, out: &mut Vec<Output>) {
        self.heartbeat.heard(now.mono);
        if self.buckets.floods.take(self.rules.floods, now.mono).is_err() {
            self.close(CloseCode::Flooding, out);
        }
    }

    fn signed_in(&mut self, grant: Grant, now: Now, out: &mut Vec<Output>) {
        let inbox = grant.rights.allows_direct();
        self.begin(grant, now, out);
        if inbox {
            self.join_from_now(client_frame::Target::Inbox, now, out);
        }
        self.join_url_rooms(now, out);
    }

    fn join_url_rooms(&mut self, now: Now, out: &mut Vec<Output>) {
        for room in std::mem::take(&mut self.url_rooms) {
            self.join_from_now(client_frame::Target::Room(room), now, out);
        }
    }

    fn join_from_now(&mut self, room: client_frame::Target, now: Now, out: &mut Vec<Output>) {
        self.request(None, client_frame::ClientFrame::Join { room, since: None, history: 0 }, now, out);
    }

    fn begin(&mut self, grant: Grant, now: Now, out: &mut Vec<Output>) {
        let rules = &self.rules;
        out.push(Output::Reply(ServerFrame::Welcome(Box::new(Welcome::new(
            rules.server_id.clone(),
            self.id,
            grant.user.clone(),
            rules.limits.clone(),
            grant.expires.map(|at| at.since(now.mono).as_secs()),
            rules.affinity_cookie.clone(),
        )))));
        self.grant = Some(grant);
        self.phase = Phase::Active;
    }

    fn text(&mut self, text: &str, now: Now, out: &mut Vec<Output>) {
        self.heartbeat.heard(now.mono);
        let rules = Arc::clone(&self.rules);
        let parsed = client_frame::parse(text, &rules.limits);
        match parsed.frame {
            Ok(frame) => self.request(parsed.id, frame, now, out),
            Err(refusal) => self.fault(parsed.id, refusal, now, out),
        }
    }

    /// A frame that is not the protocol: told, and after too many of them the end.
    fn fault(&mut self, id: Option<FrameId>, refusal: Refusal, now: Now, out: &mut Vec<Output>) {
        out.push(error(id, refusal.code, refusal.message));
        if self.buckets.faults.take(self.rules.faults, now.mono).is_err() {
            self.close(CloseCode::ProtocolFaults, out);
        }
    }

    /// A frame above its rate: told, and after too many of them the end.
    fn limited(&mut self, id: Option<FrameId>, wait: Duration, now: Now, out: &mut Vec<Output>) {
        let retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        out.push(Output::Reply(ServerFrame::Error {
            id,
            code: ErrorCode::RateLimited,
            message: Cow::Borrowed("too fast; not done, try again later"),
            retry_after_ms,
            key: None,
        }));
        if self.buckets.floods.take(self.rules.floods, now.mono).is_err() {
            self.close(CloseCode::Flooding, out);
        }
    }

    fn parcel(&mut self, parcel: Parcel, now: Now, out: &mut Vec<Output>) {
        match parcel {
            Parcel::Run(slot, run) => self.offer(slot, feed::FeedItem::Run(run), out),
            Parcel::Shift(slot, shift) => self.offer(slot, feed::FeedItem::Shift(shift), out),
            Parcel::Ephemeral(slot, ephemeral) => self.ephemeral(slot, &ephemeral, out),
            Parcel::Order(Order::Kick(room)) => self.expel(&LogName::Room(room), LeftReason::Kicked, out),
            Parcel::Order(Order::Close(code)) => self.close(code, out),
            Parcel::Order(Order::Drain { after_ms }) => {
                out.push(Output::Reply(ServerFrame::Reconnect {
                    reason: ReconnectReason::Drain,
                    after_ms,
                    elsewhere: true,
                }));
                self.drained_at = Some(now.mono + Duration::from_millis(after_ms) + drain::GRACE);
            }
        }
    }

    fn done(&mut self, op: OpId, outcome: Outcome, now: Now, out: &mut Vec<Output>) {
        let Some(index) = self.pending.iter().position(|(pending, _)| *pending == op) else { return };
        let (_, pending) = self.pending.swap_remove(index);
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        match (pending, outcome) {
            (Pending::SignIn { id }, Outcome::SignIn(result)) => self.sign_in_done(id, result, now, out),
            (Pending::Join { id, slot, resume, foreign }, Outcome::Page(result)) => {
                self.join_done(id, slot, resume, foreign, result, out);
            }
            (Pending::Sync { slot }, Outcome::Page(result)) => self.sync_done(slot, result, now, out),
            (Pending::Publish { log, asked }, Outcome::Published(results)) => {
                self.publish_done(&log, asked, results, out);
            }
            (Pending::Read { id, log }, Outcome::Page(result)) => match result {
                Ok(page) => out.push(Output::Reply(ServerFrame::History {
                    id,
                    room: log.wire_name().into(),
                    epoch: page.top.epoch,
                    messages: page.entries,
                    more: page.more,
                })),
                Err(_) => out.push(unavailable(id)),
            },
            (Pending::Presence { id, room }, Outcome::Roster(result)) => match result {
                Ok(Roster { users, count }) => {
                    out.push(Output::Reply(ServerFrame::Presence { id, room, users, count }));
                }
                Err(_) => out.push(unavailable(id)),
            },
            (Pending::Rooms { id }, Outcome::Rooms(result)) => match result {
                Ok((rooms, more)) => out.push(Output::Reply(ServerFrame::Rooms { id, rooms, more })),
                Err(_) => out.push(unavailable(id)),
            },
            // An outcome of another kind than the action: the driver's mistake, told like an outage.
            (
                Pending::SignIn { id }
                | Pending::Join { id, .. }
                | Pending::Read { id, .. }
                | Pending::Presence { id, .. }
                | Pending::Rooms { id },
                _,
            ) => out.push(unavailable(id)),
            (Pending::Publish { log, asked }, _) => self.publish_done(&log, asked, Vec::new(), out),
            (Pending::Sync { .. }, _) => self.close(CloseCode::Refresh, out),
        }
    }

    fn sign_in_done(&mut self, id: Option<FrameId>, result: Result<Grant, AuthError>, now: Now, out: &mut Vec<Output>) {
        let first = self.phase != Phase::Active;
        let same_user = |grant: &Grant, session: &Self| session.user().is_none_or(|user| *user == grant.user);
        match result {
            Ok(grant) if same_user(&grant, self) => {
                let expires_in = grant.expires.map(|at| at.since(now.mono).as_secs());
                if first {
                    self.begin(grant, now, out);
                } else {
                    self.grant = Some(grant);
                    self.revoke(out);
                }
                if id.is_some() {
                    out.push(Output::Reply(ServerFrame::Ok { id, expires_in }));
                }
                self.join_url_rooms(now, out);
            }
            Ok(_) => out.push(error(id, ErrorCode::Forbidden, "a refresh must be for the same user")),
            Err(AuthError::Unavailable) => out.push(unavailable(id)),
            Err(fault) => {
                out.push(error(id, ErrorCode::Unauthenticated, fault.to_string()));
                let code = match fault {
                    AuthError::Banned => Some(CloseCode::Banned),
                    AuthError::Expired if first => Some(CloseCode::TokenExpired),
                    _ if first => Some(CloseCode::Unauthenticated),
                    // A refresh that fails leaves the session what it had, until that expires.
                    _ => None,
                };
                if let Some(code) = code {
                    self.close(code, out);
                }
            }
        }
    }

    fn tick(&mut self, blocked: bool, now: Now, out: &mut Vec<Output>) {
        let expired = self.grant.as_ref().and_then(|grant| grant.expires).is_some_and(|at| now.mono >= at);
        match self.phase {
            Phase::SigningIn { until } if now.mono >= until => return self.close(CloseCode::SignInTimeout, out),
            _ if expired => return self.close(CloseCode::TokenExpired, out),
            _ if self.drained_at.is_some_and(|at| now.mono >= at) => return self.close(CloseCode::Restart, out),
            _ => {}
        }
        // While the socket is not read because of us, silence means nothing.
        if !blocked && !self.wants_input() {
            self.heartbeat.heard(now.mono);
        }
        match self.heartbeat.beat(self.rules.ping, now.mono) {
            Beat::Quiet => {}
            Beat::Ping => out.push(Output::Ping),
            Beat::Dead => return self.close(CloseCode::Dead, out),
        }
        self.retry_syncs(now, out);
    }

    fn close(&mut self, code: CloseCode, out: &mut Vec<Output>) {
        self.phase = Phase::Closed;
        self.pending = Vec::new();
        self.queues = Vec::new();
        self.rooms = Vec::new();
        out.push(Output::Close(code));
    }

    fn start(&mut self, pending: Pending, action: Action, out: &mut Vec<Output>) {
        let op = OpId(self.next_op);
        self.next_op = self.next_op.wrapping_add(1);
        self.pending.push((op, pending));
        out.push(Output::Start(op, action));
    }
}

fn error(id: Option<FrameId>, code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Output {
    Output::Reply(ServerFrame::Error { id, code, message: message.into(), retry_after_ms: None, key: None })
}

fn unavailable(id: Option<FrameId>) -> Output {
    error(id, ErrorCode::Unavailable, "not done: the service cannot reach its store, try again")
}
