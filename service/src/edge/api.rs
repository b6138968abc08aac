//! The server API for back ends.

/// The OpenAPI document.
#[must_use]
pub fn document() -> String {
    String::new()
}
