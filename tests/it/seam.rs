//! Replay and live meet without a seam: joins that race with publishes, over thousands of seeded interleavings. Hub and
//! session are the real ones; sockets are left out and every call of the backplane takes a seeded number of turns, so
//! that a seed always has the same story.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parley_service::backplane::faults::{FaultPlan, Faulty};
use parley_service::backplane::memory::{MemoryBroker, MemoryConfig};
use parley_service::backplane::{Backplane, Page, PageLimit, PublishError, Range, Unavailable};
use parley_service::clock::{Clock as _, SystemClock};
use parley_service::delivery::EphemeralKind;
use parley_service::entropy::{Entropy as _, SeededEntropy};
use parley_service::hub::attendance::Attendance;
use parley_service::hub::outbox::Taken;
use parley_service::hub::{Hub, HubParts, Membership};
use parley_service::ids::{LogName, RoomName, ServerId, SessionId, UserId};
use parley_service::message::{Draft, Position, Stored};
use parley_service::metrics::Metrics;
use parley_service::presence::memory::MemoryPresence;
use parley_service::protocol::limits::Limits;
use parley_service::protocol::server_frame::ServerFrame;
use parley_service::rights::{Grant, Rights};
use parley_service::session::{Action, Input, JoinStart, OpId, Outcome, Output, Session, SessionRules};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const SEEDS: u64 = 3_000;
const MESSAGES: u64 = 24;
const SESSIONS: u64 = 3;

/// Takes some turns.
async fn turns(dice: &SeededEntropy, most: u64) {
    for _ in 0..dice.bits() % (most + 1) {
        tokio::task::yield_now().await;
    }
}

/// Calls that take time: before they are done, and before their answer is here.
struct Slow {
    inner: Arc<dyn Backplane>,
    dice: Arc<SeededEntropy>,
}

impl Slow {
    async fn slowly<T>(&self, call: BoxFuture<'_, T>) -> T {
        turns(&self.dice, 6).await;
        let answer = call.await;
        turns(&self.dice, 6).await;
        answer
    }
}

impl Backplane for Slow {
    fn publish<'a>(&'a self, log: &'a LogName, draft: &'a Draft) -> BoxFuture<'a, Result<Stored, PublishError>> {
        Box::pin(self.slowly(self.inner.publish(log, draft)))
    }

    fn broadcast(&self, log: &LogName, frame: Bytes, kind: EphemeralKind) {
        self.inner.broadcast(log, frame, kind);
    }

    fn subscribe<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<Position, Unavailable>> {
        Box::pin(self.slowly(self.inner.subscribe(log)))
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
        Box::pin(self.slowly(self.inner.read(log, range, limit)))
    }

    fn positions<'a>(&'a self, logs: &'a [LogName]) -> BoxFuture<'a, Result<Vec<Position>, Unavailable>> {
        Box::pin(self.slowly(self.inner.positions(logs)))
    }
}

/// What one session told its client, checked as it comes.
#[derive(Debug, Default)]
struct Told {
    at: Option<Position>,
    joins: u64,
    gaps: u64,
    live: u64,
}

impl Told {
    fn joined(&mut self, since: Option<Position>, epoch_offset: Position, offsets: &[u64]) {
        let first = offsets.first().copied().unwrap_or(epoch_offset.offset + 1);
        assert!(offsets.iter().copied().eq(first..first + offsets.len() as u64), "a replay with holes: {offsets:?}");
        assert_eq!(offsets.last().copied().unwrap_or(epoch_offset.offset), epoch_offset.offset);
        if let Some(since) = since {
            assert_eq!(first, since.offset + 1, "the replay does not follow {since:?}");
        }
        self.at = Some(epoch_offset);
        self.joins += 1;
    }

    fn message(&mut self, offset: u64) {
        let at = self.at.as_mut().expect("nothing precedes `joined`");
        assert_eq!(offset, at.offset + 1, "live does not follow");
        at.offset = offset;
        self.live += 1;
    }
}

/// Drives a session as a connection does.
struct Driver {
    hub: Arc<Hub>,
    session: Session,
    outbox: Arc<parley_service::hub::outbox::Outbox>,
    ops: FuturesUnordered<BoxFuture<'static, (OpId, Outcome, Option<Membership>)>>,
    memberships: Vec<Membership>,
    clock: Arc<SystemClock>,
    dice: Arc<SeededEntropy>,
    told: Told,
    since: Option<Position>,
}

impl Driver {
    fn give(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.session.handle(input, self.clock.now(), &mut outputs);
        for output in outputs {
            match output {
                Output::Reply(ServerFrame::Joined { epoch, offset, messages, recovered, more, .. }) => {
                    assert!(recovered && !more);
                    let offsets: Vec<u64> = messages.iter().map(|entry| entry.offset).collect();
                    self.told.joined(self.since.take(), Position { epoch, offset }, &offsets);
                }
                Output::Reply(ServerFrame::Gap { .. }) => self.told.gaps += 1,
                Output::Reply(ServerFrame::Error { message, .. }) => unreachable!("{message}"),
                Output::Forward(run, after) => {
                    (run.first().max(after + 1)..=run.last()).for_each(|offset| self.told.message(offset));
                }
                Output::Start(op, action) => self.start(op, action),
                Output::Leave { slot, .. } => self.memberships.retain(|membership| membership.slot() != slot),
                Output::Close(code) => unreachable!("closed: {code:?}"),
                _ => {}
            }
        }
    }

    /// As `edge/actions.rs`, which is not public.
    fn start(&mut self, op: OpId, action: Action) {
        let (hub, outbox, dice) = (Arc::clone(&self.hub), Arc::clone(&self.outbox), Arc::clone(&self.dice));
        self.ops.push(Box::pin(async move {
            turns(&dice, 3).await;
            match action {
                Action::Join { slot, log, user, start } => {
                    let membership = match hub.join(&log, &outbox, slot, Some(&user)).await {
                        Ok(membership) => membership,
                        Err(error) => return (op, Outcome::Page(Err(error)), None),
                    };
                    let (range, messages) = match start {
                        JoinStart::Since(position) => (Range::Since(position), hub.replay_messages()),
                        JoinStart::Newest(messages) => (Range::Newest, messages),
                    };
                    (op, Outcome::Page(hub.read(&log, range, messages).await), Some(membership))
                }
                Action::Sync { log, since } => {
                    let page = hub.read(&log, Range::Since(since), hub.replay_messages()).await;
                    (op, Outcome::Page(page), None)
                }
                other => unreachable!("{other:?} was not asked for"),
            }
        }));
    }

    /// Gives whatever is ready, or waits for it.
    async fn turn(&mut self) {
        let mut parcels = Vec::new();
        let outbox_first = self.dice.bits().is_multiple_of(2);
        let (outbox, ops) = (&self.outbox, &mut self.ops);
        let finished = poll_fn(|cx| {
            for side in [outbox_first, !outbox_first] {
                if side {
                    if let Poll::Ready(taken) = outbox.poll_take(cx, &mut parcels) {
                        assert_eq!(taken, Taken::Parcels);
                        return Poll::Ready(None);
                    }
                } else if let Poll::Ready(Some(finished)) = ops.poll_next_unpin(cx) {
                    return Poll::Ready(Some(finished));
                }
            }
            Poll::Pending
        });
        if let Some((op, outcome, membership)) = finished.await {
            self.memberships.extend(membership.filter(|membership| self.session.has_joined(membership.slot())));
            self.give(Input::Done(op, outcome));
        }
        for parcel in parcels {
            self.give(Input::Parcel(parcel));
        }
    }

    /// Joins at some moment, again at others, and ends when it has everything.
    async fn live(mut self, joins: u64) -> Told {
        turns(&self.dice, 120).await;
        for join in 0..joins {
            self.since = self.told.at;
            let text = match self.since {
                Some(Position { epoch, offset }) => {
                    format!(r#"{{"type":"join","room":"r","since":{{"epoch":"{epoch}","offset":{offset}}}}}"#)
                }
                None => format!(r#"{{"type":"join","room":"r","history":{}}}"#, self.dice.bits() % 30),
            };
            self.give(Input::Text(&text));
            while self.told.joins <= join {
                self.turn().await;
            }
            let stay = self.dice.bits() % 8;
            let until = self.told.at.map_or(0, |at| at.offset + stay);
            while self.told.at.is_some_and(|at| at.offset < until.min(MESSAGES)) {
                self.turn().await;
            }
            // Away for a while, or joining again over the standing membership.
            if join + 1 < joins && self.dice.bits().is_multiple_of(2) {
                self.give(Input::Text(r#"{"type":"leave","room":"r"}"#));
                turns(&self.dice, 40).await;
            }
        }
        while self.told.at.is_some_and(|at| at.offset < MESSAGES) {
            self.turn().await;
        }
        self.told
    }
}

/// One story: a publisher and some sessions on an instance each or together.
async fn story(seed: u64, plan: FaultPlan) -> Vec<Told> {
    let dice = SeededEntropy::new(seed);
    let clock = SystemClock::start();
    let began = clock.now().mono;
    let broker = MemoryBroker::new(MemoryConfig::default(), Arc::clone(&clock) as _, SeededEntropy::new(dice.bits()));
    let presence = MemoryPresence::new(Arc::clone(&broker));
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let log = LogName::Room(RoomName::parse("r").unwrap());

    let mut hubs = Vec::new();
    for name in ["one", "two"] {
        let (instance, arrivals) = broker.instance(ServerId::parse(name).unwrap());
        let (faulty, arrivals, _pump) = Faulty::wrap(instance as Arc<dyn Backplane>, arrivals, dice.bits(), plan);
        let backplane = Arc::new(Slow { inner: faulty, dice: SeededEntropy::new(dice.bits()) });
        let attendance = Attendance::new(presence.instance(), Arc::clone(&clock) as _);
        let hub = Hub::new(HubParts {
            backplane,
            attendance: Arc::clone(&attendance),
            outbox_limit: 512 * 1024,
            outbox_total: 64 * 1024 * 1024,
            replay_messages: 1_000,
            clock: Arc::clone(&clock) as _,
            metrics: Metrics::new().hub,
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        tasks.spawn(Arc::clone(&hub).run(arrivals));
        tasks.spawn(attendance.run(stop.clone()));
        hubs.push(hub);
    }

    let rules = SessionRules::new(ServerId::parse("one").unwrap(), Limits::default(), None);
    let rules = Arc::new(rules);
    let mut sessions = JoinSet::new();
    for number in 0..SESSIONS {
        let hub = Arc::clone(&hubs[usize::try_from(dice.bits() % 2).unwrap()]);
        let user = UserId::parse(&format!("user-{number}")).unwrap();
        let mut driver = Driver {
            outbox: hub.outbox(),
            session: Session::new(SessionId::from_bits(dice.bits()), Arc::clone(&rules), Vec::new(), clock.now()),
            hub,
            ops: FuturesUnordered::new(),
            memberships: Vec::new(),
            clock: Arc::clone(&clock),
            dice: SeededEntropy::new(dice.bits()),
            told: Told::default(),
            since: None,
        };
        let mut outputs = Vec::new();
        let rights = Rights::from_claims(None, Some(false));
        let grant = Grant { user, expires: None, rights };
        driver.session.handle(Input::SignedIn(grant), clock.now(), &mut outputs);
        sessions.spawn(driver.live(1 + dice.bits() % 4));
    }

    let (publisher, _) = broker.instance(ServerId::parse("publisher").unwrap());
    for n in 1..=MESSAGES {
        let tail = Bytes::from(format!(r#","msg":{n}}}"#));
        let head = Bytes::from_static(br#"{"type":"message","room":"r","offset":"#);
        let draft = Draft { head, tail, key: None, at: 0, traceparent: None };
        publisher.publish(&log, &draft).await.unwrap();
        turns(&dice, 12).await;
    }
    let told = tokio::time::timeout(Duration::from_secs(120), sessions.join_all()).await;
    let told = told.unwrap_or_else(|_| unreachable!("seed {seed}: a session never got everything"));
    // The clock moves only when nothing else can: without faults nobody has to wait for an audit or a second attempt.
    let waited = clock.now().mono.since(began);
    assert!(plan != FaultPlan::default() || waited.is_zero(), "seed {seed}: somebody waited for {waited:?}");
    stop.cancel();
    drop(hubs);
    told
}

fn every_seed(seeds: std::ops::Range<u64>, plan: FaultPlan) -> Vec<Told> {
    let mut told = Vec::new();
    for seed in seeds {
        // A runtime of one thread whose clock jumps when nothing can go on: audits cost no time.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(story(seed, plan))));
        told.extend(result.unwrap_or_else(|_| unreachable!("seed {seed} failed, see above")));
    }
    told
}

#[test]
fn joins_that_race_with_publishes_have_no_seam() {
    let late = FaultPlan { delay: 200, repeat: 100, overtaken_by: 4, ..FaultPlan::default() };
    for plan in [FaultPlan::default(), late] {
        let told = every_seed(0..SEEDS / 2, plan);
        assert!(told.iter().all(|told| told.gaps == 0 && told.at.is_some_and(|at| at.offset == MESSAGES)));
        // The races were there: messages came by replay and live, and sessions joined again and again.
        let live: u64 = told.iter().map(|told| told.live).sum();
        let joins: u64 = told.iter().map(|told| told.joins).sum();
        let all = MESSAGES * told.len() as u64;
        assert!((all / 10..all * 9 / 10).contains(&live), "{live} of {all} came live");
        assert!(joins > told.len() as u64 * 2, "{joins} joins of {} sessions", told.len());
    }
}

#[test]
fn joins_on_a_backplane_that_loses_arrivals_have_no_seam() {
    let lossy = FaultPlan { lose: 100, lag: 30, delay: 100, repeat: 50, overtaken_by: 6, ..FaultPlan::default() };
    let told = every_seed(SEEDS..SEEDS + SEEDS / 3, lossy);
    assert!(told.iter().all(|told| told.gaps == 0 && told.at.is_some_and(|at| at.offset == MESSAGES)));
}
