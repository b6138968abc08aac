//! Counts this instance's sessions per room and user, and tells the presence port only when a user comes or is gone for
//! good. It keeps what should be true; a worker makes it so, however often the port fails.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use crate::ids::{RoomName, UserId};
use crate::presence::{Presence, RENEW_EVERY};

/// A user whose last session is gone stays present this long: a resume elsewhere causes no leave.
pub const HOLD: Duration = Duration::from_secs(5);
/// Places told to the port at the same time.
const TOLD_AT_ONCE: usize = 64;
/// Pause after the port failed.
const RETRY: Duration = Duration::from_millis(500);
/// How long a question waits for what was entered before it.
const SETTLE: Duration = Duration::from_secs(1);

type Place = (RoomName, UserId);

#[derive(Debug, Default)]
struct Local {
    sessions: u32,
    /// The port was told that the user is here.
    entered: bool,
    /// In `work`.
    queued: bool,
    /// No sessions; the leave is due then.
    leaves_at: Option<Moment>,
}

#[derive(Default)]
struct State {
    places: HashMap<Place, Local>,
    work: VecDeque<Place>,
    /// Leaves that are held back, by when they are due; the number tells apart those of one moment.
    held: BTreeMap<(Moment, u64), Place>,
    next: u64,
    /// What was taken out of `work` is being told.
    telling: bool,
    /// How often the port lost what it was told.
    losses: u64,
}

/// See the module.
pub struct Attendance {
    state: Mutex<State>,
    changed: Notify,
    /// Counts the moments at which there was nothing left to tell.
    idle: watch::Sender<u64>,
    port: Arc<dyn Presence>,
    clock: Arc<dyn Clock>,
}

impl Attendance {
    /// Nobody is here. [`Attendance::run`] must be running for the port to hear of anything.
    #[must_use]
    pub fn new(port: Arc<dyn Presence>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Notify::new(), idle: watch::Sender::new(0), port, clock })
    }

    /// One more session of the user in the room.
    pub fn enter(&self, room: &RoomName, user: &UserId) {
        let mut state = self.state.lock();
        let place = (room.clone(), user.clone());
        let local = state.places.entry(place.clone()).or_default();
        local.sessions += 1;
        local.leaves_at = None;
        if !local.entered {
            self.queue(&mut state, place);
        }
    }

    /// One session less. The leave is held back, unless the user `asked` for it.
    pub fn leave(&self, room: &RoomName, user: &UserId, asked: bool) {
        let mut state = self.state.lock();
        let place = (room.clone(), user.clone());
        let Some(local) = state.places.get_mut(&place) else { return };
        local.sessions = local.sessions.saturating_sub(1);
        if local.sessions > 0 {
            return;
        }
        let due = self.clock.now().mono + if asked { Duration::ZERO } else { HOLD };
        local.leaves_at = Some(due);
        if asked {
            self.queue(&mut state, place);
        } else {
            let number = state.next;
            state.next += 1;
            state.held.insert((due, number), place);
            self.changed.notify_one();
        }
    }

    /// Waits until the port has heard of everything entered before, a second at most.
    pub async fn settled(&self) {
        let mut idle = self.idle.subscribe();
        {
            let state = self.state.lock();
            if state.work.is_empty() && !state.telling {
                return;
            }
        }
        // The worker lives as long as the instance; if it is gone or late, the question is answered from what is known.
        drop(tokio::time::timeout(SETTLE, idle.changed()).await);
    }

    fn queue(&self, state: &mut State, place: Place) {
        if let Some(local) = state.places.get_mut(&place)
            && !local.queued
        {
            local.queued = true;
            state.work.push_back(place);
            self.changed.notify_one();
        }
    }

    /// Tells the port what changed, and renews the lease, until stopped. The two do not wait for each other: a lease must
    /// not run out because there is much to tell.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let forever = async { tokio::join!(self.keep_lease(), self.work()) };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            _ = forever => {}
        }
    }

    async fn keep_lease(&self) {
        let mut renew = tokio::time::interval(RENEW_EVERY);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            renew.tick().await;
            self.renew().await;
        }
    }

    async fn work(&self) {
        loop {
            self.fall_due();
            let places = self.take();
            if places.is_empty() {
                self.idle.send_modify(|rounds| *rounds += 1);
                let held = self.state.lock().held.first_key_value().map(|((due, _), _)| *due);
                let pause = held.map_or(RENEW_EVERY, |due| due.since(self.clock.now().mono));
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
                continue;
            }
            let mut told: FuturesUnordered<_> = places
                .into_iter()
                .map(async |place| {
                    let result = self.tell(&place).await;
                    (place, result)
                })
                .collect();
            let mut failed = false;
            while let Some((place, result)) = told.next().await {
                if let Err(error) = result {
                    tracing::debug!(%error, "presence cannot be told yet");
                    failed = true;
                    let mut state = self.state.lock();
                    self.queue(&mut state, place);
                }
            }
            self.state.lock().telling = false;
            if failed {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn fall_due(&self) {
        let now = self.clock.now().mono;
        let mut state = self.state.lock();
        while let Some(entry) = state.held.first_entry().filter(|entry| entry.key().0 <= now) {
            let place = entry.remove();
            if state.places.get(&place).is_some_and(|local| local.leaves_at.is_some_and(|at| at <= now)) {
                self.queue(&mut state, place);
            }
        }
    }

    fn take(&self) -> Vec<Place> {
        let mut state = self.state.lock();
        let count = state.work.len().min(TOLD_AT_ONCE);
        let places: Vec<Place> = state.work.drain(..count).collect();
        for place in &places {
            if let Some(local) = state.places.get_mut(place) {
                local.queued = false;
            }
        }
        state.telling = !places.is_empty();
        places
    }

    /// Brings the port to what should be true of one place.
    async fn tell(&self, place: &Place) -> Result<(), crate::backplane::Unavailable> {
        let (room, user) = place;
        let now = self.clock.now().mono;
        let (wanted, entered, losses) = {
            let state = self.state.lock();
            let Some(local) = state.places.get(place) else { return Ok(()) };
            (local.sessions > 0 || local.leaves_at.is_some_and(|at| at > now), local.entered, state.losses)
        };
        match (wanted, entered) {
            (true, false) => self.port.enter(room, user).await?,
            (false, true) => self.port.leave(room, user).await?,
            _ => {}
        }
        let mut state = self.state.lock();
        // What was told while the port lost everything may be lost with it; the place is queued again by then.
        let kept = state.losses == losses;
        if let Some(local) = state.places.get_mut(place) {
            local.entered = wanted && kept;
            if local.sessions == 0 && !wanted && !local.queued {
                state.places.remove(place);
                if state.places.is_empty() {
                    state.places = HashMap::new();
                }
            } else if (local.sessions > 0) != wanted && local.leaves_at.is_none() {
                // It changed while the port was being told.
                self.queue(&mut state, place.clone());
            }
        }
        Ok(())
    }

    async fn renew(&self) {
        // A lease that had run out took with it what was entered: enter it all again. A leave that is due must be told all
        // the same: nobody knows what is gone and what is not.
        if let Ok(false) = self.port.renew().await {
            let now = self.clock.now().mono;
            let mut state = self.state.lock();
            state.losses += 1;
            let places: Vec<Place> = state.places.keys().cloned().collect();
            for place in places {
                if let Some(local) = state.places.get_mut(&place) {
                    local.entered &= local.sessions == 0 && local.leaves_at.is_none_or(|at| at <= now);
                }
                self.queue(&mut state, place);
            }
        }
    }
}

#[cfg(test)]
mod tests;
