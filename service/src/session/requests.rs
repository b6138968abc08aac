//! What a signed-in client may ask for, and what is started for it.

use std::borrow::Cow;

use super::publish_queue::{PublishQueue, Waiting};
use super::{Action, Asked, JoinStart, Output, Pending, Phase, Session, error, feed::Feed, rooms::Joined};
use crate::backplane::{PublishError, Range};
use crate::clock::Now;
use crate::delivery::{EphemeralKind, Slot};
use crate::ids::{Key, LogName, RoomName, UserId};
use crate::message::Stored;
use crate::protocol::client_frame::{ClientFrame, Destination, Since, Target};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::server_frame::{self, Content, FrameId, ServerFrame};
use crate::rights::{Grant, Right};

impl Session {
    pub(super) fn request(&mut self, id: Option<FrameId>, frame: ClientFrame<'_>, now: Now, out: &mut Vec<Output>) {
        if let Err(wait) = self.admit(&frame, now) {
            return self.limited(id, wait, now, out);
        }
        if let ClientFrame::Auth { token } = &frame {
            return self.start(
                Pending::SignIn { id },
                Action::SignIn { token: token.as_ref().into(), current: self.user().cloned() },
                out,
            );
        }
        let Some(grant) = self.grant.clone().filter(|_| self.phase == Phase::Active) else {
            let refusal =
                super::Refusal::new(ErrorCode::Unauthenticated, r#"sign in first: {"type":"auth","token":"…"}"#);
            return self.fault(id, refusal, now, out);
        };
        match frame {
            ClientFrame::Auth { .. } => {}
            ClientFrame::Join { room, since, history } => self.join(id, &grant, room, since, history, out),
            ClientFrame::Leave { room } => self.leave(id, &own_log(room, &grant.user), out),
            ClientFrame::Chat { to, msg, key, traceparent } => {
                let content = Content { msg, key, at: now.wall_ms, traceparent };
                self.chat(id, &grant, to, content, out);
            }
            ClientFrame::Signal { to, data } => self.signal(id, &grant, to, data, out),
            ClientFrame::History { room, before, after, limit } => {
                let log = own_log(room, &grant.user);
                if !grant.rights.allows(&log, Right::History) {
                    return out.push(forbidden(id, Right::History));
                }
                let range = match (before, after) {
                    (Some(before), _) => Range::Before(before),
                    (_, Some(after)) => Range::After(after),
                    _ => Range::Newest,
                };
                let most = self.rules.limits.replay_messages;
                let limit = limit.unwrap_or(most).clamp(1, most);
                self.start(Pending::Read { id, log: log.clone() }, Action::History { log, range, limit }, out);
            }
            ClientFrame::Presence { room } => {
                if !grant.rights.allows(&LogName::Room(room.clone()), Right::Presence) {
                    return out.push(forbidden(id, Right::Presence));
                }
                self.start(Pending::Presence { id, room: room.clone() }, Action::Presence { room }, out);
            }
            ClientFrame::Rooms => self.start(Pending::Rooms { id }, Action::Rooms { rights: grant.rights }, out),
            ClientFrame::Ping => out.push(Output::Reply(ServerFrame::Pong { id })),
        }
    }

    /// Each kind of request has its own bucket, so that typing does not eat up chatting.
    fn admit(&mut self, frame: &ClientFrame<'_>, now: Now) -> Result<(), std::time::Duration> {
        let (rules, buckets) = (&self.rules, &mut self.buckets);
        match frame {
            ClientFrame::Chat { .. } => buckets.messages.take(rules.messages, now.mono),
            ClientFrame::Signal { .. } => buckets.signals.take(rules.messages, now.mono),
            ClientFrame::Join { .. } | ClientFrame::Leave { .. } => buckets.joins.take(rules.joins, now.mono),
            _ => buckets.questions.take(rules.messages, now.mono),
        }
    }

    fn join(
        &mut self,
        id: Option<FrameId>,
        grant: &Grant,
        room: Target,
        since: Option<Since>,
        history: usize,
        out: &mut Vec<Output>,
    ) {
        let log = own_log(room, &grant.user);
        if !grant.rights.allows(&log, Right::Join) {
            return out.push(forbidden(id, Right::Join));
        }
        if since.is_none() && history > 0 && !grant.rights.allows(&log, Right::History) {
            return out.push(forbidden(id, Right::History));
        }
        let joined = self.rooms.iter().filter(|r| matches!(r.log, LogName::Room(_)) && r.log != log).count();
        if matches!(log, LogName::Room(_)) && joined >= self.rules.limits.rooms {
            return out.push(error(id, ErrorCode::TooManyRooms, "leave a room first"));
        }
        // Joining again resynchronises: a new slot, so that nothing of the old membership can follow the new answer.
        if let Some(slot) = self.slot_of(&log) {
            self.end(slot, false, out);
        }
        let slot = Slot(self.next_slot);
        self.next_slot += 1;
        if self.rooms.capacity() == 0 {
            // The inbox and one room: a vector's own first step would be twice that, in every session.
            self.rooms.reserve_exact(2);
        }
        self.rooms.push(Joined { slot, log: log.clone(), feed: Feed::joining() });
        // What was missed is history: without that right a claimed position could be any, so none is honoured.
        let honoured = grant.rights.allows(&log, Right::History);
        let foreign = since.is_some_and(|since| since.epoch.is_none() || !honoured);
        let start = match since {
            Some(Since { epoch: Some(epoch), offset }) if honoured => {
                JoinStart::Since(crate::message::Position { epoch, offset })
            }
            Some(_) => JoinStart::Newest(0),
            None => JoinStart::Newest(history),
        };
        let pending = Pending::Join { id, slot, resume: since.is_some(), foreign };
        self.start(pending, Action::Join { slot, log, user: grant.user.clone(), start }, out);
    }

    fn leave(&mut self, id: Option<FrameId>, log: &LogName, out: &mut Vec<Output>) {
        let Some(slot) = self.slot_of(log) else {
            return out.push(error(id, ErrorCode::NotJoined, "this session has not joined that room"));
        };
        self.drop_room(slot, true, out);
        if id.is_some() {
            out.push(Output::Reply(ServerFrame::Left { id, room: log.wire_name().into(), reason: None }));
        }
    }

    fn only_room(&self) -> Option<RoomName> {
        let mut rooms = self.rooms.iter().filter_map(|joined| match &joined.log {
            LogName::Room(room) => Some(room),
            _ => None,
        });
        let room = rooms.next()?.clone();
        rooms.next().is_none().then_some(room)
    }

    /// The room that a chat or signal goes to, or the error.
    fn room_of(&self, id: &Option<FrameId>, grant: &Grant, to: Option<RoomName>) -> Result<LogName, Output> {
        let room = to.or_else(|| self.only_room()).ok_or_else(|| {
            error(id.clone(), ErrorCode::RoomRequired, "name a `room` or `to`: there is not exactly one joined room")
        })?;
        let log = LogName::Room(room);
        if self.slot_of(&log).is_none() {
            return Err(error(id.clone(), ErrorCode::NotJoined, "join the room first"));
        }
        if !grant.rights.allows(&log, Right::Publish) {
            return Err(forbidden(id.clone(), Right::Publish));
        }
        Ok(log)
    }

    fn chat(
        &mut self,
        id: Option<FrameId>,
        grant: &Grant,
        to: Destination,
        mut content: Content<'_>,
        out: &mut Vec<Output>,
    ) {
        let room = match to {
            Destination::User(to) => {
                if !grant.rights.allows_direct() {
                    return out.push(error(id, ErrorCode::Forbidden, "the token does not allow direct messages"));
                }
                if content.key.is_none() {
                    content.key = Some(self.own_key());
                }
                let draft = Box::new(server_frame::direct_draft(&grant.user, &to, content));
                let log = LogName::Inbox(to);
                return self.enqueue(&LogName::Inbox(grant.user.clone()), Waiting { id, to: log, draft }, out);
            }
            Destination::Room(room) => Some(room),
            Destination::OnlyRoom => None,
        };
        match self.room_of(&id, grant, room) {
            Ok(LogName::Room(room)) => {
                let draft = Box::new(server_frame::message_draft(&room, &grant.user, content));
                let log = LogName::Room(room);
                self.enqueue(&log.clone(), Waiting { id, to: log, draft }, out);
            }
            Ok(_) => {}
            Err(output) => out.push(output),
        }
    }

    /// A key for a direct message without one: it must be the same in both inboxes.
    fn own_key(&mut self) -> Key {
        self.next_key += 1;
        Key::from_bits(self.id.bits(), self.next_key)
    }

    fn enqueue(&mut self, queue: &LogName, waiting: Waiting, out: &mut Vec<Output>) {
        let index = match self.queues.iter().position(|(log, _)| log == queue) {
            Some(index) => index,
            None => {
                self.queues.push((queue.clone(), PublishQueue::default()));
                self.queues.len() - 1
            }
        };
        self.queues[index].1.push(waiting);
        self.pump(queue, out);
    }

    /// Starts the next publish of a queue, unless one is in flight or the room's join is not answered yet.
    pub(super) fn pump(&mut self, queue: &LogName, out: &mut Vec<Output>) {
        let joining = matches!(queue, LogName::Room(_))
            && self.rooms.iter().any(|joined| joined.log == *queue && joined.feed.is_joining());
        let Some(index) = self.queues.iter().position(|(log, _)| log == queue) else { return };
        let together = matches!(queue, LogName::Room(_));
        let next = if joining { Vec::new() } else { self.queues[index].1.start(together) };
        if !next.is_empty() {
            self.start_publish(queue, next, out);
        }
        if self.queues[index].1.is_idle() {
            self.queues.swap_remove(index);
            if self.queues.is_empty() {
                self.queues = Vec::new();
            }
        }
    }

    fn start_publish(&mut self, queue: &LogName, next: Vec<Waiting>, out: &mut Vec<Output>) {
        let (mut asked, mut drafts) = (Vec::with_capacity(next.len()), Vec::with_capacity(next.len()));
        let mut receiver = None;
        for Waiting { id, to, draft } in next {
            asked.push(Asked { id, key: draft.key.as_ref().map(|key| key.key().into()) });
            drafts.push(*draft);
            receiver = Some(to);
        }
        let action = match (queue, receiver, drafts.pop()) {
            (LogName::Inbox(from), Some(LogName::Inbox(to)), Some(draft)) => {
                Action::Direct { from: from.clone(), to, draft: Box::new(draft) }
            }
            (_, _, last) => {
                drafts.extend(last);
                Action::Publish { log: queue.clone(), drafts }
            }
        };
        self.start(Pending::Publish { log: queue.clone(), asked }, action, out);
    }

    pub(super) fn publish_done(
        &mut self,
        log: &LogName,
        asked: Vec<Asked>,
        results: Vec<Result<Stored, PublishError>>,
        out: &mut Vec<Output>,
    ) {
        let mut results = results.into_iter();
        for Asked { id, key } in asked {
            // One for each; a driver that gives fewer says nothing about the rest.
            let unknown = || Err(PublishError::OutcomeUnknown("there is no answer".to_owned()));
            publish_answered(id, log, key, results.next().unwrap_or_else(unknown), out);
        }
        if let Some((_, queue)) = self.queues.iter_mut().find(|(queue, _)| queue == log) {
            queue.finished();
        }
        self.pump(log, out);
    }

    fn signal(
        &mut self,
        id: Option<FrameId>,
        grant: &Grant,
        to: Destination,
        data: &serde_json::value::RawValue,
        out: &mut Vec<Output>,
    ) {
        let room = match to {
            Destination::User(to) => {
                if !grant.rights.allows_direct() {
                    return out.push(error(id, ErrorCode::Forbidden, "the token does not allow direct messages"));
                }
                Ok(LogName::Inbox(to))
            }
            Destination::Room(room) => self.room_of(&id, grant, Some(room)),
            Destination::OnlyRoom => self.room_of(&id, grant, None),
        };
        match room {
            Ok(log) => {
                let frame = server_frame::signal(log.wire_name(), &grant.user, data);
                out.push(Output::Signal { log, frame, kind: EphemeralKind::Signal(Some(self.id)) });
                if id.is_some() {
                    out.push(Output::Reply(ServerFrame::Ok { id, expires_in: None }));
                }
            }
            Err(output) => out.push(output),
        }
    }
}

/// Tells the client what became of one publish.
fn publish_answered(
    id: Option<FrameId>,
    log: &LogName,
    key: Option<Box<str>>,
    result: Result<Stored, PublishError>,
    out: &mut Vec<Output>,
) {
    match result {
        Ok(stored) if id.is_some() => {
            out.push(Output::Reply(ServerFrame::ack(id, log.wire_name(), stored)));
        }
        Ok(_) => {}
        Err(PublishError::Unavailable(_)) => out.push(super::unavailable(id)),
        Err(PublishError::OutcomeUnknown(_)) => out.push(Output::Reply(ServerFrame::Error {
            id,
            code: ErrorCode::OutcomeUnknown,
            message: Cow::Borrowed(match key {
                Some(_) => "perhaps stored: repeat it with the same key, which is safe",
                None => "perhaps stored: it had no key, so a repeat may double it",
            }),
            retry_after_ms: None,
            key,
        })),
    }
}

fn own_log(room: Target, user: &UserId) -> LogName {
    match room {
        Target::Room(room) => LogName::Room(room),
        Target::Inbox => LogName::Inbox(user.clone()),
    }
}

fn forbidden(id: Option<FrameId>, right: Right) -> Output {
    let text = match right {
        Right::Join => "the token does not allow to join this room",
        Right::Publish => "the token does not allow to publish to this room",
        Right::History => "the token does not allow to read this room's history",
        Right::Presence => "the token does not allow to see who is in this room",
    };
    error(id, ErrorCode::Forbidden, text)
}
