//! Sign-in without proof: a name is believed. It does not decide where that is safe; the settings refuse it on
//! addresses that others can reach.

use futures_util::future::{self, BoxFuture, FutureExt};

use super::{Auth, AuthError, Credentials};
use crate::ids::{NameError, UserId};
use crate::rights::{Grant, Rights};

/// Believes every name; a grant never expires and allows everything.
///
/// A token is taken for a name too, so that the in-band `auth` frame works for people who have no tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAuth;

impl Auth for OpenAuth {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<Grant, AuthError>> {
        let (Credentials::User(name) | Credentials::Token(name)) = credentials;
        let grant = UserId::parse(name)
            .map(|user| Grant { user, expires: None, rights: Rights::all() })
            .map_err(|error| AuthError::Refused(sentence(error)));
        future::ready(grant).boxed()
    }
}

/// The text of a [`NameError`], word for word: a refusal borrows its text for ever, so it cannot be formatted.
fn sentence(error: NameError) -> &'static str {
    match error {
        NameError::Empty => "a name must not be empty",
        NameError::TooLong => "a name has at most 128 bytes",
        NameError::ControlCharacter => "a name must not hold control characters",
        NameError::Reserved => "names starting with @ are reserved",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in(credentials: Credentials<'_>) -> Result<Grant, AuthError> {
        OpenAuth.authenticate(credentials).now_or_never().expect("nothing to wait for")
    }

    #[test]
    fn a_name_is_believed_wherever_it_comes_from_and_for_ever() {
        let alice = Grant { user: UserId::parse("alice").unwrap(), expires: None, rights: Rights::all() };
        assert_eq!(sign_in(Credentials::User("alice")), Ok(alice.clone()));
        assert_eq!(sign_in(Credentials::Token("alice")), Ok(alice));
    }

    #[test]
    fn a_bad_name_is_refused_with_the_sentence_of_its_rule() {
        for (name, error) in [
            ("", NameError::Empty),
            (&*"x".repeat(129), NameError::TooLong),
            ("a\nb", NameError::ControlCharacter),
            ("@me", NameError::Reserved),
        ] {
            assert_eq!(UserId::parse(name), Err(error));
            let refusal = sign_in(Credentials::User(name)).unwrap_err();
            assert_eq!(refusal.to_string(), error.to_string());
        }
    }
}
