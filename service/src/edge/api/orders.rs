//! Moderation: kick, disconnect, ban. An order is logged and every instance carries it out, one that was cut off as soon
//! as it is back; see `hub/control.rs`. Whom to moderate is the application's business.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::faults::{Always, Named, Ordering, WithBody};
use super::names::{Name, Room, User};
use super::{body, faults};
use crate::backplane::PublishError;
use crate::clock::Clock as _;
use crate::edge::problem::Problem;
use crate::edge::services::Services;
use crate::hub::control::{self, ControlOrder};
use crate::protocol::error_code::ErrorCode;

/// Longest ban, seconds: 365 days.
const BAN_MAX_SECONDS: u64 = 31_536_000;

/// How to disconnect.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = Disconnect)]
pub(super) struct Disconnect<'a> {
    /// The clients should come back at once, with fresh credentials (close code 4004 instead of 4503).
    #[serde(borrow)]
    #[schema(value_type = Option<bool>, default = false)]
    reconnect: Option<&'a RawValue>,
}

/// How long to ban.
#[derive(Deserialize, ToSchema)]
#[schema(as = Ban)]
pub(super) struct Ban<'a> {
    /// From now on. A later ban replaces an earlier one.
    #[serde(borrow)]
    #[schema(value_type = u64, required = true, minimum = 1, maximum = 31_536_000)]
    seconds: Option<&'a RawValue>,
}

/// A ban that stands.
#[derive(Serialize, ToSchema)]
pub(super) struct Banned {
    user: String,
    /// When it ends: milliseconds since the Unix epoch.
    until_ms: u64,
}

/// Kick a user out of a room.
///
/// Every session of the user is told `left` with the reason `kicked` within 2 s, on every instance that reaches the
/// backplane. They may join again: a ban from a room is a matter of the token's rights. Repeating it is safe.
#[utoipa::path(
    delete, path = "/rooms/{room}/members/{user}", tag = "moderation", operation_id = "kick",
    params(
        ("room" = Name, Path),
        ("user" = Name, Path),
    ),
    responses((status = 202, description = "Ordered, whether or not the user is there"), Always, Named, Ordering),
)]
pub(super) async fn kick(
    State(services): State<Arc<Services>>,
    Room(room): Room,
    User(user): User,
) -> Result<StatusCode, Problem> {
    let order = ControlOrder::Kick { room: room.to_string(), user: user.to_string() };
    send(&services, &order).await.map_err(|error| faults::order(&error))?;
    Ok(StatusCode::ACCEPTED)
}

/// Disconnect a user.
///
/// Every session of the user is closed within 2 s, on every instance that reaches the backplane: with 4503 (stay away),
/// or with `reconnect` 4004 (come back). It keeps nobody out; that is a ban. The body may be left
/// out. Repeating it is
/// safe.
#[utoipa::path(
    post, path = "/users/{user}/disconnect", tag = "moderation", operation_id = "disconnect",
    params(("user" = Name, Path)),
    request_body = Option<Disconnect>,
    responses((status = 202, description = "Ordered, whether or not the user is there"), Always, WithBody, Ordering),
)]
pub(super) async fn disconnect(
    State(services): State<Arc<Services>>,
    User(user): User,
    request: Request,
) -> Result<StatusCode, Problem> {
    let text = body::read(&services, request, false).await?;
    let left_out = matches!(text.trim(), "" | "null");
    let fields: Disconnect<'_> = if left_out { Disconnect::default() } else { body::fields(&text)? };
    let reconnect = body::value("reconnect", fields.reconnect, "true or false")?.unwrap_or(false);
    let order = ControlOrder::Disconnect { user: user.to_string(), reconnect };
    send(&services, &order).await.map_err(|error| faults::order(&error))?;
    Ok(StatusCode::ACCEPTED)
}

/// Ban a user.
///
/// From the answer on the user cannot sign in on any instance; the sessions that are open are closed with 4502 within
/// 2 s, on every instance that reaches the backplane. Repeating it is safe.
#[utoipa::path(
    put, path = "/users/{user}/ban", tag = "moderation", operation_id = "ban",
    params(("user" = Name, Path)),
    request_body = Ban,
    responses((status = 200, description = "Banned", body = Banned), Always, WithBody, Ordering),
)]
pub(super) async fn ban(
    State(services): State<Arc<Services>>,
    User(user): User,
    request: Request,
) -> Result<Json<Banned>, Problem> {
    let text = body::read(&services, request, true).await?;
    let fields: Ban<'_> = body::fields(&text)?;
    let range = format!("a whole number, 1 to {BAN_MAX_SECONDS}");
    let seconds: u64 = body::required("seconds", body::value("seconds", fields.seconds, &range)?)?;
    if !(1..=BAN_MAX_SECONDS).contains(&seconds) {
        return Err(faults::bad(ErrorCode::BadField, format!("`seconds` must be {range}")));
    }
    let until_ms = services.clock.now().wall_ms + seconds * 1_000;
    // The ban first: a session that comes between the two would otherwise escape both.
    let banned = services.directory.ban(&user, Duration::from_secs(seconds)).await;
    banned.map_err(|error| faults::unavailable(&error))?;
    let ordered = send(&services, &ControlOrder::Ban { user: user.to_string() }).await;
    ordered.map_err(|error| {
        tracing::debug!(%error, "a ban stands, but its order could not be sent");
        faults::outcome_unknown("the user is banned, but open sessions may go on: ban again, which is safe")
    })?;
    Ok(Json(Banned { user: user.to_string(), until_ms }))
}

/// Lift a ban.
///
/// The user can sign in again at once. No error if there is no ban.
#[utoipa::path(
    delete, path = "/users/{user}/ban", tag = "moderation", operation_id = "unban",
    params(("user" = Name, Path)),
    responses((status = 204, description = "There is no ban now"), Always, Named),
)]
pub(super) async fn unban(State(services): State<Arc<Services>>, User(user): User) -> Result<StatusCode, Problem> {
    services.directory.unban(&user).await.map_err(|error| faults::unavailable(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn send(services: &Services, order: &ControlOrder) -> Result<(), PublishError> {
    control::send(services.backplane.as_ref(), order, services.clock.now().wall_ms).await
}
