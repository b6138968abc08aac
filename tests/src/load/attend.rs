//! The life of one session across its connections: first connect, back-off, `reconnect` with overlap, and which close
//! codes forbid to come back. Behaves as a good client should; what it saw is counted in the tally.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::clock::monotonic_ns;
use super::line::{Desk, Line, Turn};
use super::tally::count;
use super::upgrade::{UpgradeFault, open};
use super::worker::Worker;

/// First and longest wait before connecting again; each is drawn from zero to its full length.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Connects, and keeps the session going until the run ends or the server forbids it. `permit` is given back when the
/// session has arrived for the first time.
pub(super) async fn attend(worker: Rc<Worker>, desk: Rc<Desk>, permit: OwnedSemaphorePermit) {
    let mut journey = Journey { worker: &worker, desk: &desk, route: desk.seat.borrow().index, wait: FIRST_WAIT };
    let started = monotonic_ns();
    let mut permit = Some(permit);
    let mut present = false;
    // The connection that is being replaced: open, but no longer read, until the new one has resumed everything.
    let mut old: Option<Line> = None;
    let Some(mut line) = journey.connect().await else { return };
    desk.begin_connection();
    loop {
        let turn = line.turn(&worker, &desk).await;
        let leave = |back: &mut bool| {
            if std::mem::take(back) {
                worker.board().present.fetch_sub(1, Relaxed);
            }
            desk.seat.borrow_mut().leave();
        };
        match turn {
            Turn::Arrived => {
                journey.wait = FIRST_WAIT;
                present = true;
                worker.board().present.fetch_add(1, Relaxed);
                if permit.take().is_some() {
                    let took = monotonic_ns().saturating_sub(started);
                    worker.world.borrow_mut().tally.connect.record_ns(took);
                } else {
                    worker.world.borrow_mut().tally.reconnected += 1;
                    worker.board().reconnected.fetch_add(1, Relaxed);
                }
                if let Some(old) = old.take() {
                    old.say_goodbye(&worker).await;
                }
                continue;
            }
            Turn::Move { elsewhere } => {
                journey.route += usize::from(elsewhere);
                let Some(new) = journey.connect_beside(&mut line, &mut present).await else { return };
                leave(&mut present);
                old = Some(std::mem::replace(&mut line, Line::new(new)));
                desk.begin_connection();
                continue;
            }
            Turn::Stop => {
                line.say_goodbye(&worker).await;
                return;
            }
            Turn::Closed(code) => {
                count(&mut worker.world.borrow_mut().tally.closes, &close_name(code));
                leave(&mut present);
                if code.is_some_and(forbids_return) {
                    worker.world.borrow_mut().tally.gone += 1;
                    return;
                }
            }
            Turn::Lost => leave(&mut present),
        }
        worker.world.borrow_mut().tally.lost += 1;
        old = None;
        journey.rest(None).await;
        let Some(new) = journey.connect().await else { return };
        line = new;
        desk.begin_connection();
    }
}

fn close_name(code: Option<u16>) -> String {
    code.map_or("(none)".to_owned(), |code| code.to_string())
}

/// Whether a client must not connect again by itself after this close code.
fn forbids_return(code: u16) -> bool {
    matches!(code, 1002 | 1003 | 1007 | 1009 | 4500..=4999)
}

/// Where a session connects to next, and after which wait.
struct Journey<'a> {
    worker: &'a Rc<Worker>,
    desk: &'a Rc<Desk>,
    route: usize,
    wait: Duration,
}

impl Journey<'_> {
    /// Tries until it succeeds; `None` when the server says that trying again is useless, which ends the whole run.
    async fn connect(&mut self) -> Option<Line> {
        self.connect_raw().await.map(Line::new)
    }

    /// Like `connect`, while the old connection is served on.
    async fn connect_beside(&mut self, old: &mut Line, present: &mut bool) -> Option<super::upgrade::Upgraded> {
        let (worker, desk) = (self.worker, self.desk);
        let mut opening = pin!(self.connect_raw());
        let mut old_lives = true;
        poll_fn(|cx| {
            if let Poll::Ready(result) = opening.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            // Whatever ends the old connection now, the new one is on its way. A second `reconnect` changes nothing.
            while old_lives {
                match old.poll_turn(cx, worker, desk) {
                    Poll::Ready(Turn::Arrived | Turn::Move { .. }) => {}
                    Poll::Ready(end @ (Turn::Closed(_) | Turn::Lost | Turn::Stop)) => {
                        old_lives = false;
                        let mut world = worker.world.borrow_mut();
                        if let Turn::Closed(code) = end {
                            count(&mut world.tally.closes, &close_name(code));
                        }
                        world.tally.lost += u64::from(!matches!(end, Turn::Stop));
                        if std::mem::take(present) {
                            worker.board().present.fetch_sub(1, Relaxed);
                        }
                        desk.seat.borrow_mut().leave();
                    }
                    Poll::Pending => break,
                }
            }
            if worker.stopping() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    async fn connect_raw(&mut self) -> Option<super::upgrade::Upgraded> {
        let user = self.worker.world.borrow().plan.user_name(self.desk.seat.borrow().index);
        loop {
            let targets = self.worker.targets();
            let target = &targets[self.route % targets.len()];
            match open(target, &user, self.worker.sign_in(), self.route / targets.len()).await {
                Ok(upgraded) => return Some(upgraded),
                Err(fault) => {
                    let text = fault.to_string();
                    count(&mut self.worker.world.borrow_mut().tally.connect_failures, &text);
                    self.worker.board().failures.fetch_add(1, Relaxed);
                    if fault.permanent() {
                        self.worker.give_up(&format!("{target}: {text}"));
                        return None;
                    }
                    let told = match fault {
                        UpgradeFault::Refused { retry_after, .. } => retry_after,
                        _ => None,
                    };
                    self.route += 1;
                    self.rest(told).await;
                }
            }
        }
    }

    /// Waits with jitter, longer each time; at least as long as the server told.
    async fn rest(&mut self, told: Option<Duration>) {
        let jitter = self.worker.world.borrow_mut().entropy.unit();
        sleep(told.unwrap_or_default() + self.wait.mul_f64(jitter)).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }
}
