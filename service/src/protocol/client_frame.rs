//! What clients say. A frame is read field by field from borrowed JSON, so that `msg` stays the bytes the client wrote
//! and every fault names its field. Whether a frame is allowed is the session's business.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error_code::ErrorCode;
use super::json;
use super::limits::{FRAME_ID_MAX_BYTES, Limits};
use super::server_frame::FrameId;
use crate::ids::{INBOX_ALIAS, Key, RoomName, UserId};
use crate::message::Epoch;

/// A room as a client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By its name.
    Room(RoomName),
    /// The own inbox, `@me`.
    Inbox,
}

/// Where a `chat` or `signal` goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To all members of a room.
    Room(RoomName),
    /// To all sessions of a user.
    User(UserId),
    /// Neither was named: to the only joined room.
    OnlyRoom,
}

/// A client's claim of what it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// `None` when the text is no epoch of ours.
    pub epoch: Option<Epoch>,
    /// The last offset seen.
    pub offset: u64,
}

/// One request of a client. Texts borrow from the frame.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the protocol reference")]
pub enum ClientFrame<'a> {
    Auth { token: Cow<'a, str> },
    Join { room: Target, since: Option<Since>, history: usize },
    Leave { room: Target },
    Chat { to: Destination, msg: &'a RawValue, key: Option<Key>, traceparent: Option<Box<str>> },
    Signal { to: Destination, data: &'a RawValue },
    History { room: Target, before: Option<u64>, after: Option<u64>, limit: Option<usize> },
    Presence { room: RoomName },
    Rooms,
    Ping,
}

/// Why a frame is refused; becomes an `error` frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The class of the fault.
    pub code: ErrorCode,
    /// One sentence that names the fault and what would be right.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with a text.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A frame as read: its `id`, if it could be read, beside the request or the fault.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// Repeated in the reply.
    pub id: Option<FrameId>,
    /// The request, or why there is none.
    pub frame: Result<ClientFrame<'a>, Refusal>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    room: Option<&'a RawValue>,
    #[serde(borrow)]
    to: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    msg: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    since: Option<&'a RawValue>,
    #[serde(borrow)]
    history: Option<&'a RawValue>,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<&'a RawValue>,
}

/// `null` is a payload like any other, where `Option` alone would take it for absent.
fn even_null<'de: 'a, 'a, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads one text frame.
#[must_use]
pub fn parse<'a>(text: &'a str, limits: &Limits) -> Parsed<'a> {
    let refuse = |refusal| Parsed { id: None, frame: Err(refusal) };
    if let Err(fault) = json::check(text, limits.depth) {
        return refuse(Refusal::new(ErrorCode::Malformed, fault.to_string()));
    }
    // An array would be taken for the fields in their order: only an object is a frame.
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return refuse(Refusal::new(
            ErrorCode::Malformed,
            r#"a frame is one JSON object, such as {"type":"join","room":"general"}"#,
        ));
    }
    let fields: Fields<'a> = match serde_json::from_str(text) {
        Ok(fields) => fields,
        Err(error) => return refuse(Refusal::new(ErrorCode::Malformed, format!("not a JSON object: {error}"))),
    };
    match frame_id(fields.id) {
        Ok(id) => Parsed { id, frame: request(&fields, limits) },
        Err(refusal) => refuse(refusal),
    }
}

fn request<'a>(fields: &Fields<'a>, limits: &Limits) -> Result<ClientFrame<'a>, Refusal> {
    let kind = string("type", fields.kind)?.ok_or_else(|| missing("type", "a string"))?;
    Ok(match &*kind {
        "auth" => {
            ClientFrame::Auth { token: string("token", fields.token)?.ok_or_else(|| missing("token", "a string"))? }
        }
        "join" => ClientFrame::Join {
            room: target(fields.room)?,
            since: since(fields.since)?,
            history: count("history", fields.history)?.unwrap_or(0).min(limits.replay_messages),
        },
        "leave" => ClientFrame::Leave { room: target(fields.room)? },
        "chat" => ClientFrame::Chat {
            to: destination(fields)?,
            msg: payload("msg", fields.msg, limits)?,
            key: string("key", fields.key)?.map(|text| named("key", Key::parse(&text))).transpose()?,
            traceparent: string("traceparent", fields.traceparent)?.filter(|t| t.len() <= 64).map(Into::into),
        },
        "signal" => ClientFrame::Signal { to: destination(fields)?, data: payload("data", fields.data, limits)? },
        "history" => {
            let (before, after) = (number("before", fields.before)?, number("after", fields.after)?);
            if before.is_some() && after.is_some() {
                return Err(Refusal::new(ErrorCode::BadField, "give `before` or `after`, not both"));
            }
            ClientFrame::History { room: target(fields.room)?, before, after, limit: count("limit", fields.limit)? }
        }
        "presence" => match target(fields.room)? {
            Target::Room(room) => ClientFrame::Presence { room },
            Target::Inbox => return Err(Refusal::new(ErrorCode::BadField, "`@me` has no presence")),
        },
        "rooms" => ClientFrame::Rooms,
        "ping" => ClientFrame::Ping,
        _ => {
            return Err(Refusal::new(
                ErrorCode::UnknownType,
                "`type` is one of auth, join, leave, chat, signal, history, presence, rooms, ping",
            ));
        }
    })
}

fn missing(field: &'static str, what: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadField, format!("`{field}` is missing: {what}"))
}

fn wrong(field: &'static str, what: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadField, format!("`{field}` must be {what}"))
}

fn named<T>(field: &'static str, name: Result<T, crate::ids::NameError>) -> Result<T, Refusal> {
    name.map_err(|error| Refusal::new(ErrorCode::BadName, format!("`{field}`: {error}")))
}

/// A field that is absent or `null` counts as not given.
fn given(field: Option<&RawValue>) -> Option<&RawValue> {
    field.filter(|raw| raw.get() != "null")
}

/// Borrows where the string has no escapes.
fn string<'a>(field: &'static str, raw: Option<&'a RawValue>) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(raw) = given(raw) else { return Ok(None) };
    let text = raw.get();
    if let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'))
        && !inner.contains('\\')
    {
        return Ok(Some(Cow::Borrowed(inner)));
    }
    serde_json::from_str::<String>(text).map(|text| Some(Cow::Owned(text))).map_err(|_| wrong(field, "a string"))
}

fn number(field: &'static str, raw: Option<&RawValue>) -> Result<Option<u64>, Refusal> {
    let Some(raw) = given(raw) else { return Ok(None) };
    serde_json::from_str(raw.get()).map(Some).map_err(|_| wrong(field, "a whole number from 0 on"))
}

fn count(field: &'static str, raw: Option<&RawValue>) -> Result<Option<usize>, Refusal> {
    Ok(number(field, raw)?.map(|n| usize::try_from(n).unwrap_or(usize::MAX)))
}

fn payload<'a>(field: &'static str, raw: Option<&'a RawValue>, limits: &Limits) -> Result<&'a RawValue, Refusal> {
    let raw = raw.ok_or_else(|| missing(field, "any JSON value"))?;
    if raw.get().len() > limits.message_bytes {
        return Err(Refusal::new(
            ErrorCode::MessageTooLarge,
            format!("`{field}` has {} bytes, at most {} are allowed", raw.get().len(), limits.message_bytes),
        ));
    }
    Ok(raw)
}

fn target(raw: Option<&RawValue>) -> Result<Target, Refusal> {
    let text = string("room", raw)?.ok_or_else(|| missing("room", "a string"))?;
    if text == INBOX_ALIAS { Ok(Target::Inbox) } else { named("room", RoomName::parse(&text)).map(Target::Room) }
}

fn destination(fields: &Fields<'_>) -> Result<Destination, Refusal> {
    match (string("room", fields.room)?, string("to", fields.to)?) {
        (Some(_), Some(_)) => Err(Refusal::new(ErrorCode::BadField, "give `room` or `to`, not both")),
        (Some(room), None) => named("room", RoomName::parse(&room)).map(Destination::Room),
        (None, Some(user)) => named("to", UserId::parse(&user)).map(Destination::User),
        (None, None) => Ok(Destination::OnlyRoom),
    }
}

fn since(raw: Option<&RawValue>) -> Result<Option<Since>, Refusal> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow)]
        epoch: Cow<'a, str>,
        offset: u64,
    }
    let Some(raw) = given(raw) else { return Ok(None) };
    if !raw.get().starts_with('{') {
        return Err(wrong("since", r#"an object {"epoch":"…","offset":0}"#));
    }
    serde_json::from_str::<Fields<'_>>(raw.get())
        .map(|fields| Some(Since { epoch: Epoch::parse(&fields.epoch), offset: fields.offset }))
        .map_err(|_| wrong("since", r#"an object {"epoch":"…","offset":0}"#))
}

fn frame_id(raw: Option<&RawValue>) -> Result<Option<FrameId>, Refusal> {
    let Some(raw) = given(raw) else { return Ok(None) };
    let text = raw.get();
    let fault = || wrong("id", "a string of at most 64 bytes, or a number");
    let long = match text.as_bytes().first() {
        Some(b'"') => string("id", Some(raw))?.is_none_or(|id| id.len() > FRAME_ID_MAX_BYTES),
        Some(b'-' | b'0'..=b'9') => text.len() > FRAME_ID_MAX_BYTES,
        _ => true,
    };
    if long { Err(fault()) } else { Ok(Some(FrameId::from_json(text))) }
}

#[cfg(test)]
mod tests;
