//! What there is and who is where: rooms, instances, presence. It changes nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::faults::{self, Always, Named};
use super::names::{Name, Room};
use super::query::Query;
use crate::directory::InstanceRecord;
use crate::edge::problem::Problem;
use crate::edge::services::Services;
use crate::ids::RoomName;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::limits::PRESENCE_MAX_USERS;
use crate::rights::RoomSpan;

/// Who is in a room.
#[derive(Serialize, ToSchema)]
pub(super) struct RoomPresence {
    room: String,
    /// In the order of their names, at most 1,000; of a room with more users, any 1,000 of them.
    #[schema(max_items = 1_000)]
    users: Vec<String>,
    /// How many there are.
    count: usize,
}

/// Rooms in the order of their names.
#[derive(Serialize, ToSchema)]
pub(super) struct Rooms {
    rooms: Vec<RoomTop>,
    /// There are more: ask again with `after` = the last of these.
    more: bool,
}

/// A room and how far it is.
#[derive(Serialize, ToSchema)]
pub(super) struct RoomTop {
    room: String,
    /// The offset of its newest message.
    offset: u64,
}

/// The instances that announced themselves within the last 15 s, in the order of their names.
#[derive(Serialize, ToSchema)]
pub(super) struct Instances {
    instances: Vec<Instance>,
}

/// An instance as it last described itself, at most 15 s ago.
#[derive(Serialize, ToSchema)]
pub(super) struct Instance {
    server_id: String,
    /// Its WebSocket sessions.
    sessions: usize,
    /// It hands its sessions over to others.
    draining: bool,
}

/// How a page of rooms is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `Query` reads")]
pub(super) struct RoomsQuery {
    /// Only rooms whose names are greater, byte by byte.
    #[param(value_type = Option<Name>, nullable = false)]
    after: Option<String>,
    /// Most rooms of the answer.
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<u64>,
}

/// Who is in a room, on any instance.
///
/// A user counts once, however many sessions there are.
#[utoipa::path(
    get, path = "/rooms/{room}/presence", tag = "cluster", operation_id = "presence",
    params(("room" = Name, Path)),
    responses((status = 200, description = "Who is there", body = RoomPresence), Always, Named),
)]
pub(super) async fn presence(
    State(services): State<Arc<Services>>,
    Room(room): Room,
    uri: Uri,
) -> Result<Json<RoomPresence>, Problem> {
    Query::read(&uri, &[])?;
    services.attendance.settled().await;
    let roster = services.presence.roster(&room, PRESENCE_MAX_USERS).await;
    let roster = roster.map_err(|error| faults::unavailable(&error))?;
    let users = roster.users.iter().map(ToString::to_string).collect();
    Ok(Json(RoomPresence { room: room.to_string(), users, count: roster.count }))
}

/// List rooms that hold a message.
#[utoipa::path(
    get, path = "/rooms", tag = "cluster", operation_id = "rooms",
    params(RoomsQuery),
    responses((status = 200, description = "A page of rooms", body = Rooms), Always, Named),
)]
pub(super) async fn rooms(State(services): State<Arc<Services>>, uri: Uri) -> Result<Json<Rooms>, Problem> {
    let query = Query::read(&uri, &["after", "limit"])?;
    let limit = query.limit()?;
    let after = query.text("after").map(RoomName::parse).transpose();
    let mut after = after.map_err(|error| faults::bad(ErrorCode::BadName, format!("`after`: {error}")))?;
    loop {
        let listed = services.directory.rooms(&[RoomSpan::all()], after.as_ref().map(RoomName::as_str), limit).await;
        let listed = listed.map_err(|error| faults::unavailable(&error))?;
        let more = listed.next.is_some();
        // Whoever is told that there is more goes on after the last room, so there must be one.
        if listed.rooms.is_empty() && more {
            after = listed.next;
            continue;
        }
        let rooms = listed.rooms.into_iter().map(|(room, offset)| RoomTop { room: room.to_string(), offset });
        return Ok(Json(Rooms { rooms: rooms.collect(), more }));
    }
}

/// List instances.
#[utoipa::path(
    get, path = "/instances", tag = "cluster", operation_id = "instances",
    responses((status = 200, description = "The instances", body = Instances), Always, Named),
)]
pub(super) async fn instances(State(services): State<Arc<Services>>, uri: Uri) -> Result<Json<Instances>, Problem> {
    Query::read(&uri, &[])?;
    let found = services.directory.instances().await.map_err(|error| faults::unavailable(&error))?;
    let instance = |record: InstanceRecord| Instance {
        server_id: record.server_id.to_string(),
        sessions: record.sessions,
        draining: record.draining,
    };
    Ok(Json(Instances { instances: found.into_iter().map(instance).collect() }))
}
