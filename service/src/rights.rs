//! What a session may do: the `rooms` and `direct` claims of its token. No claim means all.
//! It does not read tokens; see `auth/token.rs`.

use std::sync::Arc;

use serde::Deserialize;

use crate::clock::Moment;
use crate::ids::{LogName, RoomName, UserId};

/// One thing that may be allowed in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Receive what is written from now on.
    Join,
    /// Write.
    Publish,
    /// Read what was written before.
    History,
    /// See who is there.
    Presence,
}

/// A claim: these rights in the rooms that match.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoomRule {
    /// A room's name, or the beginning of names followed by one `*`.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What is allowed there.
    pub can: Vec<Right>,
}

impl RoomRule {
    fn matches(&self, room: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(prefix) => room.starts_with(prefix),
            None => room == self.pattern,
        }
    }
}

/// Rooms that are found by their names, in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomSpan {
    /// All whose names begin with this, which may be empty.
    Beginning(Box<str>),
    /// One.
    One(RoomName),
}

impl RoomSpan {
    /// Every room.
    #[must_use]
    pub fn all() -> Self {
        Self::Beginning(Box::default())
    }

    /// No name of the span is before this.
    #[must_use]
    pub fn start(&self) -> &str {
        match self {
            Self::Beginning(prefix) => prefix,
            Self::One(room) => room.as_str(),
        }
    }

    /// Whether a room of this name would be one of them.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Beginning(prefix) => name.starts_with(&**prefix),
            Self::One(room) => name == room.as_str(),
        }
    }

    /// `None`: no room can have such a name.
    fn of(pattern: &str) -> Option<Self> {
        match pattern.strip_suffix('*') {
            Some(prefix) => Some(Self::Beginning(prefix.into())),
            None => RoomName::parse(pattern).ok().map(Self::One),
        }
    }
}

/// The rights of one session. Cloning is a reference count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights(Option<Arc<Claims>>);

#[derive(Debug, PartialEq, Eq)]
struct Claims {
    rooms: Option<Vec<RoomRule>>,
    direct: Option<bool>,
}

impl Rights {
    /// Everything is allowed: sign-in without claims.
    #[must_use]
    pub fn all() -> Self {
        Self(None)
    }

    /// From the claims of a token. Absent `rooms` allows all rooms; `direct` absent is allowed only if `rooms` is absent.
    #[must_use]
    pub fn from_claims(rooms: Option<Vec<RoomRule>>, direct: Option<bool>) -> Self {
        if rooms.is_none() && direct.is_none() { Self::all() } else { Self(Some(Arc::new(Claims { rooms, direct }))) }
    }

    /// Whether `right` holds in `log`. The own inbox follows `direct` for every right.
    #[must_use]
    pub fn allows(&self, log: &LogName, right: Right) -> bool {
        let Some(claims) = &self.0 else { return !matches!(log, LogName::Control) };
        match log {
            LogName::Inbox(_) => self.allows_direct(),
            LogName::Control => false,
            LogName::Room(room) => match &claims.rooms {
                None => true,
                Some(rules) => rules.iter().any(|rule| rule.can.contains(&right) && rule.matches(room.as_str())),
            },
        }
    }

    /// The rooms in which `right` holds, in the order of their names; no span lies within another.
    #[must_use]
    pub fn spans(&self, right: Right) -> Vec<RoomSpan> {
        let Some(rules) = self.0.as_ref().and_then(|claims| claims.rooms.as_ref()) else {
            return vec![RoomSpan::all()];
        };
        let holding = rules.iter().filter(|rule| rule.can.contains(&right));
        let mut spans: Vec<_> = holding.filter_map(|rule| RoomSpan::of(&rule.pattern)).collect();
        // Of two that start alike, the one that covers the other is first; between a beginning and what it covers there is
        // nothing that it does not cover, so that looking at the one before is enough.
        spans.sort_by(|a, b| {
            let is_one = |span: &RoomSpan| matches!(span, RoomSpan::One(_));
            a.start().cmp(b.start()).then(is_one(a).cmp(&is_one(b)))
        });
        spans.dedup_by(|later, kept| kept.covers(later.start()));
        spans
    }

    /// Whether direct messages may be sent and received.
    #[must_use]
    pub fn allows_direct(&self) -> bool {
        match &self.0 {
            None => true,
            Some(claims) => claims.direct.unwrap_or(claims.rooms.is_none()),
        }
    }
}

/// What a successful sign-in gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who the session speaks for.
    pub user: UserId,
    /// When it ends without a refresh; `None` is never (only without tokens).
    pub expires: Option<Moment>,
    /// What it may do until then.
    pub rights: Rights,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RoomName;

    fn rights(json: &str) -> Rights {
        #[derive(Deserialize)]
        struct Token {
            rooms: Option<Vec<RoomRule>>,
            direct: Option<bool>,
        }
        let token: Token = serde_json::from_str(json).unwrap();
        Rights::from_claims(token.rooms, token.direct)
    }

    fn room(name: &str) -> LogName {
        LogName::Room(RoomName::parse(name).unwrap())
    }

    #[test]
    fn no_claim_means_all_but_the_internal_log() {
        let all = rights("{}");
        assert_eq!(all, Rights::all());
        assert!(all.allows(&room("any"), Right::Publish) && all.allows_direct());
        assert!(!all.allows(&LogName::Control, Right::Join));
    }

    #[test]
    fn a_rule_allows_what_it_names_and_nothing_else() {
        let some =
            rights(r#"{"rooms":[{"match":"team-*","can":["join","history"]},{"match":"team-a","can":["publish"]}]}"#);
        assert!(some.allows(&room("team-b"), Right::Join));
        assert!(!some.allows(&room("team-b"), Right::Publish));
        assert!(some.allows(&room("team-a"), Right::Publish));
        assert!(!some.allows(&room("other"), Right::Join));
        assert!(!some.allows_direct(), "naming rooms without `direct` leaves direct messages out");
    }

    #[test]
    fn only_a_trailing_star_is_a_wildcard() {
        let some = rights(r#"{"rooms":[{"match":"a*b","can":["join"]}]}"#);
        assert!(some.allows(&room("a*b"), Right::Join));
        assert!(!some.allows(&room("axb"), Right::Join));
    }

    #[test]
    fn spans_are_what_is_allowed_in_order_and_without_what_is_covered() {
        let some = rights(
            r#"{"rooms":[{"match":"b","can":["join"]},{"match":"team-a-*","can":["join"]},{"match":"team-*","can":["join"]},
            {"match":"team-","can":["join"]},{"match":"team","can":["join"]},{"match":"b","can":["join","history"]},
            {"match":"a*","can":["history"]},{"match":"team.","can":["join"]}]}"#,
        );
        let one = |name: &str| RoomSpan::One(RoomName::parse(name).unwrap());
        let expected = [one("b"), one("team"), RoomSpan::Beginning("team-".into()), one("team.")];
        assert_eq!(some.spans(Right::Join), expected);
        assert_eq!(some.spans(Right::History), [RoomSpan::Beginning("a".into()), one("b")]);
        assert_eq!(some.spans(Right::Publish), []);
        for everything in
            [rights("{}"), rights(r#"{"direct":true}"#), rights(r#"{"rooms":[{"match":"*","can":["join"]}]}"#)]
        {
            assert_eq!(everything.spans(Right::Join), [RoomSpan::all()]);
        }
        for name in ["a", "b", "bb", "team", "team-", "team-a-b", "team-é", "team.", "team.x", "tea"] {
            let covered = some.spans(Right::Join).iter().any(|span| span.covers(name));
            assert_eq!(covered, some.allows(&room(name), Right::Join), "{name}");
        }
    }

    #[test]
    fn direct_is_a_claim_of_its_own() {
        let inbox = LogName::Inbox(UserId::parse("alice").unwrap());
        assert!(!rights(r#"{"direct":false}"#).allows(&inbox, Right::Join));
        assert!(rights(r#"{"rooms":[],"direct":true}"#).allows(&inbox, Right::Join));
    }
}
