//! `POST …/signals`: what is shown and forgotten, such as a typing hint. It is not logged and may be dropped.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body;
use super::faults::{Always, WithBody};
use super::names::{Name, Room, User};
use crate::delivery::EphemeralKind;
use crate::edge::problem::Problem;
use crate::edge::services::Services;
use crate::ids::{LogName, UserId};
use crate::protocol::server_frame;

/// A signal to send.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewSignal)]
pub(super) struct NewSignal<'a> {
    /// Who it is from: any user, known or not.
    #[serde(borrow)]
    #[schema(value_type = Name, required = true)]
    from: Option<&'a RawValue>,
    /// What it says: any JSON value, forwarded byte for byte. At most PARLEY_MAX_MESSAGE_BYTES of JSON text.
    #[serde(borrow, default, deserialize_with = "body::even_null")]
    #[schema(value_type = serde_json::Value, required = true)]
    data: Option<&'a RawValue>,
}

/// Signal to a room.
///
/// Goes to the sessions that are in the room now; nothing tells whether it arrived.
#[utoipa::path(
    post, path = "/rooms/{room}/signals", tag = "messages", operation_id = "signal_to_room",
    params(("room" = Name, Path)),
    request_body = NewSignal,
    responses((status = 202, description = "On its way, without a promise"), Always, WithBody),
)]
pub(super) async fn to_room(
    State(services): State<Arc<Services>>,
    Room(room): Room,
    request: Request,
) -> Result<StatusCode, Problem> {
    send(&services, LogName::Room(room), request).await
}

/// Signal to a user.
///
/// Goes to the user's sessions that have joined `@me`; nothing tells whether it arrived.
#[utoipa::path(
    post, path = "/users/{user}/signals", tag = "messages", operation_id = "signal_to_user",
    params(("user" = Name, Path)),
    request_body = NewSignal,
    responses((status = 202, description = "On its way, without a promise"), Always, WithBody),
)]
pub(super) async fn to_user(
    State(services): State<Arc<Services>>,
    User(user): User,
    request: Request,
) -> Result<StatusCode, Problem> {
    send(&services, LogName::Inbox(user), request).await
}

async fn send(services: &Services, log: LogName, request: Request) -> Result<StatusCode, Problem> {
    let text = body::read(services, request, true).await?;
    let fields: NewSignal<'_> = body::fields(&text)?;
    let from = body::required("from", body::name("from", fields.from, UserId::parse)?)?;
    let data = body::payload(services, "data", fields.data)?;
    let frame = server_frame::signal(log.wire_name(), &from, data);
    services.backplane.broadcast(&log, frame, EphemeralKind::Signal(None));
    Ok(StatusCode::ACCEPTED)
}
