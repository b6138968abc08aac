//! Server frames other than the ones on the fast path, read with serde into one struct of optional fields: the load
//! generator must survive fields and types it does not know.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Any server frame.
#[derive(Debug, Deserialize)]
pub(super) struct Reply<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) room: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) epoch: Option<Cow<'a, str>>,
    pub(super) offset: Option<u64>,
    pub(super) recovered: Option<bool>,
    #[serde(default)]
    pub(super) more: bool,
    #[serde(borrow, default)]
    pub(super) messages: Vec<Logged<'a>>,
    #[serde(borrow)]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) server_id: Option<Cow<'a, str>>,
    pub(super) retry_after_ms: Option<u64>,
    pub(super) after_ms: Option<u64>,
    #[serde(default)]
    pub(super) elsewhere: bool,
    #[serde(borrow)]
    pub(super) msg: Option<&'a RawValue>,
}

/// A message inside `joined`.
#[derive(Debug, Deserialize)]
pub(super) struct Logged<'a> {
    pub(super) offset: u64,
    #[serde(borrow)]
    pub(super) msg: Option<&'a RawValue>,
}

/// What a reply answers, after the ids that this client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `chat` number so and so.
    Publish(u64),
    /// `join` of the room with this number.
    Join(usize),
    /// A `ping` in JSON.
    Ping,
    /// Nothing of ours.
    Nothing,
}

impl Reply<'_> {
    /// What this frame answers.
    pub(super) fn asked(&self) -> Asked {
        let Some(id) = self.id.map(RawValue::get) else { return Asked::Nothing };
        if let Ok(number) = id.parse() {
            return Asked::Publish(number);
        }
        match id.trim_matches('"') {
            "ping" => Asked::Ping,
            text => text.strip_prefix('j').and_then(|room| room.parse().ok()).map_or(Asked::Nothing, Asked::Join),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_matched_to_what_was_asked() {
        let asked = |json: &str| serde_json::from_str::<Reply<'_>>(json).unwrap().asked();
        assert_eq!(asked(r#"{"type":"ack","id":3,"room":"a","epoch":"e","offset":58,"at":1}"#), Asked::Publish(3));
        assert_eq!(asked(r#"{"type":"joined","id":"j12","room":"a"}"#), Asked::Join(12));
        assert_eq!(asked(r#"{"type":"pong","id":"ping"}"#), Asked::Ping);
        assert_eq!(asked(r#"{"type":"error","code":"internal","message":"x"}"#), Asked::Nothing);
    }

    #[test]
    fn unknown_fields_and_unknown_types_are_survived() {
        let reply: Reply<'_> = serde_json::from_str(r#"{"type":"sunrise","colour":"red","messages":[]}"#).unwrap();
        assert_eq!(reply.kind, "sunrise");
    }

    #[test]
    fn a_replay_is_read_with_its_offsets() {
        let json = r#"{"type":"joined","room":"a","epoch":"e","offset":2,"recovered":true,"more":true,
            "messages":[{"type":"message","room":"a","offset":1,"from":"x","msg":"t=00"},{"offset":2,"msg":{"a":1}}]}"#;
        let reply: Reply<'_> = serde_json::from_str(json).unwrap();
        assert!(reply.more);
        assert_eq!(reply.messages.iter().map(|logged| logged.offset).collect::<Vec<_>>(), [1, 2]);
    }
}
