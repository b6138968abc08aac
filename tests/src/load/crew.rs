//! The threads of one run as seen from above: started together, given orders, awaited with a deadline, and their
//! tallies added up. Also the progress line, because it is drawn while waiting.

use std::io::{self, IsTerminal, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::task::TaskTracker;

use super::arguments::Common;
use super::board::{Board, Totals};
use super::clock::monotonic_ns;
use super::tally::Tally;
use super::worker::{Brief, Order, run_thread};

/// Orders a thread may have waiting; it is given the next one only when it has done the last.
const ORDERS: usize = 4;
/// How often a wait looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why a run ended before its time.
#[derive(Debug, Error)]
pub(super) enum CrewFault {
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("a thread of the load generator ended early")]
    Died,
    #[error("{0}")]
    GivenUp(String),
    #[error("interrupted")]
    Interrupted,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    Met,
    TimedOut,
    /// Ctrl-C: what was seen so far is reported.
    Interrupted,
}

/// See the module.
pub(super) struct Crew {
    pub(super) board: Arc<Board>,
    sessions: u64,
    orders: Vec<mpsc::Sender<Order>>,
    threads: Vec<JoinHandle<io::Result<Tally>>>,
    progress: Progress,
    _interrupts: TaskTracker,
}

impl Crew {
    /// Starts all threads, which begin to connect at once.
    pub(super) fn start(common: &Common) -> Result<Self, CrewFault> {
        let board = Arc::new(Board::new(common.plan.shape.rooms));
        let brief = Arc::new(Brief {
            plan: Arc::new(common.plan.clone()),
            habits: common.habits,
            targets: common.targets.clone(),
            sign_in: common.sign_in.clone(),
            ramp: common.ramp,
            threads: common.threads,
            busy_poll: common.busy_poll,
        });
        let mut crew = Self {
            board: Arc::clone(&board),
            sessions: common.plan.shape.sessions as u64,
            orders: Vec::new(),
            threads: Vec::new(),
            progress: Progress::new(common.output.progress),
            _interrupts: watch_interrupts(&board),
        };
        for number in 0..common.threads {
            let (orders, receiver) = mpsc::channel(ORDERS);
            let (brief, board) = (Arc::clone(&brief), Arc::clone(&board));
            let thread = thread::Builder::new()
                .name(format!("load-{number}"))
                .spawn(move || run_thread(number, brief, board, receiver))
                .map_err(CrewFault::Thread)?;
            crew.orders.push(orders);
            crew.threads.push(thread);
        }
        Ok(crew)
    }

    /// Gives every thread an order.
    pub(super) async fn order(&self, order: impl Fn() -> Order) -> Result<(), CrewFault> {
        for thread in &self.orders {
            thread.send(order()).await.map_err(|_| CrewFault::Died)?;
        }
        Ok(())
    }

    /// Waits until `met`, at most `patience`, and draws the progress line meanwhile.
    ///
    /// # Errors
    /// When the run has become pointless or a thread is gone.
    pub(super) async fn wait(
        &mut self,
        phase: &str,
        patience: Duration,
        met: impl Fn(&Board) -> bool,
    ) -> Result<Waited, CrewFault> {
        let deadline = sleep(patience);
        let mut tick = interval(LOOK_AGAIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(deadline);
        loop {
            if met(&self.board) {
                return Ok(Waited::Met);
            }
            if let Some(reason) = self.board.fatal() {
                return Err(CrewFault::GivenUp(reason));
            }
            if self.threads.iter().any(JoinHandle::is_finished) {
                return Err(CrewFault::Died);
            }
            if self.board.interrupted.load(Relaxed) {
                return Ok(Waited::Interrupted);
            }
            tokio::select! {
                () = &mut deadline => return Ok(if met(&self.board) { Waited::Met } else { Waited::TimedOut }),
                _ = tick.tick() => self.progress.draw(phase, self.sessions, &self.board),
            }
        }
    }

    /// Waits until all publishes have an answer, then until every session has everything that was acked. Whatever has
    /// not come within `grace`, twice, is missing.
    pub(super) async fn settle(&mut self, grace: Duration) -> Result<bool, CrewFault> {
        let acked = self.ask(|reply| Order::SettleAcks(grace, reply)).await?;
        let whole = self.ask(|reply| Order::SettleRooms(grace, reply)).await?;
        Ok(acked && whole)
    }

    async fn ask(&self, order: impl Fn(oneshot::Sender<bool>) -> Order) -> Result<bool, CrewFault> {
        let mut replies = Vec::new();
        for thread in &self.orders {
            let (reply, answer) = oneshot::channel();
            thread.send(order(reply)).await.map_err(|_| CrewFault::Died)?;
            replies.push(answer);
        }
        let mut all = true;
        for reply in replies {
            all &= reply.await.map_err(|_| CrewFault::Died)?;
        }
        Ok(all)
    }

    /// Ends all threads and adds up what they saw.
    pub(super) async fn finish(self) -> Result<Tally, CrewFault> {
        self.progress.clear();
        // A thread that has ended already has told why, or will below.
        let _ = self.order(|| Order::Finish).await;
        let mut all = Tally::new();
        for thread in self.threads {
            all.add(thread.join().map_err(|_| CrewFault::Died)?.map_err(CrewFault::Thread)?);
        }
        Ok(all)
    }
}

/// The first Ctrl-C ends the run early, with its report; the second ends the process.
fn watch_interrupts(board: &Arc<Board>) -> TaskTracker {
    let (tasks, board) = (TaskTracker::new(), Arc::clone(board));
    tasks.spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if board.interrupted.swap(true, Relaxed) {
                process::exit(130);
            }
        }
    });
    tasks
}

/// One line on standard error that shows the run is alive.
struct Progress {
    terminal: bool,
    on: bool,
    last: Totals,
    drawn_at: u64,
}

impl Progress {
    fn new(asked: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, on: terminal || asked, last: Totals::default(), drawn_at: monotonic_ns() }
    }

    fn draw(&mut self, phase: &str, sessions: u64, board: &Board) {
        let now = monotonic_ns();
        let elapsed = now.saturating_sub(self.drawn_at);
        if !self.on || elapsed < 1_000_000_000 {
            return;
        }
        let totals = board.totals();
        let rate = |now: u64, before: u64| now.saturating_sub(before).saturating_mul(1_000_000_000) / elapsed;
        let line = format!(
            "{phase:<10} sessions {}/{sessions}  published {}/s  delivered {}/s  holes {}  reconnects {}  failures {}",
            board.present.load(Relaxed),
            rate(totals.published, self.last.published),
            rate(totals.delivered, self.last.delivered),
            board.holes.load(Relaxed),
            board.reconnected.load(Relaxed),
            board.failures.load(Relaxed),
        );
        // Standard error that cannot be written to is no reason to stop measuring.
        let _ = if self.terminal { write!(io::stderr(), "\r\x1b[2K{line}") } else { writeln!(io::stderr(), "{line}") };
        (self.last, self.drawn_at) = (totals, now);
    }

    fn clear(&self) {
        if self.on && self.terminal {
            // As above.
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}
