//! The phases of an instance's end, readable by everybody: serving, draining, stopped. And the arithmetic of the drain:
//! who moves when. It tells nobody anything itself; `server.rs` does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Sessions that are asked to move per second when the window allows: slow enough for the others to take them in, fast
/// enough not to keep a small instance waiting.
const PACE_PER_SECOND: u32 = 200;
/// A session that stays is closed this much after its slot; the window ends with the last of them.
pub const GRACE: Duration = Duration::from_secs(5);

/// Whether the instance is on its way out, and whether it can deliver. Cloning is a reference count.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    leaving: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    ready: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

/// What balancers and probes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// New sessions are welcome.
    Ok,
    /// Balancers should bring nobody any more, but those whom they still bring are taken.
    Leaving,
    /// No new sessions: the instance goes away.
    Draining,
    /// No new sessions: the instance cannot deliver.
    Unready,
}

impl Health {
    /// The word in `/health`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Leaving | Self::Draining => "draining",
            Self::Unready => "unready",
        }
    }
}

impl Drain {
    /// The instance can deliver, or no longer.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// From now on balancers are told to look for other instances.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// From now on no new sessions.
    pub fn begin(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The window is over: connections that are left end without a word.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the window is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// What to tell balancers.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.draining.load(Ordering::Acquire) {
            Health::Draining
        } else if !self.ready.load(Ordering::Acquire) {
            Health::Unready
        } else if self.leaving.load(Ordering::Acquire) {
            Health::Leaving
        } else {
            Health::Ok
        }
    }
}

/// How long after the start of the drain the session with this index of `count` is to move. Sessions move at the pace,
/// or faster where the window would not suffice: the window beats the pace.
#[must_use]
pub fn slot(index: usize, count: usize, window: Duration) -> Duration {
    let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let index = u32::try_from(index).unwrap_or(u32::MAX).min(count);
    let usable = window.saturating_sub(GRACE);
    let spread = usable.min(Duration::from_secs(1) * count / PACE_PER_SECOND);
    spread.mul_f64(f64::from(index) / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_instance_is_empty_at_the_pace() {
        assert_eq!(slot(0, 100, Duration::from_secs(30)), Duration::ZERO);
        assert_eq!(slot(50, 100, Duration::from_secs(30)), Duration::from_millis(250));
    }

    #[test]
    fn the_window_beats_the_pace() {
        let window = Duration::from_secs(30);
        let last = slot(99_999, 100_000, window);
        assert!(last < Duration::from_secs(25) && last > Duration::from_secs(24), "{last:?}");
        assert_eq!(slot(7, 10, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn draining_is_told_before_readiness() {
        let drain = Drain::default();
        assert_eq!(drain.health(), Health::Unready);
        drain.set_ready(true);
        assert_eq!(drain.health(), Health::Ok);
        drain.leave();
        assert_eq!((drain.health(), drain.health().as_str()), (Health::Leaving, "draining"));
        drain.begin();
        assert_eq!(drain.health(), Health::Draining);
    }
}
