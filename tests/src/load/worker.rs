//! One thread of the load: its sessions, its pace, and the orders it takes from the run. Threads share nothing but the
//! `Board`; each has a runtime of its own, so a session is never passed between cores.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{interval, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::attend::attend;
use super::board::Board;
use super::clock::monotonic_ns;
use super::line::Desk;
use super::machine::busy_poll;
use super::plan::Plan;
use super::seat::{Seat, Todo};
use super::tally::Tally;
use super::target::Target;
use super::upgrade::SignIn;
use super::world::{Habits, World};

/// One read takes what the server wrote in one go, whatever the burst.
const READ_BUFFER: usize = 64 << 10;
/// Handshakes under way at once in one thread; more would measure the accept queue.
const HANDSHAKES: usize = 128;
/// Longest silence: the server pings more often than that.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// A timer of tokio fires up to this late by its own resolution; later than that is the load generator's overload, and
/// then latency counts from the schedule.
const TIMER_SLACK_NS: u64 = 3_000_000;
/// How often a wait looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What all threads of a run are told at the start.
pub(super) struct Brief {
    pub(super) plan: Arc<Plan>,
    pub(super) habits: Habits,
    pub(super) targets: Vec<Target>,
    pub(super) sign_in: SignIn,
    /// Connects per second, all threads together; none for as fast as it goes.
    pub(super) ramp: Option<f64>,
    pub(super) threads: usize,
    /// Whether the threads never sleep.
    pub(super) busy_poll: bool,
}

/// Orders of the run to a thread.
pub(super) enum Order {
    /// Publishers begin: at this rate (messages/s of all threads together), or as fast as acks come.
    Publish { rate: Option<f64> },
    /// Every session publishes one message to its first room.
    ExchangeChat,
    /// Every session sends one `ping` and gets one `pong`.
    ExchangePing,
    /// Every room gets so many messages from its speaker, in one write.
    SayInRooms(u32),
    /// Answer when nothing is un-acked, or when the time is up.
    SettleAcks(Duration, oneshot::Sender<bool>),
    /// Answer when every session has everything that was acked, or when the time is up.
    SettleRooms(Duration, oneshot::Sender<bool>),
    /// Count what is missing, close all connections and end.
    Finish,
}

/// See the module.
pub(super) struct Worker {
    pub(super) world: RefCell<World>,
    pub(super) buffer: RefCell<Box<[u8]>>,
    brief: Arc<Brief>,
    board: Arc<Board>,
    /// Timers and paces. Dropped with the thread's task set, when every session has ended.
    pub(super) errands: TaskTracker,
    stop: Cell<bool>,
}

impl Worker {
    pub(super) fn stopping(&self) -> bool {
        self.stop.get()
    }

    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.brief.targets
    }

    pub(super) fn sign_in(&self) -> &SignIn {
        &self.brief.sign_in
    }

    /// The whole run is pointless, for this reason.
    pub(super) fn give_up(&self, reason: &str) {
        self.board.give_up(reason);
    }
}

/// Runs thread `number` until it is told to finish. Blocks the calling thread.
pub(super) fn run_thread(
    number: usize,
    brief: Arc<Brief>,
    board: Arc<Board>,
    orders: mpsc::Receiver<Order>,
) -> std::io::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let worker = Rc::new(Worker {
        world: RefCell::new(World::new(Arc::clone(&brief.plan), Arc::clone(&board), brief.habits)),
        buffer: RefCell::new(vec![0; READ_BUFFER].into_boxed_slice()),
        brief,
        board,
        errands: TaskTracker::new(),
        stop: Cell::new(false),
    });
    let local = LocalSet::new();
    if worker.brief.busy_poll {
        let board = Arc::clone(&worker.board);
        local.spawn_local(busy_poll(move || board.resting.load(Relaxed)));
    }
    local.block_on(&runtime, serve(number, Rc::clone(&worker), orders));
    // The tasks hold the worker, too.
    drop(local);
    let tally = std::mem::replace(&mut worker.world.borrow_mut().tally, Tally::new());
    Ok(tally)
}

async fn serve(number: usize, worker: Rc<Worker>, mut orders: mpsc::Receiver<Order>) {
    let brief = Arc::clone(&worker.brief);
    let desks: Rc<[Rc<Desk>]> = (number..brief.plan.shape.sessions)
        .step_by(brief.threads)
        .map(|index| Rc::new(Desk::new(Seat::new(index, brief.plan.rooms_of(index)))))
        .collect();
    let mut sessions = JoinSet::new();
    let ramp = worker.errands.spawn_local(ramp_up(Rc::clone(&worker), Rc::clone(&desks)));
    worker.errands.spawn_local(watch_silence(Rc::clone(&desks)));
    let mut ramp = Some(ramp);
    while let Some(order) = orders.recv().await {
        match order {
            Order::Publish { rate } => {
                worker.errands.spawn_local(publish(Rc::clone(&worker), Rc::clone(&desks), rate));
            }
            Order::ExchangeChat => {
                ask_all(&desks, |seat, now| seat.first_room().map(|room| Todo::Say { room, count: 1, due: now }))
            }
            Order::ExchangePing => ask_all(&desks, |_, _| Some(Todo::Ping)),
            Order::SayInRooms(count) => say_in_rooms(&worker, &desks, count),
            Order::SettleAcks(patience, reply) => {
                let settled = settle(patience, || desks.iter().all(|desk| desk.seat.borrow().all_acked())).await;
                // The run may have ended meanwhile.
                let _ = reply.send(settled);
            }
            Order::SettleRooms(patience, reply) => {
                let whole = || {
                    let world = worker.world.borrow();
                    desks.iter().all(|desk| desk.seat.borrow().missing(&world) == 0)
                };
                let _ = reply.send(settle(patience, whole).await);
            }
            Order::Finish => break,
        }
    }
    if let Some(ramp) = ramp.take() {
        ramp.abort();
        if let Ok(started) = ramp.await {
            sessions = started;
        }
    }
    {
        let world = &mut *worker.world.borrow_mut();
        let missing = desks.iter().map(|desk| desk.seat.borrow().missing(world)).sum::<u64>();
        world.tally.missing += missing;
    }
    worker.stop.set(true);
    desks.iter().for_each(|desk| desk.ring());
    // Sessions that are still trying to connect are dropped after this.
    let _ = timeout(Duration::from_secs(2), async { while sessions.join_next().await.is_some() {} }).await;
}

async fn ramp_up(worker: Rc<Worker>, desks: Rc<[Rc<Desk>]>) -> JoinSet<()> {
    let mut sessions = JoinSet::new();
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let start = monotonic_ns();
    for desk in desks.iter() {
        if let Some(rate) = worker.brief.ramp {
            let index = u32::try_from(desk.seat.borrow().index).unwrap_or(u32::MAX);
            sleep_until_ns(start + seconds_to_ns(f64::from(index) / rate)).await;
        }
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { break };
        sessions.spawn_local(attend(Rc::clone(&worker), Rc::clone(desk), permit));
    }
    sessions
}

/// Declares connections dead on which nothing has come for too long.
async fn watch_silence(desks: Rc<[Rc<Desk>]>) {
    let limit = u64::try_from(LONGEST_SILENCE.as_nanos()).unwrap_or(u64::MAX);
    let mut tick = interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        let now = monotonic_ns();
        for desk in desks.iter().filter(|desk| desk.seat.borrow().welcomed()) {
            if now.saturating_sub(desk.heard_at.get()) > limit {
                desk.declare_dead();
            }
        }
    }
}

fn ask_all(desks: &[Rc<Desk>], todo: impl Fn(&Seat, u64) -> Option<Todo>) {
    let now = monotonic_ns();
    for desk in desks {
        let todo = todo(&desk.seat.borrow(), now);
        if let Some(todo) = todo {
            desk.seat.borrow_mut().ask(todo);
            desk.ring();
        }
    }
}

fn say_in_rooms(worker: &Worker, desks: &[Rc<Desk>], count: u32) {
    let (plan, now) = (&worker.brief.plan, monotonic_ns());
    for room in 0..plan.shape.rooms {
        let speaker = plan.speaker_of(room);
        if let Ok(at) = desks.binary_search_by_key(&speaker, |desk| desk.seat.borrow().index) {
            desks[at].seat.borrow_mut().ask(Todo::Say { room, count, due: now });
            desks[at].ring();
        }
    }
}

async fn settle(patience: Duration, done: impl Fn() -> bool) -> bool {
    let wait = async {
        while !done() {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(patience, wait).await.is_ok()
}

/// Lets the publishers of this thread publish until the board says stop.
async fn publish(worker: Rc<Worker>, desks: Rc<[Rc<Desk>]>, rate: Option<f64>) {
    let plan = &worker.brief.plan;
    let publishers: Vec<&Rc<Desk>> = desks.iter().filter(|desk| plan.publishes(desk.seat.borrow().index)).collect();
    let Some(rate) = rate else {
        for desk in publishers {
            desk.seat.borrow_mut().ask(Todo::TopUp);
            desk.ring();
        }
        return;
    };
    let burst = u32::try_from(worker.brief.habits.burst).unwrap_or(u32::MAX);
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let share = number(publishers.len()) / number(plan.shape.publishers);
    let step = seconds_to_ns(f64::from(burst) / (rate * share));
    let mut due = monotonic_ns();
    for desk in publishers.iter().cycle() {
        sleep_until_ns(due).await;
        if !worker.board.publishing.load(Relaxed) {
            return;
        }
        let now = monotonic_ns();
        let counted_from = if now.saturating_sub(due) <= TIMER_SLACK_NS { now } else { due };
        if !desk.seat.borrow_mut().publish_next(counted_from, burst) {
            worker.world.borrow_mut().tally.skipped += u64::from(burst);
        }
        desk.ring();
        due += step;
    }
}

async fn sleep_until_ns(due: u64) {
    let now = monotonic_ns();
    if due > now {
        sleep(Duration::from_nanos(due - now)).await;
    }
}

/// Saturates at about 136 years.
fn seconds_to_ns(seconds: f64) -> u64 {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
    u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX)
}
