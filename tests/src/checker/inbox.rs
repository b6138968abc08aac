//! An inbox is a room like any other, but for its name: `@me` of Alice is `@alice` here, and a direct message is one that was
//! sent to that room. So the rest of the checker need not know of inboxes.

use serde_json::{Value, json};

use crate::journal::{Event, Line};

/// One client's lines with its inbox under its owner's name. A session is in `@me` from the first moment, from now on; what
/// comes before the answer to the client's own join is left out, because the client leaves it out as well.
pub(super) fn renamed(lines: &[Line]) -> Vec<Line> {
    let (mut owner, mut joined) = (String::new(), false);
    let mut renamed = Vec::with_capacity(lines.len());
    for line in lines {
        let mut line = line.clone();
        match &mut line.event {
            Event::Connected(_) => joined = false,
            Event::Sent(frame) if frame["to"].is_string() => frame["room"] = json!(owner),
            Event::Received(frame) if frame["type"] == "welcome" => {
                owner = format!("@{}", frame["user"].as_str().unwrap_or_default());
            }
            Event::Received(frame) if frame["room"] == "@me" => {
                joined |= frame["type"] == "joined" && frame["id"].is_string();
                if !joined && frame["type"] != "ack" {
                    continue;
                }
                frame["room"] = json!(owner);
                if frame["type"] == "direct" {
                    frame["type"] = Value::from("message");
                }
            }
            _ => {}
        }
        renamed.push(line);
    }
    renamed
}
