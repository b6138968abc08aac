//! Whatever happens to the calls, and in whatever order sessions come and go on two instances, the port has the truth in
//! the end.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use proptest::prelude::*;

use super::*;
use crate::presence::Roster;

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Carried out and answered, each after so many milliseconds.
    Answered(u64, u64),
    /// Carried out after so many; the answer never comes, which is noticed after 2 s.
    Unanswered(u64),
    /// Not carried out.
    Refused,
    /// Failed at once, and carried out after so many milliseconds, perhaps after calls that followed it.
    Strays(u64),
}

#[derive(Debug, Clone)]
enum Event {
    Enter(usize),
    Leave(usize, bool),
    Passes(u64),
    Fate(Fate),
    /// The server is replaced by one that has nothing of that instance, or all.
    Loses(usize, bool),
}

/// Who holds the place, as all instances see it.
#[derive(Default)]
struct Server {
    holders: Mutex<BTreeSet<usize>>,
    fate: Mutex<Option<Fate>>,
    lost: Mutex<BTreeSet<usize>>,
}

impl Server {
    fn carry_out(&self, holder: usize, here: bool) {
        let mut holders = self.holders.lock();
        if here {
            holders.insert(holder)
        } else {
            holders.remove(&holder)
        };
    }
}

struct Handle {
    server: Arc<Server>,
    holder: usize,
}

async fn pass(milliseconds: u64) {
    drop(tokio::time::timeout(Duration::from_millis(milliseconds), std::future::pending::<()>()).await);
}

impl Handle {
    async fn call(&self, here: bool) -> Result<(), Unavailable> {
        let failed = Err(Unavailable("on purpose".to_owned()));
        let fate = self.server.fate.lock().unwrap_or(Fate::Answered(0, 0));
        match fate {
            Fate::Answered(before, after) => {
                pass(before).await;
                self.server.carry_out(self.holder, here);
                pass(after).await;
                Ok(())
            }
            Fate::Unanswered(before) => {
                pass(before).await;
                self.server.carry_out(self.holder, here);
                pass(2_000 - before).await;
                failed
            }
            Fate::Refused => failed,
            Fate::Strays(before) => {
                let (server, holder) = (Arc::clone(&self.server), self.holder);
                tokio_util::task::TaskTracker::new().spawn(async move {
                    pass(before).await;
                    server.carry_out(holder, here);
                });
                failed
            }
        }
    }
}

impl Presence for Handle {
    fn enter<'a>(&'a self, _: &'a RoomName, _: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.call(true))
    }

    fn leave<'a>(&'a self, _: &'a RoomName, _: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.call(false))
    }

    fn roster<'a>(&'a self, _: &'a RoomName, _: usize) -> BoxFuture<'a, Result<Roster, Unavailable>> {
        Box::pin(async { Ok(Roster { users: Vec::new(), count: 0 }) })
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, Unavailable>> {
        Box::pin(async { Ok(!self.server.lost.lock().remove(&self.holder)) })
    }
}

fn events() -> impl Strategy<Value = Event> {
    let fates = prop_oneof![
        2 => Just(Fate::Answered(0, 0)),
        1 => (0_u64..1_000, 0_u64..1_000).prop_map(|(before, after)| Fate::Answered(before, after)),
        3 => (0_u64..2_000).prop_map(Fate::Unanswered),
        1 => Just(Fate::Refused),
        2 => (1_u64..10_000).prop_map(Fate::Strays),
    ];
    prop_oneof![
        4 => (0_usize..2).prop_map(Event::Enter),
        4 => (0_usize..2, any::<bool>()).prop_map(|(instance, asked)| Event::Leave(instance, asked)),
        3 => prop_oneof![0_u64..700, 0_u64..7_000].prop_map(Event::Passes),
        4 => fates.prop_map(Event::Fate),
        1 => (0_usize..2, any::<bool>()).prop_map(|(instance, all)| Event::Loses(instance, all)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn the_port_has_the_truth_in_the_end(events in prop::collection::vec(events(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (held, expected, kept) = runtime.block_on(end_of(events));
        prop_assert_eq!(held, expected, "who holds the place, and who should");
        prop_assert_eq!(kept, 0, "places kept of who is gone");
    }
}

/// Who holds the place in the end, who should, and what is kept for nothing.
async fn end_of(events: Vec<Event>) -> (BTreeSet<usize>, BTreeSet<usize>, usize) {
    let (server, stop) = (Arc::new(Server::default()), CancellationToken::new());
    let (room, user) = (RoomName::parse("r").unwrap(), UserId::parse("alice").unwrap());
    let instances = [0, 1].map(|holder| {
        let port = Arc::new(Handle { server: Arc::clone(&server), holder });
        let attendance = Attendance::new(port, SystemClock::start());
        tokio_util::task::TaskTracker::new().spawn(Arc::clone(&attendance).run(stop.clone()));
        attendance
    });
    let mut sessions = [0_u32; 2];
    for event in events {
        match event {
            Event::Enter(instance) => {
                sessions[instance] += 1;
                instances[instance].enter(&room, &user);
            }
            Event::Leave(instance, asked) if sessions[instance] > 0 => {
                sessions[instance] -= 1;
                instances[instance].leave(&room, &user, asked);
            }
            Event::Leave(..) => {}
            Event::Passes(milliseconds) => pass(milliseconds).await,
            Event::Fate(fate) => *server.fate.lock() = Some(fate),
            Event::Loses(instance, all) => {
                if all {
                    server.holders.lock().remove(&instance);
                }
                server.lost.lock().insert(instance);
            }
        }
    }
    *server.fate.lock() = None;
    pass(60_000).await;
    let expected = (0..2).filter(|instance| sessions[*instance] > 0).collect();
    let kept = (0..2).filter(|instance| sessions[*instance] == 0);
    let kept = kept.map(|instance| instances[instance].state.lock().places.len()).sum();
    stop.cancel();
    let held = server.holders.lock().clone();
    (held, expected, kept)
}
