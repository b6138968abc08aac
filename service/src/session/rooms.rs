//! The rooms a session has joined: what their logs deliver, and how joins and reads of the log are answered.

use std::sync::Arc;
use std::time::Duration;

use super::feed::{Feed, FeedItem, Step};
use super::{Action, Output, Pending, Session, error, unavailable};
use crate::backplane::{Page, Unavailable};
use crate::clock::Now;
use crate::delivery::{Ephemeral, EphemeralKind, Run, Slot};
use crate::ids::LogName;
use crate::message::Position;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::server_frame::{FrameId, LeftReason, ServerFrame};
use crate::rights::Right;

/// How long to wait before a failed read of the log is tried again.
const RETRY_SYNC: Duration = Duration::from_millis(500);

/// One membership.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) slot: Slot,
    pub(super) log: LogName,
    pub(super) feed: Feed,
}

impl Session {
    pub(super) fn slot_of(&self, log: &LogName) -> Option<Slot> {
        self.rooms.iter().find(|joined| joined.log == *log).map(|joined| joined.slot)
    }

    fn room(&mut self, slot: Slot) -> Option<&mut Joined> {
        let index = self.rooms.binary_search_by_key(&slot, |joined| joined.slot).ok()?;
        self.rooms.get_mut(index)
    }

    /// Takes something of a log. What belongs to a membership that has ended is dropped.
    pub(super) fn offer(&mut self, slot: Slot, item: FeedItem, out: &mut Vec<Output>) {
        let limit = self.rules.hold_bytes;
        if let Some(joined) = self.room(slot) {
            let step = joined.feed.offer(item, limit);
            self.follow(slot, step, out);
        }
    }

    fn follow(&mut self, slot: Slot, step: Step, out: &mut Vec<Output>) {
        let Some(joined) = self.room(slot) else { return };
        match step {
            Step::Nothing => {}
            Step::Forward(run, after) => out.push(Output::Forward(run, after)),
            Step::Rebase(position) => out.push(rebase(&joined.log, position)),
            Step::Gap(position) => out.push(gap(&joined.log, position)),
            Step::Resync(_) => self.sync(slot, out),
        }
    }

    /// Offers again what was held while the log was read, or reads once more.
    fn release(&mut self, slot: Slot, out: &mut Vec<Output>) {
        let limit = self.rules.hold_bytes;
        let Some(joined) = self.room(slot) else { return };
        let Some((items, settled)) = joined.feed.release() else { return self.sync(slot, out) };
        for (index, item) in items.into_iter().enumerate() {
            let Some(joined) = self.room(slot) else { return };
            let settled = index < settled;
            let step = if settled { joined.feed.offer_settled(item, limit) } else { joined.feed.offer(item, limit) };
            self.follow(slot, step, out);
        }
        // If this began another read, that one knows of all that is held again.
        if let Some(joined) = self.room(slot) {
            joined.feed.reading();
        }
    }

    fn sync(&mut self, slot: Slot, out: &mut Vec<Output>) {
        let Some(joined) = self.room(slot) else { return };
        joined.feed.reading();
        let (log, since) = (joined.log.clone(), joined.feed.at());
        self.start(Pending::Sync { slot }, Action::Sync { log, since }, out);
    }

    pub(super) fn retry_syncs(&mut self, now: Now, out: &mut Vec<Output>) {
        let due: Vec<_> = self.rooms.iter_mut().filter_map(|r| r.feed.retry_due(now.mono).then_some(r.slot)).collect();
        for slot in due {
            self.sync(slot, out);
        }
    }

    pub(super) fn ephemeral(&mut self, slot: Slot, ephemeral: &Ephemeral, out: &mut Vec<Output>) {
        let (id, grant) = (self.id, self.grant.clone());
        let Some(joined) = self.room(slot).filter(|joined| !joined.feed.is_joining()) else { return };
        let wanted = match ephemeral.kind {
            EphemeralKind::Signal(from) => from != Some(id),
            EphemeralKind::Presence => grant.is_some_and(|grant| grant.rights.allows(&joined.log, Right::Presence)),
        };
        if wanted {
            out.push(Output::Ephemeral(ephemeral.frame.clone()));
        }
    }

    pub(super) fn join_done(
        &mut self,
        id: Option<FrameId>,
        slot: Slot,
        resume: bool,
        foreign: bool,
        result: Result<Page, Unavailable>,
        out: &mut Vec<Output>,
    ) {
        let Some(joined) = self.room(slot) else {
            // Left or joined again meanwhile. Whoever named the request gets its answer; one of ours needs none.
            if id.is_some() {
                out.push(error(id, ErrorCode::NotJoined, "left, or joined again, before this join was done"));
            }
            return;
        };
        let log = joined.log.clone();
        let Ok(page) = result else {
            self.drop_room(slot, false, out);
            return out.push(unavailable(id));
        };
        let lost = page.lost || foreign;
        let messages = if lost { Vec::new() } else { page.entries };
        let offset = messages.last().map_or(page.top.offset, |entry| entry.offset);
        let more = resume && !lost && page.more;
        let at = Position { epoch: page.top.epoch, offset };
        joined.feed.joined(at);
        out.push(Output::Reply(ServerFrame::Joined {
            id,
            room: log.wire_name().into(),
            epoch: at.epoch,
            offset,
            recovered: !lost,
            more,
            messages,
        }));
        if more {
            self.drop_room(slot, false, out);
        } else {
            self.release(slot, out);
            self.pump(&log, out);
        }
    }

    pub(super) fn sync_done(&mut self, slot: Slot, result: Result<Page, Unavailable>, now: Now, out: &mut Vec<Output>) {
        let Some(joined) = self.room(slot) else { return };
        let Ok(page) = result else {
            return joined.feed.retry(now.mono + RETRY_SYNC);
        };
        let before = joined.feed.at();
        let follows = page.entries.first().is_none_or(|first| first.offset == before.offset + 1);
        if page.lost || !follows {
            joined.feed.synced(page.top);
            out.push(gap(&joined.log, page.top));
            return self.release(slot, out);
        }
        if page.top.epoch != before.epoch {
            out.push(rebase(&joined.log, Position { epoch: page.top.epoch, offset: before.offset }));
        }
        let offset = page.entries.last().map_or(before.offset, |entry| entry.offset);
        joined.feed.synced(Position { epoch: page.top.epoch, offset });
        if let Some(run) = Run::encode(page.top.epoch, &page.entries) {
            out.push(Output::Forward(Arc::new(run), before.offset));
        }
        if page.more { self.sync(slot, out) } else { self.release(slot, out) }
    }

    /// Ends a membership without a word to the client.
    pub(super) fn end(&mut self, slot: Slot, asked: bool, out: &mut Vec<Output>) -> Option<LogName> {
        let index = self.rooms.binary_search_by_key(&slot, |joined| joined.slot).ok()?;
        let joined = self.rooms.remove(index);
        out.push(Output::Leave { slot, asked });
        Some(joined.log)
    }

    /// Ends a membership; publishes that wait for its join are refused. Direct messages need none: what waits in the queue
    /// that is named like the inbox goes on.
    pub(super) fn drop_room(&mut self, slot: Slot, asked: bool, out: &mut Vec<Output>) {
        let Some(log) = self.end(slot, asked, out) else { return };
        let of_the_room = |queue: &LogName| matches!(queue, LogName::Room(_)) && *queue == log;
        if let Some(index) = self.queues.iter().position(|(queue, _)| of_the_room(queue)) {
            for waiting in self.queues[index].1.abandon() {
                out.push(error(waiting.id, ErrorCode::NotJoined, "not stored: the room was left before its turn came"));
            }
            if self.queues[index].1.is_idle() {
                self.queues.swap_remove(index);
            }
        }
    }

    /// Ends a membership and says why.
    pub(super) fn expel(&mut self, log: &LogName, reason: LeftReason, out: &mut Vec<Output>) {
        let Some(slot) = self.slot_of(log) else { return };
        self.drop_room(slot, true, out);
        out.push(Output::Reply(ServerFrame::Left { id: None, room: log.wire_name().into(), reason: Some(reason) }));
    }

    /// Leaves what the present rights no longer allow.
    pub(super) fn revoke(&mut self, out: &mut Vec<Output>) {
        let Some(grant) = self.grant.clone() else { return };
        let lost: Vec<_> =
            self.rooms.iter().map(|j| j.log.clone()).filter(|log| !grant.rights.allows(log, Right::Join)).collect();
        for log in lost {
            self.expel(&log, LeftReason::RightsLost, out);
        }
    }
}

/// An unasked-for `joined`: the epoch is another, nothing was lost.
fn rebase(log: &LogName, at: Position) -> Output {
    Output::Reply(ServerFrame::Joined {
        id: None,
        room: log.wire_name().into(),
        epoch: at.epoch,
        offset: at.offset,
        recovered: true,
        more: false,
        messages: Vec::new(),
    })
}

fn gap(log: &LogName, at: Position) -> Output {
    Output::Reply(ServerFrame::Gap { room: log.wire_name().into(), epoch: at.epoch, offset: at.offset })
}
