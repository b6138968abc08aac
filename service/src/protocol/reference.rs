//! The protocol reference for client authors. Its prose is `reference.md`; tables, numbers and frames are put in from
//! the types and the golden files, so that they cannot drift. What the prose says is for people to keep true.

use std::fmt::Write as _;

use super::PROTOCOL_VERSION;
use super::close_code::CloseCode;
use super::error_code::ErrorCode;
use super::limits::{
    FAULTS, FLOODS, FRAME_ID_MAX_BYTES, Limits, PAGE_MAX_BYTES, PRESENCE_MAX_USERS, ROOMS_MAX_LISTED, URL_ROOMS_MAX,
};
use crate::ids::{KEY_MAX_BYTES, NAME_MAX_BYTES};

const TEMPLATE: &str = include_str!("reference.md");

/// The golden files that the template shows: name and text.
macro_rules! samples {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../protocol-samples/", $name, ".json")))),*]
    };
}

const SAMPLES: &[(&str, &str)] = samples! {
    "client-auth" "client-chat" "client-chat-direct" "client-chat-key" "client-chat-only_room" "client-chat-traceparent"
    "client-history" "client-history-after" "client-history-before" "client-join" "client-join-history"
    "client-join-inbox" "client-join-resume" "client-leave" "client-ping" "client-presence" "client-rooms"
    "client-signal" "client-signal-direct"
    "server-ack" "server-ack-direct" "server-direct" "server-error-malformed" "server-error-not_joined"
    "server-error-outcome_unknown" "server-error-rate_limited" "server-gap" "server-history" "server-joined"
    "server-joined-history" "server-joined-inbox" "server-joined-lost" "server-joined-more" "server-joined-new_epoch"
    "server-joined-resumed" "server-left" "server-left-kicked" "server-left-rights_lost" "server-message"
    "server-message-key" "server-ok" "server-ok-expires" "server-pong" "server-presence" "server-presence-join"
    "server-presence-leave" "server-reconnect-drain" "server-rooms" "server-signal" "server-signal-inbox"
    "server-welcome" "server-welcome-affinity"
};

/// The text of `PROTOCOL.md`.
#[must_use]
pub fn render() -> String {
    let mut out = String::with_capacity(2 * TEMPLATE.len());
    let mut rest = TEMPLATE;
    // A placeholder that means nothing stays as it is; a test sees to it that there is none.
    while let Some((before, (name, after))) =
        rest.split_once("{{").and_then(|(before, inner)| Some((before, inner.split_once("}}")?)))
    {
        out.push_str(before);
        match meaning(name) {
            Some(text) => out.push_str(&text),
            None => drop(write!(out, "{{{{{name}}}}}")),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn meaning(name: &str) -> Option<String> {
    Some(match name {
        "note" => {
            "<!-- Written by `parley protocol`; the prose is in service/src/protocol/reference.md. -->".to_owned()
        }
        "version" => PROTOCOL_VERSION.to_string(),
        "close-codes" => close_codes(),
        "error-codes" => error_codes(),
        "limits" => limits(),
        "id-bytes" => FRAME_ID_MAX_BYTES.to_string(),
        "key-bytes" => KEY_MAX_BYTES.to_string(),
        "name-bytes" => NAME_MAX_BYTES.to_string(),
        "page-kib" => (PAGE_MAX_BYTES / 1024).to_string(),
        "presence-users" => PRESENCE_MAX_USERS.to_string(),
        "rooms-listed" => ROOMS_MAX_LISTED.to_string(),
        "url-rooms" => URL_ROOMS_MAX.to_string(),
        "faults-at-once" => FAULTS.1.to_string(),
        "faults-per-second" => FAULTS.0.to_string(),
        "floods-at-once" => FLOODS.1.to_string(),
        "floods-per-second" => FLOODS.0.to_string(),
        sample => SAMPLES.iter().find(|(name, _)| *name == sample)?.1.trim_end().to_owned(),
    })
}

fn close_codes() -> String {
    let rows = CloseCode::ALL.map(|code| {
        let reconnect = if code.reconnect() { "yes" } else { "no" };
        format!("| {} | `{}` | {reconnect} | {} |", code.number(), code.reason(), code.meaning())
    });
    format!("| code | reason | reconnect | what it means |\n|---|---|---|---|\n{}", rows.join("\n"))
}

fn error_codes() -> String {
    let rows = ErrorCode::ALL.map(|code| format!("| `{}` | {} |", code.as_str(), code.meaning()));
    format!("| code | what it means, what to do |\n|---|---|\n{}", rows.join("\n"))
}

fn limits() -> String {
    // Without `..`: a new limit does not compile before it is explained.
    let Limits {
        message_bytes,
        frame_bytes,
        server_frame_bytes,
        depth,
        rooms,
        messages_per_second,
        messages_burst,
        replay_messages,
        ping_seconds,
        sign_in_seconds,
        outbox_bytes,
        history_messages,
        history_seconds,
        name_bytes,
        key_bytes,
        presence_events_users,
    } = Limits::default();
    let row = |name, value: &dyn std::fmt::Display, meaning| format!("| `{name}` | {value} | {meaning} |");
    let rows = [
        row("message_bytes", &message_bytes, "bytes of `msg` or `data`, as JSON text"),
        row("frame_bytes", &frame_bytes, "bytes of a client frame"),
        row("server_frame_bytes", &server_frame_bytes, "bytes of a server frame"),
        row("depth", &depth, "arrays and objects within each other in a client frame, the frame itself included"),
        row("rooms", &rooms, "rooms that a session may have joined; `@me` does not count"),
        row("messages_per_second", &messages_per_second, "`chat` frames a second, sustained; 0 is no limit"),
        row("messages_burst", &messages_burst, "`chat` frames at once after a pause"),
        row("replay_messages", &replay_messages, "messages in one `joined` or `history`"),
        row("ping_seconds", &ping_seconds, "silence before the server pings; after twice as long it closes"),
        row("sign_in_seconds", &sign_in_seconds, "time to sign in"),
        row("outbox_bytes", &outbox_bytes, "bytes that may wait for a session that reads slowly"),
        row("history_messages", &history_messages, "messages that a room keeps"),
        row("history_seconds", &history_seconds, "how long it keeps each"),
        row("name_bytes", &name_bytes, "bytes of a room's or user's name"),
        row("key_bytes", &key_bytes, "bytes of a `key`"),
        row(
            "presence_events_users",
            &presence_events_users,
            "users in a room above which nobody's coming and going is told",
        ),
    ];
    format!("| in `welcome` | default | what it bounds |\n|---|---|---|\n{}", rows.join("\n"))
}

#[cfg(test)]
mod tests;
