//! What instances say: reply frames, and the drafts of logged frames into which a log splices the offset.
//! Encoding happens here and nowhere else; a frame for many is encoded once.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::PROTOCOL_VERSION;
use super::error_code::ErrorCode;
use super::limits::{Limits, SERVER_FRAME_MAX_BYTES};
use crate::ids::{INBOX_ALIAS, Key, RetryKey, RoomName, ServerId, SessionId, UserId};
use crate::message::{Draft, Entry, Epoch, Position, Stored};

/// The `id` of a request as JSON text, repeated in its reply exactly as it was written.
#[derive(Debug, Clone)]
pub struct FrameId(Box<RawValue>);

impl FrameId {
    /// Takes the JSON text of a string or number that was parsed before.
    ///
    /// Text that is not JSON becomes `null`: it cannot come from a parsed frame.
    #[must_use]
    pub fn from_json(text: &str) -> Self {
        Self(RawValue::from_string(text.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl PartialEq for FrameId {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

impl Serialize for FrameId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Why a session is told to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconnectReason {
    /// The instance shuts down.
    Drain,
}

/// Why a room was left without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftReason {
    /// Through the server API.
    Kicked,
    /// The refreshed token no longer allows it.
    RightsLost,
}

/// One reply or notice to one session. Logged messages are not among them: see [`message_draft`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of the protocol reference")]
pub enum ServerFrame {
    Welcome(Box<Welcome>),
    Ok {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<FrameId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_in: Option<u64>,
    },
    Joined {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<FrameId>,
        room: Box<str>,
        epoch: Epoch,
        offset: u64,
        recovered: bool,
        more: bool,
        #[serde(skip)]
        messages: Vec<Entry>,
    },
    Left {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<FrameId>,
        room: Box<str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<LeftReason>,
    },
    Ack {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<FrameId>,
        room: Box<str>,
        epoch: Epoch,
        offset: u64,
        at: u64,
    },
    History {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<FrameId>,
        room: Box<str>,
        epoch: Epoch,
        #[serde(skip)]
        messages: Vec<Entry>,
        more: bool,
    },
    Presence {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<FrameId>,
        room: RoomName,
        users: Vec<UserId>,
        count: usize,
    },
    Rooms {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<FrameId>,
        rooms: Vec<RoomTop>,
        more: bool,
    },
    Gap {
        room: Box<str>,
        epoch: Epoch,
        offset: u64,
    },
    Reconnect {
        reason: ReconnectReason,
        after_ms: u64,
        elsewhere: bool,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<FrameId>,
        code: ErrorCode,
        message: Cow<'static, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<Box<str>>,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<FrameId>,
    },
}

/// The first frame after sign-in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Welcome {
    /// The instance that serves this session.
    pub server_id: ServerId,
    /// This session.
    pub session: SessionId,
    /// Who it speaks for.
    pub user: UserId,
    /// The protocol's version.
    pub protocol: u32,
    /// What it may do.
    pub limits: Limits,
    /// Seconds until the session ends without a refresh; absent if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// The cookie to drop when told to go `elsewhere`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_cookie: Option<Box<str>>,
}

impl Welcome {
    /// A welcome in the current version.
    #[must_use]
    pub fn new(
        server_id: ServerId,
        session: SessionId,
        user: UserId,
        limits: Limits,
        expires_in: Option<u64>,
        affinity_cookie: Option<Box<str>>,
    ) -> Self {
        Self { server_id, session, user, protocol: PROTOCOL_VERSION, limits, expires_in, affinity_cookie }
    }
}

/// A room in the reply to `rooms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoomTop {
    /// The room.
    pub room: RoomName,
    /// The offset of its newest message.
    pub offset: u64,
}

impl ServerFrame {
    /// The ack of a publish, addressed as the client did.
    #[must_use]
    pub fn ack(id: Option<FrameId>, room: &str, stored: Stored) -> Self {
        let Position { epoch, offset } = stored.position;
        Self::Ack { id, room: room.into(), epoch, offset, at: stored.at }
    }

    /// The JSON text. Logged messages are spliced in as the bytes they were stored as.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = to_json(self);
        let messages = match self {
            Self::Joined { messages, .. } | Self::History { messages, .. } => messages,
            _ => return out,
        };
        out.pop();
        out.reserve(messages.iter().map(|m| m.frame.len() + 1).sum::<usize>() + 16);
        out.extend_from_slice(b",\"messages\":[");
        for (index, message) in messages.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&message.frame);
        }
        out.extend_from_slice(b"]}");
        debug_assert!(out.len() <= SERVER_FRAME_MAX_BYTES, "pages are bounded well below");
        out
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("frames have string keys and nothing that fails to serialise")
}

fn text(value: &str) -> String {
    serde_json::to_string(value).expect("a string always serialises")
}

/// What of a logged frame is the same for rooms and inboxes.
pub struct Content<'a> {
    /// Any JSON value as the client wrote it.
    pub msg: &'a RawValue,
    /// The idempotency key, shown to members so that the sender can replace its optimistic copy.
    pub key: Option<Key>,
    /// Wall clock of this instance, milliseconds since the Unix epoch.
    pub at: u64,
    /// W3C trace context of the publisher.
    pub traceparent: Option<Box<str>>,
}

fn draft(kind: &str, room: &str, from: &UserId, parties: &str, content: Content<'_>) -> Draft {
    let head = format!("{{\"type\":\"{kind}\",\"room\":{},\"offset\":", text(room));
    let key = content.key.as_ref().map(|key| format!(",\"key\":{}", text(key.as_str()))).unwrap_or_default();
    let tail = format!(",{parties},\"msg\":{}{key},\"at\":{}}}", content.msg.get(), content.at);
    Draft {
        head: Bytes::from(head),
        tail: Bytes::from(tail),
        key: content.key.as_ref().map(|key| RetryKey::new(from, key)),
        at: content.at,
        traceparent: content.traceparent,
    }
}

/// A `message` for a room.
#[must_use]
pub fn message_draft(room: &RoomName, from: &UserId, content: Content<'_>) -> Draft {
    draft("message", room.as_str(), from, &format!("\"from\":{}", text(from.as_str())), content)
}

/// A `direct` for an inbox: the same for receiver and sender, so it is made once for both.
#[must_use]
pub fn direct_draft(from: &UserId, to: &UserId, content: Content<'_>) -> Draft {
    let parties = format!("\"from\":{},\"to\":{}", text(from.as_str()), text(to.as_str()));
    draft("direct", INBOX_ALIAS, from, &parties, content)
}

/// A `signal` to the members of a room, or to a user's sessions with `@me` as the room.
#[must_use]
pub fn signal(room: &str, from: &UserId, data: &RawValue) -> Bytes {
    let (room, from) = (text(room), text(from.as_str()));
    Bytes::from(format!("{{\"type\":\"signal\",\"room\":{room},\"from\":{from},\"data\":{}}}", data.get()))
}

/// A user came to a room or left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceChange {
    /// The user's first session in the room.
    Join,
    /// The user's last session in the room is gone, five seconds ago.
    Leave,
}

/// A `presence` hint to the members of a room.
#[must_use]
pub fn presence_event(room: &RoomName, change: PresenceChange, user: &UserId) -> Bytes {
    #[derive(Serialize)]
    struct Event<'a> {
        r#type: &'static str,
        room: &'a RoomName,
        event: PresenceChange,
        user: &'a UserId,
    }
    Bytes::from(to_json(&Event { r#type: "presence", room, event: change, user }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_frame_has_its_fields_in_the_order_of_the_contract() {
        let msg = RawValue::from_string("{ \"a\":1 }".to_owned()).unwrap();
        let content = Content { msg: &msg, key: Key::parse("k\"1").ok(), at: 1_763_778_000_123, traceparent: None };
        let draft = message_draft(&RoomName::parse("gen\"eral").unwrap(), &UserId::parse("alice").unwrap(), content);
        assert_eq!(
            std::str::from_utf8(&draft.splice(58)).unwrap(),
            r#"{"type":"message","room":"gen\"eral","offset":58,"from":"alice","msg":{ "a":1 },"key":"k\"1","at":1763778000123}"#
        );
    }

    #[test]
    fn stored_messages_are_spliced_into_a_reply_untouched() {
        let entry = |offset, frame: &'static str| Entry { offset, frame: Bytes::from_static(frame.as_bytes()) };
        let frame = ServerFrame::History {
            id: Some(FrameId::from_json("5")),
            room: "r".into(),
            epoch: Epoch::from_bits(1),
            messages: vec![entry(1, "{\"a\": 1}"), entry(2, "{\"b\":2 }")],
            more: true,
        };
        assert_eq!(
            String::from_utf8(frame.encode()).unwrap(),
            r#"{"type":"history","id":5,"room":"r","epoch":"0000000000000001","more":true,"messages":[{"a": 1},{"b":2 }]}"#
        );
    }
}
