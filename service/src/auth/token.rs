//! Sign-in by JWT: the signature, the time and the claims, checked into a grant. It does not know where keys come
//! from, see `keys.rs`, and never asks the system what time it is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, BoxFuture, FutureExt};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::keys::{KeySource, Unverified};
use super::{Auth, AuthError, Credentials};
use crate::clock::{Clock, Moment, Now};
use crate::ids::{RoomName, UserId};
use crate::rights::{Grant, Rights, RoomRule};

/// Longest token in bytes. What a load balancer lets through in a header is about that.
pub const TOKEN_MAX_BYTES: usize = 8 * 1024;
/// Most rules in the `rooms` claim: each is looked at whenever a session acts.
pub const ROOM_RULES_MAX: usize = 256;
/// How far the clocks of the issuer and of this instance may be apart. A token is good from `nbf` minus this until
/// before `exp` plus this, and the session it opened is closed at that same moment.
pub const LEEWAY: Duration = Duration::from_secs(10);
/// The first `exp` that is refused, in seconds: the year 10000. Milliseconds, a common mistake, lie beyond it and
/// would make a token that never ends.
const EXP_END_SECONDS: u64 = 253_402_300_800;

/// Believes tokens that one of its keys vouches for; a name without a token is refused.
///
/// - The algorithm is that of the key. A token that names another one, or `none`, is refused.
/// - `sub` is the user and `exp` the end; both are required. `nbf` is honoured, `iat` is not read.
/// - `aud` and `iss` must hold the configured values. Where none is configured they are not looked at: then the
///   key itself says for whom a token is, which is right for a key that only signs for this chat. With an issuer
///   that serves several applications the audience must be configured.
/// - `rooms` and `direct` limit what the session may do. A claim that is malformed, `null` too, refuses the token:
///   it must never come to mean "everything".
/// - Headers that point to keys elsewhere (`jku`, `jwk`, `x5u`, `x5c`) are not followed; `crit` is refused.
///
/// A key that is withdrawn refuses new tokens; sessions that it opened live on until their expiry.
pub struct TokenAuth {
    keys: Arc<dyn KeySource>,
    audience: Option<Box<str>>,
    issuer: Option<Box<str>>,
    clock: Arc<dyn Clock>,
}

impl TokenAuth {
    /// Sign-in with these keys. Nothing in `audience` or `issuer` switches that check off.
    #[must_use]
    pub fn new(keys: Arc<dyn KeySource>, audience: Option<&str>, issuer: Option<&str>, clock: Arc<dyn Clock>) -> Self {
        Self { keys, audience: audience.map(Box::from), issuer: issuer.map(Box::from), clock }
    }

    fn check(&self, token: &str) -> Result<Grant, AuthError> {
        if token.len() > TOKEN_MAX_BYTES {
            return refuse("the token is longer than 8192 bytes");
        }
        let claims = self.verified(token)?;
        let user = claims.user()?;
        claims.check_issuer(self.issuer.as_deref())?;
        claims.check_audience(self.audience.as_deref())?;
        let rights = Rights::from_claims(claims.rooms()?, claims.direct()?);
        // Time comes last, so that "expired" tells a client that the same token, only fresher, would do.
        let expires = claims.expires(self.clock.now())?;
        Ok(Grant { user, expires: Some(expires), rights })
    }

    fn verified(&self, token: &str) -> Result<Claims, AuthError> {
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return refuse("the token is not a JWT with an algorithm that is known here");
        };
        if header.crit.is_some() {
            return refuse("the token has critical headers, which are not supported");
        }
        self.keys.keys().verify(&header, token).or_else(|fault| {
            refuse(match fault {
                Unverified::UnknownKey => "the token is signed with an unknown key",
                Unverified::WrongAlgorithm => "the token's algorithm is not that of its key",
                Unverified::WrongSignature => "the token's signature is wrong",
                Unverified::Malformed => "the token's claims are not a JSON object with each claim once",
            })
        })
    }
}

impl Auth for TokenAuth {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<Grant, AuthError>> {
        future::ready(match credentials {
            Credentials::Token(token) => self.check(token),
            Credentials::User(_) => refuse("a name is not enough here: sign in with a token"),
        })
        .boxed()
    }
}

fn refuse<T>(sentence: &'static str) -> Result<T, AuthError> {
    Err(AuthError::Refused(sentence))
}

/// The claims that are read, not yet believed to be of the right type, so that each can be refused in its own words.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    exp: Value,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<Value>,
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    iss: Value,
    #[serde(default, deserialize_with = "present")]
    rooms: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    direct: Option<Value>,
    /// The rest is not read. That it is flattened makes an array of claims, in this order, no claims.
    #[serde(flatten)]
    _others: IgnoredAny,
}

/// Keeps `null` apart from absence.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Claims {
    fn user(&self) -> Result<UserId, AuthError> {
        let Some(name) = self.sub.as_str() else { return refuse("the token has no sub that is a text") };
        UserId::parse(name).or_else(|_| {
            refuse("the token's sub is not a user name: 1 to 128 bytes, no control characters, no leading @")
        })
    }

    fn check_issuer(&self, configured: Option<&str>) -> Result<(), AuthError> {
        match configured {
            Some(issuer) if self.iss.as_str() != Some(issuer) => {
                refuse("the token's iss is not the issuer trusted here")
            }
            _ => Ok(()),
        }
    }

    fn check_audience(&self, configured: Option<&str>) -> Result<(), AuthError> {
        let Some(audience) = configured else { return Ok(()) };
        let meant = match &self.aud {
            Value::String(one) => one == audience,
            Value::Array(many) => many.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        if meant { Ok(()) } else { refuse("the token's aud does not name this service") }
    }

    fn rooms(&self) -> Result<Option<Vec<RoomRule>>, AuthError> {
        let Some(claim) = &self.rooms else { return Ok(None) };
        let Ok(rules) = Vec::<RoomRule>::deserialize(claim) else {
            return refuse(
                "the token's rooms is not a list like \
                 [{\"match\":\"team-*\",\"can\":[\"join\",\"publish\",\"history\",\"presence\"]}]",
            );
        };
        if rules.len() > ROOM_RULES_MAX {
            return refuse("the token's rooms has more than 256 rules");
        }
        if !rules.iter().all(can_match) {
            return refuse("the token's rooms has a match that no room can have; direct messages are \"direct\":true");
        }
        Ok(Some(rules))
    }

    fn direct(&self) -> Result<Option<bool>, AuthError> {
        match &self.direct {
            None => Ok(None),
            Some(Value::Bool(direct)) => Ok(Some(*direct)),
            Some(_) => refuse("the token's direct is neither true nor false"),
        }
    }

    /// When the session ends. All sums saturate: a far moment is as good as never.
    fn expires(&self, now: Now) -> Result<Moment, AuthError> {
        if self.exp.is_null() {
            return refuse("the token has no exp");
        }
        let Some(exp) = seconds(&self.exp) else {
            return refuse("the token's exp is not a number of seconds since 1970");
        };
        if exp >= Duration::from_secs(EXP_END_SECONDS) {
            return refuse("the token's exp is beyond the year 9999: it counts seconds, not milliseconds");
        }
        let wall = Duration::from_millis(now.wall_ms);
        match self.nbf.as_ref().map(seconds) {
            Some(None) => return refuse("the token's nbf is not a number of seconds since 1970"),
            Some(Some(nbf)) if nbf > wall.saturating_add(LEEWAY) => return refuse("the token is not valid yet"),
            _ => {}
        }
        match (exp + LEEWAY).checked_sub(wall) {
            Some(left) if !left.is_zero() => Ok(now.mono + left),
            _ => Err(AuthError::Expired),
        }
    }
}

/// A NumericDate of RFC 7519: seconds since 1970, perhaps with a fraction.
fn seconds(value: &Value) -> Option<Duration> {
    match value.as_u64() {
        Some(whole) => Some(Duration::from_secs(whole)),
        None => Duration::try_from_secs_f64(value.as_f64()?).ok(),
    }
}

/// Whether there can be a room that the rule is about.
fn can_match(rule: &RoomRule) -> bool {
    match rule.pattern.strip_suffix('*') {
        Some("") => true,
        Some(prefix) => RoomName::parse(prefix).is_ok(),
        None => RoomName::parse(&rule.pattern).is_ok(),
    }
}

#[cfg(test)]
mod tests;
