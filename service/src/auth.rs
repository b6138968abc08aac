//! The port that turns credentials into a grant. It does not decide what a grant allows; see `rights.rs`.

pub mod keys;

pub mod jwks;
pub mod open;
pub mod token;

#[cfg(test)]
mod fixtures;

use futures_util::future::BoxFuture;

use crate::rights::Grant;

/// What a client shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// A name from the URL (`?user=`).
    User(&'a str),
    /// A token from the URL, the `Authorization` header or an `auth` frame.
    Token(&'a str),
}

/// Why there is no grant. The texts are for the client and give nothing away about keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The credentials are wrong and will stay so.
    #[error("{0}")]
    Refused(&'static str),
    /// The token was good and has expired: fetch a fresh one.
    #[error("the token has expired")]
    Expired,
    /// The user is banned.
    #[error("the user is banned")]
    Banned,
    /// It cannot be decided now.
    #[error("sign-in is unavailable, try again")]
    Unavailable,
}

/// Decides who a client is.
///
/// Guarantees: the same credentials give the same user; a grant's expiry is the token's `exp` plus the leeway with
/// which it is accepted, so that both checks agree; nothing about the credentials is logged.
pub trait Auth: Send + Sync {
    /// Checks credentials. Cancel-safe: nothing is kept.
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<Grant, AuthError>>;
}
