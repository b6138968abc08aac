//! Reads keys of Secrets, says what is wrong with them without ever saying what is in them, and sums up those that an
//! instance reads only once.

use std::collections::BTreeMap;

use super::super::dereference::usual_key;
use super::{Invalid, KeyOf};
use crate::checksum::Sum;
use crate::crd::SecretRef;

/// Shortest HS256 secret that the service takes.
const TOKEN_SECRET_BYTES: usize = 32;
/// Shortest key of the server API that the service takes.
const API_KEY_BYTES: usize = 16;
/// Shortest password of a managed Valkey that is believed.
const SHORTEST_PASSWORD: usize = 16;
/// What the service takes as a URL.
const SCHEMES: [&str; 6] = ["redis", "rediss", "redis-sentinel", "valkey", "valkeys", "valkey-sentinel"];

/// Changes when a Secret does. Too short to learn anything from, and different for equal Secrets of two ChatClusters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checksum(pub String);

/// Reads keys and remembers what it read.
pub(super) struct Reader<'a> {
    secrets: &'a BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    read: BTreeMap<(String, String), &'a [u8]>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(secrets: &'a BTreeMap<String, BTreeMap<String, Vec<u8>>>) -> Self {
        Self { secrets, read: BTreeMap::new() }
    }

    /// Over all that was read, with the ChatCluster's own uid.
    pub(super) fn checksum(&self, uid: &str) -> Checksum {
        let mut sum = Sum::default();
        sum.add(uid);
        for ((secret, key), value) in &self.read {
            sum.add(secret);
            sum.add(key);
            sum.add(value);
        }
        Checksum(sum.short())
    }

    pub(super) fn read_token_secret(&mut self, reference: &SecretRef) -> Result<KeyOf, Invalid> {
        let (key, value) = self.read("auth.token.secretRef", reference, usual_key::TOKEN)?;
        let long_enough = value.trim_ascii_end().len() >= TOKEN_SECRET_BYTES;
        let wrong = format!("must have at least {TOKEN_SECRET_BYTES} bytes, as HS256 asks for");
        self.accept("auth.token.secretRef", key, value, long_enough, &wrong)
    }

    /// The service reads it again when it changes, so it is not part of the checksum.
    pub(super) fn read_jwks(&mut self, reference: &SecretRef) -> Result<KeyOf, Invalid> {
        let (key, value) = self.read("auth.token.jwksRef", reference, usual_key::JWKS)?;
        let json: Option<serde_json::Value> = serde_json::from_slice(value).ok();
        let has_keys = json.is_some_and(|json| json["keys"].as_array().is_some_and(|keys| !keys.is_empty()));
        let accepted =
            self.accept("auth.token.jwksRef", key, value, has_keys, "must be a JWKS document: {\"keys\": […]}")?;
        self.read.remove(&(accepted.secret.clone(), accepted.key.clone()));
        Ok(accepted)
    }

    pub(super) fn read_api_key(&mut self, reference: &SecretRef) -> Result<KeyOf, Invalid> {
        let (key, value) = self.read("api.secretRef", reference, usual_key::API)?;
        let text = value.trim_ascii_end();
        let good = text.len() >= API_KEY_BYTES && text.iter().all(u8::is_ascii_graphic);
        let wrong = format!("must have at least {API_KEY_BYTES} letters, digits or signs, without spaces");
        self.accept("api.secretRef", key, value, good, &wrong)
    }

    pub(super) fn read_redis_url(&mut self, reference: &SecretRef) -> Result<KeyOf, Invalid> {
        let (key, value) = self.read("redis.external.secretRef", reference, usual_key::URL)?;
        let url = std::str::from_utf8(value.trim_ascii_end()).unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let wrong = if scheme.ends_with("-cluster") {
            "names a Redis Cluster, which is not supported: give one server or Sentinels"
        } else {
            "must be a URL such as redis://user:password@host:6379, rediss://… (TLS) or redis-sentinel://…"
        };
        self.accept("redis.external.secretRef", key, value, SCHEMES.contains(&scheme) && !rest.is_empty(), wrong)
    }

    pub(super) fn read_ca(&mut self, reference: &SecretRef) -> Result<KeyOf, Invalid> {
        let (key, value) = self.read("redis.external.caRef", reference, usual_key::CA)?;
        let is_pem = value.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----");
        self.accept("redis.external.caRef", key, value, is_pem, "must hold certificates in PEM")
    }

    /// The password of the managed Valkey, and whether its Secret is missing. Only what the operator itself could have
    /// written is believed, or else `fallback`: anything else would not fit into a URL.
    pub(super) fn read_password(&mut self, secret: &str, fallback: &'a str) -> (String, bool) {
        let stored = self.secrets.get(secret);
        let known = stored
            .and_then(|data| data.get(usual_key::PASSWORD))
            .and_then(|value| std::str::from_utf8(value).ok())
            .filter(|text| text.len() >= SHORTEST_PASSWORD && text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let password = known.unwrap_or(fallback);
        self.read.insert((secret.to_owned(), usual_key::PASSWORD.to_owned()), password.as_bytes());
        (password.to_owned(), stored.is_none())
    }

    fn read(&self, field: &str, reference: &SecretRef, usual_key: &str) -> Result<(KeyOf, &'a [u8]), Invalid> {
        let key = reference.key.as_deref().unwrap_or(usual_key);
        let SecretRef { name, .. } = reference;
        let Some(secret) = self.secrets.get(name) else {
            let message = format!("{field}: there is no Secret {name} in this namespace; it is waited for");
            return Err(Invalid { reason: "SecretMissing", message });
        };
        let Some(value) = secret.get(key) else {
            let message = format!("{field}: Secret {name} has no key {key}; add it, or name another key");
            return Err(Invalid { reason: "SecretMissing", message });
        };
        Ok((KeyOf { secret: name.clone(), key: key.to_owned() }, value))
    }

    fn accept(&mut self, field: &str, key: KeyOf, value: &'a [u8], good: bool, wrong: &str) -> Result<KeyOf, Invalid> {
        if good {
            self.read.insert((key.secret.clone(), key.key.clone()), value);
            return Ok(key);
        }
        let message = format!("{field}: key {} of Secret {} {wrong}", key.key, key.secret);
        Err(Invalid { reason: "SecretInvalid", message })
    }
}
