//! Judges the offsets that one session sees in one room: nothing missing, nothing twice, nothing out of order. It
//! trusts only the numbers, not the order in which sockets were opened or closed.

/// What one offset was, measured against those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Last + 1, as it must be.
    Next,
    /// Beyond last + 1: so many before it have not come (yet).
    Ahead(u64),
    /// One of those that had not come: they are out of order, but not missing.
    Late,
    /// Seen before.
    Repeat,
}

/// Where one session stands in one room.
#[derive(Default)]
pub(super) struct Track {
    last: u64,
    /// Ranges, both ends included, that were skipped and have not come since; ascending, empty on a healthy server.
    holes: Vec<(u64, u64)>,
}

impl Track {
    /// The newest offset seen, or the one that `joined` told.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// A fresh start at `offset`: what lies before it was never promised. Holes that are open stay open.
    pub(super) fn begin(&mut self, offset: u64) {
        self.last = offset;
    }

    /// Judges a message with this offset and moves on.
    pub(super) fn observe(&mut self, offset: u64) -> Seen {
        if offset == self.last + 1 {
            self.last = offset;
            return Seen::Next;
        }
        if offset > self.last {
            let skipped = offset - self.last - 1;
            self.holes.push((self.last + 1, offset - 1));
            self.last = offset;
            return Seen::Ahead(skipped);
        }
        if self.fill(offset) { Seen::Late } else { Seen::Repeat }
    }

    /// The server says that it stands at `offset` without having sent all up to there: what lacks is missing.
    pub(super) fn must_have_reached(&mut self, offset: u64) {
        if offset > self.last {
            self.holes.push((self.last + 1, offset));
            self.last = offset;
        }
    }

    /// The server has told that continuity is lost up to `offset`; returns how many messages that costs.
    pub(super) fn told_gap(&mut self, offset: u64) -> u64 {
        let lost = offset.saturating_sub(self.last);
        self.last = offset;
        lost
    }

    /// Messages that never came, given the room's newest offset known from acks.
    pub(super) fn missing(&self, top: u64) -> u64 {
        self.holes.iter().map(|(from, to)| to - from + 1).sum::<u64>() + top.saturating_sub(self.last)
    }

    fn fill(&mut self, offset: u64) -> bool {
        let Some(at) = self.holes.iter().position(|&(from, to)| from <= offset && offset <= to) else { return false };
        let (from, to) = self.holes.remove(at);
        if offset < to {
            self.holes.insert(at, (offset + 1, to));
        }
        if from < offset {
            self.holes.insert(at, (from, offset - 1));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Track {
        let mut track = Track::default();
        track.begin(offset);
        track
    }

    #[test]
    fn an_unbroken_run_has_no_faults() {
        let mut track = at(41);
        for offset in 42..=60 {
            assert_eq!(track.observe(offset), Seen::Next);
        }
        assert_eq!(track.missing(60), 0);
    }

    #[test]
    fn a_lost_message_is_missing() {
        let mut track = at(0);
        track.observe(1);
        assert_eq!(track.observe(4), Seen::Ahead(2));
        assert_eq!(track.missing(4), 2);
    }

    #[test]
    fn a_lost_tail_is_missing() {
        let mut track = at(0);
        track.observe(1);
        assert_eq!(track.missing(5), 4);
    }

    #[test]
    fn a_repeated_message_is_a_repeat() {
        let mut track = at(0);
        track.observe(1);
        track.observe(2);
        assert_eq!(track.observe(2), Seen::Repeat);
        assert_eq!(track.observe(1), Seen::Repeat);
        assert_eq!(track.missing(2), 0);
    }

    #[test]
    fn what_was_before_the_join_is_a_repeat() {
        assert_eq!(at(10).observe(10), Seen::Repeat);
    }

    #[test]
    fn swapped_messages_are_out_of_order_and_not_missing() {
        let mut track = at(0);
        assert_eq!(track.observe(2), Seen::Ahead(1));
        assert_eq!(track.observe(1), Seen::Late);
        assert_eq!(track.observe(1), Seen::Repeat);
        assert_eq!(track.missing(2), 0);
    }

    #[test]
    fn a_hole_is_filled_from_any_side() {
        let mut track = at(0);
        track.observe(6);
        for offset in [3, 1, 5, 4] {
            assert_eq!(track.observe(offset), Seen::Late);
        }
        assert_eq!(track.missing(6), 1);
        assert_eq!(track.observe(2), Seen::Late);
        assert_eq!(track.missing(6), 0);
    }

    #[test]
    fn a_told_gap_is_counted_and_not_missing() {
        let mut track = at(5);
        assert_eq!(track.told_gap(9), 4);
        assert_eq!(track.observe(10), Seen::Next);
        assert_eq!(track.missing(10), 0);
    }

    #[test]
    fn a_replay_that_stops_short_of_its_own_position_is_missing() {
        let mut track = at(5);
        track.observe(6);
        track.must_have_reached(8);
        assert_eq!(track.missing(8), 2);
    }
}
