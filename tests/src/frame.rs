//! A server frame as a test reads it, and the story of a client's last frames for failures. It checks no rule.
#![expect(clippy::panic, reason = "a test that reads a field which is not there fails here")]

use std::collections::VecDeque;
use std::fmt;
use std::ops::Index;

use serde_json::Value;

/// Lines of a story that are kept.
const STORY_LINES: usize = 40;
/// Bytes of one line of a story.
const STORY_LINE_BYTES: usize = 200;

/// One JSON object from the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame(Value);

impl Frame {
    /// Takes a parsed frame.
    #[must_use]
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// Its `type`; empty if it has none.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0["type"].as_str().unwrap_or_default()
    }

    /// The whole object.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// A field that must be a string.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_else(|| panic!("`{field}` is not a string in {}", self.0))
    }

    /// A field that must be a whole number.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_else(|| panic!("`{field}` is not a whole number in {}", self.0))
    }

    /// A field that must be true or false.
    ///
    /// # Panics
    /// It is neither.
    #[must_use]
    pub fn is(&self, field: &str) -> bool {
        self.0[field].as_bool().unwrap_or_else(|| panic!("`{field}` is not a boolean in {}", self.0))
    }

    /// `offset`.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.number("offset")
    }

    /// `epoch`.
    #[must_use]
    pub fn epoch(&self) -> &str {
        self.text("epoch")
    }

    /// `room`.
    #[must_use]
    pub fn room(&self) -> &str {
        self.text("room")
    }

    /// What it takes to resume after this `joined`, `ack` or `gap`.
    #[must_use]
    pub fn position(&self) -> Value {
        serde_json::json!({ "epoch": self.epoch(), "offset": self.offset() })
    }

    /// The `messages` of a `joined` or `history`.
    ///
    /// # Panics
    /// There is no such list.
    #[must_use]
    pub fn messages(&self) -> Vec<Frame> {
        let list = self.0["messages"].as_array().unwrap_or_else(|| panic!("no `messages` in {}", self.0));
        list.iter().cloned().map(Frame).collect()
    }

    /// The offsets of `messages`.
    #[must_use]
    pub fn offsets(&self) -> Vec<u64> {
        self.messages().iter().map(Frame::offset).collect()
    }
}

impl Index<&str> for Frame {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        &self.0[field]
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What happened on a connection, newest last.
#[derive(Debug, Clone, Default)]
pub struct Story {
    name: String,
    lines: VecDeque<String>,
}

impl Story {
    /// The story of a client that is called so.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), lines: VecDeque::new() }
    }

    /// Adds a line.
    pub fn add(&mut self, sign: char, what: &str) {
        if self.lines.len() == STORY_LINES {
            self.lines.pop_front();
        }
        let mut line: String = what.chars().take(STORY_LINE_BYTES).collect();
        if line.len() < what.len() {
            line.push_str(&format!("… ({} bytes)", what.len()));
        }
        self.lines.push_back(format!("{sign} {line}"));
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the last frames of {} (→ sent, ← received, · met while waiting for another):", self.name)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
