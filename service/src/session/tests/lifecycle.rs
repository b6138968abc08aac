//! Sign-in, refresh, expiry, heartbeat, drain, limits, faults.

use super::*;

fn sign_in(driven: &mut Driven, result: Result<Grant, AuthError>) -> Vec<Output> {
    let op = driven.start(r#"{"type":"auth","id":0,"token":"t"}"#);
    driven.done(op, Outcome::SignIn(result))
}

#[test]
fn signing_in_by_url_welcomes_and_joins_the_inbox_and_the_rooms() {
    let mut driven = Driven::new(rules(|_| {}));
    driven.session.url_rooms = vec![RoomName::parse("r").unwrap()];
    let out = driven.give(Input::SignedIn(grant()));
    assert!(matches!(&out[0], Output::Reply(ServerFrame::Welcome(w)) if w.user == user("alice")));
    let logs: Vec<_> = started(&out)
        .into_iter()
        .map(|(_, action)| match action {
            Action::Join { log, start: JoinStart::Newest(0), .. } => log.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(logs, [LogName::Inbox(user("alice")), room("r")]);
}

#[test]
fn nothing_but_auth_is_heard_before_sign_in() {
    let mut driven = Driven::new(rules(|_| {}));
    assert_eq!(error_code(&driven.say(r#"{"type":"rooms"}"#)), ErrorCode::Unauthenticated);
    assert!(driven.session.wants_input());
    driven.start(r#"{"type":"auth","token":"t"}"#);
    assert!(!driven.session.wants_input(), "what follows an auth waits for its answer");
}

#[test]
fn in_band_sign_in_welcomes_then_answers() {
    let mut driven = Driven::new(rules(|_| {}));
    driven.session.url_rooms = vec![RoomName::parse("r").unwrap()];
    let expires = Some(driven.now.mono + Duration::from_secs(3_600));
    let out = sign_in(&mut driven, Ok(Grant { expires, ..grant() }));
    let said = told(&out);
    assert!(said[0].contains(r#""type":"welcome""#), "{said:?}");
    assert!(said[0].contains(r#""expires_in":3600"#), "{said:?}");
    assert_eq!(said[1..], [r#"{"type":"ok","id":0,"expires_in":3600}"#, "start Join"], "rooms of the URL, too");
}

#[test]
fn a_refused_sign_in_is_told_and_ends_the_session() {
    for (error, last) in [
        (AuthError::Refused("no"), "close unauthenticated"),
        (AuthError::Expired, "close token_expired"),
        (AuthError::Banned, "close banned"),
    ] {
        let mut driven = Driven::new(rules(|_| {}));
        let out = sign_in(&mut driven, Err(error));
        assert_eq!(error_code(&out), ErrorCode::Unauthenticated);
        assert_eq!(told(&out).last().map(String::as_str), Some(last));
    }
    let mut driven = Driven::new(rules(|_| {}));
    let out = sign_in(&mut driven, Err(AuthError::Unavailable));
    assert_eq!((error_code(&out), out.len()), (ErrorCode::Unavailable, 1), "an outage is no refusal: try again");
}

#[test]
fn without_sign_in_the_session_ends_in_time() {
    let mut driven = Driven::new(rules(|_| {}));
    assert_eq!(driven.session.deadline(), driven.now.mono + Duration::from_secs(5));
    assert_eq!(told(&driven.advance(Duration::from_millis(4_999))), [""; 0]);
    assert_eq!(told(&driven.advance(Duration::from_millis(1))), ["close sign_in_timeout"]);
}

#[test]
fn an_expired_token_ends_the_session_unless_it_was_refreshed() {
    let mut driven = Driven::new(rules(|_| {}));
    let soon = driven.now.mono + Duration::from_secs(10);
    driven.give(Input::SignedIn(Grant { expires: Some(soon), ..grant() }));
    let later = soon + Duration::from_secs(5);
    let out = sign_in(&mut driven, Ok(Grant { expires: Some(later), ..grant() }));
    assert_eq!(told(&out), [r#"{"type":"ok","id":0,"expires_in":15}"#]);
    assert_eq!(told(&driven.advance(Duration::from_secs(10))), [""; 0]);
    assert_eq!(told(&driven.advance(Duration::from_secs(5))), ["close token_expired"]);
}

#[test]
fn a_failed_refresh_changes_nothing_and_one_for_another_user_is_refused() {
    let mut driven = Driven::joined();
    let out = sign_in(&mut driven, Err(AuthError::Refused("no")));
    assert_eq!((error_code(&out), out.len()), (ErrorCode::Unauthenticated, 1));
    let out = sign_in(&mut driven, Ok(Grant { user: user("mallory"), ..grant() }));
    assert_eq!((error_code(&out), out.len()), (ErrorCode::Forbidden, 1));
    assert_eq!(driven.session.user(), Some(&user("alice")));
}

#[test]
fn a_refresh_with_fewer_rights_leaves_what_they_no_longer_allow() {
    let mut driven = Driven::joined();
    let out = sign_in(&mut driven, Ok(Grant { rights: Rights::from_claims(Some(Vec::new()), None), ..grant() }));
    assert_eq!(
        told(&out),
        ["leave 0 asked=true", r#"{"type":"left","room":"r","reason":"rights_lost"}"#, r#"{"type":"ok","id":0}"#]
    );
}

#[test]
fn silence_is_asked_about_then_ends() {
    let mut driven = Driven::joined();
    assert_eq!(told(&driven.advance(Duration::from_secs(20))), ["ping"]);
    driven.give(Input::Heard);
    assert_eq!(told(&driven.advance(Duration::from_secs(20))), ["ping"]);
    assert_eq!(told(&driven.advance(Duration::from_secs(20))), ["close dead"]);
}

#[test]
fn a_drained_session_is_told_and_closed_after_its_slot() {
    let mut driven = Driven::joined();
    let out = driven.give(Input::Parcel(Parcel::Order(Order::Drain { after_ms: 1_800 })));
    assert_eq!(told(&out), [r#"{"type":"reconnect","reason":"drain","after_ms":1800,"elsewhere":true}"#]);
    assert!(!told(&driven.say(r#"{"type":"chat","msg":1}"#)).is_empty(), "publishing works until then");
    assert_eq!(told(&driven.advance(Duration::from_millis(6_799))), [""; 0]);
    assert_eq!(told(&driven.advance(Duration::from_millis(1))), ["close restart"]);
}

#[test]
fn orders_of_the_application_are_carried_out() {
    let mut driven = Driven::joined();
    let kick = || Input::Parcel(Parcel::Order(Order::Kick(RoomName::parse("r").unwrap())));
    assert_eq!(told(&driven.give(kick())), ["leave 0 asked=true", r#"{"type":"left","room":"r","reason":"kicked"}"#]);
    assert_eq!(told(&driven.give(kick())), [""; 0]);
    let out = driven.give(Input::Parcel(Parcel::Order(Order::Close(CloseCode::Banned))));
    assert_eq!(told(&out), ["close banned"]);
}

#[test]
fn after_the_close_nothing_follows_from_anything() {
    let mut driven = Driven::joined();
    assert_eq!(told(&driven.give(Input::Overflow)), ["close slow"]);
    assert_eq!(driven.say(r#"{"type":"ping"}"#), []);
    assert_eq!(driven.give(Input::Binary), []);
    assert_eq!(driven.give(Input::Parcel(Parcel::Run(Slot(0), run(11..=11)))), []);
    assert_eq!(driven.advance(Duration::from_secs(100)), []);
}

#[test]
fn garbage_is_told_and_after_twenty_of_it_the_session_ends() {
    let mut driven = Driven::joined();
    for _ in 0..20 {
        assert_eq!(error_code(&driven.say("garbage")), ErrorCode::Malformed);
    }
    assert_eq!(told(&driven.say("garbage")).last().map(String::as_str), Some("close protocol_faults"));
    let mut patient = Driven::joined();
    for _ in 0..100 {
        patient.now.mono = patient.now.mono + Duration::from_secs(1);
        assert_eq!(error_code(&patient.say("garbage")), ErrorCode::Malformed, "now and then is forgiven");
    }
}

#[test]
fn above_its_rate_a_frame_is_refused_and_a_flood_ends_the_session() {
    let mut driven = Driven::joined();
    let chat = r#"{"type":"chat","id":3,"msg":1}"#;
    for _ in 0..50 {
        assert!(!told(&driven.say(chat)).iter().any(|said| said.contains("error")));
    }
    let refused = driven.say(chat);
    assert_eq!(
        told(&refused),
        [
            r#"{"type":"error","id":3,"code":"rate_limited","message":"too fast; not done, try again later","retry_after_ms":50}"#
        ]
    );
    assert_eq!(driven.say(r#"{"type":"ping"}"#), [Output::Reply(ServerFrame::Pong { id: None })], "its own bucket");
    for _ in 0..199 {
        assert_eq!(error_code(&driven.say(chat)), ErrorCode::RateLimited);
    }
    assert_eq!(told(&driven.say(chat)).last().map(String::as_str), Some("close flooding"));
}

#[test]
fn a_flood_of_pings_ends_the_session_and_a_slow_reader_does_not() {
    let mut driven = Driven::joined();
    for _ in 0..1_000 {
        assert_eq!(driven.give(Input::Alive), []);
    }
    for _ in 0..200 {
        assert_eq!(driven.give(Input::Heard), []);
    }
    assert_eq!(told(&driven.give(Input::Heard)), ["close flooding"]);
}

#[test]
fn two_hundred_rooms_are_joined_at_once_and_the_next_is_refused() {
    let mut driven = Driven::signed_in();
    for number in 0..200 {
        driven.start(&format!(r#"{{"type":"join","room":"r{number}"}}"#));
    }
    let out = driven.say(r#"{"type":"join","id":1,"room":"one-more"}"#);
    assert_eq!(error_code(&out), ErrorCode::TooManyRooms);
    driven.start(r#"{"type":"join","room":"r7"}"#);
}

#[test]
fn questions_are_answered_with_what_came_of_them() {
    let mut driven = Driven::joined();
    let op = driven.start(r#"{"type":"history","id":5,"room":"r","before":9,"limit":2}"#);
    let mut read = page(7..=8, 10);
    read.more = true;
    assert_eq!(
        told(&driven.done(op, Outcome::Page(Ok(read)))),
        [r#"{"type":"history","id":5,"room":"r","epoch":"0000000000000007","more":true,"messages":[m7,m8]}"#]
    );
    let op = driven.start(r#"{"type":"presence","id":6,"room":"r"}"#);
    let roster = Roster { users: vec![user("alice")], count: 1 };
    assert_eq!(
        told(&driven.done(op, Outcome::Roster(Ok(roster)))),
        [r#"{"type":"presence","id":6,"room":"r","users":["alice"],"count":1}"#]
    );
    let op = driven.start(r#"{"type":"rooms","id":7}"#);
    assert_eq!(error_code(&driven.done(op, Outcome::Rooms(Err(Unavailable("x".into()))))), ErrorCode::Unavailable);
}

#[test]
fn one_listing_of_rooms_is_in_flight_and_the_next_is_told_when_to_come_again() {
    let mut driven = Driven::joined();
    let op = driven.start(r#"{"type":"rooms","id":1}"#);
    let out = driven.say(r#"{"type":"rooms","id":2}"#);
    let [Output::Reply(ServerFrame::Error { id: Some(_), code, retry_after_ms, .. })] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert_eq!((*code, *retry_after_ms), (ErrorCode::RateLimited, Some(1_000)));
    // Other questions do not wait for it.
    driven.start(r#"{"type":"presence","id":3,"room":"r"}"#);
    driven.done(op, Outcome::Rooms(Ok((Vec::new(), false))));
    driven.start(r#"{"type":"rooms","id":4}"#);
}

#[test]
fn rights_are_asked_for_every_request() {
    let mut driven = Driven::new(rules(|_| {}));
    let rules = vec![crate::rights::RoomRule { pattern: "r".into(), can: vec![crate::rights::Right::Join] }];
    let rights = Rights::from_claims(Some(rules), None);
    driven.give(Input::SignedIn(Grant { rights, ..grant() }));
    let op = driven.start(r#"{"type":"join","room":"r"}"#);
    driven.done(op, Outcome::Page(Ok(nothing(0))));
    for refused in [
        r#"{"type":"join","room":"other"}"#,
        r#"{"type":"join","room":"r","history":5}"#,
        r#"{"type":"join","room":"@me"}"#,
        r#"{"type":"chat","room":"r","msg":1}"#,
        r#"{"type":"chat","to":"bob","msg":1}"#,
        r#"{"type":"signal","to":"bob","data":1}"#,
        r#"{"type":"signal","room":"r","data":1}"#,
        r#"{"type":"history","room":"r"}"#,
        r#"{"type":"presence","room":"r"}"#,
    ] {
        assert_eq!(error_code(&driven.say(refused)), ErrorCode::Forbidden, "{refused}");
    }
}

#[test]
fn signals_skip_their_own_session_and_hints_need_the_right() {
    use crate::delivery::Ephemeral;
    let mut driven = Driven::joined();
    let mut deliver = |kind| {
        let ephemeral = Ephemeral { frame: Bytes::from_static(b"x"), kind, charge: None };
        driven.give(Input::Parcel(Parcel::Ephemeral(Slot(0), Arc::new(ephemeral)))).len()
    };
    assert_eq!(deliver(EphemeralKind::Signal(Some(SessionId::from_bits(2)))), 1);
    assert_eq!(deliver(EphemeralKind::Signal(Some(SessionId::from_bits(1)))), 0);
    assert_eq!(deliver(EphemeralKind::Signal(None)), 1);
    assert_eq!(deliver(EphemeralKind::Presence), 1);
}
