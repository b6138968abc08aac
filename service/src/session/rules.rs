//! What is the same for all sessions of an instance: what `welcome` tells, and the rates that follow from the limits.

use std::time::Duration;

use super::rate_limit::Rate;
use crate::ids::ServerId;
use crate::protocol::limits::{FAULTS, FLOODS, Limits};

/// What is the same for all sessions of an instance.
#[derive(Debug)]
pub struct SessionRules {
    /// Told in `welcome`.
    pub server_id: ServerId,
    /// Told in `welcome`.
    pub limits: Limits,
    /// Told in `welcome`.
    pub affinity_cookie: Option<Box<str>>,
    /// Bytes that a room may hold back while its log is read; the outbox limit.
    pub hold_bytes: usize,
    /// Silence before a ping; twice as long is death.
    pub ping: Duration,
    /// Time to sign in.
    pub sign_in: Duration,
    pub(super) messages: Rate,
    pub(super) joins: Rate,
    /// Refused frames (of any kind) before the session is closed.
    pub(super) faults: Rate,
    pub(super) floods: Rate,
}

impl SessionRules {
    /// Derives the rates from the limits.
    #[must_use]
    pub fn new(server_id: ServerId, limits: Limits, affinity_cookie: Option<Box<str>>) -> Self {
        let rooms = u32::try_from(limits.rooms).unwrap_or(u32::MAX).max(1);
        Self {
            messages: Rate::new(limits.messages_per_second, limits.messages_burst),
            // A resume joins all rooms at once, perhaps twice in a row, and long replays join again.
            joins: Rate::new(rooms.max(20), rooms.saturating_mul(2).max(40)),
            faults: Rate::new(FAULTS.0, FAULTS.1),
            floods: Rate::new(FLOODS.0, FLOODS.1),
            server_id,
            affinity_cookie,
            hold_bytes: limits.outbox_bytes,
            ping: Duration::from_secs(limits.ping_seconds),
            sign_in: Duration::from_secs(limits.sign_in_seconds),
            limits,
        }
    }
}
