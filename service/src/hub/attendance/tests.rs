//! One enter and one leave per user, however many sessions; held leaves; a port that fails.

mod truth;

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;

use super::*;
use crate::backplane::Unavailable;
use crate::clock::SystemClock;
use crate::presence::Roster;

#[derive(Default)]
struct Port {
    heard: Mutex<Vec<String>>,
    fails: AtomicBool,
    /// Calls are carried out, but their answers do not come.
    mute: AtomicBool,
    /// The next `renew` says that the lease had run out.
    forgot: AtomicBool,
}

impl Port {
    fn hear(&self, word: &str, user: &UserId) -> Result<(), Unavailable> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Unavailable("on purpose".to_owned()));
        }
        self.heard.lock().push(format!("{word} {user}"));
        match self.mute.load(Ordering::SeqCst) {
            true => Err(Unavailable("on purpose".to_owned())),
            false => Ok(()),
        }
    }
}

impl Presence for Port {
    fn enter<'a>(&'a self, _: &'a RoomName, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async { self.hear("enter", user) })
    }

    fn leave<'a>(&'a self, _: &'a RoomName, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async { self.hear("leave", user) })
    }

    fn roster<'a>(&'a self, _: &'a RoomName, _: usize) -> BoxFuture<'a, Result<Roster, Unavailable>> {
        Box::pin(async { Ok(Roster { users: Vec::new(), count: 0 }) })
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, Unavailable>> {
        Box::pin(async { Ok(!self.forgot.swap(false, Ordering::SeqCst)) })
    }
}

struct Fixture {
    port: Arc<Port>,
    attendance: Arc<Attendance>,
    stop: CancellationToken,
    room: RoomName,
    user: UserId,
}

impl Fixture {
    fn new() -> Self {
        let (port, stop) = (Arc::new(Port::default()), CancellationToken::new());
        let attendance = Attendance::new(Arc::clone(&port) as Arc<dyn Presence>, SystemClock::start());
        tokio_util::task::TaskTracker::new().spawn(Arc::clone(&attendance).run(stop.clone()));
        let (room, user) = (RoomName::parse("r").unwrap(), UserId::parse("alice").unwrap());
        Self { port, attendance, stop, room, user }
    }

    fn enter(&self) {
        self.attendance.enter(&self.room, &self.user);
    }

    fn leave(&self, asked: bool) {
        self.attendance.leave(&self.room, &self.user, asked);
    }

    /// What the port has heard once time has passed.
    async fn after(&self, time: Duration) -> Vec<String> {
        drop(tokio::time::timeout(time, std::future::pending::<()>()).await);
        self.port.heard.lock().clone()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn many_sessions_are_one_enter_and_one_leave_five_seconds_after_the_last() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        fixture.enter();
    }
    fixture.attendance.settled().await;
    for _ in 0..3 {
        fixture.leave(false);
    }
    assert_eq!(fixture.after(Duration::from_millis(4_900)).await, ["enter alice"]);
    assert_eq!(fixture.after(Duration::from_millis(200)).await, ["enter alice", "leave alice"]);
    assert!(fixture.attendance.state.lock().places.is_empty(), "nothing is kept of who is gone");
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_in_time_never_left_and_who_asked_to_leave_is_gone_at_once() {
    let fixture = Fixture::new();
    fixture.enter();
    fixture.leave(false);
    fixture.after(Duration::from_secs(3)).await;
    fixture.enter();
    assert_eq!(fixture.after(Duration::from_secs(30)).await, ["enter alice"]);
    fixture.leave(true);
    assert_eq!(fixture.after(Duration::from_millis(10)).await, ["enter alice", "leave alice"]);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_fails_is_told_the_truth_when_it_is_back_and_questions_are_quick_again() {
    let fixture = Fixture::new();
    fixture.port.fails.store(true, Ordering::SeqCst);
    fixture.enter();
    fixture.after(Duration::from_millis(100)).await;
    fixture.enter();
    fixture.leave(false);
    assert_eq!(fixture.after(Duration::from_secs(5)).await, [""; 0]);
    fixture.port.fails.store(false, Ordering::SeqCst);
    assert_eq!(fixture.after(Duration::from_secs(1)).await, ["enter alice"]);
    let asked = tokio::time::timeout(Duration::from_millis(1), fixture.attendance.settled()).await;
    assert_eq!(asked, Ok(()), "there is nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn what_a_lapsed_lease_took_is_entered_again() {
    let fixture = Fixture::new();
    fixture.enter();
    fixture.attendance.settled().await;
    fixture.port.forgot.store(true, Ordering::SeqCst);
    assert_eq!(fixture.after(RENEW_EVERY * 2).await, ["enter alice", "enter alice"]);
}

#[tokio::test(start_paused = true)]
async fn a_leave_that_was_due_when_the_lease_lapsed_is_told_all_the_same() {
    let fixture = Fixture::new();
    fixture.enter();
    fixture.attendance.settled().await;
    fixture.port.fails.store(true, Ordering::SeqCst);
    fixture.leave(true);
    fixture.after(Duration::from_millis(100)).await;
    fixture.port.forgot.store(true, Ordering::SeqCst);
    assert_eq!(fixture.after(RENEW_EVERY * 2).await, ["enter alice"]);
    assert!(!fixture.port.forgot.load(Ordering::SeqCst), "the loss was noticed");
    fixture.port.fails.store(false, Ordering::SeqCst);
    assert_eq!(fixture.after(Duration::from_secs(1)).await, ["enter alice", "leave alice"]);
    assert_eq!(fixture.after(STRAY).await, ["enter alice", "leave alice", "leave alice"], "the failed ones may stray");
    assert!(fixture.attendance.state.lock().places.is_empty(), "nothing is kept of who is gone");
}

#[tokio::test(start_paused = true)]
async fn an_enter_without_an_answer_is_taken_back_when_the_user_is_gone() {
    let fixture = Fixture::new();
    fixture.port.mute.store(true, Ordering::SeqCst);
    fixture.enter();
    assert_eq!(fixture.after(Duration::from_millis(100)).await, ["enter alice"]);
    fixture.port.mute.store(false, Ordering::SeqCst);
    fixture.leave(true);
    assert_eq!(fixture.after(Duration::from_secs(1)).await, ["enter alice", "leave alice"]);
}

#[tokio::test(start_paused = true)]
async fn a_leave_without_an_answer_is_taken_back_when_the_user_is_here_again() {
    let fixture = Fixture::new();
    fixture.enter();
    fixture.attendance.settled().await;
    fixture.port.mute.store(true, Ordering::SeqCst);
    fixture.leave(true);
    assert_eq!(fixture.after(Duration::from_millis(100)).await, ["enter alice", "leave alice"]);
    fixture.port.mute.store(false, Ordering::SeqCst);
    fixture.enter();
    assert_eq!(fixture.after(Duration::from_secs(1)).await, ["enter alice", "leave alice", "enter alice"]);
}
