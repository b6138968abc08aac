//! The only home of randomness in the operator: passwords.

use crate::checksum::hex;

/// Bytes behind a password.
const PASSWORD_BYTES: usize = 24;

/// A password of letters and digits, so that it fits into a URL as it is. Empty if the system has no randomness, which
/// nobody believes.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the home of randomness in the operator")]
pub fn password() -> String {
    let mut bytes = [0; PASSWORD_BYTES];
    if getrandom::fill(&mut bytes).is_err() {
        return String::new();
    }
    hex(&bytes)
}
