//! Keys from a JWKS file (RFC 7517), read again when it changes. It does not fetch keys over the network: a file
//! that somebody mounts is one dependency less at the moment when all sessions come back at once.
//!
//! The file is read every [`POLL`] by one task and compared with what was read before. That is the least machinery
//! that is right: no notification, time stamp or inode to misread when Kubernetes swaps the symlink under a mount,
//! no IO on the way of a sign-in, and a broken file is told even while nobody signs in. It costs one read of a few
//! KiB from the page cache, on the pool for blocking work, where a slow disk delays nobody.

use std::convert::Infallible;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use super::keys::{Key, KeyError, KeySet, KeySource};

/// How often the file is read: a changed file counts at most this much later.
pub const POLL: Duration = Duration::from_secs(2);
/// Longest file in bytes.
pub const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Most keys in a file, usable or not.
pub const KEYS_MAX: usize = 100;

/// Why a file gives no keys. The texts hold nothing of the file but positions and key names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It cannot be read.
    #[error("cannot read the file: {0}")]
    Unreadable(String),
    /// A directory or a device.
    #[error("not a file")]
    NotAFile,
    /// It is longer than [`FILE_MAX_BYTES`].
    #[error("longer than 1 MiB")]
    TooLong,
    /// It is not JSON of the right shape.
    #[error("not a JWKS (line {line}, column {column}): right is {{\"keys\":[…]}} as in RFC 7517")]
    NotAJwks {
        /// Where, counted from 1.
        line: usize,
        /// Where, counted from 1.
        column: usize,
    },
    /// It holds more than [`KEYS_MAX`] keys.
    #[error("more than {KEYS_MAX} keys")]
    TooManyKeys,
    /// There is no key that could verify a token.
    #[error(
        "no usable key: right is at least one of RSA with 2048 to 4096 bits (RS256), EC P-256 (ES256) \
         or oct with at least 32 bytes (HS256); {0}"
    )]
    NoUsableKey(String),
}

/// What a look at the file led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The file is as it was at the last look.
    Unchanged,
    /// Its keys are in force.
    Replaced,
    /// It is broken; the keys from before stay in force.
    Kept,
}

/// A file of keys. Share it: one task follows the file, everybody else reads the keys of the moment.
pub struct JwksFile {
    path: PathBuf,
    /// What the last look saw. Held during a look, so that two looks do not overtake each other.
    seen: Mutex<Result<Vec<u8>, JwksError>>,
    /// Held only to clone or replace the pointer.
    keys: Mutex<Arc<KeySet>>,
    faults: AtomicU64,
}

impl JwksFile {
    /// Reads the file for the first time. Blocks for as long as the disk needs: call it before the service starts.
    ///
    /// # Errors
    /// [`JwksError`]; without a usable key there is nothing to start with.
    pub fn open(path: impl Into<PathBuf>) -> Result<Arc<Self>, JwksError> {
        let path = path.into();
        let bytes = read(&path)?;
        let keys = parse(&bytes)?;
        Ok(Arc::new(Self {
            path,
            seen: Mutex::new(Ok(bytes)),
            keys: Mutex::new(Arc::new(keys)),
            faults: AtomicU64::new(0),
        }))
    }

    /// Reads the file again and takes its keys if it changed. A change for the worse is logged once and counted, and
    /// the keys from before stay. Blocks for as long as the disk needs.
    pub fn reload(&self) -> Reload {
        let mut seen = self.seen.lock();
        let now = read(&self.path);
        if *seen == now {
            return Reload::Unchanged;
        }
        let keys = now.as_ref().map_err(Clone::clone).and_then(|bytes| parse(bytes));
        *seen = now;
        match keys {
            Ok(keys) => {
                tracing::info!(jwks.path = %self.path.display(), jwks.keys = keys.len(), "token keys replaced");
                *self.keys.lock() = Arc::new(keys);
                Reload::Replaced
            }
            Err(error) => {
                self.faults.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    jwks.path = %self.path.display(), %error,
                    "token keys cannot be replaced, those from before stay in force"
                );
                Reload::Kept
            }
        }
    }

    /// How often a changed file turned out to be broken since the start.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Reloads every [`POLL`], for ever; to be spawned on the tracker of the process and dropped to stop.
    ///
    /// Cancel-safe: a look that is under way ends on its own thread and leaves whole keys behind.
    pub async fn follow(self: Arc<Self>) -> Infallible {
        loop {
            tokio::time::sleep(POLL).await;
            let file = self.clone();
            let look = tokio::task::spawn_blocking(move || file.reload());
            if let Err(error) = look.await {
                // A look does not panic, and the runtime refuses work only while it ends.
                tracing::error!(%error, "token keys were not looked at");
            }
        }
    }
}

impl KeySource for JwksFile {
    fn keys(&self) -> Arc<KeySet> {
        self.keys.lock().clone()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, JwksError> {
    let unreadable = |error: io::Error| JwksError::Unreadable(error.to_string());
    // Asked first: to open a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(JwksError::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let length = file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if length as u64 > FILE_MAX_BYTES { Err(JwksError::TooLong) } else { Ok(bytes) }
}

/// The set, its keys not yet looked at: one key of a kind that is not known here must not spoil the others.
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// The members of a key that decide; RFC 7517 and 7518 name the others.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

/// Why a key is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Skip {
    #[error("it is not an object with a kty and texts as members")]
    Shape,
    #[error("it is not for verifying signatures")]
    Purpose,
    #[error("its kty, crv and alg are not RSA with RS256, EC on P-256 with ES256 or oct with HS256")]
    Kind,
    #[error(transparent)]
    Key(#[from] KeyError),
}

fn parse(bytes: &[u8]) -> Result<KeySet, JwksError> {
    // The parser's own text is left out: it may quote the file.
    let set: Jwks = serde_json::from_slice(bytes)
        .map_err(|error| JwksError::NotAJwks { line: error.line(), column: error.column() })?;
    if set.keys.len() > KEYS_MAX {
        return Err(JwksError::TooManyKeys);
    }
    let mut keys = Vec::new();
    let mut first_skip = None;
    for (index, value) in set.keys.iter().enumerate() {
        match key(index, value) {
            Ok(key) => keys.push(key),
            Err(reason) => {
                let kid = value.get("kid").and_then(Value::as_str).unwrap_or_default();
                tracing::debug!(jwks.index = index, jwks.kid = kid, %reason, "a key of the JWKS file is passed over");
                first_skip.get_or_insert((index, reason));
            }
        }
    }
    if keys.is_empty() {
        let reason = first_skip.map_or_else(
            || "the list is empty".to_owned(),
            |(index, reason)| format!("key {} of {} is passed over: {reason}", index + 1, set.keys.len()),
        );
        return Err(JwksError::NoUsableKey(reason));
    }
    Ok(KeySet::new(keys))
}

fn key(index: usize, value: &Value) -> Result<Key, Skip> {
    let jwk = Jwk::deserialize(value).map_err(|_| Skip::Shape)?;
    if jwk.d.is_some() {
        tracing::warn!(
            jwks.index = index,
            jwks.kid = jwk.kid.as_deref().unwrap_or_default(),
            "the JWKS file holds a private key: whoever reads it can sign; give only the public part"
        );
    }
    let operations = jwk.key_ops.as_deref();
    if jwk.purpose.is_some_and(|purpose| purpose != "sig")
        || operations.is_some_and(|operations| !operations.iter().any(|operation| operation == "verify"))
    {
        return Err(Skip::Purpose);
    }
    let member = |member: &Option<String>| member.clone().unwrap_or_default();
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref(), jwk.alg.as_deref()) {
        ("RSA", None, None | Some("RS256")) => Key::rs256(&member(&jwk.n), &member(&jwk.e)),
        ("EC", Some("P-256"), None | Some("ES256")) => Key::es256(&member(&jwk.x), &member(&jwk.y)),
        ("oct", None, None | Some("HS256")) => Key::hs256_from_jwk(&member(&jwk.k)),
        _ => return Err(Skip::Kind),
    }?;
    Ok(key.named(jwk.kid.as_deref()))
}

#[cfg(test)]
mod tests;
