//! `GET …/messages`: reading a log page by page, made so that a back end can copy it and knows whenever it missed
//! something. Writing is `messages.rs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::faults;
use super::faults::{Always, Named, Reading};
use super::names::{Name, Room, User};
use super::query::Query;
use crate::backplane::{Page, Range};
use crate::edge::problem::Problem;
use crate::edge::services::Services;
use crate::ids::LogName;
use crate::message::{Epoch, Position};
use crate::protocol::error_code::ErrorCode;

/// How a page is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `Query` reads")]
pub(super) struct PageQuery {
    /// Read upwards what follows this offset; 0, also when left out, is the beginning. Offsets that are not there any
    /// more are passed over, unless `epoch` is given.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: Option<u64>,
    /// With `after`: the epoch of the page that `after` comes from. The answer then follows on that page without a
    /// loss, or is the problem `gap`.
    epoch: Option<String>,
    /// Read downwards what precedes this offset, instead of `after`. The answer is in rising order all the same.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    before: Option<u64>,
    /// Most messages of the answer. It may have fewer: at most PARLEY_REPLAY_MESSAGES, and 256 KiB of messages.
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<u64>,
}

/// Messages of a room, in rising order.
///
/// To copy a room: read without parameters, then again and again with `epoch` and `after` = `next_after` of the answer
/// before; at once while `more` is true, else after a pause of your choice. What is copied is identified by epoch and
/// offset.
#[derive(Serialize, ToSchema)]
#[schema(as = RoomMessages)]
struct RoomMessages<'a> {
    room: &'a str,
    #[serde(flatten)]
    page: Messages<'a>,
}

/// Messages of a user's inbox, in rising order. It is copied like a room.
#[derive(Serialize, ToSchema)]
#[schema(as = UserMessages)]
struct UserMessages<'a> {
    user: &'a str,
    #[serde(flatten)]
    page: Messages<'a>,
}

/// A page of a log.
#[derive(Serialize, ToSchema)]
#[schema(as = Messages)]
struct Messages<'a> {
    /// The life of the log that the offsets belong to.
    #[schema(value_type = String, example = "8f14e45fceea167a")]
    epoch: Epoch,
    /// The `message` or `direct` frames, byte for byte as members receive them.
    #[schema(value_type = Vec<LoggedMessage>)]
    messages: Vec<&'a RawValue>,
    /// Reading upwards: the `after` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_after: Option<u64>,
    /// Reading downwards: the `before` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_before: Option<u64>,
    /// There is more in this direction now.
    more: bool,
    /// The offset of the newest message of the log; 0 if there never was one.
    top: u64,
}

/// A `message` or `direct` frame.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes frames, which are spliced in as bytes")]
struct LoggedMessage {
    /// `message` in a room, `direct` in an inbox.
    r#type: String,
    /// The room's name; `@me` in an inbox.
    room: String,
    #[schema(minimum = 1)]
    offset: u64,
    from: String,
    /// In an inbox: who it is to.
    #[schema(nullable = false)]
    to: Option<String>,
    /// Any JSON value, byte for byte as it was published.
    msg: serde_json::Value,
    /// The key that it was published with.
    #[schema(nullable = false)]
    key: Option<String>,
    /// When it was published: milliseconds since the Unix epoch.
    at: u64,
}

/// Read a room.
///
/// Pages upwards by `after` or downwards by `before`. A room that nobody wrote to is empty, not an error.
#[utoipa::path(
    get, path = "/rooms/{room}/messages", tag = "messages", operation_id = "read_room",
    params(("room" = Name, Path), PageQuery),
    responses((status = 200, description = "A page", body = RoomMessages), Always, Named, Reading),
)]
pub(super) async fn room(
    State(services): State<Arc<Services>>,
    Room(room): Room,
    uri: Uri,
) -> Result<Response, Problem> {
    let (wanted, page) = read(&services, &LogName::Room(room.clone()), &uri).await?;
    Ok(Json(RoomMessages { room: room.as_str(), page: messages(wanted, &page)? }).into_response())
}

/// Read a user's inbox.
///
/// The direct messages to and from a user, as the user's sessions see them in `@me`.
#[utoipa::path(
    get, path = "/users/{user}/messages", tag = "messages", operation_id = "read_user",
    params(("user" = Name, Path), PageQuery),
    responses((status = 200, description = "A page", body = UserMessages), Always, Named, Reading),
)]
pub(super) async fn user(
    State(services): State<Arc<Services>>,
    User(user): User,
    uri: Uri,
) -> Result<Response, Problem> {
    let (wanted, page) = read(&services, &LogName::Inbox(user.clone()), &uri).await?;
    Ok(Json(UserMessages { user: user.as_str(), page: messages(wanted, &page)? }).into_response())
}

async fn read(services: &Services, log: &LogName, uri: &Uri) -> Result<(Range, Page), Problem> {
    let query = Query::read(uri, &["after", "epoch", "before", "limit"])?;
    let (limit, wanted) = (query.limit()?, wanted(&query)?);
    let Some(range) = wanted else { return Err(gap(services, log).await) };
    let page = services.hub.read(log, range, limit).await.map_err(|error| faults::unavailable(&error))?;
    if page.lost {
        return Err(gap(services, log).await);
    }
    Ok((range, page))
}

/// `None`: the epoch is none that a server of ours ever gave.
fn wanted(query: &Query) -> Result<Option<Range>, Problem> {
    let bad = |detail| Err(faults::bad(ErrorCode::BadField, detail));
    match (query.offset("after")?, query.text("epoch"), query.offset("before")?) {
        (Some(_), _, Some(_)) => bad("give `after` or `before`, not both"),
        (None, Some(_), _) => bad("`epoch` needs the `after` that it belongs to"),
        (None, None, Some(before)) => Ok(Some(Range::Before(before))),
        (after, None, None) => Ok(Some(Range::After(after.unwrap_or(0)))),
        (Some(offset), Some(epoch), None) => {
            Ok(Epoch::parse(epoch).map(|epoch| Range::Since(Position { epoch, offset })))
        }
    }
}

fn messages(wanted: Range, page: &Page) -> Result<Messages<'_>, Problem> {
    let frames = page.entries.iter().map(|entry| serde_json::from_slice(&entry.frame));
    let frames: Vec<&RawValue> = frames.collect::<Result<_, _>>().map_err(|error| {
        tracing::error!(%error, "a log holds what is not JSON");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the log holds what is not JSON")
    })?;
    let (next_after, next_before) = match wanted {
        Range::Before(before) => (None, Some(page.entries.first().map_or(before, |oldest| oldest.offset))),
        Range::Since(Position { offset: after, .. }) | Range::After(after) => {
            // Without messages everything up to the top is gone. What is above the top was not of this log: stay there,
            // so that the next page is a gap and not a silent jump back.
            let next = page.entries.last().map_or(after.max(page.top.offset), |newest| newest.offset);
            (Some(next), None)
        }
        Range::Newest => (None, None),
    };
    let Position { epoch, offset: top } = page.top;
    Ok(Messages { epoch, messages: frames, next_after, next_before, more: page.more, top })
}

/// Where the log can go on, and what the caller must take as lost.
async fn gap(services: &Services, log: &LogName) -> Problem {
    let page = match services.hub.read(log, Range::After(0), 1).await {
        Ok(page) => page,
        Err(error) => return faults::unavailable(&error),
    };
    let oldest = page.entries.first().map_or(page.top.offset + 1, |entry| entry.offset);
    let detail = "the log does not reach back to `after`, or has begun a new epoch: go on with this `epoch` and \
                  `after` = `oldest` - 1, and take what is missing between as lost";
    Problem::new(StatusCode::GONE, "gap", detail).gap(page.top.epoch, oldest)
}
