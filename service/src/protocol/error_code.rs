//! Every `code` of an `error` frame and of the server API's problem documents. A client may switch on it; new ones may come within a version.

use serde::Serialize;

/// What was wrong, or what to do. Also the bounded label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, not an object, too deep, or with lone surrogates.
    Malformed,
    /// `type` is none of the protocol's.
    UnknownType,
    /// A field is missing or of the wrong type or range.
    BadField,
    /// A room, user or key breaks the rules of names.
    BadName,
    /// `msg` or `data` is over `message_bytes`.
    MessageTooLarge,
    /// Sign in first, or with other credentials.
    Unauthenticated,
    /// Signed in, but without this right.
    Forbidden,
    /// `chat` names neither room nor user, and there is not exactly one joined room.
    RoomRequired,
    /// The session has not joined that room.
    NotJoined,
    /// The session is in as many rooms as it may be.
    TooManyRooms,
    /// Over a rate; try again after `retry_after_ms`.
    RateLimited,
    /// Certainly not done; try again.
    Unavailable,
    /// Perhaps stored, perhaps not: repeat with the same `key`.
    OutcomeUnknown,
    /// There is no such thing (server API).
    NotFound,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::UnknownType,
        Self::BadField,
        Self::BadName,
        Self::MessageTooLarge,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::RoomRequired,
        Self::NotJoined,
        Self::TooManyRooms,
        Self::RateLimited,
        Self::Unavailable,
        Self::OutcomeUnknown,
        Self::NotFound,
    ];

    /// The text on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// What a client author should do.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.row().1
    }

    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed => {
                ("malformed", "the frame is not a JSON object, is nested too deep, or has lone surrogates")
            }
            Self::UnknownType => ("unknown_type", "`type` is none of the protocol's"),
            Self::BadField => {
                ("bad_field", "a field is missing, of the wrong type or out of range; `message` names it")
            }
            Self::BadName => ("bad_name", "a room, user or key breaks the rules of names"),
            Self::MessageTooLarge => {
                ("message_too_large", "`msg` or `data` is over `message_bytes`, told in `welcome`")
            }
            Self::Unauthenticated => ("unauthenticated", "sign in first, or with other credentials"),
            Self::Forbidden => ("forbidden", "the token's claims do not include this right"),
            Self::RoomRequired => ("room_required", "name a `room` or `to`: there is not exactly one joined room"),
            Self::NotJoined => ("not_joined", "join the room first"),
            Self::TooManyRooms => ("too_many_rooms", "leave a room first; `rooms` in `welcome` is the limit"),
            Self::RateLimited => ("rate_limited", "try again after `retry_after_ms`"),
            Self::Unavailable => ("unavailable", "certainly not done: try again"),
            Self::OutcomeUnknown => {
                ("outcome_unknown", "perhaps stored, perhaps not: repeat with the same `key`, which is safe")
            }
            Self::NotFound => ("not_found", "there is no such thing (server API)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serialised_form_is_the_text_form() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
