//! What the probes tell, gathered where it happens: whether this replica moves, and whether it knows what it must know.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock;

/// Longest reconcile. Each of its calls has a deadline, so that only one that is stuck takes longer.
const LONGEST_RECONCILE: Duration = Duration::from_mins(10);
/// Longest time between two looks at the Lease, whatever came of them.
const LONGEST_BLINK: Duration = Duration::from_mins(1);

/// See the module. Clones tell the same.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The last look at the Lease, and whether one ever got an answer.
    looked: Option<Instant>,
    reached: bool,
    /// What is watched and not yet known.
    unknown: BTreeSet<String>,
    reconciles: HashMap<u64, Instant>,
    begun: u64,
}

/// A reconcile that runs; it ends when this is dropped.
pub struct Reconciling {
    health: Health,
    number: u64,
}

impl Health {
    /// The Lease was looked at, with or without an answer.
    pub fn looked_at_lease(&self, answered: bool) {
        let mut state = self.0.lock();
        state.looked = Some(clock::instant());
        state.reached |= answered;
    }

    /// A watch begins.
    pub fn awaits(&self, what: String) {
        self.0.lock().unknown.insert(what);
    }

    /// Everything of a watch that was there at the start is known.
    pub fn knows(&self, what: &str) {
        self.0.lock().unknown.remove(what);
    }

    /// A reconcile begins.
    #[must_use]
    pub fn reconciling(&self) -> Reconciling {
        let mut state = self.0.lock();
        state.begun += 1;
        let number = state.begun;
        state.reconciles.insert(number, clock::instant());
        Reconciling { health: self.clone(), number }
    }

    /// Whether this replica moves.
    ///
    /// # Errors
    /// What is stuck.
    pub fn lives(&self) -> Result<(), String> {
        let (state, now) = (self.0.lock(), clock::instant());
        if state.reconciles.values().any(|began| now - *began > LONGEST_RECONCILE) {
            return Err(format!("a reconcile takes longer than {} s", LONGEST_RECONCILE.as_secs()));
        }
        if state.looked.is_some_and(|looked| now - looked > LONGEST_BLINK) {
            return Err(format!("the Lease was not looked at for {} s", LONGEST_BLINK.as_secs()));
        }
        Ok(())
    }

    /// Whether this replica can act, or stands by to act.
    ///
    /// # Errors
    /// What it waits for.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.0.lock();
        if !state.reached {
            return Err("the Lease could not be read yet".to_owned());
        }
        if !state.unknown.is_empty() {
            let unknown: Vec<_> = state.unknown.iter().map(String::as_str).collect();
            return Err(format!("not yet known: {}; may it be listed and watched?", unknown.join(", ")));
        }
        Ok(())
    }
}

impl Drop for Reconciling {
    fn drop(&mut self) {
        self.health.0.lock().reconciles.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_replica_lives_while_it_moves() {
        let health = Health::default();
        health.lives().expect("nothing has begun");
        health.looked_at_lease(false);
        let reconciling = health.reconciling();
        tokio::time::advance(LONGEST_BLINK).await;
        health.lives().expect("at the bound");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(health.lives().unwrap_err().contains("Lease"), "the loop of the Lease is stuck");
        tokio::time::advance(LONGEST_RECONCILE).await;
        health.looked_at_lease(false);
        assert!(health.lives().unwrap_err().contains("reconcile"), "a reconcile is stuck");
        drop(reconciling);
        health.lives().expect("it has ended");
    }

    #[test]
    fn a_replica_is_ready_when_it_knows_what_it_must_know() {
        let health = Health::default();
        assert_eq!(health.ready().unwrap_err(), "the Lease could not be read yet");
        health.looked_at_lease(true);
        health.ready().expect("it stands by");
        health.awaits("Secret".into());
        health.awaits("Pod".into());
        health.knows("Pod");
        assert!(health.ready().unwrap_err().starts_with("not yet known: Secret;"));
        health.knows("Secret");
        health.ready().expect("it acts");
    }
}
