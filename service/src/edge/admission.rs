//! Who may connect at all, whoever they are: a cap on connections and one on upgrades a second. Over either, the answer
//! is 503 with `Retry-After`, which costs little and which clients obey.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::clock::Moment;

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As many connections as allowed are open.
    Connections,
    /// As many upgrades as allowed were done this second.
    Handshakes,
}

impl Refused {
    /// The label in metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::Handshakes => "max_handshakes",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Admission {
    open: Arc<AtomicU32>,
    max_open: u32,
    per_second: u32,
    /// The current second and the upgrades in it.
    window: Mutex<(u64, u32)>,
}

/// A connection's place; dropping it frees the place.
#[derive(Debug)]
pub struct Admitted(Arc<AtomicU32>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// At most `max_open` connections and `per_second` upgrades a second; 0 is no cap.
    #[must_use]
    pub fn new(max_open: u32, per_second: u32) -> Self {
        Self { open: Arc::default(), max_open, per_second, window: Mutex::default() }
    }

    /// Whether there would be a place.
    ///
    /// # Errors
    /// Which cap was reached.
    pub fn check(&self, now: Moment) -> Result<(), Refused> {
        if self.max_open > 0 && self.open.load(Ordering::Relaxed) >= self.max_open {
            return Err(Refused::Connections);
        }
        let (second, upgrades) = *self.window.lock();
        if self.per_second > 0 && second == now.as_nanos() / 1_000_000_000 && upgrades >= self.per_second {
            return Err(Refused::Handshakes);
        }
        Ok(())
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Which cap was reached. Nothing is taken then.
    pub fn admit(&self, now: Moment) -> Result<Admitted, Refused> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(Arc::clone(&self.open));
        if self.max_open > 0 && open >= self.max_open {
            return Err(Refused::Connections);
        }
        if self.per_second > 0 {
            let second = now.as_nanos() / 1_000_000_000;
            let mut window = self.window.lock();
            if window.0 != second {
                *window = (second, 0);
            }
            if window.1 >= self.per_second {
                return Err(Refused::Handshakes);
            }
            window.1 += 1;
        }
        Ok(admitted)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let admission = Admission::new(2, 0);
        let now = Moment::default();
        let one = admission.admit(now).unwrap();
        let _two = admission.admit(now).unwrap();
        assert_eq!(admission.admit(now).unwrap_err(), Refused::Connections);
        assert_eq!(admission.check(now), Err(Refused::Connections));
        drop(one);
        assert_eq!(admission.check(now), Ok(()));
        assert!(admission.admit(now).is_ok());
    }

    #[test]
    fn each_second_has_its_own_upgrades() {
        let admission = Admission::new(0, 2);
        let now = Moment::default();
        let places: Vec<_> = (0..2).map(|_| admission.admit(now).unwrap()).collect();
        assert_eq!(admission.admit(now).unwrap_err(), Refused::Handshakes);
        assert!(admission.admit(now + Duration::from_secs(1)).is_ok());
        drop(places);
    }
}
