//! Bad input, field by field: each fault has its code and names what is wrong.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<ClientFrame<'_>, Refusal> {
    parse(text, &Limits::default()).frame
}

fn code(text: &str) -> ErrorCode {
    match read(text) {
        Err(refusal) => refusal.code,
        Ok(frame) => panic!("{text} was taken as {frame:?}"),
    }
}

#[test]
fn msg_is_kept_byte_for_byte() {
    let text = "{\"type\":\"chat\",\"room\":\"r\",\"msg\": { \"a\" :\t1.50, \"b\":\"\\u00e9\\/\"} }";
    match read(text) {
        Ok(ClientFrame::Chat { to: Destination::Room(room), msg, key: None, .. }) => {
            assert_eq!(room.as_str(), "r");
            assert_eq!(msg.get(), "{ \"a\" :\t1.50, \"b\":\"\\u00e9\\/\"}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn null_is_a_message_but_an_absent_key() {
    match read(r#"{"type":"chat","msg":null,"key":null,"room":null}"#) {
        Ok(ClientFrame::Chat { to: Destination::OnlyRoom, msg, key: None, .. }) => assert_eq!(msg.get(), "null"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_an_object_is_malformed() {
    for text in [
        "",
        "hello",
        "null",
        "7",
        "[]",
        r#"["chat"]"#,
        r#"{"type":"ping""#,
        r#"{"type":"ping"}x"#,
        r#"{"type":"ping","type":"ping"}"#,
        "{\"type\":\"chat\",\"msg\":\"a\u{1}b\"}",
        r#"{"type":"chat","msg":"\ud800"}"#,
        r#"{"type":"chat","msg":nan}"#,
    ] {
        assert_eq!(code(text), ErrorCode::Malformed, "{text}");
    }
    let bomb = format!(r#"{{"type":"chat","msg":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    assert_eq!(code(&bomb), ErrorCode::Malformed);
}

#[test]
fn unknown_types_and_unknown_fields_are_told_apart() {
    assert_eq!(code(r#"{"type":"shout"}"#), ErrorCode::UnknownType);
    assert!(matches!(read(r#"{"type":"ping","color":"red","room":5}"#), Ok(ClientFrame::Ping)));
}

#[test]
fn missing_and_wrong_fields_are_named() {
    for (text, field) in [
        (r#"{"id":1}"#, "`type`"),
        (r#"{"type":5}"#, "`type`"),
        (r#"{"type":"auth"}"#, "`token`"),
        (r#"{"type":"join"}"#, "`room`"),
        (r#"{"type":"join","room":5}"#, "`room`"),
        (r#"{"type":"join","room":"r","since":5}"#, "`since`"),
        (r#"{"type":"join","room":"r","since":[1,2]}"#, "`since`"),
        (r#"{"type":"join","room":"r","since":{"epoch":"e"}}"#, "`since`"),
        (r#"{"type":"join","room":"r","since":{"epoch":"e","offset":-1}}"#, "`since`"),
        (r#"{"type":"join","room":"r","history":-5}"#, "`history`"),
        (r#"{"type":"join","room":"r","history":1.5}"#, "`history`"),
        (r#"{"type":"chat","room":"r"}"#, "`msg`"),
        (r#"{"type":"chat","room":"r","to":"u","msg":1}"#, "`room` or `to`"),
        (r#"{"type":"chat","room":"r","msg":1,"key":7}"#, "`key`"),
        (r#"{"type":"signal","room":"r"}"#, "`data`"),
        (r#"{"type":"history","room":"r","before":1,"after":2}"#, "`before` or `after`"),
        (r#"{"type":"history","room":"r","limit":-1}"#, "`limit`"),
        (r#"{"type":"presence","room":"@me"}"#, "`@me`"),
        (r#"{"type":"ping","id":true}"#, "`id`"),
        (r#"{"type":"ping","id":{}}"#, "`id`"),
    ] {
        let refusal = read(text).expect_err(text);
        assert_eq!(refusal.code, ErrorCode::BadField, "{text}");
        assert!(refusal.message.contains(field), "{text}: {}", refusal.message);
    }
    let long = format!(r#"{{"type":"ping","id":"{}"}}"#, "i".repeat(65));
    assert_eq!(code(&long), ErrorCode::BadField);
}

#[test]
fn bad_names_are_refused() {
    for text in [
        r#"{"type":"join","room":""}"#,
        r#"{"type":"join","room":"@all"}"#,
        r#"{"type":"join","room":"a\u0000b"}"#,
        r#"{"type":"join","room":"a\nb"}"#,
        r#"{"type":"chat","to":"@me","msg":1}"#,
        r#"{"type":"chat","room":"r","msg":1,"key":""}"#,
    ] {
        assert_eq!(code(text), ErrorCode::BadName, "{text}");
    }
    let long = format!(r#"{{"type":"join","room":"{}"}}"#, "é".repeat(65));
    assert_eq!(code(&long), ErrorCode::BadName);
}

#[test]
fn an_over_long_message_is_refused_with_its_size() {
    let text = format!(r#"{{"type":"chat","room":"r","msg":"{}"}}"#, "x".repeat(32 * 1024));
    let refusal = read(&text).expect_err("too long");
    assert_eq!(refusal.code, ErrorCode::MessageTooLarge);
    assert!(refusal.message.contains("32770"), "{}", refusal.message);
}

#[test]
fn a_foreign_epoch_is_a_claim_like_any_other() {
    match read(r#"{"type":"join","room":"r","since":{"epoch":"💥","offset":18446744073709551615}}"#) {
        Ok(ClientFrame::Join { since: Some(Since { epoch: None, offset: u64::MAX }), .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn ids_are_repeated_as_they_were_written() {
    for id in [r#""a\u00e9""#, "7", "-1.50e3", r#""""#] {
        let text = format!(r#"{{"type":"ping","id":{id}}}"#);
        let parsed = parse(&text, &Limits::default());
        assert_eq!(parsed.id.map(|id| id.to_string()), Some(id.to_owned()));
    }
}

#[test]
fn the_id_of_a_faulty_frame_is_kept() {
    let parsed = parse(r#"{"id":9,"type":"shout"}"#, &Limits::default());
    assert_eq!(parsed.id.map(|id| id.to_string()), Some("9".to_owned()));
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "\\PC{0,80}") {
        let _ = parse(&text, &Limits::default());
    }

    #[test]
    fn any_object_with_our_fields_is_read_without_panic(
        kind in "auth|join|leave|chat|signal|history|presence|rooms|ping|x",
        fields in prop::collection::vec(("id|room|to|msg|data|key|since|history|before|after|limit|token",
            r#"null|true|-1|7|1e99|"a"|"@me"|"\\u0000"|\[\]|\{\}|\{"epoch":"a","offset":1\}"#), 0..8),
    ) {
        let mut text = format!(r#"{{"type":"{kind}""#);
        for (name, value) in fields {
            text.push_str(&format!(r#","{name}":{value}"#));
        }
        text.push('}');
        let _ = parse(&text, &Limits::default());
    }
}
