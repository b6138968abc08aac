//! Names and identities: validated newtypes, so that a room can never be passed where a user is meant.
//! It does not decide who may use a name; see `rights.rs`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Longest room, user or server name in bytes.
pub const NAME_MAX_BYTES: usize = 128;
/// Longest idempotency key in bytes.
pub const KEY_MAX_BYTES: usize = 64;
/// How a user addresses the own inbox on the wire.
pub const INBOX_ALIAS: &str = "@me";

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no bytes.
    #[error("a name must not be empty")]
    Empty,
    /// The name is longer than [`NAME_MAX_BYTES`].
    #[error("a name has at most {NAME_MAX_BYTES} bytes")]
    TooLong,
    /// The name holds a Unicode control character (general category Cc), NUL among them.
    #[error("a name must not hold control characters")]
    ControlCharacter,
    /// The name starts with `@`.
    #[error("names starting with @ are reserved")]
    Reserved,
}

fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        Err(NameError::Empty)
    } else if text.len() > NAME_MAX_BYTES {
        Err(NameError::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(NameError::ControlCharacter)
    } else if text.starts_with('@') {
        Err(NameError::Reserved)
    } else {
        Ok(())
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 128 bytes, no control characters, no leading `@`; compared byte for byte. Cloning is a reference count.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check_name(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

name_type! {
    /// The name of a room.
    RoomName
}
name_type! {
    /// Who a session speaks for: the `sub` of its token.
    UserId
}
name_type! {
    /// The name of an instance, as in logs, `welcome` and `/instance`.
    ServerId
}

/// One WebSocket's life on one instance; 64 random bits, unique for all practical purposes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// Takes 64 random bits, see `entropy.rs`.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits it was made of.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A client's idempotency key: 1 to 64 bytes, any characters, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// Checks and takes a key.
    ///
    /// # Errors
    /// [`NameError::Empty`] or [`NameError::TooLong`] (over [`KEY_MAX_BYTES`]).
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            Err(NameError::Empty)
        } else if text.len() > KEY_MAX_BYTES {
            Err(NameError::TooLong)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// A key that the server makes when the client gave none; 128 random bits.
    #[must_use]
    pub fn from_bits(high: u64, low: u64) -> Self {
        Self(format!("{high:016x}{low:016x}").into())
    }

    /// The key as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What makes a repeated publish the same publish: a key belongs to the user who made it, so that two users who count
/// their messages from 1 do not swallow each other's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RetryKey(Box<str>);

impl RetryKey {
    /// The key of this user.
    #[must_use]
    pub fn new(user: &UserId, key: &Key) -> Self {
        // A name holds no control character, so the first line break ends it.
        Self(format!("{user}\n{}", key.as_str()).into())
    }

    /// The key of the sender's own copy of a message to `receiver`: what one user sends to two others with one key are two
    /// messages.
    #[must_use]
    pub fn of_copy(&self, receiver: &UserId) -> Self {
        let (user, key) = self.0.split_once('\n').unwrap_or_default();
        // No name holds a control character, so this is no user's key.
        Self(format!("{user}\u{1}{receiver}\n{key}").into())
    }

    /// User and key in one text, which differs for any two pairs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as its user gave it.
    #[must_use]
    pub fn key(&self) -> &str {
        self.0.split_once('\n').map_or("", |(_, key)| key)
    }
}

/// Which log: a room's, a user's inbox, or the internal log that carries control orders between instances.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogName {
    /// A room that sessions join by its name.
    Room(RoomName),
    /// The direct messages of one user, addressed by its owner as `@me`.
    Inbox(UserId),
    /// Orders to all instances: kick, disconnect, ban. No session can name it.
    Control,
}

impl LogName {
    /// The name by which a member knows this log on the wire.
    #[must_use]
    pub fn wire_name(&self) -> &str {
        match self {
            Self::Room(room) => room.as_str(),
            Self::Inbox(_) => INBOX_ALIAS,
            Self::Control => "@control",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_byte_for_byte_and_kept_as_given() {
        assert_eq!(RoomName::parse("Ünï-cöde room").map(|n| n.to_string()), Ok("Ünï-cöde room".to_owned()));
        assert_ne!(RoomName::parse("a"), RoomName::parse("A"));
    }

    #[test]
    fn every_broken_rule_is_named() {
        assert_eq!(RoomName::parse(""), Err(NameError::Empty));
        assert_eq!(RoomName::parse(&"x".repeat(129)), Err(NameError::TooLong));
        assert!(RoomName::parse(&"x".repeat(128)).is_ok());
        assert_eq!(UserId::parse("a\0b"), Err(NameError::ControlCharacter));
        assert_eq!(UserId::parse("a\u{85}b"), Err(NameError::ControlCharacter));
        assert_eq!(RoomName::parse("@me"), Err(NameError::Reserved));
    }

    #[test]
    fn keys_are_bounded() {
        assert_eq!(Key::parse(""), Err(NameError::Empty));
        assert_eq!(Key::parse(&"k".repeat(65)), Err(NameError::TooLong));
        let key = |user: &str, key: &str| RetryKey::new(&UserId::parse(user).unwrap(), &Key::parse(key).unwrap());
        assert_ne!(key("alice", "1"), key("bob", "1"));
        assert_eq!(key("alice", "a\nb").key(), "a\nb");
        assert_eq!(Key::from_bits(1, 2).as_str(), "00000000000000010000000000000002");
    }
}
