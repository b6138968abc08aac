//! The only home of time. Everything else takes a [`Now`] or a [`Clock`], so that tests decide what time it is.
//! It does not wait: timers belong to the runtime at the rim.

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

/// A monotonic instant: nanoseconds since the clock was made. Ordered, never negative, wraps after 584 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The instant `nanos` nanoseconds after the clock was made.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock was made.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`, zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Both times at once: the monotonic one decides, the wall clock is only shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For every decision about durations and deadlines.
    pub mono: Moment,
    /// Milliseconds since the Unix epoch, for `at` and for the `exp` of tokens.
    pub wall_ms: u64,
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Both times, read together.
    fn now(&self) -> Now;
}

/// The process's clock. Its monotonic part follows tokio, so that a paused runtime pauses it too.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    /// A clock whose [`Moment`] starts at zero now.
    #[must_use]
    pub fn start() -> Arc<Self> {
        #[expect(clippy::disallowed_methods, reason = "this file is the home of time")]
        let start = tokio::time::Instant::now();
        Arc::new(Self { start })
    }

    /// The runtime's instant for a [`Moment`] of this clock, for timers: now for what is past, and at most a year from
    /// now, because not every platform's instants reach as far as a [`Moment`] does.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        let far = Duration::from_secs(86_400 * 365);
        let (now, mono) = self.read();
        now + moment.since(mono).min(far)
    }

    fn read(&self) -> (tokio::time::Instant, Moment) {
        #[expect(clippy::disallowed_methods, reason = "this file is the home of time")]
        let now = tokio::time::Instant::now();
        (now, Moment(u64::try_from(now.duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        #[expect(clippy::disallowed_methods, reason = "this file is the home of time")]
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.read().1, wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// A clock that moves only when told to; for tests of pure parts.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Default)]
pub struct ManualClock(parking_lot::Mutex<Now>);

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// A clock at zero whose wall shows `wall_ms`.
    #[must_use]
    pub fn at(wall_ms: u64) -> Arc<Self> {
        Arc::new(Self(parking_lot::Mutex::new(Now { mono: Moment(0), wall_ms })))
    }

    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock();
        now.mono = now.mono + by;
        now.wall_ms += u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_is_set_from_now_however_long_the_process_has_run() {
        let clock = SystemClock::start();
        for _ in 0..3 {
            let (now, ahead) = (clock.now().mono, Duration::from_secs(20));
            let until = |moment| clock.instant(moment).duration_since(clock.instant(now));
            assert_eq!(until(now + ahead), ahead);
            assert_eq!(until(now - ahead), Duration::ZERO);
            assert!(until(Moment::from_nanos(u64::MAX)) > Duration::from_secs(86_400 * 300), "far, and no overflow");
            tokio::time::advance(Duration::from_secs(86_400 * 366)).await;
        }
    }
}
