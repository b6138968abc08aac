//! One publish per room in flight, in the order sent; acks, errors, queues that end with their room.

use super::*;

fn stored(offset: u64) -> Outcome {
    Outcome::Published(vec![Ok(Stored { position: at(offset), at: 5 })])
}

#[test]
fn a_second_publish_waits_for_the_first() {
    let mut driven = Driven::joined();
    let first = driven.start(r#"{"type":"chat","id":1,"room":"r","msg":1}"#);
    assert_eq!(driven.say(r#"{"type":"chat","id":2,"room":"r","msg":2}"#), []);
    let out = driven.done(first, stored(11));
    assert_eq!(told(&out)[0], r#"{"type":"ack","id":1,"room":"r","epoch":"0000000000000007","offset":11,"at":5}"#);
    let (second, Action::Publish { drafts, .. }) = started(&out)[0] else { panic!("{out:?}") };
    assert_eq!(drafts.len(), 1);
    assert!(drafts[0].tail.ends_with(br#""msg":2,"at":1700000000000}"#), "{:?}", drafts[0].tail);
    assert_eq!(told(&driven.done(second, stored(12))).len(), 1);
}

#[test]
fn what_waited_together_goes_together_and_each_has_its_own_answer() {
    let mut driven = Driven::joined();
    let first = driven.start(r#"{"type":"chat","id":0,"room":"r","msg":0}"#);
    for id in 1..=3 {
        driven.say(&format!(r#"{{"type":"chat","id":{id},"room":"r","msg":{id}}}"#));
    }
    let out = driven.done(first, stored(11));
    let (op, Action::Publish { drafts, .. }) = started(&out)[0] else { panic!("{out:?}") };
    let sent: Vec<_> = drafts.iter().map(|draft| String::from_utf8_lossy(&draft.tail).into_owned()).collect();
    assert_eq!(sent.len(), 3);
    for (number, tail) in (1..).zip(&sent) {
        assert!(tail.ends_with(&format!(r#""msg":{number},"at":1700000000000}}"#)), "{tail}");
    }
    let answers = vec![
        Ok(Stored { position: at(12), at: 5 }),
        Err(Unavailable("x".into()).into()),
        Err(PublishError::OutcomeUnknown("x".into())),
    ];
    let said = told(&driven.done(op, Outcome::Published(answers)));
    assert!(said[0].contains(r#""ack","id":1"#), "{said:?}");
    assert!(said[1].contains(r#""id":2,"code":"unavailable""#), "{said:?}");
    assert!(said[2].contains(r#""id":3,"code":"outcome_unknown""#), "{said:?}");
    assert_eq!(said.len(), 3);
}

#[test]
fn direct_messages_go_one_by_one() {
    let mut driven = Driven::new(rules(|_| {}));
    driven.give(Input::SignedIn(grant()));
    let first = driven.start(r#"{"type":"chat","id":1,"to":"bob","msg":1}"#);
    driven.say(r#"{"type":"chat","id":2,"to":"bob","msg":2}"#);
    driven.say(r#"{"type":"chat","id":3,"to":"eve","msg":3}"#);
    let out = driven.done(first, stored(1));
    let (second, Action::Direct { to, .. }) = started(&out)[0] else { panic!("{out:?}") };
    assert_eq!((to, started(&out).len()), (&user("bob"), 1));
    let out = driven.done(second, stored(2));
    let (_, Action::Direct { to, .. }) = started(&out)[0] else { panic!("{out:?}") };
    assert_eq!(to, &user("eve"));
}

/// Direct messages number 1 to 3 to bob, the first of them in flight.
fn three_direct(driven: &mut Driven) -> OpId {
    let first = driven.start(r#"{"type":"chat","id":1,"to":"bob","msg":1}"#);
    for id in 2..=3 {
        assert_eq!(driven.say(&format!(r#"{{"type":"chat","id":{id},"to":"bob","msg":{id}}}"#)), []);
    }
    first
}

/// All three are acked, in their order.
fn three_acks(driven: &mut Driven, first: OpId) {
    let mut op = Some(first);
    for number in 1..=3 {
        let out = driven.done(op.expect("its turn has come"), stored(number));
        assert!(told(&out)[0].contains(&format!(r#""ack","id":{number}"#)), "{:?}", told(&out));
        op = started(&out).first().map(|(op, _)| *op);
    }
    assert_eq!(op, None);
}

#[test]
fn direct_messages_need_no_inbox() {
    let endings: [fn(&mut Driven, OpId) -> Vec<Output>; 3] = [
        |driven, join| driven.done(join, Outcome::Page(Ok(Page { more: true, ..page(1..=2, 9) }))),
        |driven, join| driven.done(join, Outcome::Page(Err(Unavailable("x".into())))),
        |driven, _| driven.say(r#"{"type":"leave","room":"@me"}"#),
    ];
    for (number, end) in endings.into_iter().enumerate() {
        let mut driven = Driven::new(rules(|_| {}));
        driven.give(Input::SignedIn(grant()));
        let since = r#"{"epoch":"0000000000000007","offset":0}"#;
        let join = driven.start(&format!(r#"{{"type":"join","id":9,"room":"@me","since":{since}}}"#));
        let first = three_direct(&mut driven);
        let words = told(&end(&mut driven, join));
        assert!(words.iter().any(|word| word.starts_with("leave")), "ending {number}: {words:?}");
        assert!(!words.iter().any(|word| word.contains("not_joined")), "ending {number}: {words:?}");
        three_acks(&mut driven, first);
    }
}

#[test]
fn direct_messages_sent_before_the_right_was_lost_go_on() {
    let mut driven = Driven::new(rules(|_| {}));
    driven.give(Input::SignedIn(grant()));
    let first = three_direct(&mut driven);
    let refresh = driven.start(r#"{"type":"auth","token":"t"}"#);
    let rights = Rights::from_claims(None, Some(false));
    let words = told(&driven.done(refresh, Outcome::SignIn(Ok(Grant { rights, ..grant() }))));
    assert!(words.iter().any(|word| word.contains("rights_lost")), "{words:?}");
    assert_eq!(error_code(&driven.say(r#"{"type":"chat","to":"bob","msg":4}"#)), ErrorCode::Forbidden);
    three_acks(&mut driven, first);
}

#[test]
fn without_an_id_success_is_silent_and_errors_are_not() {
    let mut driven = Driven::joined();
    let op = driven.start(r#"{"type":"chat","msg":1}"#);
    assert_eq!(driven.done(op, stored(11)), []);
    let op = driven.start(r#"{"type":"chat","msg":1}"#);
    let out = driven.done(op, Outcome::Published(vec![Err(Unavailable("x".into()).into())]));
    assert_eq!(error_code(&out), ErrorCode::Unavailable);
}

#[test]
fn an_unknown_outcome_names_the_key_to_repeat_with() {
    let mut driven = Driven::joined();
    let op = driven.start(r#"{"type":"chat","id":1,"msg":1,"key":"k"}"#);
    let out = driven.done(op, Outcome::Published(vec![Err(PublishError::OutcomeUnknown("x".into()))]));
    assert_eq!(
        told(&out),
        [
            r#"{"type":"error","id":1,"code":"outcome_unknown","message":"perhaps stored: repeat it with the same key, which is safe","key":"k"}"#
        ]
    );
}

#[test]
fn a_failed_publish_does_not_stop_the_next() {
    let mut driven = Driven::joined();
    let first = driven.start(r#"{"type":"chat","msg":1}"#);
    driven.say(r#"{"type":"chat","msg":2}"#);
    let out = driven.done(first, Outcome::Published(vec![Err(Unavailable("x".into()).into())]));
    assert_eq!(started(&out).len(), 1);
}

#[test]
fn too_many_waiting_publishes_stop_the_reading_not_the_session() {
    let mut driven = Driven::new(rules(|limits| limits.messages_per_second = 0));
    driven.session.url_rooms = vec![RoomName::parse("r").unwrap()];
    driven.give(Input::SignedIn(grant()));
    for _ in 0..64 {
        assert!(driven.session.wants_input());
        driven.say(r#"{"type":"chat","msg":1}"#);
    }
    assert!(!driven.session.wants_input());
    let (own, shared) = driven.session.held_bytes();
    assert!((64 * 50..64 * 1_000).contains(&own) && shared == 0, "{own} and {shared}");
}

#[test]
fn a_peer_that_takes_no_bytes_is_dead_in_time_although_it_is_not_read() {
    let mut driven = Driven::joined();
    driven.start(r#"{"type":"auth","token":"t"}"#);
    assert!(!driven.session.wants_input());
    for _ in 0..10 {
        assert_eq!(driven.advance(Duration::from_secs(20)), [], "it may wait for us as long as it takes");
    }
    driven.now.mono = driven.now.mono + Duration::from_secs(20);
    assert_eq!(told(&driven.give(Input::Tick { blocked: true })), ["ping"]);
    driven.now.mono = driven.now.mono + Duration::from_secs(20);
    assert_eq!(told(&driven.give(Input::Tick { blocked: true })), ["close dead"]);
}

#[test]
fn a_publish_waits_for_its_join_and_is_refused_if_that_fails() {
    let mut driven = Driven::signed_in();
    let join = driven.start(r#"{"type":"join","id":1,"room":"r"}"#);
    assert_eq!(driven.say(r#"{"type":"chat","id":2,"room":"r","msg":1}"#), []);
    let out = driven.done(join, Outcome::Page(Err(Unavailable("x".into()))));
    let said = told(&out);
    assert_eq!(said[0], "leave 0 asked=false");
    assert!(said[1].contains(r#""id":2,"code":"not_joined""#) && said[2].contains(r#""id":1,"code":"unavailable""#));

    let join = driven.start(r#"{"type":"join","room":"r"}"#);
    driven.say(r#"{"type":"chat","room":"r","msg":1}"#);
    let out = driven.done(join, Outcome::Page(Ok(nothing(3))));
    assert!(told(&out)[0].contains("joined") && started(&out).len() == 1, "after `joined`, its turn has come");
}

#[test]
fn joining_again_keeps_what_waits() {
    let mut driven = Driven::joined();
    let publish = driven.start(r#"{"type":"chat","id":1,"msg":1}"#);
    driven.say(r#"{"type":"chat","id":2,"msg":2}"#);
    let join = driven.start(r#"{"type":"join","room":"r"}"#);
    assert_eq!(started(&driven.done(publish, stored(11))), [], "not before the new `joined`");
    assert_eq!(started(&driven.done(join, Outcome::Page(Ok(nothing(11))))).len(), 1);
}

#[test]
fn a_room_must_be_named_joined_and_unambiguous() {
    let mut driven = Driven::signed_in();
    assert_eq!(error_code(&driven.say(r#"{"type":"chat","msg":1}"#)), ErrorCode::RoomRequired);
    assert_eq!(error_code(&driven.say(r#"{"type":"chat","room":"r","msg":1}"#)), ErrorCode::NotJoined);
    driven.start(r#"{"type":"join","room":"a"}"#);
    driven.start(r#"{"type":"join","room":"b"}"#);
    assert_eq!(error_code(&driven.say(r#"{"type":"chat","msg":1}"#)), ErrorCode::RoomRequired);
}

#[test]
fn a_direct_message_has_a_key_even_if_the_client_gave_none() {
    let mut driven = Driven::new(rules(|_| {}));
    driven.give(Input::SignedIn(grant()));
    let out = driven.say(r#"{"type":"chat","id":1,"to":"bob","msg":1}"#);
    let (op, Action::Direct { from, to, draft }) = started(&out)[0] else { panic!("{out:?}") };
    assert_eq!((from, to), (&user("alice"), &user("bob")));
    assert!(draft.key.is_some());
    assert!(told(&driven.done(op, stored(1)))[0].contains(r#""room":"@me""#));
}
