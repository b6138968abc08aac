//! The names in paths, percent-decoded and checked. A handler that asks for one has a valid name or does not run.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use utoipa::ToSchema;

use super::faults;
use crate::edge::problem::Problem;
use crate::ids::{NameError, RoomName, UserId};
use crate::protocol::error_code::ErrorCode;

/// The name of a room or user: 1 to 128 bytes of UTF-8 without control characters, not starting with `@`.
#[derive(ToSchema)]
#[schema(
    min_length = 1,
    max_length = 128,
    pattern = "^[^@\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$",
    example = "general"
)]
#[expect(dead_code, reason = "describes what is parsed into `RoomName` and `UserId`")]
pub(super) struct Name(String);

/// The `{room}` of a path.
pub(super) struct Room(pub(super) RoomName);

/// The `{user}` of a path.
pub(super) struct User(pub(super) UserId);

impl<S: Send + Sync> FromRequestParts<S> for Room {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        named(parts, state, "room", RoomName::parse).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        named(parts, state, "user", UserId::parse).await.map(Self)
    }
}

async fn named<S: Send + Sync, T>(
    parts: &mut Parts,
    state: &S,
    what: &'static str,
    parse: fn(&str) -> Result<T, NameError>,
) -> Result<T, Problem> {
    let bad = |fault: String| faults::bad(ErrorCode::BadName, format!("the {what} in the path: {fault}"));
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| bad("a name must be UTF-8, percent-encoded".to_owned()))?;
    let text = params.iter().find(|(name, _)| *name == what).map(|(_, text)| text).unwrap_or_default();
    parse(text).map_err(|error| bad(error.to_string()))
}
