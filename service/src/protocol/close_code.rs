//! Every code with which a connection is closed, and whether the client should come back.
//! 4000–4499: reconnect. 4500–4999: do not. The standard codes are those of RFC 6455 section 7.4.1.

/// Why a connection ends. The number travels in the close frame, the reason beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The peer asked for the end.
    Normal,
    /// The frame breaks RFC 6455.
    Malformed,
    /// A binary frame: this protocol is text.
    Binary,
    /// A text frame that is not UTF-8.
    NotUtf8,
    /// A frame or message above the limit told in `welcome`.
    TooBig,
    /// The instance leaves: it drains, restarts or is scaled down.
    Restart,
    /// The outbox went over its limit: the client reads slower than its rooms write.
    Slow,
    /// The token's `exp` has passed without a refresh.
    TokenExpired,
    /// Nothing was heard for twice the ping interval.
    Dead,
    /// No sign-in within the time allowed.
    SignInTimeout,
    /// The application asked for a fresh session.
    Refresh,
    /// The client goes on sending what is not the protocol.
    ProtocolFaults,
    /// No credentials, or such that cannot become valid.
    Unauthenticated,
    /// The application has banned the user.
    Banned,
    /// The application ended the session for good.
    Disconnected,
    /// The client goes on sending after it was refused for its rate.
    Flooding,
}

impl CloseCode {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Normal,
        Self::Malformed,
        Self::Binary,
        Self::NotUtf8,
        Self::TooBig,
        Self::Restart,
        Self::Slow,
        Self::TokenExpired,
        Self::Dead,
        Self::SignInTimeout,
        Self::Refresh,
        Self::ProtocolFaults,
        Self::Unauthenticated,
        Self::Banned,
        Self::Disconnected,
        Self::Flooding,
    ];

    /// The number in the close frame.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.row().0
    }

    /// The text in the close frame; also the bounded label in metrics and logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.row().1
    }

    /// Whether a client should connect again on its own (and resume).
    #[must_use]
    pub const fn reconnect(self) -> bool {
        self.row().2
    }

    /// What a client author should know.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.row().3
    }

    const fn row(self) -> (u16, &'static str, bool, &'static str) {
        match self {
            Self::Normal => (1000, "bye", false, "the client closed; answered in kind"),
            Self::Malformed => (1002, "malformed", false, "a frame broke RFC 6455; mend the client"),
            Self::Binary => (1003, "binary", false, "binary frames are not part of the protocol"),
            Self::NotUtf8 => (1007, "not_utf8", false, "a text frame was not UTF-8"),
            Self::TooBig => (1009, "too_big", false, "a frame was over `frame_bytes`, told in `welcome`"),
            Self::Restart => (1012, "restart", true, "the instance goes away; resume on another one"),
            Self::Slow => {
                (4000, "slow", true, "the client read too slowly and its outbox was full; resume, nothing is lost")
            }
            Self::TokenExpired => (4001, "token_expired", true, "the token's `exp` passed; come back with a fresh one"),
            Self::Dead => (4002, "dead", true, "nothing was heard for twice the ping interval"),
            Self::SignInTimeout => (4003, "sign_in_timeout", true, "no sign-in within `sign_in_seconds`"),
            Self::Refresh => (4004, "refresh", true, "the application wants a fresh session"),
            Self::ProtocolFaults => (4500, "protocol_faults", false, "too many faulty frames; mend the client"),
            Self::Unauthenticated => (4501, "unauthenticated", false, "credentials are missing or wrong"),
            Self::Banned => (4502, "banned", false, "the application has banned this user"),
            Self::Disconnected => (4503, "disconnected", false, "the application ended this session"),
            Self::Flooding => (4504, "flooding", false, "too many frames after `rate_limited`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_codes_say_by_their_range_whether_to_reconnect() {
        for code in CloseCode::ALL {
            match code.number() {
                4000..=4499 | 1001 | 1012 => assert!(code.reconnect(), "{code:?}"),
                _ => assert!(!code.reconnect(), "{code:?}"),
            }
        }
    }

    #[test]
    fn numbers_are_unique_and_reasons_fit_a_control_frame() {
        let mut numbers: Vec<_> = CloseCode::ALL.iter().map(|c| c.number()).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), CloseCode::ALL.len());
        assert!(numbers.is_sorted());
        assert!(CloseCode::ALL.iter().all(|c| c.reason().len() <= 123));
    }
}
