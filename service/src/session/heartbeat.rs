//! Is the peer still there? A ping after one interval of silence, dead after two.
//! Any bytes of the peer count as a sign of life, not only pongs.

use std::time::Duration;

use crate::clock::Moment;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing before [`Heartbeat::deadline`].
    Quiet,
    /// Ask for a sign of life.
    Ping,
    /// Two intervals without one.
    Dead,
}

/// The state of one peer.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    heard: Moment,
    pinged: bool,
}

impl Heartbeat {
    /// The peer was heard `now`.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self { heard: now, pinged: false }
    }

    /// Something of the peer arrived.
    pub fn heard(&mut self, now: Moment) {
        self.heard = now;
        self.pinged = false;
    }

    /// When to call [`Heartbeat::beat`] next.
    #[must_use]
    pub fn deadline(&self, interval: Duration) -> Moment {
        self.heard + if self.pinged { interval * 2 } else { interval }
    }

    /// What is due now.
    pub fn beat(&mut self, interval: Duration, now: Moment) -> Beat {
        if now >= self.heard + interval * 2 {
            Beat::Dead
        } else if now >= self.heard + interval && !self.pinged {
            self.pinged = true;
            Beat::Ping
        } else {
            Beat::Quiet
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(20);

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn one_ping_after_an_interval_and_death_after_two() {
        let mut heart = Heartbeat::new(at(0));
        assert_eq!(heart.beat(INTERVAL, at(19)), Beat::Quiet);
        assert_eq!(heart.deadline(INTERVAL), at(20));
        assert_eq!(heart.beat(INTERVAL, at(20)), Beat::Ping);
        assert_eq!(heart.beat(INTERVAL, at(21)), Beat::Quiet);
        assert_eq!(heart.deadline(INTERVAL), at(40));
        assert_eq!(heart.beat(INTERVAL, at(40)), Beat::Dead);
    }

    #[test]
    fn any_sign_of_life_starts_anew() {
        let mut heart = Heartbeat::new(at(0));
        assert_eq!(heart.beat(INTERVAL, at(20)), Beat::Ping);
        heart.heard(at(39));
        assert_eq!(heart.beat(INTERVAL, at(40)), Beat::Quiet);
        assert_eq!(heart.deadline(INTERVAL), at(59));
    }
}
