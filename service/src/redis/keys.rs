//! Every key and channel name, and nothing else. What belongs to one log has one hash tag, so that it would lie in one
//! slot; the tests pin the bytes, because instances of other versions use the same ones.

use std::fmt::Write as _;

use crate::ids::{LogName, RetryKey, RoomName, UserId};

/// Makes names under one prefix. Everything begins with `prefix:`, so that an ACL can confine a user to it.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Box<str>,
}

/// The names of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogKeys {
    /// Prefix and tag, up to the last colon.
    stem: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(crate) fn log(&self, log: &LogName) -> LogKeys {
        let (kind, name) = match log {
            LogName::Room(room) => ("r:", room.as_str()),
            LogName::Inbox(user) => ("i:", user.as_str()),
            LogName::Control => ("c", ""),
        };
        let mut stem = String::with_capacity(self.prefix.len() + name.len() + 8);
        stem.push_str(&self.prefix);
        stem.push_str(":{");
        stem.push_str(kind);
        encode(&mut stem, name);
        stem.push_str("}:");
        LogKeys { stem }
    }

    pub(crate) fn room(&self, room: &RoomName) -> LogKeys {
        self.log(&LogName::Room(room.clone()))
    }

    fn named(&self, tag: &str, name: &str, what: &str) -> String {
        let mut key = format!("{}:{{{tag}", self.prefix);
        encode(&mut key, name);
        key.push_str("}:");
        key.push_str(what);
        key
    }

    /// The channel on which an instance hears its own probes.
    pub(crate) fn probe_channel(&self, instance: &str) -> String {
        self.named("n:", instance, "ch")
    }

    /// The set of rooms in which an instance may hold users.
    pub(crate) fn rooms_of_instance(&self, instance: &str) -> String {
        self.named("n:", instance, "rooms")
    }

    /// The sorted set of leases: instance, and when its lease runs out.
    pub(crate) fn leases(&self) -> String {
        self.named("leases", "", "until")
    }

    /// The sorted set of the names of rooms with a message.
    pub(crate) fn rooms(&self) -> String {
        self.named("rooms", "", "index")
    }

    /// The hash of where the last look for rooms that are gone ended, and until when nobody else looks.
    pub(crate) fn sweep(&self) -> String {
        self.named("rooms", "", "sweep")
    }

    /// There while the user is banned.
    pub(crate) fn ban(&self, user: &UserId) -> String {
        self.named("b:", user.as_str(), "ban")
    }

    /// The hash of what instances say of themselves.
    pub(crate) fn records(&self) -> String {
        self.named("instances", "", "records")
    }

    /// The sorted set of how long that stands.
    pub(crate) fn records_until(&self) -> String {
        self.named("instances", "", "until")
    }
}

impl LogKeys {
    fn with(&self, what: &str) -> String {
        let mut key = String::with_capacity(self.stem.len() + what.len());
        key.push_str(&self.stem);
        key.push_str(what);
        key
    }

    /// The hash with epoch and offset.
    pub(crate) fn meta(&self) -> String {
        self.with("meta")
    }

    /// The stream of messages.
    pub(crate) fn log(&self) -> String {
        self.with("log")
    }

    /// The sharded channel.
    pub(crate) fn channel(&self) -> String {
        self.with("ch")
    }

    /// The first answer to a publish with this key.
    pub(crate) fn retry(&self, key: &RetryKey) -> String {
        let mut name = self.with("k:");
        encode(&mut name, key.as_str());
        name
    }

    /// The hash of users and the instances that hold them.
    pub(crate) fn who(&self) -> String {
        self.with("who")
    }

    /// The hash of instances and how many users they hold.
    pub(crate) fn held(&self) -> String {
        self.with("held")
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters: nothing is left that means something to a hash tag, to a
/// pattern of an ACL, or to somebody's terminal.
fn encode(into: &mut String, name: &str) {
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            write!(into, "%{byte:02X}").expect("a string takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Key;

    #[test]
    fn the_bytes_of_every_name_are_pinned() {
        let keys = Keys::new("parley");
        let user = UserId::parse("al{ice}").unwrap();
        let room = keys.log(&LogName::Room(RoomName::parse("Büro 1").unwrap()));
        assert_eq!(room, keys.room(&RoomName::parse("Büro 1").unwrap()));
        let retry = RetryKey::new(&user, &Key::parse("k:1").unwrap());
        let names = [
            room.meta(),
            room.log(),
            room.channel(),
            room.retry(&retry),
            room.who(),
            room.held(),
            keys.log(&LogName::Inbox(user.clone())).meta(),
            keys.log(&LogName::Control).log(),
            keys.probe_channel("0011"),
            keys.rooms_of_instance("0011"),
            keys.leases(),
            keys.rooms(),
            keys.sweep(),
            keys.ban(&user),
            keys.records(),
            keys.records_until(),
        ];
        assert_eq!(
            names,
            [
                "parley:{r:B%C3%BCro%201}:meta",
                "parley:{r:B%C3%BCro%201}:log",
                "parley:{r:B%C3%BCro%201}:ch",
                "parley:{r:B%C3%BCro%201}:k:al%7Bice%7D%0Ak%3A1",
                "parley:{r:B%C3%BCro%201}:who",
                "parley:{r:B%C3%BCro%201}:held",
                "parley:{i:al%7Bice%7D}:meta",
                "parley:{c}:log",
                "parley:{n:0011}:ch",
                "parley:{n:0011}:rooms",
                "parley:{leases}:until",
                "parley:{rooms}:index",
                "parley:{rooms}:sweep",
                "parley:{b:al%7Bice%7D}:ban",
                "parley:{instances}:records",
                "parley:{instances}:until",
            ]
        );
    }

    #[test]
    fn no_two_logs_share_a_name() {
        let keys = Keys::new("p");
        let room = |name: &str| keys.log(&LogName::Room(RoomName::parse(name).unwrap()));
        let inbox = |name: &str| keys.log(&LogName::Inbox(UserId::parse(name).unwrap()));
        let names = ["a", "A", "a%3A", "a:", "}", "%7D", "c", "r:a"];
        let mut all: Vec<_> = names.iter().flat_map(|name| [room(name), inbox(name)]).map(|log| log.meta()).collect();
        all.push(keys.log(&LogName::Control).meta());
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
