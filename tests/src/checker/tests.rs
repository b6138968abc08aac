//! The checker is fed with logs of which we know what is wrong with them, and must say so.

use serde_json::{Value, json};

use super::*;

const ALLOWED: Allowed = Allowed { loss: Loss::None, acked_per_mille: 990 };

fn line(at: u64, event: Event) -> Line {
    Line { at, event }
}

fn received(frame: Value) -> Event {
    Event::Received(frame)
}

fn joined(offset: u64) -> Event {
    replay("join r", "e", offset, true, &[])
}

fn resumed(epoch: &str, offset: u64, offsets: &[u64]) -> Event {
    replay("resume r", epoch, offset, true, offsets)
}

fn replay(id: &str, epoch: &str, offset: u64, recovered: bool, offsets: &[u64]) -> Event {
    let messages: Vec<_> = offsets.iter().map(|at| json!({ "offset": at, "key": format!("k{at}") })).collect();
    received(json!({
        "type": "joined", "id": id, "room": "r", "epoch": epoch, "offset": offset, "recovered": recovered,
        "more": false, "messages": messages
    }))
}

fn rebased(epoch: &str, offset: u64) -> Event {
    received(json!({
        "type": "joined", "room": "r", "epoch": epoch, "offset": offset, "recovered": true, "more": false,
        "messages": []
    }))
}

fn message(offset: u64) -> Event {
    keyed(offset, &format!("k{offset}"))
}

fn keyed(offset: u64, key: &str) -> Event {
    received(json!({ "type": "message", "room": "r", "offset": offset, "key": key }))
}

fn gap(epoch: &str, offset: u64) -> Event {
    received(json!({ "type": "gap", "room": "r", "epoch": epoch, "offset": offset }))
}

fn connected() -> Event {
    Event::Connected(([127, 0, 0, 1], 1).into())
}

fn sent(key: &str) -> Event {
    Event::Sent(json!({ "type": "chat", "room": "r", "key": key }))
}

fn acked(epoch: &str, offset: u64, key: &str) -> Event {
    received(json!({ "type": "ack", "id": key, "room": "r", "epoch": epoch, "offset": offset }))
}

fn lines(events: impl IntoIterator<Item = Event>) -> Vec<Line> {
    (1_u64..).zip(events).map(|(at, event)| line(at * 1_000, event)).collect()
}

/// What a writer of `k1` to `k4` did, and a reader saw.
fn report(reader: Vec<Event>) -> Report {
    let writer = (1..=4).flat_map(|offset| [sent(&format!("k{offset}")), acked("e", offset, &format!("k{offset}"))]);
    check(&[("writer".to_owned(), lines(writer)), ("reader".to_owned(), lines(reader))])
}

fn kinds(report: &Report) -> Vec<&'static str> {
    let kinds = report.faults.iter().map(|fault| match fault {
        Fault::Lost(_) => "lost",
        Fault::Untold(_) => "untold",
        Fault::Repeated(_) => "repeated",
        Fault::Skipped(_) => "skipped",
        Fault::Reordered(_) => "reordered",
        Fault::NotJoined(_) => "not joined",
        Fault::Differs(_) => "differs",
        Fault::Needless(_) => "needless",
        Fault::Vanished(_) => "vanished",
        Fault::Refused(_) => "refused",
        Fault::NotWhole(_) => "not whole",
        Fault::Bunched(_) => "bunched",
        Fault::Absent(_) => "absent",
        Fault::Spared(_) => "spared",
    });
    let mut kinds: Vec<_> = kinds.collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_whole_record_is_whole() {
    let report = report(vec![joined(0), message(1), connected(), resumed("e", 3, &[2, 3]), message(4)]);
    assert_eq!((kinds(&report), report.gaps, report.received, report.acked), (vec![], 0, 4, 4));
}

#[test]
fn what_was_before_the_join_is_not_missed() {
    assert_eq!(kinds(&report(vec![joined(3), message(4)])), [""; 0]);
}

#[test]
fn a_tail_that_never_came_is_lost() {
    assert_eq!(kinds(&report(vec![joined(0), message(1), message(2), message(3)])), ["lost"]);
}

#[test]
fn a_hole_is_skipped_and_lost() {
    let report = report(vec![joined(0), message(1), message(3), message(4)]);
    assert_eq!((kinds(&report), report.lost(), report.disordered()), (vec!["lost", "skipped"], 1, 1));
}

#[test]
fn a_repeat_is_found_live_and_across_a_resume() {
    let live = report(vec![joined(0), message(1), message(2), message(2), message(3), message(4)]);
    assert_eq!((kinds(&live), live.repeated()), (vec!["repeated"], 1));
    let again = vec![joined(0), message(1), message(2), connected(), resumed("e", 4, &[2, 3, 4])];
    assert_eq!(kinds(&report(again)), ["repeated"]);
}

#[test]
fn swapped_messages_are_found() {
    let report = report(vec![joined(0), message(2), message(1), message(3), message(4)]);
    assert_eq!((kinds(&report), report.disordered()), (vec!["skipped"], 2));
}

#[test]
fn a_resume_that_says_less_than_it_should_is_found() {
    let seen = vec![joined(0), message(1), connected(), resumed("e", 4, &[])];
    assert_eq!(kinds(&report(seen)), ["lost", "skipped"]);
}

#[test]
fn a_message_before_its_joined_is_found() {
    assert_eq!(kinds(&report(vec![message(1)])), ["not joined"]);
    let reconnected = vec![joined(0), message(1), connected(), message(2)];
    assert_eq!(kinds(&report(reconnected)), ["lost", "not joined"]);
}

#[test]
fn readers_that_saw_different_messages_are_found() {
    let seen = vec![joined(0), keyed(1, "else"), message(2), message(3), message(4)];
    assert_eq!(kinds(&report(seen)), ["differs"]);
}

#[test]
fn a_key_that_was_stored_twice_is_found() {
    let seen = vec![joined(0), message(1), message(2), message(3), message(4), keyed(5, "k1")];
    assert_eq!(kinds(&report(seen)), ["repeated"]);
}

/// A log of `k1` to `k3` of the epoch `e`, of which `k4` and `k5` are lost, and `n4` of the epoch `f`.
fn failed_over() -> Log {
    let entries = [("e", 1, "k1"), ("e", 2, "k2"), ("e", 3, "k3"), ("f", 4, "n4")];
    let entries = entries.map(|(epoch, offset, key)| (epoch.to_owned(), offset, key.to_owned())).to_vec();
    Log { room: "r".into(), top: 4, epochs: vec![("e".into(), 3), ("f".into(), 4)], entries }
}

/// A trial whose log lost `k4` and `k5` that were acked, with this reader.
fn trial(reader: Vec<Event>, allowed: Allowed) -> Report {
    let writer: Vec<_> = (1..=5)
        .flat_map(|n| [sent(&format!("k{n}")), acked("e", n, &format!("k{n}"))])
        .chain([sent("n4"), acked("f", 4, "n4")])
        .collect();
    let marks = [Mark::Struck, Mark::Healed, Mark::Whole, Mark::Silent, Mark::Settled];
    let runner = (0_u64..).zip(marks).map(|(n, mark)| line(7_500 + n, Event::Mark(mark))).collect();
    let records =
        [("runner".to_owned(), runner), ("writer".to_owned(), lines(writer)), ("reader".to_owned(), lines(reader))];
    check_trial(&records, &[failed_over()], allowed)
}

const LOSES: Allowed = Allowed { loss: Loss::Must, ..ALLOWED };

fn up_to(last: u64) -> Vec<Event> {
    std::iter::once(joined(0)).chain((1..=last).map(message)).collect()
}

fn then(mut before: Vec<Event>, after: impl IntoIterator<Item = Event>) -> Vec<Event> {
    before.extend(after);
    before
}

#[test]
fn whoever_saw_lost_data_is_told_and_whoever_did_not_is_not() {
    let told = trial(then(up_to(5), [gap("f", 3), keyed(4, "n4")]), LOSES);
    assert_eq!((kinds(&told), told.gaps, told.gap_sessions, told.lost_by_log), (vec![], 1, 1, 2));
    let spared = trial(then(up_to(3), [rebased("f", 3), keyed(4, "n4")]), LOSES);
    assert_eq!((kinds(&spared), spared.gaps, spared.gap_sessions), (vec![], 0, 0));
    let resumed = trial(then(up_to(5), [connected(), replay("resume r", "f", 4, false, &[])]), LOSES);
    assert_eq!((kinds(&resumed), resumed.gaps), (vec![], 1));
}

#[test]
fn a_needless_gap_is_found() {
    let report = trial(then(up_to(3), [gap("f", 3), keyed(4, "n4")]), LOSES);
    assert_eq!(kinds(&report), ["needless"]);
    let lost_nothing = Log {
        epochs: vec![("e".into(), 5)],
        entries: (1..=5).map(|n| ("e".to_owned(), n, format!("k{n}"))).collect(),
        ..failed_over()
    };
    let events = then(up_to(4), [gap("e", 4), message(5)]);
    let report = check_trial(&[("reader".to_owned(), lines(events))], &[lost_nothing], ALLOWED);
    assert!(kinds(&report).contains(&"needless"), "{report:?}");
}

#[test]
fn lost_data_that_nobody_was_told_of_is_found() {
    let report = trial(then(up_to(5), [rebased("f", 5)]), LOSES);
    assert_eq!(kinds(&report), ["lost", "untold"]);
    assert_eq!(report.lost(), 2);
}

#[test]
fn a_gap_covers_what_it_covers_and_no_more() {
    let report = trial(then(up_to(5), [gap("f", 3)]), LOSES);
    assert_eq!((kinds(&report), report.lost()), (vec!["lost"], 1));
}

#[test]
fn an_acked_message_that_a_whole_log_does_not_have_is_found() {
    let report = trial(then(up_to(5), [gap("f", 3), keyed(4, "n4")]), ALLOWED);
    assert_eq!(kinds(&report), ["needless", "vanished"]);
}

#[test]
fn a_message_that_came_again_in_another_epoch_is_a_repeat() {
    let report = trial(then(up_to(3), [rebased("f", 3), message(3), keyed(4, "n4")]), LOSES);
    assert_eq!(kinds(&report), ["repeated"]);
}

#[test]
fn a_log_that_contradicts_itself_is_found() {
    let log = Log { epochs: vec![("e".into(), 2), ("f".into(), 4)], ..failed_over() };
    let report = check_trial(&[], &[log], ALLOWED);
    assert!(kinds(&report).contains(&"differs"), "{report:?}");
}

#[test]
fn publishes_that_were_refused_while_all_was_well_are_found() {
    let events: Vec<_> = (1..=50).flat_map(|n| [sent(&format!("k{n}")), acked("e", n, &format!("k{n}"))]).collect();
    let mut writer = lines(events);
    let report = struck_after_ten_seconds(&writer);
    assert_eq!((kinds(&report), report.outside), (vec![], (50, 50)));
    writer.insert(0, line(1, sent("k1")));
    let report = struck_after_ten_seconds(&writer);
    assert_eq!((kinds(&report), report.outside), (vec!["refused"], (50, 49)));
}

#[test]
fn publishes_that_were_on_their_way_when_the_fault_struck_are_its_own() {
    let refused = || received(json!({ "type": "error", "id": "k50", "code": "unavailable" }));
    let of = |first: u64, refusal: Option<u64>, again: u64, last: u64| {
        let mut writer = lines((1..=49).flat_map(|n| [sent(&format!("k{n}")), acked("e", n, &format!("k{n}"))]));
        writer.push(line(first, sent("k50")));
        writer.extend(refusal.map(|at| line(at, refused())));
        writer.extend([line(again, sent("k50")), line(last, acked("e", 50, "k50"))]);
        let report = struck_after_ten_seconds(&writer);
        (kinds(&report), report.outside)
    };
    let (its_own, counted) = ((vec![], (49, 49)), (vec!["refused"], (50, 49)));
    assert_eq!(of(9_000_000, None, 11_000_000, 11_000_000), its_own);
    assert_eq!(of(7_000_000, None, 11_000_000, 11_000_000), counted, "without an answer for too long");
    assert_eq!(of(9_000_000, Some(9_100_000), 11_000_000, 11_000_000), counted, "refused before");
    assert_eq!(of(9_000_000, None, 9_500_000, 11_000_000), counted, "sent again before");
    assert_eq!(of(9_000_000, None, 9_500_000, 9_600_000), counted, "acked before");
}

/// What comes of this writer of `k1` to `k50`.
fn struck_after_ten_seconds(writer: &[Line]) -> Report {
    let log = Log {
        room: "r".into(),
        top: 50,
        epochs: vec![("e".into(), 50)],
        entries: (1..=50).map(|n| ("e".to_owned(), n, format!("k{n}"))).collect(),
    };
    let marks = [Mark::Struck, Mark::Whole, Mark::Settled].map(|mark| line(10_000_000, Event::Mark(mark))).to_vec();
    let records = [("runner".to_owned(), marks), ("writer".to_owned(), writer.to_vec())];
    check_trial(&records, &[log], ALLOWED)
}

#[test]
fn what_never_became_whole_is_found() {
    let report = check_trial(&[("runner".to_owned(), Vec::new())], &[], ALLOWED);
    assert_eq!((kinds(&report), report.count(|f| matches!(f, Fault::NotWhole(_)))), (vec!["refused", "not whole"], 2));
}

#[test]
fn a_fault_that_was_to_lose_something_and_did_not_is_found() {
    let log = Log { epochs: vec![("e".into(), 5)], entries: vec![], ..failed_over() };
    let report = check_trial(&[], &[log], LOSES);
    assert!(kinds(&report).contains(&"spared"), "{report:?}");
}

#[test]
fn delivery_is_whole_when_the_last_late_message_has_come() {
    let second = 1_000_000;
    let writer = vec![
        line(second, sent("k1")),
        line(second + 10, acked("e", 1, "k1")),
        line(2 * second, sent("k2")),
        line(2 * second + 10, acked("e", 2, "k2")),
        line(9 * second, sent("k3")),
        line(9 * second + 10, acked("e", 3, "k3")),
    ];
    let reader = vec![
        line(0, joined(0)),
        line(second + 20, message(1)),
        line(6 * second, message(2)),
        line(9 * second + 500_000, message(3)),
    ];
    let runner = vec![line(second + 500_000, Event::Mark(Mark::Struck))];
    let records = [("runner".to_owned(), runner), ("writer".to_owned(), writer), ("reader".to_owned(), reader)];
    assert_eq!(check(&records).whole_after, Some(Duration::from_millis(4_500)));
}

#[test]
fn sessions_that_all_move_at_once_are_found() {
    let moving = |apart_ms: u64| {
        let asked = |n: u64| received(json!({ "type": "reconnect", "after_ms": n * apart_ms }));
        // All of them were held up, and moved late and together: that is not the service's doing.
        let lines = |n: u64| vec![line(0, asked(n)), line(9_000_000, Event::Moved)];
        check(&(0..100).map(|n| (format!("client-{n}"), lines(n))).collect::<Vec<_>>())
    };
    assert_eq!((kinds(&moving(5)), moving(5).moved), (vec![], (100, 20)));
    assert_eq!(kinds(&moving(1)), ["bunched"]);
}

/// What a writer did that has several on their way, and a log that has `k1` to `k4` in this order.
fn ordered(writer: Vec<Event>, order: [u64; 4]) -> Report {
    let entries = (1..).zip(order).map(|(at, n)| ("e".to_owned(), at, format!("k{n}"))).collect();
    let log = Log { room: "r".into(), top: 4, epochs: vec![("e".into(), 4)], entries };
    let marks = [Mark::Struck, Mark::Whole, Mark::Settled].map(|mark| line(10_000_000, Event::Mark(mark))).to_vec();
    let allowed = Allowed { acked_per_mille: 0, ..ALLOWED };
    check_trial(&[("runner".to_owned(), marks), ("writer".to_owned(), lines(writer))], &[log], allowed)
}

#[test]
fn a_log_that_has_swapped_what_one_publisher_sent_is_found() {
    let sending = || then(vec![connected()], (1..=4).map(|n| sent(&format!("k{n}"))));
    let acks = |order: [u64; 4]| (1..).zip(order).map(|(at, n)| acked("e", at, &format!("k{n}"))).collect::<Vec<_>>();
    let straight = ordered(then(sending(), acks([1, 2, 3, 4])), [1, 2, 3, 4]);
    assert_eq!((kinds(&straight), straight.compared, straight.unacked_at_once), (vec![], 3, 4));
    let swapped = ordered(then(sending(), acks([1, 3, 2, 4])), [1, 3, 2, 4]);
    assert_eq!((kinds(&swapped), swapped.disordered()), (vec!["reordered"], 1));
    let late = ordered(then(sending(), acks([4, 1, 2, 3]).into_iter().rev()), [4, 1, 2, 3]);
    assert_eq!(kinds(&late), ["reordered"], "whatever the order of the acks");
}

#[test]
fn what_was_repeated_may_stand_anywhere() {
    let early = vec![connected(), sent("k1"), sent("k2"), acked("e", 1, "k2"), sent("k1"), acked("e", 2, "k1")];
    let later = vec![connected(), sent("k3"), sent("k4"), acked("e", 3, "k3"), acked("e", 4, "k4")];
    let report = ordered(then(early, later), [2, 1, 3, 4]);
    assert_eq!((kinds(&report), report.compared), (vec![], 1));
    let moved = vec![connected(), sent("k1"), connected(), sent("k2"), acked("e", 1, "k2"), acked("e", 2, "k1")];
    let report = ordered(then(moved, [sent("k3"), sent("k4"), acked("e", 3, "k4"), acked("e", 4, "k3")]), [2, 1, 4, 3]);
    assert_eq!((kinds(&report), report.disordered()), (vec!["reordered"], 1), "another connection, another order");
}

#[test]
fn what_the_log_lost_is_compared_only_with_what_was_lost_with_it() {
    let of = |acks: [Event; 3]| {
        let writer = then(vec![connected(), sent("k4"), sent("k5"), sent("n4")], acks);
        let log = failed_over();
        check_trial(&[("writer".to_owned(), lines(writer))], &[log], LOSES)
    };
    let lost = of([acked("e", 4, "k4"), acked("e", 5, "k5"), acked("f", 4, "n4")]);
    assert_eq!((lost.disordered(), lost.compared), (0, 1));
    let swapped = of([acked("e", 5, "k4"), acked("e", 4, "k5"), acked("f", 4, "n4")]);
    assert!(kinds(&swapped).contains(&"reordered"), "{swapped:?}");
}

/// A client's own lines, with its inbox as it sees it.
fn inbox(name: &str, then_: Vec<Event>) -> (String, Vec<Line>) {
    let welcome = received(json!({ "type": "welcome", "user": name }));
    // Every session is in its inbox at once, from now on: not what a client goes by that resumes.
    let at_once = received(json!({ "type": "joined", "room": "@me", "epoch": "e", "offset": 1 }));
    (name.to_owned(), lines(then(vec![connected(), welcome, at_once], then_)))
}

fn inbox_joined(since: u64, keys: &[&str]) -> Event {
    let messages: Vec<_> = (since + 1..).zip(keys).map(|(at, key)| json!({ "offset": at, "key": key })).collect();
    let top = since + keys.len() as u64;
    let id = if since == 0 { "join @me" } else { "resume @me" };
    received(json!({ "type": "joined", "id": id, "room": "@me", "epoch": "e", "offset": top, "recovered": true,
        "more": false, "messages": messages }))
}

fn direct(offset: u64, key: &str) -> Event {
    received(json!({ "type": "direct", "room": "@me", "offset": offset, "key": key }))
}

fn letters(bob: Vec<Event>, of_bob: &[(u64, &str)]) -> Report {
    let alice = vec![
        inbox_joined(0, &[]),
        Event::Sent(json!({ "type": "chat", "to": "bob", "key": "k1" })),
        received(json!({ "type": "ack", "id": "k1", "room": "@me", "epoch": "e", "offset": 1 })),
        direct(1, "k1"),
    ];
    let log = |room: &str, entries: &[(u64, &str)]| Log {
        room: room.to_owned(),
        top: 1,
        epochs: vec![("e".into(), 1)],
        entries: entries.iter().map(|(at, key)| ("e".to_owned(), *at, (*key).to_owned())).collect(),
    };
    let marks = [Mark::Struck, Mark::Whole, Mark::Settled].map(|mark| line(10_000_000, Event::Mark(mark))).to_vec();
    let records = [("runner".to_owned(), marks), inbox("alice", alice), inbox("bob", bob)];
    check_trial(
        &records,
        &[log("@alice", &[(1, "k1")]), log("@bob", of_bob)],
        Allowed { acked_per_mille: 0, ..ALLOWED },
    )
}

#[test]
fn direct_messages_are_followed_into_both_inboxes() {
    let good = letters(vec![inbox_joined(0, &[]), direct(1, "k1")], &[(1, "k1")]);
    assert_eq!((kinds(&good), good.acked, good.received), (vec![], 1, 2));
    let lost = letters(vec![inbox_joined(0, &[])], &[(1, "k1")]);
    assert_eq!((kinds(&lost), lost.lost()), (vec!["lost"], 1), "the log has it, and its owner does not");
    let vanished = letters(vec![inbox_joined(0, &[])], &[]);
    assert_eq!(
        (kinds(&vanished), vanished.lost_by_log),
        (vec!["vanished"], 1),
        "acked, and not in the receiver's inbox"
    );
    let twice = letters(vec![inbox_joined(0, &[]), direct(1, "k1"), direct(1, "k1")], &[(1, "k1")]);
    assert_eq!(kinds(&twice), ["repeated"]);
}

#[test]
fn what_comes_into_an_inbox_before_the_client_resumed_is_not_its_own_yet() {
    let bob = vec![direct(1, "k1"), inbox_joined(0, &[]), direct(1, "k1")];
    assert_eq!(kinds(&letters(bob, &[(1, "k1")])), [""; 0]);
}

#[test]
fn presence_that_is_not_true_is_found() {
    let told = |told: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let presence = crate::journal::Presence {
            room: "r".into(),
            instance: "node-0".into(),
            members: names(&["alice", "bob"]),
            told: names(told),
        };
        check(&[("runner".to_owned(), lines(vec![Event::Presence(presence)]))])
    };
    let good = told(&["alice", "bob"]);
    assert_eq!((kinds(&good), good.presence, good.untrue()), (vec![], 1, 0));
    for wrong in [&["alice"][..], &["alice", "bob", "eve"], &[]] {
        assert_eq!((kinds(&told(wrong)), told(wrong).untrue()), (vec!["absent"], 1));
    }
}
