//! Whether messages come through: what the probes found, and since when. Readiness and the judgement of other
//! instances' leases hang on it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Moment;

/// Cloning shares it.
#[derive(Debug, Clone)]
pub struct Health {
    state: Arc<Mutex<State>>,
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// When probes began to come through without a break.
    since: Option<Moment>,
    /// When the last one did.
    last: Option<Moment>,
}

impl Default for Health {
    /// Nothing has come through yet.
    fn default() -> Self {
        Self { state: Arc::default(), ready: watch::Sender::new(false) }
    }
}

impl Health {
    /// Whether the instance can deliver, and every change of it.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// A probe came through. `true` if it is the first after a break.
    pub(crate) fn heard(&self, now: Moment) -> bool {
        let mut state = self.state.lock();
        state.last = Some(now);
        let healed = state.since.is_none();
        state.since.get_or_insert(now);
        drop(state);
        self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        healed
    }

    /// A probe did not come through. It takes `patience` until the instance is no longer ready, but from the first one
    /// on it does not judge others.
    pub(crate) fn missed(&self, now: Moment, patience: Duration) {
        let mut state = self.state.lock();
        state.since = None;
        let silent = state.last.is_none_or(|last| now.since(last) >= patience);
        drop(state);
        if silent {
            self.ready.send_if_modified(|ready| std::mem::replace(ready, false));
        }
    }

    /// Whether probes have come through for this long without a break.
    #[must_use]
    pub fn steady_for(&self, time: Duration, now: Moment) -> bool {
        self.state.lock().since.is_some_and(|since| now.since(since) >= time)
    }

    /// Whether the instance can deliver.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn an_instance_is_ready_from_the_first_probe_until_ten_silent_seconds() {
        let health = Health::default();
        assert!(!health.is_ready());
        assert!(health.heard(at(1)));
        assert!(health.is_ready());
        health.missed(at(3), PATIENCE);
        assert!(health.is_ready());
        health.missed(at(11), PATIENCE);
        assert!(!health.is_ready());
        assert!(health.heard(at(12)));
        assert!(!health.heard(at(14)));
        assert!(health.is_ready());
    }

    #[test]
    fn one_missed_probe_ends_steadiness() {
        let health = Health::default();
        let lease = Duration::from_secs(10);
        health.heard(at(0));
        health.heard(at(10));
        assert!(health.steady_for(lease, at(10)));
        health.missed(at(11), PATIENCE);
        assert!(!health.steady_for(lease, at(11)));
        health.heard(at(12));
        assert!(!health.steady_for(lease, at(21)));
        assert!(health.steady_for(lease, at(22)));
    }
}
