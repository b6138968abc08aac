//! A backplane with faults, for tests: around another one it loses, repeats, delays and swaps arrivals, refuses or leaves
//! open what was asked of it, and cuts an instance off. It never breaks what the port promises about the log itself.
//!
//! What happens is decided by the seed and by the order of what comes: delays count arrivals, not time. So a schedule that
//! is the same, as on a runtime of one thread, has the same story.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::{Arrival, Arrivals, Backplane, Page, PageLimit, PublishError, Range, Unavailable};
use crate::delivery::EphemeralKind;
use crate::entropy::{Entropy, SeededEntropy};
use crate::ids::LogName;
use crate::message::{Draft, Position, Stored};

/// How many arrivals wait behind the faults.
const CAPACITY: usize = 512;

/// How often what goes wrong while the instance is not cut off. Rates are in thousandths; the default is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultPlan {
    /// Arrivals that are lost without a word.
    pub lose: u16,
    /// Arrivals that are lost and followed by [`Arrival::Lagged`].
    pub lag: u16,
    /// Arrivals that come twice, the second time late.
    pub repeat: u16,
    /// Arrivals that come late. With `lose`, `lag` and `repeat` at most 1,000 in sum.
    pub delay: u16,
    /// How many other arrivals overtake one that is late, at most.
    pub overtaken_by: u16,
    /// Publishes that are refused: certainly not stored.
    pub refuse: u16,
    /// Publishes whose answer is lost, half of them after they were stored. With `refuse` at most 1,000 in sum.
    pub unsure: u16,
    /// Reads, positions and subscriptions that are refused.
    pub refuse_others: u16,
}

impl FaultPlan {
    /// Something of everything.
    #[must_use]
    pub fn rough() -> Self {
        Self { lose: 40, lag: 10, repeat: 60, delay: 120, overtaken_by: 8, refuse: 20, unsure: 40, refuse_others: 50 }
    }
}

/// What has happened so far; so that a test can assert that it was not spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Arrivals of the inner backplane, whatever became of them.
    pub seen: u64,
    /// Of these: lost without a word.
    pub lost: u64,
    /// Of these: lost and told.
    pub lagged: u64,
    /// Of these: repeated.
    pub repeated: u64,
    /// Of these: late.
    pub delayed: u64,
    /// Of these: lost because the instance was cut off.
    pub cut: u64,
    /// Publishes refused.
    pub refused: u64,
    /// Publishes left open that were not stored.
    pub unsure_not_stored: u64,
    /// Publishes left open that were stored.
    pub unsure_stored: u64,
    /// Reads, positions and subscriptions refused.
    pub refused_others: u64,
    /// Broadcasts lost because the instance was cut off.
    pub unheard: u64,
}

/// An instance's handle with faults.
pub struct Faulty {
    inner: Arc<dyn Backplane>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the pump for `say_lagged` and `release`.
    wake: Notify,
}

struct State {
    plan: FaultPlan,
    counts: Counts,
    partitioned: bool,
    say_lagged: bool,
    release: bool,
    // Each kind of event has dice of its own, so that one more read does not change the fate of all later arrivals.
    arrivals: Arc<SeededEntropy>,
    publishes: Arc<SeededEntropy>,
    others: Arc<SeededEntropy>,
    /// Late arrivals and how many others may still overtake them.
    held: Vec<(u16, Arrival)>,
}

enum PublishFate {
    Done,
    Refused,
    UnsureNotStored,
    UnsureStored,
}

impl Faulty {
    /// Puts faults between an instance and its backplane. The task that carries the arrivals runs on the current runtime
    /// and ends when either side is dropped.
    #[must_use]
    pub fn wrap(
        inner: Arc<dyn Backplane>,
        arrivals: Arrivals,
        seed: u64,
        plan: FaultPlan,
    ) -> (Arc<Self>, Arrivals, JoinHandle<()>) {
        let dice = SeededEntropy::new(seed);
        let state = State {
            plan,
            counts: Counts::default(),
            partitioned: false,
            say_lagged: false,
            release: false,
            arrivals: SeededEntropy::new(dice.bits()),
            publishes: SeededEntropy::new(dice.bits()),
            others: SeededEntropy::new(dice.bits()),
            held: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Notify::new() });
        let (sender, receiver) = mpsc::channel(CAPACITY);
        #[expect(clippy::disallowed_methods, reason = "the caller gets the handle")]
        let pump = tokio::spawn(pump(shared.clone(), arrivals, sender));
        (Arc::new(Self { inner, shared }), receiver, pump)
    }

    /// Changes what goes wrong from now on.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.shared.state.lock().plan = plan;
    }

    /// Cuts the instance off: nothing arrives, and everything asked fails; a publish may be stored all the same.
    pub fn partition(&self) {
        self.shared.state.lock().partitioned = true;
    }

    /// Ends the partition as a backplane does that noticed it: with [`Arrival::Lagged`].
    pub fn heal(&self) {
        self.heal_silently();
        self.say_lagged();
    }

    /// Ends the partition as if nothing had been.
    pub fn heal_silently(&self) {
        self.shared.state.lock().partitioned = false;
    }

    /// Says [`Arrival::Lagged`] though nothing need be lost.
    pub fn say_lagged(&self) {
        self.shared.state.lock().say_lagged = true;
        self.shared.wake.notify_one();
    }

    /// Brings all late arrivals now. Without it, those that nothing overtakes any more never come.
    pub fn release(&self) {
        self.shared.state.lock().release = true;
        self.shared.wake.notify_one();
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.state.lock().counts
    }

    fn check(&self) -> Result<(), Unavailable> {
        let mut state = self.shared.state.lock();
        if state.partitioned || thousandth(&state.others) < state.plan.refuse_others {
            state.counts.refused_others += 1;
            return Err(Unavailable("refused by the fault plan".to_owned()));
        }
        Ok(())
    }
}

impl State {
    fn fate_of_publish(&mut self) -> PublishFate {
        let mut roll = thousandth(&self.publishes);
        let stored = self.publishes.bits() & 1 == 1;
        let FaultPlan { refuse, unsure, .. } = self.plan;
        let (refuse, unsure) = if self.partitioned { (500, 500) } else { (refuse, unsure) };
        if takes(&mut roll, refuse) {
            self.counts.refused += 1;
            PublishFate::Refused
        } else if !takes(&mut roll, unsure) {
            PublishFate::Done
        } else if stored {
            self.counts.unsure_stored += 1;
            PublishFate::UnsureStored
        } else {
            self.counts.unsure_not_stored += 1;
            PublishFate::UnsureNotStored
        }
    }

    /// What comes out for an arrival: itself or not, and before it whatever it does not overtake any more.
    fn let_through(&mut self, arrival: Arrival) -> Vec<Arrival> {
        self.counts.seen += 1;
        // Rolled in a partition, too, so that its length does not change what happens after it.
        let mut roll = thousandth(&self.arrivals);
        let patience = self.arrivals.bits() % (u64::from(self.plan.overtaken_by) + 1);
        let patience = u16::try_from(patience).expect("below a u16 plus one");
        if self.partitioned {
            self.counts.cut += 1;
            return Vec::new();
        }
        let mut out = self.due();
        let FaultPlan { lose, lag, repeat, delay, .. } = self.plan;
        if takes(&mut roll, lose) {
            self.counts.lost += 1;
        } else if takes(&mut roll, lag) {
            self.counts.lagged += 1;
            out.push(Arrival::Lagged);
        } else if takes(&mut roll, repeat) {
            self.counts.repeated += 1;
            self.held.push((patience, arrival.clone()));
            out.push(arrival);
        } else if takes(&mut roll, delay) {
            self.counts.delayed += 1;
            self.held.push((patience, arrival));
        } else {
            out.push(arrival);
        }
        out
    }

    /// Late arrivals that nothing may overtake any more.
    fn due(&mut self) -> Vec<Arrival> {
        let due = self.held.extract_if(.., |(patience, _)| {
            let due = *patience == 0;
            *patience = patience.saturating_sub(1);
            due
        });
        due.map(|(_, arrival)| arrival).collect()
    }

    fn ordered(&mut self) -> Vec<Arrival> {
        let mut out = Vec::new();
        if std::mem::take(&mut self.release) {
            out.extend(self.held.drain(..).map(|(_, arrival)| arrival));
        }
        if std::mem::take(&mut self.say_lagged) {
            out.push(Arrival::Lagged);
        }
        out
    }
}

fn thousandth(dice: &SeededEntropy) -> u16 {
    u16::try_from(dice.bits() % 1_000).expect("below 1,000")
}

/// Whether the roll falls into this share; if not, the next share begins at 0.
fn takes(roll: &mut u16, share: u16) -> bool {
    match roll.checked_sub(share) {
        Some(rest) => {
            *roll = rest;
            false
        }
        None => true,
    }
}

async fn pump(shared: Arc<Shared>, mut arrivals: Arrivals, sender: mpsc::Sender<Arrival>) {
    loop {
        // Orders first: a test that gave one before a publish expects it to come first.
        let arrival = tokio::select! {
            biased;
            () = sender.closed() => return,
            () = shared.wake.notified() => None,
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => Some(arrival),
                None => return,
            },
        };
        let out = {
            let mut state = shared.state.lock();
            arrival.map_or_else(Vec::new, |arrival| state.let_through(arrival))
        };
        let ordered = shared.state.lock().ordered();
        for arrival in ordered.into_iter().chain(out) {
            if sender.send(arrival).await.is_err() {
                return;
            }
        }
    }
}

impl Backplane for Faulty {
    fn publish<'a>(&'a self, log: &'a LogName, draft: &'a Draft) -> BoxFuture<'a, Result<Stored, PublishError>> {
        Box::pin(async move {
            let fate = self.shared.state.lock().fate_of_publish();
            let unsure = || PublishError::OutcomeUnknown("left open by the fault plan".to_owned());
            match fate {
                PublishFate::Done => self.inner.publish(log, draft).await,
                PublishFate::Refused => Err(Unavailable("refused by the fault plan".to_owned()).into()),
                PublishFate::UnsureNotStored => Err(unsure()),
                PublishFate::UnsureStored => {
                    self.inner.publish(log, draft).await?;
                    Err(unsure())
                }
            }
        })
    }

    fn broadcast(&self, log: &LogName, frame: Bytes, kind: EphemeralKind) {
        let partitioned = {
            let mut state = self.shared.state.lock();
            state.counts.unheard += u64::from(state.partitioned);
            state.partitioned
        };
        if !partitioned {
            self.inner.broadcast(log, frame, kind);
        }
    }

    fn subscribe<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<Position, Unavailable>> {
        Box::pin(async move {
            self.check()?;
            self.inner.subscribe(log).await
        })
    }

    fn unsubscribe(&self, log: &LogName) {
        self.inner.unsubscribe(log);
    }

    fn read<'a>(
        &'a self,
        log: &'a LogName,
        range: Range,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Page, Unavailable>> {
        Box::pin(async move {
            self.check()?;
            self.inner.read(log, range, limit).await
        })
    }

    fn positions<'a>(&'a self, logs: &'a [LogName]) -> BoxFuture<'a, Result<Vec<Position>, Unavailable>> {
        Box::pin(async move {
            self.check()?;
            self.inner.positions(logs).await
        })
    }
}
