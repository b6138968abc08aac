//! The port for small facts about the whole cluster that are not messages: rooms, instances, bans.
//! Orders to sessions travel through the control log instead; see `hub/control.rs`.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod memory;
pub mod redis;

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::backplane::Unavailable;
use crate::ids::{RoomName, ServerId, UserId};
use crate::rights::RoomSpan;

/// An instance as it last described itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceRecord {
    /// Its name.
    pub server_id: ServerId,
    /// Its sessions.
    pub sessions: usize,
    /// It hands its sessions to others.
    pub draining: bool,
}

/// Some of the rooms that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// In the order of their names, with their top offsets.
    pub rooms: Vec<(RoomName, u64)>,
    /// There may be more after this name; `None`: that is all.
    pub next: Option<RoomName>,
}

/// Cluster-wide facts.
///
/// Guarantees, each checked by `directory/conformance.rs`: a ban is seen by `banned` on every instance once `ban` has
/// returned, until it is lifted or its time has passed; rooms are listed in the order of their names once they hold a
/// message; an instance is listed until [`RECORD_TTL`] after it last announced itself.
pub trait Directory: Send + Sync {
    /// Rooms with a logged message whose names are within `spans`, which are as [`Rights::spans`] makes them, and greater
    /// than `after`; at most `most`, which is not 0. Only names within the spans are looked at, and no more than [`LOOKED_AT`]
    /// for each room that may be listed: with many rooms that hold nothing any more there may be fewer rooms than `most`,
    /// or none, and still a `next`.
    ///
    /// [`Rights::spans`]: crate::rights::Rights::spans
    fn rooms<'a>(
        &'a self,
        spans: &'a [RoomSpan],
        after: Option<&'a str>,
        most: usize,
    ) -> BoxFuture<'a, Result<Listed, Unavailable>>;

    /// Refuses the user everywhere for this long. A later ban replaces an earlier one.
    fn ban<'a>(&'a self, user: &'a UserId, lasts: Duration) -> BoxFuture<'a, Result<(), Unavailable>>;

    /// Lifts a ban; no error if there is none.
    fn unban<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>>;

    /// How long the user is still banned; `None` if not.
    fn banned<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Duration>, Unavailable>>;

    /// Describes this instance to the others. To be called every few seconds.
    fn announce(&self, record: InstanceRecord) -> BoxFuture<'_, Result<(), Unavailable>>;

    /// The instances that announced themselves lately, in the order of their names.
    fn instances(&self) -> BoxFuture<'_, Result<Vec<InstanceRecord>, Unavailable>>;
}

/// Most names that are looked at for each room that may be listed.
pub const LOOKED_AT: usize = 3;
/// How long an announcement stands.
pub const RECORD_TTL: Duration = Duration::from_secs(15);
