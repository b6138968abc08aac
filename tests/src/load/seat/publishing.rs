//! The publishing side of a session: what is sent when, what has no answer yet, and what is sent again.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use super::{Seat, Todo};
use crate::load::chat::{chat_json, write_frame};
use crate::load::reply::Asked;
use crate::load::world::World;

/// Un-acked publishes a session keeps; beyond it, what falls due is skipped and counted.
const MOST_UNACKED: usize = 10_000;

/// A publish without an answer, and all it takes to repeat it to the byte.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub(super) number: u64,
    room: usize,
    due: u64,
}

/// The publishing side of a session; most sessions never need it.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) unacked: VecDeque<Pending>,
    next_number: u64,
    next_room: usize,
    pub(super) held_until: u64,
}

impl Seat {
    /// Nothing published is waiting for its answer.
    pub(in crate::load) fn all_acked(&self) -> bool {
        self.outgoing.as_ref().is_none_or(|outgoing| outgoing.unacked.is_empty()) && self.todo.is_empty()
    }

    /// Messages that fell due, to the next of the session's rooms; `false` when too much is waiting already.
    pub(in crate::load) fn publish_next(&mut self, due: u64, count: u32) -> bool {
        let outgoing = self.outgoing.get_or_insert_default();
        let next = self.memberships.get(outgoing.next_room % self.memberships.len().max(1));
        let Some(membership) = next.filter(|_| self.todo.len() < MOST_UNACKED) else { return false };
        outgoing.next_room += 1;
        self.todo.push(Todo::Say { room: membership.room, count, due });
        true
    }

    pub(super) fn top_up(&mut self, out: &mut Vec<u8>, world: &mut World) {
        if self.memberships.is_empty() {
            return;
        }
        let (window, burst) = (world.habits.inflight.max(world.habits.burst), world.habits.burst);
        loop {
            let outgoing = self.outgoing.get_or_insert_default();
            if !world.board.publishing.load(Relaxed)
                || outgoing.held_until > world.now
                || outgoing.unacked.len() + burst > window
            {
                return;
            }
            let room = self.memberships[outgoing.next_room % self.memberships.len()].room;
            outgoing.next_room += 1;
            (0..burst).for_each(|_| self.publish(room, world.now, out, world));
        }
    }

    pub(super) fn publish(&mut self, room: usize, due: u64, out: &mut Vec<u8>, world: &mut World) {
        let outgoing = self.outgoing.get_or_insert_default();
        if outgoing.unacked.len() >= MOST_UNACKED {
            world.tally.skipped += 1;
            return;
        }
        let number = outgoing.next_number;
        outgoing.next_number += 1;
        outgoing.unacked.push_back(Pending { number, room, due });
        write_frame(out, 1, &chat_json(&world.plan, self.index, room, number, due), &mut world.entropy);
        world.tally.published += 1;
        world.board.published.fetch_add(1, Relaxed);
    }

    /// Repeats one un-acked publish, or all of them, in the order in which they were sent first.
    pub(super) fn repeat(&mut self, number: Option<u64>, out: &mut Vec<u8>, world: &mut World) {
        let Some(outgoing) = &self.outgoing else { return };
        for pending in outgoing.unacked.iter().filter(|pending| number.is_none_or(|number| number == pending.number)) {
            let json = chat_json(&world.plan, self.index, pending.room, pending.number, pending.due);
            write_frame(out, 1, &json, &mut world.entropy);
            world.tally.repeated += 1;
        }
    }

    pub(super) fn answered(&mut self, asked: Asked, world: &mut World) {
        if self.settle(asked) {
            world.tally.acked += 1;
            world.board.acked.fetch_add(1, Relaxed);
            self.go_on(world);
        }
    }

    pub(super) fn go_on(&mut self, world: &World) {
        if world.habits.saturate && world.plan.publishes(self.index) && !self.todo.contains(&Todo::TopUp) {
            self.todo.push(Todo::TopUp);
        }
    }

    /// Takes a publish off the list of those without an answer.
    pub(super) fn settle(&mut self, asked: Asked) -> bool {
        let (Asked::Publish(number), Some(outgoing)) = (asked, &mut self.outgoing) else { return false };
        match outgoing.unacked.iter().position(|pending| pending.number == number) {
            Some(at) => outgoing.unacked.remove(at).is_some(),
            None => false,
        }
    }
}
