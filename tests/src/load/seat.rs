//! One session of the run: where it stands in its rooms, what it has published without an answer, and what it makes of
//! every frame. A pure state machine: frames and times go in, frames to send and `Cue`s come out; sockets and timers are
//! the business of `attend.rs`. It outlives its connections, which is what makes it resume.

use std::mem;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use super::chat::{frame_bytes, read_due, read_message, write_frame};
use super::offsets::{Seen, Track};
use super::reply::{Asked, Reply};
use super::tally::count;
use super::world::World;

mod publishing;

use publishing::Outgoing;

/// Wait before repeating what the server could not do, when it names no time, in milliseconds.
const RETRY_MS: u64 = 250;

/// What the driver of the connection has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cue {
    /// Open another connection after so many milliseconds, resume there, then close this one.
    MoveAfter { ms: u64, elsewhere: bool },
    /// Ask again after so many milliseconds.
    RetryAfter { ms: u64, todo: Todo },
}

/// Something to be sent at the next opportunity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// Join this room, from where the session stands in it.
    Join(usize),
    /// Publish `count` messages to this room, in one write.
    Say { room: usize, count: u32, due: u64 },
    /// Publish number so and so again, with its first key and time.
    Repeat(u64),
    /// Publish as much as the saturating publisher may have un-acked.
    TopUp,
    /// A ping in JSON.
    Ping,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// Never joined.
    #[default]
    New,
    /// Joined once, but not on this connection (or not wholly).
    Away,
    /// Live.
    Here,
}

struct Membership {
    room: usize,
    standing: Standing,
    epoch: Rc<str>,
    track: Track,
}

/// The state of one session.
pub(super) struct Seat {
    pub(super) index: usize,
    welcomed: bool,
    ever_present: bool,
    memberships: Box<[Membership]>,
    absent: usize,
    outgoing: Option<Box<Outgoing>>,
    todo: Vec<Todo>,
}

impl Seat {
    pub(super) fn new(index: usize, rooms: Vec<usize>) -> Self {
        let memberships: Box<[Membership]> = rooms
            .into_iter()
            .map(|room| Membership { room, standing: Standing::New, epoch: Rc::from(""), track: Track::default() })
            .collect();
        Self {
            index,
            welcomed: false,
            ever_present: false,
            absent: memberships.len(),
            memberships,
            outgoing: None,
            todo: Vec::new(),
        }
    }

    /// Welcome and every `joined` have come on the present connection.
    pub(super) fn present(&self) -> bool {
        self.welcomed && self.absent == 0
    }

    /// Whether the welcome of the present connection has come.
    pub(super) fn welcomed(&self) -> bool {
        self.welcomed
    }

    /// The first room of this session, if it has one.
    pub(super) fn first_room(&self) -> Option<usize> {
        self.memberships.first().map(|membership| membership.room)
    }

    /// Messages of its rooms, as far as acks tell of them, that never came.
    pub(super) fn missing(&self, world: &World) -> u64 {
        self.memberships
            .iter()
            .filter(|membership| membership.standing != Standing::New)
            .map(|membership| membership.track.missing(world.board.top(membership.room)))
            .sum()
    }

    /// To be done when the connection next gets a turn.
    pub(super) fn ask(&mut self, todo: Todo) {
        self.todo.push(todo);
    }

    /// The connection is gone, or another one takes over: all rooms must be joined again.
    pub(super) fn leave(&mut self) {
        self.welcomed = false;
        self.absent = self.memberships.len();
        for membership in &mut self.memberships {
            if membership.standing == Standing::Here {
                membership.standing = Standing::Away;
            }
        }
        // Joins are asked for afresh on the next connection, and what is un-acked is repeated there.
        self.todo.retain(|todo| matches!(todo, Todo::Say { .. }));
    }

    /// The welcome has come (perhaps on a connection that replaces another): ask for all rooms.
    pub(super) fn arrive(&mut self) {
        self.leave();
        self.welcomed = true;
        let joins = self.memberships.iter().map(|membership| Todo::Join(membership.room));
        self.todo.splice(0..0, joins);
    }

    /// Sends what is to be done.
    pub(super) fn carry_out(&mut self, out: &mut Vec<u8>, world: &mut World) {
        if self.todo.is_empty() || !self.welcomed {
            return;
        }
        for todo in mem::take(&mut self.todo) {
            match todo {
                Todo::Join(room) => self.join(room, out, world),
                Todo::Ping => write_frame(out, 1, br#"{"type":"ping","id":"ping"}"#, &mut world.entropy),
                Todo::Repeat(number) => self.repeat(Some(number), out, world),
                // A publish needs a join; until all have come it waits for `arrived`.
                todo if !self.present() => self.todo.push(todo),
                Todo::Say { room, count, due } => (0..count).for_each(|_| self.publish(room, due, out, world)),
                Todo::TopUp => self.top_up(out, world),
            }
        }
    }

    fn join(&mut self, room: usize, out: &mut Vec<u8>, world: &mut World) {
        let Some(membership) = self.memberships.iter().find(|membership| membership.room == room) else { return };
        let name = world.plan.room_name(room);
        let (epoch, last, history) = (&membership.epoch, membership.track.last(), world.habits.history);
        let from = match membership.standing {
            Standing::New if history == 0 => String::new(),
            Standing::New => format!(r#","history":{history}"#),
            Standing::Away | Standing::Here => format!(r#","since":{{"epoch":"{epoch}","offset":{last}}}"#),
        };
        let json = format!(r#"{{"type":"join","id":"j{room}","room":"{name}"{from}}}"#);
        write_frame(out, 1, json.as_bytes(), &mut world.entropy);
    }

    fn member(&mut self, room: usize) -> Option<&mut Membership> {
        match &mut *self.memberships {
            [only] => (only.room == room).then_some(only),
            many => many.binary_search_by_key(&room, |membership| membership.room).ok().map(|at| &mut many[at]),
        }
    }

    /// A text frame has come.
    pub(super) fn hear(&mut self, text: &[u8], out: &mut Vec<u8>, cues: &mut Vec<Cue>, world: &mut World) {
        if let Some(message) = read_message(text) {
            let room = world.room_number(message.room);
            self.take(room, message.offset, message.due, frame_bytes(text.len()), world);
        } else if !text.starts_with(br#"{"type":"presence""#) {
            match serde_json::from_slice::<Reply<'_>>(text) {
                Ok(reply) => self.hear_reply(&reply, text.len(), out, cues, world),
                Err(_) => count(&mut world.tally.errors, "(not understood by this client)"),
            }
        }
    }

    fn hear_reply(
        &mut self,
        reply: &Reply<'_>,
        length: usize,
        out: &mut Vec<u8>,
        cues: &mut Vec<Cue>,
        world: &mut World,
    ) {
        let room = reply.room.as_ref().and_then(|room| world.room_number(room.as_bytes()));
        match &*reply.kind {
            "welcome" => {
                if !self.ever_present {
                    count(&mut world.tally.servers, reply.server_id.as_deref().unwrap_or("(unnamed)"));
                }
                self.arrive();
            }
            "joined" => self.joined(reply, room, out, world),
            "ack" => {
                self.answered(reply.asked(), world);
                if let (Some(room), Some(epoch), Some(offset)) = (room, &reply.epoch, reply.offset) {
                    world.board.reached(room, epoch, offset);
                }
            }
            "message" => {
                let due = reply.msg.and_then(|msg| due_of(msg.get()));
                if let Some(offset) = reply.offset {
                    self.take(room, offset, due, frame_bytes(length), world);
                }
            }
            "gap" => self.told_gap(room, reply, world),
            "reconnect" => {
                world.tally.told_reconnect += 1;
                cues.push(Cue::MoveAfter { ms: reply.after_ms.unwrap_or(0), elsewhere: reply.elsewhere });
            }
            "pong" if reply.asked() == Asked::Ping => {
                world.board.exchanged.fetch_add(1, Relaxed);
            }
            "error" => self.refused(reply, cues, world),
            _ => {}
        }
        self.carry_out(out, world);
    }

    /// A message of a room, live or replayed.
    fn take(&mut self, room: Option<usize>, offset: u64, due: Option<u64>, bytes: usize, world: &mut World) {
        let Some(membership) = room.and_then(|room| self.member(room)) else { return };
        world.fresh.messages += 1;
        world.fresh.bytes += bytes as u64;
        world.tally.delivered += 1;
        if membership.standing != Standing::Here {
            world.tally.before_joined += 1;
        }
        judge(&mut membership.track, offset, world);
        if let Some(due) = due.filter(|_| world.measuring) {
            world.tally.latency.record_ns(world.now.saturating_sub(due));
        }
    }

    fn joined(&mut self, reply: &Reply<'_>, room: Option<usize>, out: &mut Vec<u8>, world: &mut World) {
        let epoch = world.intern(reply.epoch.as_deref().unwrap_or(""));
        let Some(membership) = room.and_then(|room| self.member(room)) else { return };
        let room = membership.room;
        let offset = reply.offset.unwrap_or(0);
        let was = membership.standing;
        match was {
            Standing::New => membership.track.begin(offset),
            Standing::Here => return,
            Standing::Away if reply.recovered == Some(true) => {
                world.tally.recovered += u64::from(!reply.more);
                for logged in &reply.messages {
                    world.tally.replayed += 1;
                    // Its bytes are not known apart from the page it came in; all messages of a run have one size.
                    world.fresh.messages += 1;
                    world.fresh.bytes += frame_bytes(world.plan.shape.size) as u64;
                    judge(&mut membership.track, logged.offset, world);
                    if let Some(due) = logged.msg.and_then(|msg| due_of(msg.get())).filter(|_| world.measuring) {
                        world.tally.latency.record_ns(world.now.saturating_sub(due));
                    }
                }
                let behind = offset.saturating_sub(membership.track.last());
                world.board.holes.fetch_add(behind, Relaxed);
                membership.track.must_have_reached(offset);
            }
            Standing::Away => {
                world.tally.not_recovered += 1;
                world.tally.told_lost += membership.track.told_gap(offset);
            }
        }
        membership.epoch = epoch;
        if reply.more {
            membership.standing = Standing::Away;
            self.todo.push(Todo::Join(room));
            return;
        }
        membership.standing = Standing::Here;
        self.absent -= 1;
        if self.present() {
            self.arrived(out, world);
        }
    }

    /// All rooms are joined: what was left un-acked on an earlier connection goes out again before anything new.
    fn arrived(&mut self, out: &mut Vec<u8>, world: &mut World) {
        self.ever_present = true;
        if world.plan.shape.keys {
            self.repeat(None, out, world);
        } else if let Some(outgoing) = &mut self.outgoing {
            // Without a key nobody can tell whether it was stored, and sending it again could store it twice.
            world.tally.skipped += outgoing.unacked.len() as u64;
            outgoing.unacked.clear();
        }
        if world.habits.saturate && world.plan.publishes(self.index) {
            self.todo.push(Todo::TopUp);
        }
    }

    fn told_gap(&mut self, room: Option<usize>, reply: &Reply<'_>, world: &mut World) {
        let epoch = reply.epoch.as_deref().map(|epoch| world.intern(epoch));
        let Some(membership) = room.and_then(|room| self.member(room)) else { return };
        world.tally.gaps += 1;
        world.tally.told_lost += membership.track.told_gap(reply.offset.unwrap_or(0));
        if let Some(epoch) = epoch {
            membership.epoch = epoch;
        }
    }

    fn refused(&mut self, reply: &Reply<'_>, cues: &mut Vec<Cue>, world: &mut World) {
        let code = reply.code.as_deref().unwrap_or("(no code)");
        count(&mut world.tally.errors, code);
        let ms = reply.retry_after_ms.unwrap_or(RETRY_MS);
        match reply.asked() {
            Asked::Publish(number) if code == "outcome_unknown" && world.plan.shape.keys => {
                cues.push(Cue::RetryAfter { ms, todo: Todo::Repeat(number) });
            }
            asked @ Asked::Publish(_) => {
                if self.settle(asked) {
                    world.tally.refused += 1;
                    if world.habits.saturate {
                        let outgoing = self.outgoing.get_or_insert_default();
                        outgoing.held_until = outgoing.held_until.max(world.now + ms * 1_000_000);
                        cues.push(Cue::RetryAfter { ms: ms + 1, todo: Todo::TopUp });
                    }
                }
            }
            Asked::Join(room) => cues.push(Cue::RetryAfter { ms, todo: Todo::Join(room) }),
            Asked::Ping => {
                world.board.exchanged.fetch_add(1, Relaxed);
            }
            Asked::Nothing => {}
        }
    }
}

fn judge(track: &mut Track, offset: u64, world: &mut World) {
    match track.observe(offset) {
        Seen::Next => {}
        Seen::Ahead(skipped) => {
            world.board.holes.fetch_add(skipped, Relaxed);
        }
        Seen::Late => {
            world.board.holes.fetch_sub(1, Relaxed);
            world.tally.out_of_order += 1;
        }
        Seen::Repeat => world.tally.duplicated += 1,
    }
}

/// The time inside a `msg` of ours, given its JSON.
fn due_of(json: &str) -> Option<u64> {
    read_due(json.strip_prefix('"')?.as_bytes())
}

#[cfg(test)]
mod tests;
