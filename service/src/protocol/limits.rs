//! The numbers that bound a session, as told to clients in `welcome`. Values come from `config.rs`.

use serde::Serialize;

use crate::ids::{KEY_MAX_BYTES, NAME_MAX_BYTES};

/// Largest client frame in bytes, as one WebSocket message. Fixed: buffers are sized by it.
pub const CLIENT_FRAME_MAX_BYTES: usize = 64 * 1024;
/// Largest server frame in bytes; what holds messages stays well below, see [`PAGE_MAX_BYTES`].
pub const SERVER_FRAME_MAX_BYTES: usize = 512 * 1024;
/// Bytes of messages in one `joined` or `history`; the first message is always included.
pub const PAGE_MAX_BYTES: usize = 256 * 1024;
/// Deepest nesting of arrays and objects in a client frame, the frame itself included.
pub const JSON_MAX_DEPTH: usize = 64;
/// Longest `id` of a client frame in bytes: of a string decoded, of a number as it is written.
pub const FRAME_ID_MAX_BYTES: usize = 64;
/// Most users in the reply to `presence`; `count` tells how many there are.
pub const PRESENCE_MAX_USERS: usize = 1_000;
/// Rooms with more users than this announce no joins and leaves: n users would cause n² frames. Ask with `presence`.
pub const PRESENCE_EVENTS_MAX_USERS: usize = 100;
/// Most rooms in the reply to `rooms`.
pub const ROOMS_MAX_LISTED: usize = 1_000;
/// Most `room` parameters of a URL; what goes beyond is refused.
pub const URL_ROOMS_MAX: usize = 20;
/// Frames that are not the protocol, a second and at once; above it the session is closed.
pub const FAULTS: (u32, u32) = (1, 20);
/// Frames answered with `rate_limited`, a second and at once; above it the session is closed.
pub const FLOODS: (u32, u32) = (20, 200);

/// What a session may do, in the units of the names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    /// Largest `msg` or `data`, bytes of JSON text.
    pub message_bytes: usize,
    /// Largest client frame, bytes.
    pub frame_bytes: usize,
    /// Largest server frame, bytes.
    pub server_frame_bytes: usize,
    /// Deepest nesting of a client frame.
    pub depth: usize,
    /// Rooms that one session may have joined, `@me` not counted.
    pub rooms: usize,
    /// Sustained messages a second; 0 is no limit. Signals and questions have buckets of the same size of their own.
    pub messages_per_second: u32,
    /// Messages that may come at once after a pause.
    pub messages_burst: u32,
    /// Most messages in one `joined` or `history`.
    pub replay_messages: usize,
    /// Seconds of silence after which the server pings; after twice as many the session is dead.
    pub ping_seconds: u64,
    /// Seconds allowed to sign in.
    pub sign_in_seconds: u64,
    /// Bytes that may wait for a session that reads slowly.
    pub outbox_bytes: usize,
    /// Most messages that a room keeps.
    pub history_messages: usize,
    /// Seconds that a room keeps a message.
    pub history_seconds: u64,
    /// Bytes of a name.
    pub name_bytes: usize,
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Users in a room above which it announces no joins and leaves.
    pub presence_events_users: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 32 * 1024,
            frame_bytes: CLIENT_FRAME_MAX_BYTES,
            server_frame_bytes: SERVER_FRAME_MAX_BYTES,
            depth: JSON_MAX_DEPTH,
            rooms: 200,
            messages_per_second: 20,
            messages_burst: 50,
            replay_messages: 1_000,
            ping_seconds: 20,
            sign_in_seconds: 5,
            outbox_bytes: 512 * 1024,
            history_messages: 1_000,
            history_seconds: 86_400,
            name_bytes: NAME_MAX_BYTES,
            key_bytes: KEY_MAX_BYTES,
            presence_events_users: PRESENCE_EVENTS_MAX_USERS,
        }
    }
}
