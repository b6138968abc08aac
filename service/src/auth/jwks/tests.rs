//! What a JWKS file gives, and how it changes under a running service.

use std::fs;
use std::sync::atomic::AtomicU32;

use futures_util::FutureExt;
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::auth::fixtures::{self, ec_jwk, jwks, oct_jwk, rsa_jwk, sign};
use crate::auth::token::TokenAuth;
use crate::auth::{Auth, Credentials};
use crate::clock::ManualClock;

/// A directory that is removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("parley-jwks-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("jwks.json")
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(self.file(), text).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

fn accepts(file: &Arc<JwksFile>, algorithm: Algorithm, kid: &str) -> bool {
    let auth = TokenAuth::new(file.clone(), None, None, ManualClock::at(0));
    let token = sign(algorithm, Some(kid), &json!({"sub": "alice", "exp": 60}));
    auth.authenticate(Credentials::Token(&token)).now_or_never().unwrap().is_ok()
}

fn fault(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn all_three_kinds_of_keys_verify_their_tokens() {
    let dir = Dir::new();
    dir.write(jwks(&[rsa_jwk("r"), ec_jwk("e"), oct_jwk("o")]));
    let file = JwksFile::open(dir.file()).unwrap();
    assert!(accepts(&file, Algorithm::RS256, "r"));
    assert!(accepts(&file, Algorithm::ES256, "e"));
    assert!(accepts(&file, Algorithm::HS256, "o"));
    assert!(!accepts(&file, Algorithm::RS256, "e"));
}

#[test]
fn an_old_key_is_good_until_it_is_taken_out_and_a_new_one_from_when_it_is_in() {
    let dir = Dir::new();
    dir.write(jwks(&[rsa_jwk("old")]));
    let file = JwksFile::open(dir.file()).unwrap();
    assert_eq!(file.reload(), Reload::Unchanged);
    assert!(accepts(&file, Algorithm::RS256, "old") && !accepts(&file, Algorithm::ES256, "new"));

    dir.write(jwks(&[rsa_jwk("old"), ec_jwk("new")]));
    assert_eq!(file.reload(), Reload::Replaced);
    assert!(accepts(&file, Algorithm::RS256, "old") && accepts(&file, Algorithm::ES256, "new"));

    dir.write(jwks(&[ec_jwk("new")]));
    assert_eq!(file.reload(), Reload::Replaced);
    assert!(!accepts(&file, Algorithm::RS256, "old") && accepts(&file, Algorithm::ES256, "new"));
    assert_eq!(file.faults(), 0);
}

#[test]
fn a_change_is_seen_even_if_length_and_time_stay_the_same() {
    let dir = Dir::new();
    dir.write(jwks(&[ec_jwk("a")]));
    let changed = fs::metadata(dir.file()).unwrap().modified().unwrap();
    let file = JwksFile::open(dir.file()).unwrap();
    dir.write(jwks(&[ec_jwk("b")]));
    fs::File::options().write(true).open(dir.file()).unwrap().set_modified(changed).unwrap();
    assert_eq!(file.reload(), Reload::Replaced);
    assert!(accepts(&file, Algorithm::ES256, "b"));
}

#[test]
fn a_broken_file_keeps_the_old_keys_and_is_counted_once() {
    let dir = Dir::new();
    let good = jwks(&[ec_jwk("a")]);
    dir.write(&good);
    let file = JwksFile::open(dir.file()).unwrap();
    for (count, broken) in (1..).zip(["", "{", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"OKP\"}]}", "[]"]) {
        dir.write(broken);
        assert_eq!(file.reload(), Reload::Kept, "{broken}");
        assert_eq!(file.reload(), Reload::Unchanged, "{broken}");
        assert_eq!(file.faults(), count);
        assert!(accepts(&file, Algorithm::ES256, "a"));
    }
    dir.write(&good);
    assert_eq!(file.reload(), Reload::Replaced);
    assert_eq!(file.reload(), Reload::Unchanged);
}

#[test]
fn a_file_that_vanishes_keeps_the_old_keys() {
    let dir = Dir::new();
    dir.write(jwks(&[ec_jwk("a")]));
    let file = JwksFile::open(dir.file()).unwrap();
    fs::remove_file(dir.file()).unwrap();
    assert_eq!((file.reload(), file.reload(), file.faults()), (Reload::Kept, Reload::Unchanged, 1));
    assert!(accepts(&file, Algorithm::ES256, "a"));
    dir.write(jwks(&[ec_jwk("b")]));
    assert_eq!(file.reload(), Reload::Replaced);
    assert!(accepts(&file, Algorithm::ES256, "b"));
}

/// Kubernetes mounts `jwks.json -> ..data/jwks.json` with `..data -> ..<time>` and swaps `..data` by a rename.
#[cfg(unix)]
#[test]
fn a_swapped_symlink_is_a_changed_file() {
    use std::os::unix::fs::symlink;
    let dir = Dir::new();
    for (version, kid) in [("..1", "a"), ("..2", "b")] {
        fs::create_dir(dir.0.join(version)).unwrap();
        fs::write(dir.0.join(version).join("jwks.json"), jwks(&[ec_jwk(kid)])).unwrap();
    }
    symlink("..1", dir.0.join("..data")).unwrap();
    symlink("..data/jwks.json", dir.file()).unwrap();
    let file = JwksFile::open(dir.file()).unwrap();
    assert!(accepts(&file, Algorithm::ES256, "a"));
    symlink("..2", dir.0.join("..tmp")).unwrap();
    fs::rename(dir.0.join("..tmp"), dir.0.join("..data")).unwrap();
    fs::remove_dir_all(dir.0.join("..1")).unwrap();
    assert_eq!(file.reload(), Reload::Replaced);
    assert!(!accepts(&file, Algorithm::ES256, "a") && accepts(&file, Algorithm::ES256, "b"));
}

#[tokio::test(start_paused = true)]
async fn the_task_that_follows_the_file_takes_up_a_change() {
    let dir = Dir::new();
    dir.write(jwks(&[ec_jwk("a")]));
    let file = JwksFile::open(dir.file()).unwrap();
    dir.write(jwks(&[ec_jwk("b")]));
    // Time is paused and moves only while nothing else runs, so this waits for looks and not for the clock.
    let mut looks = tokio::time::interval(POLL);
    let seen = async {
        while !accepts(&file, Algorithm::ES256, "b") {
            looks.tick().await;
        }
    };
    tokio::select! {
        never = file.clone().follow() => match never {},
        () = seen => {}
    }
}

#[test]
fn a_start_without_a_usable_key_says_what_would_be_right() {
    let dir = Dir::new();
    let start = || JwksFile::open(dir.file()).map(|_| ()).unwrap_err().to_string();
    assert!(start().starts_with("cannot read the file: "));
    dir.write("{\"keys\":[]}");
    assert_eq!(
        start(),
        "no usable key: right is at least one of RSA with 2048 to 4096 bits (RS256), EC P-256 (ES256) or oct with at \
         least 32 bytes (HS256); the list is empty"
    );
    dir.write("{\n\"keys\":7}");
    assert_eq!(start(), "not a JWKS (line 2, column 8): right is {\"keys\":[…]} as in RFC 7517");
    assert_eq!(JwksFile::open(&dir.0).map(|_| ()).unwrap_err(), JwksError::NotAFile);
}

#[test]
fn a_key_that_is_not_for_us_is_passed_over_and_the_others_stay() {
    let with = |name: &str, value: Value| {
        let mut jwk = ec_jwk("other");
        jwk[name] = value;
        jwk
    };
    for (other, reason) in [
        (with("use", json!("enc")), "it is not for verifying signatures"),
        (with("key_ops", json!(["sign"])), "it is not for verifying signatures"),
        (with("crv", json!("P-384")), "its kty, crv and alg are not RSA"),
        (with("alg", json!("ES384")), "its kty, crv and alg are not RSA"),
        (with("alg", json!("HS256")), "its kty, crv and alg are not RSA"),
        (with("kty", json!("OKP")), "its kty, crv and alg are not RSA"),
        (with("kid", json!(7)), "it is not an object with a kty"),
        (json!("key"), "it is not an object with a kty"),
        (with("y", json!(null)), "an EC key is a point of the curve P-256"),
        (json!({"kty": "RSA", "alg": "HS256", "n": fixtures::RSA_N, "e": "AQAB"}), "its kty, crv and alg are not RSA"),
        (json!({"kty": "RSA", "alg": "PS256", "n": fixtures::RSA_N, "e": "AQAB"}), "its kty, crv and alg are not RSA"),
        (
            json!({"kty": "RSA", "n": fixtures::RSA_1024_N, "e": "AQAB"}),
            "an RSA key has a modulus of 2048 to 4096 bits",
        ),
        (json!({"kty": "oct", "k": "c2hvcnQ"}), "a secret has at least 32 bytes"),
    ] {
        let alone = fault(&jwks(std::slice::from_ref(&other)));
        assert!(alone.contains(&format!("key 1 of 1 is passed over: {reason}")), "{other}: {alone}");
        assert_eq!(parse(jwks(&[other, ec_jwk("e")]).as_bytes()).unwrap().len(), 1);
    }
}

#[test]
fn a_private_key_in_the_file_still_verifies() {
    let mut private = ec_jwk("e");
    private["d"] = json!("YHpnA2mGZ1atD9r6nOf50xj6lzu9CY-eU-8nKHX1JcM");
    assert_eq!(parse(jwks(&[private]).as_bytes()).unwrap().len(), 1);
}

#[test]
fn size_and_number_of_keys_are_bounded() {
    let dir = Dir::new();
    dir.write(jwks(&vec![ec_jwk("e"); KEYS_MAX]));
    assert!(JwksFile::open(dir.file()).is_ok());
    assert_eq!(parse(jwks(&vec![ec_jwk("e"); KEYS_MAX + 1]).as_bytes()).unwrap_err(), JwksError::TooManyKeys);
    let limit = usize::try_from(FILE_MAX_BYTES).unwrap();
    let mut text = jwks(&[ec_jwk("e")]).into_bytes();
    text.resize(limit, b' ');
    dir.write(&text);
    assert!(JwksFile::open(dir.file()).is_ok());
    text.push(b' ');
    dir.write(&text);
    assert_eq!(JwksFile::open(dir.file()).map(|_| ()).unwrap_err(), JwksError::TooLong);
}

#[test]
fn a_fault_does_not_quote_the_file() {
    for text in ["{\"keys\":\"TOPSECRET\"}", "TOPSECRET", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"TOPSECRET\"}]}"] {
        assert!(!fault(text).contains("TOPSECRET"), "{}", fault(text));
    }
}

proptest! {
    #[test]
    fn no_file_panics(bytes in any::<Vec<u8>>(), kty in "RSA|EC|oct", text in "[A-Za-z0-9_-]{0,400}") {
        let _garbage = parse(&bytes);
        let jwk = json!({"kty": kty, "n": text, "e": text, "crv": "P-256", "x": text, "y": text, "k": text});
        let _key = parse(jwks(&[jwk]).as_bytes());
        let jwk = json!({"kty": kty, "n": text, "e": "AQAB", "k": text});
        let _key = parse(jwks(&[jwk]).as_bytes());
    }
}
