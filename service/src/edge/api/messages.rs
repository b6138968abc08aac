//! `POST …/messages`: publishing to a room or to a user, without a join and with every right. Reading is `pages.rs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::faults::{Always, Publishing, WithBody};
use super::names::{Name, Room, User};
use super::{body, faults};
use crate::clock::Clock as _;
use crate::edge::actions;
use crate::edge::problem::Problem;
use crate::edge::services::Services;
use crate::ids::{Key, LogName, RetryKey, UserId};
use crate::message::{Position, Stored};
use crate::protocol::server_frame::{Content, direct_draft, message_draft};

/// Longest trace context that is taken along, bytes.
const TRACEPARENT_MAX_BYTES: usize = 64;

/// A message to publish.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewMessage)]
pub(super) struct NewMessage<'a> {
    /// Who it is from: any user, known or not.
    #[serde(borrow)]
    #[schema(value_type = Name, required = true)]
    from: Option<&'a RawValue>,
    /// What it says: any JSON value, forwarded byte for byte. At most PARLEY_MAX_MESSAGE_BYTES of JSON text.
    #[serde(borrow, default, deserialize_with = "body::even_null")]
    #[schema(value_type = serde_json::Value, required = true)]
    msg: Option<&'a RawValue>,
    /// Makes a repeat safe: within five minutes and one epoch the same key of the same `from` gives one message and the
    /// first answer.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64)]
    key: Option<&'a RawValue>,
}

/// Where a room's message is.
#[derive(Serialize, ToSchema)]
pub(super) struct Published {
    room: String,
    /// The life of the log that the offset belongs to.
    #[schema(example = "8f14e45fceea167a")]
    epoch: String,
    /// Its place in the log; the first message has 1.
    #[schema(minimum = 1)]
    offset: u64,
    /// When it was published: milliseconds since the Unix epoch.
    at: u64,
}

/// Where a direct message is.
#[derive(Serialize, ToSchema)]
pub(super) struct PublishedDirect {
    from: String,
    to: String,
    /// The life of the sender's inbox.
    #[schema(example = "8f14e45fceea167a")]
    epoch: String,
    /// Its place in the sender's inbox.
    #[schema(minimum = 1)]
    offset: u64,
    /// When it was published: milliseconds since the Unix epoch.
    at: u64,
    /// The key of the message: as given, else made by the server.
    key: String,
}

struct Parsed<'a> {
    from: UserId,
    content: Content<'a>,
}

fn parse<'a>(services: &Services, headers: &HeaderMap, text: &'a str) -> Result<Parsed<'a>, Problem> {
    let fields: NewMessage<'a> = body::fields(text)?;
    let from = body::required("from", body::name("from", fields.from, UserId::parse)?)?;
    let msg = body::payload(services, "msg", fields.msg)?;
    let key = body::name("key", fields.key, Key::parse)?;
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let traceparent = traceparent.filter(|text| text.len() <= TRACEPARENT_MAX_BYTES).map(Into::into);
    Ok(Parsed { from, content: Content { msg, key, at: services.clock.now().wall_ms, traceparent } })
}

/// Publish to a room.
///
/// Needs no member and makes the room if there is none. The message is stored once this answers 200; a header
/// `traceparent` goes along with it.
#[utoipa::path(
    post, path = "/rooms/{room}/messages", tag = "messages", operation_id = "publish_to_room",
    params(("room" = Name, Path)),
    request_body = NewMessage,
    responses((status = 200, description = "Stored, here", body = Published), Always, WithBody, Publishing),
)]
pub(super) async fn to_room(
    State(services): State<Arc<Services>>,
    Room(room): Room,
    request: Request,
) -> Result<Json<Published>, Problem> {
    let headers = request.headers().clone();
    let text = body::read(&services, request, true).await?;
    let Parsed { from, content } = parse(&services, &headers, &text)?;
    let draft = message_draft(&room, &from, content);
    let log = LogName::Room(room);
    let stored = actions::publish(&services, &log, &draft).await;
    let stored = stored.map_err(|error| faults::publish(&error, draft.key.as_ref().map(RetryKey::key)))?;
    let Stored { position: Position { epoch, offset }, at } = stored;
    Ok(Json(Published { room: log.wire_name().to_owned(), epoch: epoch.to_string(), offset, at }))
}

/// Send a direct message.
///
/// It is appended to the inbox of `{user}`, then to that of `from`, so that the sender's sessions see it too. Both
/// get it under one key; a repeat with that key completes what an error left half done.
#[utoipa::path(
    post, path = "/users/{user}/messages", tag = "messages", operation_id = "publish_to_user",
    params(("user" = Name, Path)),
    request_body = NewMessage,
    responses((status = 200, description = "Stored in both inboxes", body = PublishedDirect), Always, WithBody, Publishing),
)]
pub(super) async fn to_user(
    State(services): State<Arc<Services>>,
    User(to): User,
    request: Request,
) -> Result<Json<PublishedDirect>, Problem> {
    let headers = request.headers().clone();
    let text = body::read(&services, request, true).await?;
    let Parsed { from, mut content } = parse(&services, &headers, &text)?;
    let made = || Key::from_bits(services.entropy.bits(), services.entropy.bits());
    let key = content.key.take().unwrap_or_else(made);
    content.key = Some(key.clone());
    let draft = direct_draft(&from, &to, content);
    let stored = actions::direct(&services, &from, &to, &draft).await;
    let stored = stored.map_err(|error| faults::publish(&error, Some(key.as_str())))?;
    let Stored { position: Position { epoch, offset }, at } = stored;
    Ok(Json(PublishedDirect {
        from: from.to_string(),
        to: to.to_string(),
        epoch: epoch.to_string(),
        offset,
        at,
        key: key.as_str().to_owned(),
    }))
}
