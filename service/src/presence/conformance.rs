//! What every presence promises, as checks that every implementation runs: [`all`] of them against a [`Rig`].
//! As with the suite of the backplane, nothing is assumed to arrive at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{LEASE, Presence, RENEW_EVERY, Roster};
use crate::backplane::Arrival;
use crate::backplane::conformance::{Instance, Promise, Verdict, eventually, promises};
use crate::delivery::EphemeralKind;
use crate::ids::{LogName, RoomName, UserId};
use crate::protocol::limits::PRESENCE_EVENTS_MAX_USERS;
use crate::protocol::server_frame::{PresenceChange, presence_event};

/// Nobody anywhere, of its own for one check.
pub trait Rig: Send + Sync {
    /// A new instance. Dropping its presence without leaving is a crash.
    fn instance<'a>(&'a self, name: &'a str) -> BoxFuture<'a, (Arc<dyn Presence>, Instance)>;

    /// Lets this much time pass for everything on the rig. `None`: it cannot, and the check is left out.
    fn pass(&self, time: Duration) -> Option<BoxFuture<'_, ()>>;
}

/// All promises of [`Presence`].
#[must_use]
pub fn all() -> Vec<Promise<dyn Rig>> {
    promises![dyn Rig:
        a_roster_is_sorted_counted_and_cut,
        a_user_is_there_while_any_instance_holds_it,
        the_first_enter_and_the_last_leave_are_told_once,
        entering_and_leaving_again_changes_nothing,
        rooms_do_not_mix,
        a_large_room_tells_nothing_but_counts,
        what_is_renewed_stands,
        a_crashed_instance_is_purged_and_its_leaves_are_told,
        an_instance_whose_lease_ran_out_learns_it_and_enters_again,
        a_successor_of_the_same_name_does_not_keep_its_predecessor_alive,
    ]
}

struct Member {
    presence: Arc<dyn Presence>,
    instance: Instance,
}

impl Member {
    async fn on(rig: &Arc<dyn Rig>, name: &str) -> Self {
        let (presence, instance) = rig.instance(name).await;
        Self { presence, instance }
    }

    async fn listening(rig: &Arc<dyn Rig>, name: &str, to: &RoomName) -> Self {
        let member = Self::on(rig, name).await;
        member.instance.subscribe(&LogName::Room(to.clone())).await;
        member
    }

    async fn enter(&self, room: &RoomName, name: &str) {
        self.presence.enter(room, &user(name)).await.expect("a healthy presence takes an enter");
    }

    async fn leave(&self, room: &RoomName, name: &str) {
        self.presence.leave(room, &user(name)).await.expect("a healthy presence takes a leave");
    }

    async fn renew(&self) -> bool {
        self.presence.renew().await.expect("a healthy presence renews")
    }

    async fn roster(&self, room: &RoomName) -> Vec<String> {
        self.cut_roster(room, 1_000).await.users.iter().map(ToString::to_string).collect()
    }

    async fn cut_roster(&self, room: &RoomName, most: usize) -> Roster {
        self.presence.roster(room, most).await.expect("a healthy presence answers")
    }

    /// The next hint of the room; asserts that it is this one.
    async fn hears(&mut self, room: &RoomName, change: PresenceChange, name: &str) {
        let log = LogName::Room(room.clone());
        let what = format!("{change:?} of {name}");
        let heard = self.instance.next(&what, |arrival| match arrival {
            Arrival::Ephemeral { log: of, frame, kind: EphemeralKind::Presence } if *of == log => Some(frame.clone()),
            _ => None,
        });
        assert_eq!(heard.await, presence_event(room, change, &user(name)));
    }
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).expect("checks use good names")
}

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("checks use good names")
}

async fn a_roster_is_sorted_counted_and_cut(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b, room) = (Member::on(&rig, "a").await, Member::on(&rig, "b").await, room("sorted"));
    assert_eq!(a.cut_roster(&room, 10).await, Roster { users: Vec::new(), count: 0 });
    for (member, name) in [(&a, "dora"), (&b, "Bob"), (&a, "äda"), (&b, "carl")] {
        member.enter(&room, name).await;
    }
    for member in [&a, &b] {
        assert_eq!(member.roster(&room).await, ["Bob", "carl", "dora", "äda"]);
        assert_eq!(member.cut_roster(&room, 2).await, Roster { users: vec![user("Bob"), user("carl")], count: 4 });
        assert_eq!(member.cut_roster(&room, 0).await, Roster { users: Vec::new(), count: 4 });
    }
    Verdict::Kept
}

async fn a_user_is_there_while_any_instance_holds_it(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b, room) = (Member::on(&rig, "a").await, Member::on(&rig, "b").await, room("held"));
    a.enter(&room, "alice").await;
    b.enter(&room, "alice").await;
    assert_eq!(a.roster(&room).await, ["alice"]);
    a.leave(&room, "alice").await;
    assert_eq!(a.roster(&room).await, ["alice"]);
    b.leave(&room, "alice").await;
    assert_eq!(a.cut_roster(&room, 9).await, Roster { users: Vec::new(), count: 0 });
    Verdict::Kept
}

async fn the_first_enter_and_the_last_leave_are_told_once(rig: Arc<dyn Rig>) -> Verdict {
    let room = room("told");
    let (mut a, mut b) = (Member::listening(&rig, "a", &room).await, Member::listening(&rig, "b", &room).await);
    a.enter(&room, "alice").await;
    b.enter(&room, "alice").await;
    a.leave(&room, "alice").await;
    b.leave(&room, "alice").await;
    b.enter(&room, "bob").await;
    for member in [&mut a, &mut b] {
        member.hears(&room, PresenceChange::Join, "alice").await;
        member.hears(&room, PresenceChange::Leave, "alice").await;
        member.hears(&room, PresenceChange::Join, "bob").await;
    }
    Verdict::Kept
}

async fn entering_and_leaving_again_changes_nothing(rig: Arc<dyn Rig>) -> Verdict {
    let room = room("again");
    let mut a = Member::listening(&rig, "a", &room).await;
    a.leave(&room, "alice").await;
    a.enter(&room, "alice").await;
    a.enter(&room, "alice").await;
    assert_eq!(a.roster(&room).await, ["alice"]);
    a.leave(&room, "alice").await;
    a.leave(&room, "alice").await;
    assert!(a.roster(&room).await.is_empty());
    a.enter(&room, "bob").await;
    a.hears(&room, PresenceChange::Join, "alice").await;
    a.hears(&room, PresenceChange::Leave, "alice").await;
    a.hears(&room, PresenceChange::Join, "bob").await;
    Verdict::Kept
}

async fn rooms_do_not_mix(rig: Arc<dyn Rig>) -> Verdict {
    let (here, there) = (room("here"), room("there"));
    let mut a = Member::listening(&rig, "a", &here).await;
    a.enter(&there, "alice").await;
    a.enter(&here, "bob").await;
    a.enter(&there, "bob").await;
    a.leave(&there, "bob").await;
    assert_eq!((a.roster(&here).await, a.roster(&there).await), (vec!["bob".to_owned()], vec!["alice".to_owned()]));
    a.enter(&here, "carl").await;
    a.hears(&here, PresenceChange::Join, "bob").await;
    a.hears(&here, PresenceChange::Join, "carl").await;
    Verdict::Kept
}

async fn a_large_room_tells_nothing_but_counts(rig: Arc<dyn Rig>) -> Verdict {
    let room = room("large");
    let mut a = Member::listening(&rig, "a", &room).await;
    let names: Vec<_> = (0..PRESENCE_EVENTS_MAX_USERS + 2).map(|number| format!("u{number:03}")).collect();
    let (small, large) = names.split_at(PRESENCE_EVENTS_MAX_USERS);
    for name in small {
        a.enter(&room, name).await;
        a.hears(&room, PresenceChange::Join, name).await;
    }
    for name in large {
        a.enter(&room, name).await;
    }
    assert_eq!(a.cut_roster(&room, 3).await.count, PRESENCE_EVENTS_MAX_USERS + 2);
    a.leave(&room, &large[1]).await;
    // Whether the leave that makes a room small is told, is left open; the next one is.
    a.leave(&room, &large[0]).await;
    a.leave(&room, &small[0]).await;
    let told = [&large[0], &small[0]].map(|name| presence_event(&room, PresenceChange::Leave, &user(name)));
    let heard = a.instance.next("a leave", |arrival| match arrival {
        Arrival::Ephemeral { frame, .. } => Some(frame.clone()),
        _ => None,
    });
    assert!(told.contains(&heard.await), "what happens in a large room is not told");
    assert_eq!(a.cut_roster(&room, 3).await.count, PRESENCE_EVENTS_MAX_USERS - 1);
    Verdict::Kept
}

async fn what_is_renewed_stands(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b, room) = (Member::on(&rig, "a").await, Member::on(&rig, "b").await, room("renewed"));
    a.renew().await;
    b.renew().await;
    a.enter(&room, "alice").await;
    for _ in 0..5 {
        let Some(pass) = rig.pass(RENEW_EVERY) else { return Verdict::NeedsTime };
        pass.await;
        assert!(a.renew().await);
        assert!(b.renew().await);
        assert_eq!(b.roster(&room).await, ["alice"]);
    }
    Verdict::Kept
}

/// Lets time pass until every lease that is not `renewed` has run out. `None`: it cannot.
async fn outlive(rig: &Arc<dyn Rig>, renewed: &[&Member]) -> Option<()> {
    let mut left = LEASE + Duration::from_millis(100);
    while !left.is_zero() {
        let step = left.min(RENEW_EVERY);
        rig.pass(step)?.await;
        for member in renewed {
            assert!(member.renew().await);
        }
        left -= step;
    }
    Some(())
}

async fn a_crashed_instance_is_purged_and_its_leaves_are_told(rig: Arc<dyn Rig>) -> Verdict {
    let room = room("crash");
    let mut a = Member::listening(&rig, "a", &room).await;
    let b = Member::on(&rig, "b").await;
    a.renew().await;
    b.renew().await;
    a.enter(&room, "alice").await;
    b.enter(&room, "alice").await;
    b.enter(&room, "bob").await;
    drop(b);
    assert_eq!(a.roster(&room).await, ["alice", "bob"], "its lease stands still");
    let Some(()) = outlive(&rig, &[&a]).await else { return Verdict::NeedsTime };
    eventually(
        "bob is purged",
        |users: &Vec<String>| users == &["alice"],
        async || {
            a.renew().await;
            a.roster(&room).await
        },
    )
    .await;
    a.hears(&room, PresenceChange::Join, "alice").await;
    a.hears(&room, PresenceChange::Join, "bob").await;
    a.hears(&room, PresenceChange::Leave, "bob").await;
    Verdict::Kept
}

async fn an_instance_whose_lease_ran_out_learns_it_and_enters_again(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b, room) = (Member::on(&rig, "a").await, Member::on(&rig, "b").await, room("paused"));
    a.renew().await;
    b.renew().await;
    b.enter(&room, "bob").await;
    assert!(b.renew().await);
    let Some(()) = outlive(&rig, &[&a]).await else { return Verdict::NeedsTime };
    eventually("bob is purged", Vec::is_empty, async || {
        a.renew().await;
        a.roster(&room).await
    })
    .await;
    // An enter before it knows does not hide what is gone.
    b.enter(&room, "carl").await;
    assert!(!b.renew().await, "what it entered was purged");
    b.enter(&room, "bob").await;
    assert!(b.renew().await);
    assert!(a.renew().await);
    assert_eq!(a.roster(&room).await, ["bob", "carl"]);
    Verdict::Kept
}

async fn a_successor_of_the_same_name_does_not_keep_its_predecessor_alive(rig: Arc<dyn Rig>) -> Verdict {
    let (old, room) = (Member::on(&rig, "same").await, room("successor"));
    old.renew().await;
    old.enter(&room, "ghost").await;
    drop(old);
    let new = Member::on(&rig, "same").await;
    new.renew().await;
    new.enter(&room, "alice").await;
    let Some(()) = outlive(&rig, &[&new]).await else { return Verdict::NeedsTime };
    eventually(
        "the ghost is gone",
        |users: &Vec<String>| users == &["alice"],
        async || {
            new.renew().await;
            new.roster(&room).await
        },
    )
    .await;
    Verdict::Kept
}
