//! Holds reading and writing of frames to the golden files in `service/protocol-samples`. The files are shared with
//! clients in other languages; their names follow the convention in the README beside them.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::client_frame::{self, ClientFrame, Destination, Since, Target};
use super::error_code::ErrorCode;
use super::limits::Limits;
use super::server_frame::{
    Content, FrameId, LeftReason, PresenceChange, ReconnectReason, RoomTop, ServerFrame, Welcome, direct_draft,
    message_draft, presence_event, signal,
};
use crate::ids::{Key, RoomName, ServerId, SessionId, UserId};
use crate::message::{Entry, Epoch, Position, Stored};

/// The word of each variant for file names, and all words. A variant without a word does not compile; a word without a
/// file fails.
macro_rules! words {
    ($word:ident, $all:ident, $type:ident { $($variant:ident: $text:literal),* $(,)? }) => {
        const $all: &[&str] = &[$($text),*];

        fn $word(value: &$type) -> &'static str {
            match value {
                $($type::$variant { .. } => $text,)*
            }
        }
    };
}

words!(
    client_word,
    CLIENT_WORDS,
    ClientFrame {
        Auth: "auth",
        Join: "join",
        Leave: "leave",
        Chat: "chat",
        Signal: "signal",
        History: "history",
        Presence: "presence",
        Rooms: "rooms",
        Ping: "ping",
    }
);

words!(
    server_word,
    SERVER_WORDS,
    ServerFrame {
        Welcome: "welcome",
        Ok: "ok",
        Joined: "joined",
        Left: "left",
        Ack: "ack",
        History: "history",
        Presence: "presence",
        Rooms: "rooms",
        Gap: "gap",
        Reconnect: "reconnect",
        Error: "error",
        Pong: "pong",
    }
);

words!(left_word, LEFT_WORDS, LeftReason { Kicked: "kicked", RightsLost: "rights_lost" });
words!(reconnect_word, RECONNECT_WORDS, ReconnectReason { Drain: "drain" });
words!(presence_word, PRESENCE_WORDS, PresenceChange { Join: "join", Leave: "leave" });

const KEY: &str = "0b5e1ff0-6a58-4d0e-9a3c-2f1b7c9d8e41";
const DIRECT_KEY: &str = "7d3a9c52-1c0f-4b7e-8f62-90ab12cd34ef";
const EPOCH: Epoch = Epoch::from_bits(0x5f0c_2b9a_81d4_e763);
const NEXT_EPOCH: Epoch = Epoch::from_bits(0xc41d_7e02_b6f8_9a35);
const INBOX_EPOCH: Epoch = Epoch::from_bits(0xa90b_4c3d_2e1f_6758);

/// What the parser must refuse; the code is in the name.
const BAD: &[&str] = &[
    "bad-bad_field-before_and_after",
    "bad-bad_field-history_negative",
    "bad-bad_field-id_too_long",
    "bad-bad_field-inbox_presence",
    "bad-bad_field-msg_missing",
    "bad-bad_field-no_type",
    "bad-bad_field-room_and_to",
    "bad-bad_field-room_missing",
    "bad-bad_field-room_not_a_string",
    "bad-bad_field-since_half",
    "bad-bad_field-since_negative",
    "bad-bad_field-token_missing",
    "bad-bad_name-control_character",
    "bad-bad_name-empty",
    "bad-bad_name-key_too_long",
    "bad-bad_name-reserved",
    "bad-bad_name-too_long",
    "bad-malformed-cut_off",
    "bad-malformed-lone_surrogate",
    "bad-malformed-not_an_object",
    "bad-malformed-not_json",
    "bad-malformed-too_deep",
    "bad-malformed-twice",
    "bad-unknown_type",
];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/protocol-samples"))
}

/// The frame in a file, without the line feed at its end.
fn sample(name: &str) -> String {
    let text = std::fs::read_to_string(folder().join(format!("{name}.json")));
    let text = text.unwrap_or_else(|error| panic!("protocol-samples/{name}.json: {error}"));
    text.strip_suffix('\n').unwrap_or_else(|| panic!("{name} must end with a line feed")).to_owned()
}

/// `client-join-resume` → (`client`, `join`).
fn parts(name: &str) -> (&str, &str) {
    let mut parts = name.split('-');
    (parts.next().unwrap(), parts.next().unwrap_or_else(|| panic!("{name} has no word after its side")))
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn raw(text: &'static str) -> &'static RawValue {
    serde_json::from_str(text).unwrap()
}

fn id(text: &str) -> Option<FrameId> {
    Some(FrameId::from_json(text))
}

struct ClientRow {
    name: &'static str,
    id: Option<FrameId>,
    frame: ClientFrame<'static>,
}

fn client_rows() -> Vec<ClientRow> {
    let row = |name, id, frame| ClientRow { name, id, frame };
    let general = || Target::Room(room("general"));
    let join = |room, since, history| ClientFrame::Join { room, since, history };
    let chat = |to, msg, key: Option<&str>| ClientFrame::Chat {
        to,
        msg: raw(msg),
        key: key.map(|key| Key::parse(key).unwrap()),
        traceparent: None,
    };
    let to_general = || Destination::Room(room("general"));
    let to_bob = || Destination::User(user("Bob"));
    let history = |room, before, after, limit| ClientFrame::History { room, before, after, limit };
    let typing = raw(r#"{"typing":true}"#);
    vec![
        row("client-auth", id("0"), ClientFrame::Auth { token: "alice".into() }),
        row("client-join", id("1"), join(general(), None, 0)),
        row("client-join-history", id("2"), join(general(), None, 50)),
        row("client-join-resume", id("3"), join(general(), Some(Since { epoch: Some(EPOCH), offset: 41 }), 0)),
        row("client-join-inbox", id("4"), join(Target::Inbox, Some(Since { epoch: Some(INBOX_EPOCH), offset: 6 }), 0)),
        row("client-leave", id("5"), ClientFrame::Leave { room: general() }),
        row("client-chat", id("6"), chat(to_general(), r#""hi""#, None)),
        row("client-chat-key", id(r#""a-7""#), chat(to_general(), r#"{"text":"hi","mood":1.50}"#, Some(KEY))),
        row("client-chat-only_room", None, chat(Destination::OnlyRoom, r#""hi""#, None)),
        row("client-chat-direct", id("8"), chat(to_bob(), r#""Hi""#, Some(DIRECT_KEY))),
        row(
            "client-chat-traceparent",
            id("9"),
            ClientFrame::Chat {
                to: to_general(),
                msg: raw(r#""hi""#),
                key: None,
                traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            },
        ),
        row("client-signal", None, ClientFrame::Signal { to: to_general(), data: typing }),
        row("client-signal-direct", id("10"), ClientFrame::Signal { to: to_bob(), data: typing }),
        row("client-history", id("11"), history(general(), None, None, None)),
        row("client-history-before", id("12"), history(general(), Some(120), None, Some(50))),
        row("client-history-after", id("13"), history(Target::Inbox, None, Some(6), None)),
        row("client-presence", id("14"), ClientFrame::Presence { room: room("general") }),
        row("client-rooms", id("15"), ClientFrame::Rooms),
        row("client-ping", id("16"), ClientFrame::Ping),
    ]
}

fn content(msg: &'static str, key: Option<&str>, at: u64) -> Content<'static> {
    Content { msg: raw(msg), key: key.map(|key| Key::parse(key).unwrap()), at, traceparent: None }
}

fn message(offset: u64) -> Entry {
    let draft = match offset {
        42 => message_draft(&room("general"), &user("Bob"), content(r#""anyone here?""#, None, 1_763_778_000_123)),
        43 => message_draft(
            &room("general"),
            &user("alice"),
            content(r#"{"text":"hi","mood":1.50}"#, Some(KEY), 1_763_778_004_567),
        ),
        _ => message_draft(&room("general"), &user("alice"), content(r#""hi""#, None, 1_763_778_012_345)),
    };
    Entry { offset, frame: draft.splice(offset) }
}

fn direct() -> Entry {
    let content = content(r#""Hi""#, Some(DIRECT_KEY), 1_763_778_009_001);
    Entry { offset: 7, frame: direct_draft(&user("alice"), &user("Bob"), content).splice(7) }
}

struct ServerRow {
    name: String,
    word: &'static str,
    bytes: Vec<u8>,
}

fn replies() -> Vec<ServerRow> {
    let row = |variant: &str, frame: ServerFrame| {
        let word = server_word(&frame);
        let name = if variant.is_empty() { format!("server-{word}") } else { format!("server-{word}-{variant}") };
        ServerRow { name, word, bytes: frame.encode() }
    };
    let welcome = |cookie: Option<&str>| {
        let session = SessionId::from_bits(0x8d1f_0e63_a2b9_4c57);
        let server = ServerId::parse("server-1").unwrap();
        ServerFrame::Welcome(Box::new(Welcome::new(
            server,
            session,
            user("alice"),
            Limits::default(),
            None,
            cookie.map(Into::into),
        )))
    };
    let joined = |id, epoch, offset, recovered, more, messages| ServerFrame::Joined {
        id,
        room: "general".into(),
        epoch,
        offset,
        recovered,
        more,
        messages,
    };
    let ack =
        |id, room, epoch, offset, at| ServerFrame::ack(id, room, Stored { position: Position { epoch, offset }, at });
    let error = |id, code: ErrorCode, message: &'static str, retry_after_ms, key: Option<&str>| {
        let key = key.map(Into::into);
        row(code.as_str(), ServerFrame::Error { id, code, message: message.into(), retry_after_ms, key })
    };
    let left = |reason| ServerFrame::Left { id: None, room: "general".into(), reason: Some(reason) };
    let reconnect = |reason| ServerFrame::Reconnect { reason, after_ms: 1_800, elsewhere: true };
    vec![
        row("", welcome(None)),
        row("affinity", welcome(Some("parley-route"))),
        row("", ServerFrame::Ok { id: id("10"), expires_in: None }),
        row("expires", ServerFrame::Ok { id: id("0"), expires_in: Some(3_600) }),
        row("", joined(id("1"), EPOCH, 41, true, false, vec![])),
        row("history", joined(id("2"), EPOCH, 43, true, false, vec![message(42), message(43)])),
        row("resumed", joined(id("3"), EPOCH, 43, true, false, vec![message(42), message(43)])),
        row("more", joined(id("3"), EPOCH, 42, true, true, vec![message(42)])),
        row("lost", joined(id("3"), NEXT_EPOCH, 12, false, false, vec![])),
        row("new_epoch", joined(None, NEXT_EPOCH, 43, true, false, vec![])),
        row(
            "inbox",
            ServerFrame::Joined {
                id: id("4"),
                room: "@me".into(),
                epoch: INBOX_EPOCH,
                offset: 7,
                recovered: true,
                more: false,
                messages: vec![direct()],
            },
        ),
        row("", ServerFrame::Left { id: id("5"), room: "general".into(), reason: None }),
        row(left_word(&LeftReason::Kicked), left(LeftReason::Kicked)),
        row(left_word(&LeftReason::RightsLost), left(LeftReason::RightsLost)),
        row("", ack(id("6"), "general", EPOCH, 44, 1_763_778_012_345)),
        row("direct", ack(id("8"), "@me", INBOX_EPOCH, 7, 1_763_778_009_001)),
        row(
            "",
            ServerFrame::History {
                id: id("12"),
                room: "general".into(),
                epoch: EPOCH,
                messages: vec![message(42), message(43)],
                more: true,
            },
        ),
        row(
            "",
            ServerFrame::Presence {
                id: id("14"),
                room: room("general"),
                users: vec![user("Bob"), user("alice")],
                count: 2,
            },
        ),
        row(
            "",
            ServerFrame::Rooms {
                id: id("15"),
                rooms: vec![RoomTop { room: room("general"), offset: 44 }, RoomTop { room: room("random"), offset: 3 }],
                more: false,
            },
        ),
        row("", ServerFrame::Gap { room: "general".into(), epoch: NEXT_EPOCH, offset: 58 }),
        row(reconnect_word(&ReconnectReason::Drain), reconnect(ReconnectReason::Drain)),
        error(
            None,
            ErrorCode::Malformed,
            r#"a frame is one JSON object, such as {"type":"join","room":"general"}"#,
            None,
            None,
        ),
        error(id("6"), ErrorCode::NotJoined, "join the room first", None, None),
        error(id("6"), ErrorCode::RateLimited, "too fast; not done, try again later", Some(50), None),
        error(
            id(r#""a-7""#),
            ErrorCode::OutcomeUnknown,
            "perhaps stored: repeat it with the same key, which is safe",
            None,
            Some(KEY),
        ),
        row("", ServerFrame::Pong { id: id("16") }),
    ]
}

/// Replies, and the frames that are made without a [`ServerFrame`].
fn server_rows() -> Vec<ServerRow> {
    let mut rows = replies();
    let mut row = |name: &str, word, bytes: Bytes| {
        rows.push(ServerRow { name: name.to_owned(), word, bytes: bytes.to_vec() });
    };
    let typing = raw(r#"{"typing":true}"#);
    row("server-message", "message", message(44).frame);
    row("server-message-key", "message", message(43).frame);
    row("server-direct", "direct", direct().frame);
    row("server-signal", "signal", signal("general", &user("alice"), typing));
    row("server-signal-inbox", "signal", signal("@me", &user("alice"), typing));
    for change in [PresenceChange::Join, PresenceChange::Leave] {
        let name = format!("server-presence-{}", presence_word(&change));
        row(&name, "presence", presence_event(&room("general"), change, &user("alice")));
    }
    rows
}

#[test]
fn every_file_has_a_row_and_every_row_a_file() {
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let names = client_rows().into_iter().map(|row| row.name.to_owned());
    let names = names.chain(server_rows().into_iter().map(|row| row.name));
    let rows: Vec<String> =
        names.chain(BAD.iter().map(|name| (*name).to_owned())).map(|name| format!("{name}.json")).collect();
    let distinct: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(distinct.len(), rows.len(), "two rows of one name");
    assert_eq!(files.difference(&distinct).collect::<Vec<_>>(), [""; 0], "files without a row");
    assert_eq!(distinct.difference(&files).collect::<Vec<_>>(), [""; 0], "rows without a file");
}

#[test]
fn every_variant_has_a_sample() {
    let client: BTreeSet<&str> = client_rows().iter().map(|row| client_word(&row.frame)).collect();
    assert_eq!(client, CLIENT_WORDS.iter().copied().collect());
    let (rows, replies) = (server_rows(), replies());
    let server: BTreeSet<&str> = replies.iter().map(|row| row.word).collect();
    assert_eq!(server, SERVER_WORDS.iter().copied().collect());
    let variants = [("left", LEFT_WORDS), ("reconnect", RECONNECT_WORDS), ("presence", PRESENCE_WORDS)];
    for (word, variant) in variants.iter().flat_map(|(word, all)| all.iter().map(move |variant| (word, variant))) {
        let name = format!("server-{word}-{variant}");
        assert!(rows.iter().any(|row| row.name == name), "{name} is missing");
    }
}

#[test]
fn client_samples_are_read_as_what_they_mean() {
    for row in client_rows() {
        let text = sample(row.name);
        let parsed = client_frame::parse(&text, &Limits::default());
        let frame = parsed.frame.unwrap_or_else(|refusal| panic!("{}: {refusal:?}", row.name));
        assert_eq!(parts(row.name), ("client", client_word(&frame)), "{}", row.name);
        assert_eq!(parsed.id, row.id, "{}", row.name);
        // Texts that are forwarded byte for byte have no equality but that of their bytes.
        assert_eq!(format!("{frame:?}"), format!("{:?}", row.frame), "{}", row.name);
    }
}

#[test]
fn server_samples_are_what_the_encoder_writes() {
    for row in server_rows() {
        let written = String::from_utf8(row.bytes).unwrap();
        assert_eq!(sample(&row.name), written, "{}", row.name);
        assert_eq!(parts(&row.name), ("server", row.word), "{}", row.name);
        let value: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(value["type"], row.word, "{}", row.name);
    }
}

#[test]
fn bad_samples_are_refused_with_the_code_in_their_name() {
    for name in BAD {
        let refusal = client_frame::parse(&sample(name), &Limits::default()).frame.expect_err(name);
        assert_eq!(parts(name), ("bad", refusal.code.as_str()), "{name}: {}", refusal.message);
    }
}
