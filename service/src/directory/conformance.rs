//! What every directory promises, as checks that every implementation runs: [`all`] of them against a [`Rig`].
//! A listing may be a moment late (rooms are indexed at intervals); a ban must not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Directory, InstanceRecord, RECORD_TTL};
use crate::backplane::Backplane;
use crate::backplane::conformance::{Promise, Verdict, eventually, promises};
use crate::ids::{LogName, RoomName, ServerId, UserId};
use crate::message::Draft;
use crate::rights::RoomSpan;

/// An empty directory of its own for one check.
pub trait Rig: Send + Sync {
    /// A new instance.
    fn instance<'a>(&'a self, name: &'a str) -> BoxFuture<'a, (Arc<dyn Directory>, Arc<dyn Backplane>)>;

    /// Lets this much time pass for everything on the rig. `None`: it cannot, and the check is left out.
    fn pass(&self, time: Duration) -> Option<BoxFuture<'_, ()>>;
}

/// All promises of [`Directory`].
#[must_use]
pub fn all() -> Vec<Promise<dyn Rig>> {
    promises![dyn Rig:
        rooms_with_a_message_are_listed_in_order_with_their_tops,
        inboxes_control_and_empty_rooms_are_not_listed,
        a_listing_goes_on_after_a_name,
        a_listing_has_what_is_within_the_spans_and_nothing_else,
        a_ban_is_seen_everywhere_at_once,
        a_ban_passes,
        a_later_ban_replaces_an_earlier_one,
        instances_are_listed_in_order_as_they_last_said,
        an_instance_that_is_silent_is_no_longer_listed,
    ]
}

struct Member {
    directory: Arc<dyn Directory>,
    backplane: Arc<dyn Backplane>,
}

type Listing = Vec<(String, u64)>;

impl Member {
    async fn on(rig: &Arc<dyn Rig>, name: &str) -> Self {
        let (directory, backplane) = rig.instance(name).await;
        Self { directory, backplane }
    }

    async fn publish(&self, log: LogName, times: usize) {
        let (head, tail) = (Bytes::from_static(b"{\"offset\":"), Bytes::from_static(b"}"));
        let draft = Draft { head, tail, key: None, at: 0, traceparent: None };
        for _ in 0..times {
            self.backplane.publish(&log, &draft).await.expect("a healthy backplane stores");
        }
    }

    async fn rooms(&self, after: Option<&str>, most: usize) -> Listing {
        self.within(&[RoomSpan::all()], after, most).await.0
    }

    /// Also the name after which there may be more.
    async fn within(&self, spans: &[RoomSpan], after: Option<&str>, most: usize) -> (Listing, Option<String>) {
        let listed = self.directory.rooms(spans, after, most).await.expect("a healthy directory lists");
        let rooms = listed.rooms.into_iter().map(|(room, top)| (room.to_string(), top));
        (rooms.collect(), listed.next.map(|name| name.to_string()))
    }

    async fn ban(&self, name: &str, seconds: u64) {
        let banned = self.directory.ban(&user(name), Duration::from_secs(seconds)).await;
        banned.expect("a healthy directory bans");
    }

    /// Seconds that a ban still lasts, rounded up.
    async fn banned(&self, name: &str) -> Option<u64> {
        let left = self.directory.banned(&user(name)).await.expect("a healthy directory knows bans");
        left.map(|left| left.as_millis().div_ceil(1_000).try_into().expect("checks ban for seconds"))
    }

    async fn announce(&self, record: &InstanceRecord) {
        self.directory.announce(record.clone()).await.expect("a healthy directory takes announcements");
    }

    async fn instances(&self) -> Vec<InstanceRecord> {
        self.directory.instances().await.expect("a healthy directory lists")
    }
}

fn room(name: &str) -> LogName {
    LogName::Room(RoomName::parse(name).expect("checks use good names"))
}

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("checks use good names")
}

fn record(name: &str, sessions: usize, draining: bool) -> InstanceRecord {
    InstanceRecord { server_id: ServerId::parse(name).expect("checks use good names"), sessions, draining }
}

fn listing(rooms: &[(&str, u64)]) -> Listing {
    rooms.iter().map(|(room, top)| ((*room).to_owned(), *top)).collect()
}

async fn rooms_with_a_message_are_listed_in_order_with_their_tops(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b) = (Member::on(&rig, "a").await, Member::on(&rig, "b").await);
    assert_eq!(a.rooms(None, 10).await, []);
    for (member, name, times) in [(&a, "b", 2), (&b, "ä", 1), (&a, "B", 3), (&b, "b c", 1)] {
        member.publish(room(name), times).await;
    }
    b.publish(room("b"), 1).await;
    let expected = listing(&[("B", 3), ("b", 3), ("b c", 1), ("ä", 1)]);
    for member in [&a, &b] {
        eventually("all rooms", |rooms: &Listing| *rooms == expected, async || member.rooms(None, 10).await).await;
    }
    Verdict::Kept
}

async fn inboxes_control_and_empty_rooms_are_not_listed(rig: Arc<dyn Rig>) -> Verdict {
    let a = Member::on(&rig, "a").await;
    a.publish(LogName::Inbox(user("inbox")), 1).await;
    a.publish(LogName::Control, 1).await;
    a.backplane.subscribe(&room("empty")).await.expect("a healthy backplane takes subscriptions");
    a.publish(room("room"), 1).await;
    let expected = listing(&[("room", 1)]);
    eventually("the room alone", |rooms: &Listing| *rooms == expected, async || a.rooms(None, 10).await).await;
    Verdict::Kept
}

async fn a_listing_goes_on_after_a_name(rig: Arc<dyn Rig>) -> Verdict {
    let a = Member::on(&rig, "a").await;
    let names: Vec<_> = (0..7).map(|number| format!("r{number}")).collect();
    for name in &names {
        a.publish(room(name), 1).await;
    }
    eventually("all rooms", |rooms: &Listing| rooms.len() == 7, async || a.rooms(None, 10).await).await;
    let cases: [(Option<&str>, usize, &[usize]); 5] = [
        (None, 3, &[0, 1, 2]),
        (Some("r2"), 3, &[3, 4, 5]),
        (Some("r5"), 3, &[6]),
        (Some("r6"), 3, &[]),
        (Some("r2x"), 2, &[3, 4]),
    ];
    for (after, most, expected) in cases {
        let expected: Listing = expected.iter().map(|number| (names[*number].clone(), 1)).collect();
        assert_eq!(a.rooms(after, most).await, expected, "{most} after {after:?}");
    }
    Verdict::Kept
}

async fn a_listing_has_what_is_within_the_spans_and_nothing_else(rig: Arc<dyn Rig>) -> Verdict {
    /// After which name, how many at most; the names, and after which one there is more.
    type Case<'a> = (Option<&'a str>, usize, &'a [&'a str], Option<&'a str>);
    let a = Member::on(&rig, "a").await;
    let names = ["a", "b", "bb", "team", "team-", "team-1", "team-é", "team.", "u", "é"];
    for name in names {
        a.publish(room(name), 1).await;
    }
    eventually("all", |rooms: &Listing| rooms.len() == names.len(), async || a.rooms(None, 20).await).await;
    let one = |name: &str| RoomSpan::One(RoomName::parse(name).expect("checks use good names"));
    let spans = [one("a"), one("absent"), one("b"), RoomSpan::Beginning("team-".into()), one("u"), one("x")];
    let allowed = ["a", "b", "team-", "team-1", "team-é", "u"];
    let cases: [Case; 9] = [
        (None, 20, &allowed, None),
        (None, 6, &allowed, None),
        (None, 5, &allowed[..5], Some("team-é")),
        (None, 2, &allowed[..2], Some("b")),
        (Some("a"), 2, &allowed[1..3], Some("team-")),
        (Some("bb"), 20, &allowed[2..], None),
        (Some("team-0"), 1, &["team-1"], Some("team-1")),
        (Some("team-é"), 1, &["u"], None),
        (Some("u"), 1, &[], None),
    ];
    for (after, most, expected, next) in cases {
        let expected: Vec<_> = expected.iter().map(|name| (*name, 1)).collect();
        let found = a.within(&spans, after, most).await;
        assert_eq!(found, (listing(&expected), next.map(str::to_owned)), "{most} after {after:?}");
    }
    assert_eq!(a.within(&[], None, 10).await, (Vec::new(), None), "no rights, no rooms");
    Verdict::Kept
}

async fn a_ban_is_seen_everywhere_at_once(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b) = (Member::on(&rig, "a").await, Member::on(&rig, "b").await);
    assert_eq!(a.banned("mallory").await, None);
    for round in 0..5 {
        a.ban("mallory", 1_000).await;
        for member in [&a, &b] {
            let left = member.banned("mallory").await;
            assert!(left.is_some_and(|left| (900..=1_000).contains(&left)), "{left:?} in round {round}");
            assert_eq!(member.banned("Mallory").await, None, "names differ by their bytes");
        }
        assert_eq!(b.directory.unban(&user("mallory")).await, Ok(()));
        assert_eq!(b.directory.unban(&user("mallory")).await, Ok(()), "lifting no ban is no error");
        assert_eq!((a.banned("mallory").await, b.banned("mallory").await), (None, None));
    }
    Verdict::Kept
}

async fn a_ban_passes(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b) = (Member::on(&rig, "a").await, Member::on(&rig, "b").await);
    a.ban("mallory", 16).await;
    let Some(pass) = rig.pass(Duration::from_secs(8)) else { return Verdict::NeedsTime };
    pass.await;
    let left = b.banned("mallory").await;
    assert!(left.is_some_and(|left| left <= 8), "{left:?}");
    let Some(pass) = rig.pass(Duration::from_secs(8)) else { return Verdict::NeedsTime };
    pass.await;
    eventually("the ban has passed", Option::is_none, async || b.banned("mallory").await).await;
    Verdict::Kept
}

async fn a_later_ban_replaces_an_earlier_one(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b) = (Member::on(&rig, "a").await, Member::on(&rig, "b").await);
    for seconds in [1_000, 5_000, 100] {
        a.ban("mallory", seconds).await;
        let left = b.banned("mallory").await;
        assert!(left.is_some_and(|left| left <= seconds && left + 60 >= seconds), "{left:?} of {seconds}");
    }
    Verdict::Kept
}

async fn instances_are_listed_in_order_as_they_last_said(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b) = (Member::on(&rig, "server-b").await, Member::on(&rig, "server-a").await);
    a.announce(&record("server-b", 5, false)).await;
    b.announce(&record("server-a", 7, false)).await;
    a.announce(&record("server-b", 6, true)).await;
    let expected = vec![record("server-a", 7, false), record("server-b", 6, true)];
    for member in [&a, &b] {
        let wanted = |records: &Vec<InstanceRecord>| *records == expected;
        eventually("both instances", wanted, async || member.instances().await).await;
    }
    Verdict::Kept
}

async fn an_instance_that_is_silent_is_no_longer_listed(rig: Arc<dyn Rig>) -> Verdict {
    let (a, b) = (Member::on(&rig, "a").await, Member::on(&rig, "b").await);
    let (first, second) = (record("a", 1, false), record("b", 2, false));
    a.announce(&first).await;
    b.announce(&second).await;
    let Some(pass) = rig.pass(RECORD_TTL / 2) else { return Verdict::NeedsTime };
    pass.await;
    b.announce(&second).await;
    assert_eq!(a.instances().await, [first, second.clone()]);
    let Some(pass) = rig.pass(RECORD_TTL / 2 + Duration::from_millis(100)) else { return Verdict::NeedsTime };
    pass.await;
    eventually("the silent one is gone", |records| *records == [second.clone()], async || a.instances().await).await;
    Verdict::Kept
}
