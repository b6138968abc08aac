//! Any text as a token, and any claims under a good signature: refused with a sentence, or a grant that ends.

#![no_main]

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use libfuzzer_sys::fuzz_target;
use parley_service::auth::keys::FixedKeys;
use parley_service::auth::token::TokenAuth;
use parley_service::auth::{Auth, AuthError, Credentials};
use parley_service::clock::ManualClock;

const SECRET: &[u8] = b"a secret of thirty-two bytes, 32";
/// `{"alg":"HS256"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiJ9";

static AUTH: LazyLock<TokenAuth> = LazyLock::new(|| {
    let keys = FixedKeys::from_secret(SECRET).expect("the secret is long enough");
    TokenAuth::new(Arc::new(keys), None, None, ManualClock::at(1_763_778_000_000))
});

fuzz_target!(|input: (bool, &str)| {
    let token = if input.0 { signed(input.1) } else { input.1.to_owned() };
    let mut checked = pin!(AUTH.authenticate(Credentials::Token(&token)));
    match checked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(grant)) => {
            assert!(input.0, "a token without a signature of ours was believed");
            assert!(grant.expires.is_some() && !grant.user.as_str().is_empty());
        }
        Poll::Ready(Err(AuthError::Refused(sentence))) => assert!(!sentence.is_empty()),
        Poll::Ready(Err(AuthError::Expired)) => {}
        other => panic!("tokens are checked at once and by themselves: {other:?}"),
    }
});

fn signed(claims: &str) -> String {
    let message = format!("{HEADER}.{}", base64url(claims.as_bytes()));
    let key = EncodingKey::from_secret(SECRET);
    let signature = sign(message.as_bytes(), &key, Algorithm::HS256).expect("the key is for this algorithm");
    format!("{message}.{signature}")
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for index in 0..=chunk.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * index)) as usize & 63]));
        }
    }
    text
}
