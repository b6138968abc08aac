//! Who is in which room, who publishes, and what everyone is called: fixed before the first connect, the same for every
//! thread. Names have a fixed width, so that all messages of a run have one size.

use std::collections::BTreeSet;

use thiserror::Error;

/// What the user asked for, as far as the assignment depends on it.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Sessions in all.
    pub(super) sessions: usize,
    /// Rooms in all.
    pub(super) rooms: usize,
    /// Members of every room.
    pub(super) members: usize,
    /// Sessions that publish.
    pub(super) publishers: usize,
    /// Bytes of the WebSocket payload of a delivered message.
    pub(super) size: usize,
    /// Whether every publish carries a `key`, which makes it safe to repeat.
    pub(super) keys: bool,
    /// Six characters that set this run apart.
    pub(super) run: String,
    /// Start of room and user names.
    pub(super) prefix: String,
}

/// The assignment.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    room_digits: usize,
    user_digits: usize,
    padding: usize,
    publishers: BTreeSet<usize>,
}

/// Why a shape is impossible.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum PlanFault {
    #[error("--members {members} is more than --sessions {sessions}: a session is a member of a room only once")]
    Members { members: usize, sessions: usize },
    #[error("--publishers {publishers} is more than the {able} sessions that are a member of a room")]
    Publishers { publishers: usize, able: usize },
    #[error("--size {size} is too small: with these names a delivered message takes at least {least} bytes")]
    Size { size: usize, least: usize },
}

/// `{"type":"message","room":"` … `","offset":` 4 digits `,"from":"` … `","msg":"t=` 16 digits `;` … `"` `,"at":` 13 digits `}`.
const FIXED: usize = 26 + 11 + 4 + 9 + 11 + 16 + 1 + 1 + 6 + 13 + 1;
/// `,"key":"` 18 characters `"`.
const FIXED_KEY: usize = 8 + KEY_LENGTH + 1;
/// Run (6), session (5) and number (7), hexadecimal.
const KEY_LENGTH: usize = 18;

impl Plan {
    /// # Errors
    /// When the shape contradicts itself, with the option that does.
    pub(super) fn new(shape: Shape) -> Result<Self, PlanFault> {
        let Shape { sessions, rooms, members, publishers, size, .. } = shape;
        if members > sessions {
            return Err(PlanFault::Members { members, sessions });
        }
        let room_digits = digits(rooms.saturating_sub(1));
        let user_digits = digits(sessions.saturating_sub(1));
        let names = 2 * (shape.prefix.len() + 1) + shape.run.len() + 1 + room_digits + user_digits;
        let least = FIXED + names + if shape.keys { FIXED_KEY } else { 0 };
        let padding = size.checked_sub(least).ok_or(PlanFault::Size { size, least })?;
        // The first of every room, then the second of every room, and so on: with R publishers every room has one.
        let mut chosen = BTreeSet::new();
        for seat in (0..members).flat_map(|member| (0..rooms).map(move |room| (room * members + member) % sessions)) {
            if chosen.len() == publishers {
                break;
            }
            chosen.insert(seat);
        }
        if chosen.len() < publishers {
            return Err(PlanFault::Publishers { publishers, able: chosen.len() });
        }
        Ok(Self { shape, room_digits, user_digits, padding, publishers: chosen })
    }

    /// Rooms that session `session` is a member of, ascending.
    pub(super) fn rooms_of(&self, session: usize) -> Vec<usize> {
        let Shape { sessions, rooms, members, .. } = self.shape;
        // Seats are dealt in a circle: seat s belongs to session s mod N and to room s / M.
        (session..rooms * members).step_by(sessions).map(|seat| seat / members).collect()
    }

    /// The member of `room` who speaks when a room as a whole is to get messages.
    pub(super) fn speaker_of(&self, room: usize) -> usize {
        (room * self.shape.members) % self.shape.sessions
    }

    /// Whether `session` is one of the publishers.
    pub(super) fn publishes(&self, session: usize) -> bool {
        self.publishers.contains(&session)
    }

    /// Memberships of all sessions together: what one message to every room is delivered to.
    pub(super) fn memberships(&self) -> usize {
        self.shape.rooms * self.shape.members
    }

    /// Start of every room name of this run; the room's number follows.
    pub(super) fn room_prefix(&self) -> String {
        format!("{}-{}-", self.shape.prefix, self.shape.run)
    }

    /// Name of a room.
    pub(super) fn room_name(&self, room: usize) -> String {
        format!("{}{room:0width$}", self.room_prefix(), width = self.room_digits)
    }

    /// Name of a session's user; every session is a user of its own.
    pub(super) fn user_name(&self, session: usize) -> String {
        format!("{}-{session:0width$}", self.shape.prefix, width = self.user_digits)
    }

    /// Key of a session's publish number `number`.
    pub(super) fn key(&self, session: usize, number: u64) -> String {
        format!("{}{session:05x}{number:07x}", self.shape.run)
    }

    /// Filling that makes a delivered message `size` bytes long.
    pub(super) fn padding(&self) -> usize {
        self.padding
    }
}

fn digits(mut number: usize) -> usize {
    let mut digits = 1;
    while number >= 10 {
        number /= 10;
        digits += 1;
    }
    digits
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn shape(sessions: usize, rooms: usize, members: usize, publishers: usize) -> Shape {
        Shape {
            sessions,
            rooms,
            members,
            publishers,
            size: 200,
            keys: true,
            run: "c0ffee".into(),
            prefix: "load".into(),
        }
    }

    #[test]
    fn every_room_has_its_members_and_no_session_is_in_a_room_twice() {
        for (sessions, rooms, members) in [(10, 1, 10), (10, 5, 2), (10, 7, 3), (10, 10, 10), (10, 2, 3), (1, 1, 1)] {
            let plan = Plan::new(shape(sessions, rooms, members, 1)).unwrap();
            let mut in_room = vec![0; rooms];
            for session in 0..sessions {
                let rooms = plan.rooms_of(session);
                assert!(rooms.windows(2).all(|pair| pair[0] < pair[1]), "{rooms:?}");
                for room in rooms {
                    in_room[room] += 1;
                }
            }
            assert_eq!(in_room, vec![members; rooms]);
        }
    }

    #[test]
    fn as_many_publishers_as_rooms_means_one_in_every_room() {
        let plan = Plan::new(shape(100, 20, 5, 20)).unwrap();
        let publishing: BTreeSet<usize> =
            (0..100).filter(|s| plan.publishes(*s)).flat_map(|s| plan.rooms_of(s)).collect();
        assert_eq!(publishing.len(), 20);
    }

    #[test]
    fn a_speaker_is_a_member_of_its_room() {
        let plan = Plan::new(shape(10, 7, 3, 1)).unwrap();
        for room in 0..7 {
            assert!(plan.rooms_of(plan.speaker_of(room)).contains(&room));
        }
    }

    #[test]
    fn an_impossible_shape_is_told() {
        assert_eq!(Plan::new(shape(10, 1, 11, 1)).unwrap_err(), PlanFault::Members { members: 11, sessions: 10 });
        assert_eq!(Plan::new(shape(10, 1, 5, 6)).unwrap_err(), PlanFault::Publishers { publishers: 6, able: 5 });
        let small = Plan::new(Shape { size: 40, ..shape(10, 1, 10, 1) }).unwrap_err();
        assert!(matches!(small, PlanFault::Size { size: 40, .. }), "{small}");
    }
}
