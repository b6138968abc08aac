//! The port that knows who is where across all instances. One join and one leave per user, however many sessions.
//! Counting an instance's own sessions is `hub/attendance.rs`.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod memory;
pub mod redis;

use futures_util::future::BoxFuture;

use crate::backplane::Unavailable;
use crate::ids::{RoomName, UserId};

/// Who is in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// Users in the order of their names, at most as many as asked for; which ones, if there are more, is left open.
    pub users: Vec<UserId>,
    /// How many there are.
    pub count: usize,
}

/// Presence, leased per instance.
///
/// Guarantees, each checked by `presence/conformance.rs`:
/// * The first instance to `enter` a user into a room broadcasts one `join`; the last to `leave` broadcasts one `leave`.
///   Rooms above `PRESENCE_EVENTS_MAX_USERS` users broadcast nothing.
/// * What an instance entered stands until it leaves or its lease runs out: [`LEASE`] after its last `renew`.
///   `renew` also purges what other instances held beyond their lease, and broadcasts those leaves; it may return before
///   that is done.
/// * All calls are idempotent.
pub trait Presence: Send + Sync {
    /// This instance has a session of the user in the room.
    fn enter<'a>(&'a self, room: &'a RoomName, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>>;

    /// This instance has none any more.
    fn leave<'a>(&'a self, room: &'a RoomName, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>>;

    /// Who is in the room, on any instance.
    fn roster<'a>(&'a self, room: &'a RoomName, most: usize) -> BoxFuture<'a, Result<Roster, Unavailable>>;

    /// Keeps this instance's lease. To be called every [`RENEW_EVERY`]. `false`: the lease had run out, and what this
    /// instance had entered is gone, or may be; enter it again, and repeat leaves that are not acknowledged.
    fn renew(&self) -> BoxFuture<'_, Result<bool, Unavailable>>;
}

/// How long an instance's presence stands without `renew`.
pub const LEASE: std::time::Duration = std::time::Duration::from_secs(10);
/// How often an instance renews: a crash is seen within lease + period, below the promised 15 s.
pub const RENEW_EVERY: std::time::Duration = std::time::Duration::from_secs(3);
