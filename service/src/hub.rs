//! An instance's local membership and fan-out: which sessions are in which logs, and how what the backplane brings
//! reaches them in order. It knows ports, not Redis; sessions, not sockets.

pub mod attendance;
pub mod control;
pub mod outbox;
pub mod registry;
mod room;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backplane::{Arrival, Arrivals, Backplane, Page, PageLimit, Range, Unavailable};
use crate::clock::Clock;
use crate::delivery::{Charge, Ephemeral, Slot};
use crate::ids::{LogName, UserId};
use crate::message::{Entry, Position};
use crate::metrics::HubMetrics;
use crate::protocol::framing;
use crate::protocol::limits::PAGE_MAX_BYTES;
use crate::tracing_context;
use attendance::Attendance;
use outbox::{Budget, Outbox};
use registry::Registry;
use room::{Continuity, Open, Room, Tally};

/// Arrivals taken at once: what is waiting together is served together.
const ARRIVALS_AT_ONCE: usize = 256;
/// How often some of the quiet rooms are compared with their logs, and empty ones counted down.
const AUDIT_EVERY: Duration = Duration::from_secs(5);
/// Audits in which each room has its turn once: a message that got lost on its way without any sign, and that no other
/// one follows, is found within 20 s. Each comparison is a call to the backplane, so with many rooms this is what an idle
/// instance costs it.
const AUDIT_TURNS: u32 = 4;
/// Audits without a member after which a log is unsubscribed.
const IDLE_AUDITS: u32 = 2;
/// Logs compared in one call.
const AUDIT_BATCH: usize = 256;
/// First and longest pause between attempts to read a log that cannot be read.
const REPAIR_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Bytes served before readers get their turn.
const SERVED_AT_ONCE: usize = 64 * 1024;
/// Logs being read for repairs at the same time.
const REPAIRS_AT_ONCE: usize = 64;

/// See the module. One per instance.
pub struct Hub {
    rooms: RwLock<HashMap<LogName, Arc<Room>>>,
    backplane: Arc<dyn Backplane>,
    attendance: Arc<Attendance>,
    registry: Registry,
    budget: Arc<Budget>,
    outbox_limit: usize,
    replay_messages: usize,
    clock: Arc<dyn Clock>,
    metrics: HubMetrics,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Bounds the reads of repairs.
    repairing: Semaphore,
    /// An audit is under way.
    auditing: AtomicBool,
    /// Something is known to be lost: the next audit must succeed.
    lagged: AtomicBool,
    /// Rooms made so far; numbers them.
    made: AtomicU32,
    /// Whose turn the next audit is.
    turn: AtomicU32,
}

/// What a hub is made of.
pub struct HubParts {
    /// Where logs live.
    pub backplane: Arc<dyn Backplane>,
    /// Who is here.
    pub attendance: Arc<Attendance>,
    /// Bytes one session may have waiting.
    pub outbox_limit: usize,
    /// Bytes all sessions may have waiting.
    pub outbox_total: usize,
    /// Most messages of one read.
    pub replay_messages: usize,
    /// For the age of runs.
    pub clock: Arc<dyn Clock>,
    /// Its metrics.
    pub metrics: HubMetrics,
    /// Where its tasks run.
    pub tasks: TaskTracker,
    /// Ends its tasks.
    pub stop: CancellationToken,
}

/// A session's membership in a log; dropping it leaves.
pub struct Membership {
    hub: Arc<Hub>,
    room: Arc<Room>,
    key: usize,
    slot: Slot,
    /// For presence; rooms only.
    user: Option<UserId>,
    asked: bool,
}

impl Membership {
    /// The slot it was joined under.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Leaves because the user asked for it: presence need not wait for a resume elsewhere.
    pub fn leave_now(mut self) {
        self.asked = true;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.room.remove(self.key);
        if let LogName::Room(room) = self.room.log() {
            self.hub.metrics.members.dec();
            if let Some(user) = &self.user {
                self.hub.attendance.leave(room, user, self.asked);
            }
        }
    }
}

impl Hub {
    /// A hub that serves nobody yet. [`Hub::run`] must be running for anything to be delivered.
    #[must_use]
    pub fn new(parts: HubParts) -> Arc<Self> {
        Arc::new(Self {
            rooms: RwLock::default(),
            backplane: parts.backplane,
            attendance: parts.attendance,
            registry: Registry::default(),
            budget: Budget::new(parts.outbox_total),
            outbox_limit: parts.outbox_limit,
            replay_messages: parts.replay_messages,
            clock: parts.clock,
            metrics: parts.metrics,
            tasks: parts.tasks,
            stop: parts.stop,
            repairing: Semaphore::new(REPAIRS_AT_ONCE),
            auditing: AtomicBool::new(false),
            lagged: AtomicBool::new(false),
            made: AtomicU32::new(0),
            turn: AtomicU32::new(0),
        })
    }

    /// An outbox for a new session.
    #[must_use]
    pub fn outbox(&self) -> Arc<Outbox> {
        Outbox::new(self.outbox_limit, Arc::clone(&self.budget))
    }

    /// The sessions of this instance.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Delivers arrivals, audits quiet rooms and lets go of empty ones, until stopped or the backplane ends.
    pub async fn run(self: Arc<Self>, mut arrivals: Arrivals) {
        let mut batch = Vec::with_capacity(ARRIVALS_AT_ONCE);
        let mut audit = tokio::time::interval(AUDIT_EVERY);
        audit.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let count = tokio::select! {
                // Stopping first, or a full channel would keep a dead instance alive; the audit before traffic, or a
                // busy instance would never audit.
                biased;
                () = self.stop.cancelled() => return,
                _ = audit.tick() => {
                    self.let_go();
                    self.relieve();
                    self.metrics.outbox_bytes.set(i64::try_from(self.budget.used()).unwrap_or(i64::MAX));
                    self.begin_audit();
                    continue;
                }
                // What clients asked for can be too much, too, while nothing arrives.
                () = self.budget.exceeded() => {
                    self.relieve();
                    continue;
                }
                count = arrivals.recv_many(&mut batch, ARRIVALS_AT_ONCE) => count,
            };
            if count == 0 {
                return;
            }
            let mut arrivals = batch.drain(..);
            while self.deliver(&mut arrivals) {
                // Readers get their turn before the next part, or a burst would look like slow reading.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Serves arrivals until they are all served or a good deal of bytes is; `false` if there was nothing to serve.
    fn deliver(self: &Arc<Self>, arrivals: &mut impl Iterator<Item = Arrival>) -> bool {
        let started = self.clock.now().mono;
        // Messages of one log that wait together become one run, whatever lies between them.
        let mut by_log: HashMap<LogName, Vec<(Position, Entry)>> = HashMap::new();
        let (mut any, mut bytes) = (false, 0);
        // They end when all of this is in the outboxes.
        let mut spans = Vec::new();
        while bytes < SERVED_AT_ONCE
            && let Some(arrival) = arrivals.next()
        {
            any = true;
            match arrival {
                Arrival::Message { log, position, frame, traceparent } => {
                    bytes += frame.len();
                    spans.extend(traceparent.map(|context| tracing_context::deliver_span(log.wire_name(), &context)));
                    by_log.entry(log).or_default().push((position, Entry { offset: position.offset, frame }));
                }
                Arrival::Ephemeral { log, frame, kind } => {
                    let Some(room) = self.room(&log) else { continue };
                    let frame = framing::text(&frame);
                    bytes += frame.len();
                    let charge = Some(Charge::new(self.budget.counter(), frame.len()));
                    let mut tally = Tally::default();
                    room.broadcast(&Arc::new(Ephemeral { frame, kind, charge }), &mut tally);
                    self.count(tally);
                }
                Arrival::Lagged => {
                    self.lagged.store(true, Ordering::Release);
                    self.begin_audit();
                }
            }
        }
        if !any {
            return false;
        }
        for (log, messages) in by_log {
            let Some(room) = self.room(&log) else { continue };
            let mut tally = Tally::default();
            let continuity = room.arrive(messages.into_iter(), &mut tally);
            self.count(tally);
            self.mend(&room, continuity, "hole");
        }
        self.relieve();
        self.metrics.fan_out.0.observe(self.clock.now().mono.since(started).as_secs_f64());
        true
    }

    /// Closes those with the most waiting if it is too much for all together.
    fn relieve(&self) {
        if self.budget.excess() == 0 {
            return;
        }
        let evicted = self.registry.relieve(&self.budget);
        if evicted > 0 {
            self.metrics.dropped.get_or_create(&[("reason", "outbox_total")]).inc_by(evicted as u64);
            tracing::warn!(sessions = evicted, "readers are too slow together: those with the most waiting are closed");
        }
    }

    fn count(&self, tally: Tally) {
        let dropped = |reason: &'static str, count: u64| {
            if count > 0 {
                self.metrics.dropped.get_or_create(&[("reason", reason)]).inc_by(count);
            }
        };
        dropped("slow", tally.slow);
        dropped("ephemeral", tally.ephemeral);
        self.metrics.duplicates.inc_by(tally.duplicates);
        self.metrics.runs.inc_by(tally.runs);
        self.metrics.gaps.inc_by(tally.gaps);
    }

    fn room(&self, log: &LogName) -> Option<Arc<Room>> {
        self.rooms.read().get(log).cloned()
    }

    fn room_or_new(&self, log: &LogName) -> Arc<Room> {
        if let Some(room) = self.room(log) {
            return room;
        }
        let mut rooms = self.rooms.write();
        let room = rooms.entry(log.clone()).or_insert_with(|| {
            self.metrics.logs(log).inc();
            Room::new(log.clone(), self.made.fetch_add(1, Ordering::Relaxed), Arc::clone(&self.budget))
        });
        Arc::clone(room)
    }

    /// Makes a session a member: from when this returns, all that follows in the log goes to `outbox` under `slot`.
    /// With a `user`, presence is told. Cancel-safe: a dropped future leaves no membership.
    ///
    /// # Errors
    /// The backplane did not confirm the subscription.
    pub async fn join(
        self: &Arc<Self>,
        log: &LogName,
        outbox: &Arc<Outbox>,
        slot: Slot,
        user: Option<&UserId>,
    ) -> Result<Membership, Unavailable> {
        let (room, key) = loop {
            let room = self.room_or_new(log);
            match room.add(Arc::clone(outbox), slot) {
                Some(key) => break (room, key),
                // The janitor closed it after we found it; the map has or gets another.
                None => tokio::task::yield_now().await,
            }
        };
        if matches!(log, LogName::Room(_)) {
            self.metrics.members.inc();
        }
        let mut membership = Membership { hub: Arc::clone(self), room, key, slot, user: None, asked: false };
        self.open(&membership.room).await?;
        if let (Some(user), LogName::Room(name)) = (user, log) {
            self.attendance.enter(name, user);
            membership.user = Some(user.clone());
        }
        Ok(membership)
    }

    /// Waits for the subscription. The attempt is a task of its own: whoever joins may go away or stop listening, and one
    /// answer serves all who wait, also if it is a failure.
    async fn open(self: &Arc<Self>, room: &Arc<Room>) -> Result<(), Unavailable> {
        let mut outcome = match room.open() {
            Open::Already => return Ok(()),
            Open::Wait(outcome) => outcome,
            Open::Try(tell, outcome) => {
                let (hub, room) = (Arc::clone(self), Arc::clone(room));
                self.tasks.spawn(async move {
                    let result = hub.backplane.subscribe(room.log()).await;
                    room.tried(result.is_ok());
                    let result = result.map(|position| hub.mend(&room, room.opened(position), "open"));
                    tell.send_replace(Some(result));
                });
                outcome
            }
        };
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Err(Unavailable("the instance is stopping".to_owned())),
        }
    }

    /// Reads a part of a log, at most `messages` and the bytes of one page. `messages` of 0 reads only the position.
    ///
    /// # Errors
    /// The backplane cannot be read.
    pub async fn read(&self, log: &LogName, range: Range, messages: usize) -> Result<Page, Unavailable> {
        if messages == 0 && !matches!(range, Range::Since(_)) {
            let positions = self.backplane.positions(std::slice::from_ref(log)).await?;
            let top = *positions.first().ok_or_else(|| Unavailable("no position for the log asked for".to_owned()))?;
            return Ok(Page { entries: Vec::new(), top, more: false, lost: false });
        }
        let limit = PageLimit { messages: messages.clamp(1, self.replay_messages), bytes: PAGE_MAX_BYTES };
        self.backplane.read(log, range, limit).await
    }

    /// Most messages of one read.
    #[must_use]
    pub fn replay_messages(&self) -> usize {
        self.replay_messages
    }

    fn mend(self: &Arc<Self>, room: &Arc<Room>, continuity: Continuity, cause: &'static str) {
        if continuity == Continuity::Broken {
            self.metrics.repairs.get_or_create(&[("cause", cause)]).inc();
            self.tasks.spawn(Arc::clone(self).repair(Arc::clone(room)));
        }
    }

    /// Reads a log from its room's cursor until nothing is missing. Ends when the room is empty or the hub stops.
    async fn repair(self: Arc<Self>, room: Arc<Room>) {
        let mut pause = REPAIR_PAUSE.0;
        while let Some(since) = room.cursor() {
            // The semaphore is never closed.
            let permit = self.repairing.acquire().await;
            match self.read(room.log(), Range::Since(since), self.replay_messages).await {
                Ok(page) => {
                    let mut tally = Tally::default();
                    let continuity = room.repaired(&page, &mut tally);
                    self.count(tally);
                    if tally.gaps > 0 {
                        tracing::warn!(log.name = room.log().wire_name(), "the log lost messages: gap told");
                    }
                    if continuity == Continuity::Whole {
                        return;
                    }
                    pause = REPAIR_PAUSE.0;
                    drop(permit);
                    // Pages are large: readers get their turn between them.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    drop(permit);
                    tracing::debug!(log.name = room.log().wire_name(), %error, "repair cannot read the log yet");
                    if room.is_empty() && room.give_up() {
                        return;
                    }
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(REPAIR_PAUSE.1);
                }
            }
        }
    }

    /// Begins an audit unless one is under way; that one then goes round again if something is known to be lost.
    fn begin_audit(self: &Arc<Self>) {
        if self.auditing.swap(true, Ordering::AcqRel) {
            return;
        }
        let hub = Arc::clone(self);
        self.tasks.spawn(async move {
            let mut pause = REPAIR_PAUSE.0;
            loop {
                let force = hub.lagged.swap(false, Ordering::AcqRel);
                if !hub.audit(force).await && force {
                    hub.lagged.store(true, Ordering::Release);
                }
                hub.auditing.store(false, Ordering::Release);
                if !hub.lagged.load(Ordering::Acquire) || hub.auditing.swap(true, Ordering::AcqRel) {
                    return;
                }
                if hub.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return;
                }
                pause = (pause * 2).min(REPAIR_PAUSE.1);
            }
        });
    }

    /// Compares rooms with their logs: those whose turn it is, or with `force` all, also those in traffic, because
    /// something is known to be lost. `false`: not all could be compared. Each repair it begins is a task that lives until
    /// its room is whole.
    async fn audit(self: &Arc<Self>, force: bool) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        let due = |room: &&Arc<Room>| force || room.number() % AUDIT_TURNS == turn;
        let rooms: Vec<Arc<Room>> = self.rooms.read().values().filter(due).cloned().collect();
        let mut complete = true;
        for batch in rooms.chunks(AUDIT_BATCH) {
            let logs: Vec<LogName> = batch.iter().map(|room| room.log().clone()).collect();
            let cursors: Vec<Option<Position>> = batch.iter().map(|room| room.cursor()).collect();
            let Ok(positions) = self.backplane.positions(&logs).await else {
                complete = false;
                continue;
            };
            for ((room, before), top) in batch.iter().zip(cursors).zip(positions) {
                let continuity = room.compare(before, top, force);
                self.mend(room, continuity, if force { "lag" } else { "audit" });
            }
        }
        if !force {
            self.turn.store((turn + 1) % AUDIT_TURNS, Ordering::Relaxed);
        }
        complete
    }

    /// Unsubscribes logs that have had no member for a while. The map stays locked meanwhile, so that a join that finds
    /// the log gone subscribes after this unsubscribed, never before.
    fn let_go(&self) {
        let mut rooms = self.rooms.write();
        rooms.retain(|log, room| {
            let closed = room.close_if_idle(IDLE_AUDITS);
            if closed {
                self.backplane.unsubscribe(log);
                self.metrics.logs(log).dec();
            }
            !closed
        });
        if rooms.capacity() > 4 * rooms.len().max(16) {
            rooms.shrink_to_fit();
        }
    }
}
