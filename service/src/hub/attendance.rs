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

use crate::backplane::Unavailable;
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
/// A call that failed may still be on its way for so long, by a connection that was given up, and be carried out after
/// those that followed it: the kernel gives up what is not acknowledged for 10 s.
const STRAY: Duration = Duration::from_secs(15);

type Place = (RoomName, UserId);

/// Where the port has the user, as far as is known here.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Told {
    #[default]
    Away,
    Here,
    /// A call failed, which may have been carried out all the same; or the port lost something.
    Unsure,
}

#[derive(Debug, Default)]
struct Local {
    sessions: u32,
    told: Told,
    /// In `work`.
    queued: bool,
    /// No sessions; the leave is due then.
    leaves_at: Option<Moment>,
    /// Until then a call that failed may still be carried out, whatever was told since.
    strays_until: Option<Moment>,
}

impl Local {
    fn is_wanted(&self, now: Moment) -> bool {
        self.sessions > 0 || self.leaves_at.is_some_and(|at| at > now)
    }
}

#[derive(Default)]
struct State {
    places: HashMap<Place, Local>,
    work: VecDeque<Place>,
    /// Places to look at again, by when: their leave is held back, or a stray call may have undone what was told. The
    /// number tells apart those of one moment.
    held: BTreeMap<(Moment, u64), Place>,
    next: u64,
    /// What was taken out of `work` is being told.
    telling: bool,
    /// How often the port lost what it was told.
    losses: u64,
}

impl State {
    fn hold(&mut self, due: Moment, place: Place) {
        self.held.insert((due, self.next), place);
        self.next += 1;
    }
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
        if local.told != Told::Here {
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
            state.hold(due, place);
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
            self.queue(&mut state, place);
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

    /// Brings the port to what should be true of one place. Never two at a time for one place.
    async fn tell(&self, place: &Place) -> Result<(), Unavailable> {
        let (room, user) = place;
        let began = self.clock.now().mono;
        let (wanted, told, losses) = {
            let state = self.state.lock();
            let Some(local) = state.places.get(place) else { return Ok(()) };
            (local.is_wanted(began), local.told, state.losses)
        };
        let result = match (wanted, told) {
            (true, Told::Away | Told::Unsure) => self.port.enter(room, user).await,
            (false, Told::Here | Told::Unsure) => self.port.leave(room, user).await,
            _ => Ok(()),
        };
        let now = self.clock.now().mono;
        let mut state = self.state.lock();
        // What was told while the port lost everything may be lost with it; the place is queued again by then.
        let kept = state.losses == losses;
        let Some(local) = state.places.get_mut(place) else { return result };
        if result.is_err() {
            local.strays_until = Some(now + STRAY);
        }
        local.strays_until.take_if(|until| *until <= began);
        let strays_until = local.strays_until;
        local.told = match wanted {
            _ if !kept || strays_until.is_some() => Told::Unsure,
            true => Told::Here,
            false => Told::Away,
        };
        if local.is_wanted(now) != wanted {
            // It changed while the port was being told.
            self.queue(&mut state, place.clone());
        } else if !wanted && local.told == Told::Away && !local.queued {
            state.places.remove(place);
            if state.places.is_empty() {
                state.places = HashMap::new();
            }
        }
        if let (Ok(()), Some(until)) = (&result, strays_until) {
            state.hold(until, place.clone());
        }
        result
    }

    async fn renew(&self) {
        // A lease that had run out took with it what was entered: enter it all again. Leaves are told again, too: nobody
        // knows what is gone and what is not.
        if let Ok(false) = self.port.renew().await {
            let mut state = self.state.lock();
            state.losses += 1;
            let places: Vec<Place> = state.places.keys().cloned().collect();
            for place in places {
                if let Some(local) = state.places.get_mut(&place) {
                    local.told = Told::Unsure;
                }
                self.queue(&mut state, place);
            }
        }
    }
}

#[cfg(test)]
mod tests;
