//! What a token must be, and the forgeries that it must not be.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::auth::fixtures::{self, forge, sign};
use crate::auth::keys::{FixedKeys, Key, KeySet};
use crate::clock::ManualClock;
use crate::ids::LogName;
use crate::rights::Right;

/// The wall clock of these tests, in seconds.
const NOW: u64 = 1_763_778_000;

struct Fixed(Arc<KeySet>);

impl KeySource for Fixed {
    fn keys(&self) -> Arc<KeySet> {
        self.0.clone()
    }
}

fn auth(keys: Vec<Key>) -> TokenAuth {
    TokenAuth::new(Arc::new(Fixed(Arc::new(KeySet::new(keys)))), None, None, ManualClock::at(NOW * 1000))
}

fn by_secret() -> TokenAuth {
    auth(vec![Key::hs256(fixtures::SECRET.as_bytes()).unwrap()])
}

fn rsa() -> Key {
    Key::rs256(fixtures::RSA_N, "AQAB").unwrap()
}

fn ec() -> Key {
    Key::es256(fixtures::EC_X, fixtures::EC_Y).unwrap()
}

fn meant_for(audience: Option<&str>, issuer: Option<&str>) -> TokenAuth {
    let keys = FixedKeys::from_secret(fixtures::SECRET.as_bytes()).unwrap();
    TokenAuth::new(Arc::new(keys), audience, issuer, ManualClock::at(NOW * 1000))
}

impl TokenAuth {
    fn sign_in(&self, token: &str) -> Result<Grant, AuthError> {
        self.authenticate(Credentials::Token(token)).now_or_never().expect("nothing to wait for")
    }

    fn refusal(&self, token: &str) -> &'static str {
        match self.sign_in(token) {
            Err(AuthError::Refused(sentence)) => sentence,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

/// Good claims of alice for a minute, with changes: `null` takes a claim away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({"sub": "alice", "exp": NOW + 60});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn token(changes: &Value) -> String {
    sign(Algorithm::HS256, None, &claims(changes))
}

fn good() -> String {
    token(&json!({}))
}

const WRONG_SIGNATURE: &str = "the token's signature is wrong";
const WRONG_ALGORITHM: &str = "the token's algorithm is not that of its key";
const UNKNOWN_KEY: &str = "the token is signed with an unknown key";
const NOT_A_JWT: &str = "the token is not a JWT with an algorithm that is known here";

#[test]
fn a_good_token_gives_its_user_until_its_end_and_the_leeway() {
    let expected = Grant {
        user: UserId::parse("alice").unwrap(),
        expires: Some(Moment::default() + Duration::from_secs(60) + LEEWAY),
        rights: Rights::all(),
    };
    assert_eq!(by_secret().sign_in(&good()), Ok(expected));
}

#[test]
fn every_supported_algorithm_verifies_with_its_own_key() {
    let auth = auth(vec![rsa(), ec(), Key::hs256(fixtures::SECRET.as_bytes()).unwrap()]);
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::HS256] {
        assert!(auth.sign_in(&sign(algorithm, None, &claims(&json!({})))).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn a_name_alone_is_refused() {
    let answer = by_secret().authenticate(Credentials::User("alice")).now_or_never().unwrap();
    assert_eq!(answer, Err(AuthError::Refused("a name is not enough here: sign in with a token")));
}

#[test]
fn a_token_without_signature_is_refused_whatever_it_calls_that() {
    let claims = claims(&json!({})).to_string();
    for auth in [by_secret(), auth(vec![rsa()])] {
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            let header = format!("{{\"typ\":\"JWT\",\"alg\":\"{alg}\"}}");
            assert_eq!(auth.refusal(&forge(&header, &claims, b"")), NOT_A_JWT);
        }
        assert_eq!(auth.refusal(&forge("{\"typ\":\"JWT\"}", &claims, b"")), NOT_A_JWT);
    }
    assert_eq!(by_secret().refusal(&forge(r#"{"alg":"HS256"}"#, &claims, b"")), WRONG_SIGNATURE);
    assert_eq!(auth(vec![rsa()]).refusal(&forge(r#"{"alg":"RS256"}"#, &claims, b"")), WRONG_SIGNATURE);
    assert_eq!(auth(vec![ec()]).refusal(&forge(r#"{"alg":"ES256"}"#, &claims, &[0; 64])), WRONG_SIGNATURE);
}

#[test]
fn a_public_key_used_as_a_secret_signs_nothing() {
    let claims = claims(&json!({}));
    let public: [&[u8]; 3] = [
        fixtures::RSA_PUBLIC_PEM.as_bytes(),
        fixtures::RSA_PUBLIC_PEM.trim_end().as_bytes(),
        fixtures::RSA_N.as_bytes(),
    ];
    for bytes in public {
        let forged = encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(bytes)).unwrap();
        assert_eq!(auth(vec![rsa()]).refusal(&forged), WRONG_ALGORITHM);
        assert_eq!(
            auth(vec![rsa(), Key::hs256(fixtures::SECRET.as_bytes()).unwrap()]).refusal(&forged),
            WRONG_SIGNATURE
        );
        let named = Header { kid: Some("r".into()), ..Header::new(Algorithm::HS256) };
        let forged = encode(&named, &claims, &EncodingKey::from_secret(bytes)).unwrap();
        assert_eq!(auth(vec![rsa().named(Some("r"))]).refusal(&forged), WRONG_ALGORITHM);
    }
}

#[test]
fn other_algorithms_of_the_same_key_are_refused() {
    let claims = claims(&json!({}));
    for algorithm in [Algorithm::PS256, Algorithm::RS512] {
        assert_eq!(auth(vec![rsa()]).refusal(&sign(algorithm, None, &claims)), WRONG_ALGORITHM);
    }
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(by_secret().refusal(&sign(algorithm, None, &claims)), WRONG_ALGORITHM);
    }
}

#[test]
fn any_changed_character_breaks_the_token() {
    for (auth, token) in [(by_secret(), good()), (auth(vec![ec()]), sign(Algorithm::ES256, None, &claims(&json!({}))))]
    {
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(matches!(auth.sign_in(&changed), Err(AuthError::Refused(_))), "{at}: {changed}");
        }
    }
}

#[test]
fn another_payload_does_not_fit_the_signature() {
    let token = good();
    let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let payload = fixtures::base64url(claims(&json!({"sub": "bob"})).to_string().as_bytes());
    assert_eq!(by_secret().refusal(&format!("{header}.{payload}.{signature}")), WRONG_SIGNATURE);
}

#[test]
fn a_token_has_three_parts_and_no_padding() {
    let token = good();
    let (unsigned, _) = token.rsplit_once('.').unwrap();
    for broken in ["", ".", "..", "...", "a.b.c", "bearer", unsigned, &format!("{token}.{token}"), &format!(" {token}")]
    {
        assert_eq!(by_secret().refusal(broken), NOT_A_JWT, "{broken}");
    }
    for broken in [format!("{unsigned}."), format!("{token}="), format!("{token} ")] {
        assert_eq!(by_secret().refusal(&broken), WRONG_SIGNATURE, "{broken}");
    }
}

#[test]
fn a_token_over_the_limit_is_not_even_looked_at() {
    let fit = |padding: usize| token(&json!({"pad": "x".repeat(padding)}));
    let padding = (TOKEN_MAX_BYTES - fit(0).len()) * 3 / 4 - 1;
    assert!(fit(padding).len() <= TOKEN_MAX_BYTES && by_secret().sign_in(&fit(padding)).is_ok());
    assert_eq!(by_secret().refusal(&fit(padding + 4)), "the token is longer than 8192 bytes");
}

#[test]
fn a_key_id_selects_the_key() {
    let auth =
        auth(vec![Key::rs256(fixtures::RSA_OTHER_N, "AQAB").unwrap().named(Some("old")), rsa().named(Some("new"))]);
    let claims = claims(&json!({}));
    assert!(auth.sign_in(&sign(Algorithm::RS256, Some("new"), &claims)).is_ok());
    assert!(auth.sign_in(&sign(Algorithm::RS256, None, &claims)).is_ok(), "without a kid every key is tried");
    assert_eq!(auth.refusal(&sign(Algorithm::RS256, Some("old"), &claims)), WRONG_SIGNATURE);
    assert_eq!(auth.refusal(&sign(Algorithm::RS256, Some("gone"), &claims)), UNKNOWN_KEY);
    assert_eq!(auth.refusal(&sign(Algorithm::RS256, Some(""), &claims)), UNKNOWN_KEY);
    assert_eq!(auth.refusal(&sign(Algorithm::HS256, Some("new"), &claims)), WRONG_ALGORITHM);
}

#[test]
fn a_secret_has_no_name_and_answers_to_any() {
    assert!(by_secret().sign_in(&sign(Algorithm::HS256, Some("2024-01"), &claims(&json!({})))).is_ok());
}

#[test]
fn a_key_that_the_token_brings_along_is_not_used() {
    let own = Key::hs256(&[b'x'; 32]).unwrap();
    let header = json!({"alg": "HS256", "jku": "https://evil.org/jwks", "jwk": fixtures::oct_jwk("mine")});
    let header: Header = serde_json::from_value(header).unwrap();
    let key = EncodingKey::from_secret(fixtures::SECRET.as_bytes());
    let token = encode(&header, &claims(&json!({})), &key).unwrap();
    assert_eq!(auth(vec![own]).refusal(&token), WRONG_SIGNATURE);
}

#[test]
fn critical_headers_are_refused() {
    let header = Header { crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::HS256) };
    let key = EncodingKey::from_secret(fixtures::SECRET.as_bytes());
    let token = encode(&header, &claims(&json!({})), &key).unwrap();
    assert_eq!(by_secret().refusal(&token), "the token has critical headers, which are not supported");
}

#[test]
fn a_token_ends_with_the_leeway_to_the_millisecond() {
    let leeway = LEEWAY.as_secs();
    assert_eq!(by_secret().sign_in(&token(&json!({"exp": NOW - leeway - 1}))), Err(AuthError::Expired));
    assert_eq!(by_secret().sign_in(&token(&json!({"exp": NOW - leeway}))), Err(AuthError::Expired));
    let last = by_secret().sign_in(&token(&json!({"exp": NOW - leeway + 1}))).unwrap();
    assert_eq!(last.expires, Some(Moment::default() + Duration::from_secs(1)));
    let fraction = by_secret().sign_in(&token(&json!({"exp": (NOW - leeway) as f64 + 0.5}))).unwrap();
    assert_eq!(fraction.expires, Some(Moment::default() + Duration::from_millis(500)));
}

#[test]
fn the_session_ends_at_the_moment_from_which_the_token_is_refused() {
    let clock = ManualClock::at(NOW * 1000);
    let keys = Arc::new(FixedKeys::from_secret(fixtures::SECRET.as_bytes()).unwrap());
    let auth = TokenAuth::new(keys, None, None, clock.clone());
    let expires = auth.sign_in(&good()).unwrap().expires.unwrap();
    clock.advance(Duration::from_millis(69_999));
    assert_eq!(auth.sign_in(&good()).unwrap().expires, Some(expires), "the same token ends at the same moment");
    clock.advance(Duration::from_millis(1));
    assert_eq!(clock.now().mono, expires);
    assert_eq!(auth.sign_in(&good()), Err(AuthError::Expired));
}

#[test]
fn an_exp_is_required_and_counts_seconds() {
    assert_eq!(by_secret().refusal(&token(&json!({"exp": null}))), "the token has no exp");
    for exp in [json!("1763778060"), json!(true), json!([NOW]), json!(-1), json!(-0.5), json!(1e300)] {
        let token = token(&json!({"exp": exp}));
        assert_eq!(by_secret().refusal(&token), "the token's exp is not a number of seconds since 1970", "{exp}");
    }
    for exp in [json!((NOW + 60) * 1000), json!(u64::MAX), json!(1.5e12), json!(EXP_END_SECONDS)] {
        let sentence = "the token's exp is beyond the year 9999: it counts seconds, not milliseconds";
        assert_eq!(by_secret().refusal(&token(&json!({"exp": exp}))), sentence, "{exp}");
    }
    assert!(by_secret().sign_in(&token(&json!({"exp": EXP_END_SECONDS - 1}))).is_ok());
    assert_eq!(by_secret().sign_in(&token(&json!({"exp": 0}))), Err(AuthError::Expired));
}

#[test]
fn a_token_is_not_good_before_its_time_but_for_the_leeway() {
    let leeway = LEEWAY.as_secs();
    assert!(by_secret().sign_in(&token(&json!({"nbf": NOW + leeway}))).is_ok());
    for nbf in [NOW + leeway + 1, u64::MAX] {
        assert_eq!(by_secret().refusal(&token(&json!({"nbf": nbf}))), "the token is not valid yet");
    }
    for nbf in [json!("soon"), json!(-1), json!({})] {
        let sentence = "the token's nbf is not a number of seconds since 1970";
        assert_eq!(by_secret().refusal(&token(&json!({"nbf": nbf}))), sentence);
    }
}

#[test]
fn a_user_must_be_named_and_nameable() {
    for sub in [json!(null), json!(7), json!(["alice"]), json!({"name": "alice"})] {
        assert_eq!(by_secret().refusal(&token(&json!({"sub": sub}))), "the token has no sub that is a text");
    }
    for sub in ["", "a\u{0}b", "a\nb", "a\u{85}b", "@me", &"x".repeat(129)] {
        assert!(by_secret().refusal(&token(&json!({"sub": sub}))).starts_with("the token's sub is not a user name"));
    }
    assert!(by_secret().sign_in(&token(&json!({"sub": "x".repeat(128)}))).is_ok());
}

#[test]
fn the_audience_must_name_this_service_where_one_is_configured() {
    let auth = meant_for(Some("chat"), None);
    for aud in [json!("chat"), json!(["shop", "chat"])] {
        assert!(auth.sign_in(&token(&json!({"aud": aud}))).is_ok(), "{aud}");
    }
    for aud in [json!(null), json!("Chat"), json!("chat2"), json!([]), json!(["shop"]), json!(1), json!({"chat": 1})] {
        assert_eq!(auth.refusal(&token(&json!({"aud": aud}))), "the token's aud does not name this service", "{aud}");
    }
    assert!(by_secret().sign_in(&token(&json!({"aud": "shop"}))).is_ok(), "not configured is not looked at");
}

#[test]
fn the_issuer_must_be_the_trusted_one_where_one_is_configured() {
    let auth = meant_for(None, Some("https://id.example"));
    assert!(auth.sign_in(&token(&json!({"iss": "https://id.example"}))).is_ok());
    for iss in [json!(null), json!("https://id.example/"), json!(["https://id.example"]), json!(1)] {
        assert_eq!(
            auth.refusal(&token(&json!({"iss": iss}))),
            "the token's iss is not the issuer trusted here",
            "{iss}"
        );
    }
    assert!(by_secret().sign_in(&token(&json!({"iss": "anybody"}))).is_ok());
}

#[test]
fn claims_limit_what_the_session_may_do() {
    let rules = json!([{"match": "team-*", "can": ["join", "history"]}]);
    let rights = by_secret().sign_in(&token(&json!({"rooms": rules, "direct": true}))).unwrap().rights;
    let room = |name| LogName::Room(RoomName::parse(name).unwrap());
    assert!(rights.allows(&room("team-a"), Right::Join) && !rights.allows(&room("team-a"), Right::Publish));
    assert!(!rights.allows(&room("other"), Right::Join));
    assert!(rights.allows_direct());
    let none = by_secret().sign_in(&token(&json!({"rooms": []}))).unwrap().rights;
    assert!(!none.allows(&room("any"), Right::Join) && !none.allows_direct());
}

#[test]
fn malformed_claims_never_come_to_mean_everything() {
    for rooms in [
        json!("team-*"),
        json!({"match": "a", "can": ["join"]}),
        json!([{"match": "a"}]),
        json!([{"can": ["join"]}]),
        json!([{"match": "a", "can": "join"}]),
        json!([{"match": "a", "can": ["fly"]}]),
        json!([null]),
    ] {
        let refusal = by_secret().refusal(&token(&json!({"rooms": rooms})));
        assert!(refusal.starts_with("the token's rooms is not a list like [{\"match\":"), "{rooms}: {refusal}");
    }
    for direct in [json!("true"), json!(1), json!([])] {
        assert_eq!(
            by_secret().refusal(&token(&json!({"direct": direct}))),
            "the token's direct is neither true nor false"
        );
    }
    // `claims` takes a null away, so these are written by hand.
    for null in ["rooms", "direct", "nbf", "exp", "sub"] {
        let mut claims = claims(&json!({}));
        claims[null] = Value::Null;
        assert!(by_secret().refusal(&sign(Algorithm::HS256, None, &claims)).contains(null));
    }
}

#[test]
fn rules_are_bounded_and_about_rooms() {
    let rules = |count: usize| json!({"rooms": vec![json!({"match": "a", "can": []}); count]});
    let sentence = "the token's rooms has more than 256 rules";
    assert!(by_secret().sign_in(&token(&rules(200))).is_ok());
    // 257 rules fit into a token only if they are shorter than a rule can be written: the claim is read directly.
    let read =
        |count| serde_json::from_value::<Claims>(rules(count)).unwrap().rooms().map(|rules| rules.unwrap().len());
    assert_eq!(read(ROOM_RULES_MAX), Ok(ROOM_RULES_MAX));
    assert_eq!(read(ROOM_RULES_MAX + 1), Err(AuthError::Refused(sentence)));
    for fine in ["*", "**", &format!("{}*", "x".repeat(128))] {
        assert!(by_secret().sign_in(&token(&json!({"rooms": [{"match": fine, "can": []}]}))).is_ok(), "{fine}");
    }
    for never in ["", "@me", "@*", "a\nb", &"x".repeat(129)] {
        let refusal = by_secret().refusal(&token(&json!({"rooms": [{"match": never, "can": []}]})));
        assert!(refusal.starts_with("the token's rooms has a match that no room can have"), "{never}");
    }
}

#[test]
fn a_claim_that_is_given_twice_is_refused() {
    let signed = |claims: &str| {
        let claims: Box<serde_json::value::RawValue> = serde_json::from_str(claims).unwrap();
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(fixtures::SECRET.as_bytes())).unwrap()
    };
    let sentence = "the token's claims are not a JSON object with each claim once";
    let twice = format!("{{\"sub\":\"alice\",\"sub\":\"bob\",\"exp\":{}}}", NOW + 60);
    assert_eq!(by_secret().refusal(&signed(&twice)), sentence);
    let twice = format!("{{\"sub\":\"alice\",\"rooms\":[],\"rooms\":[],\"exp\":{}}}", NOW + 60);
    assert_eq!(by_secret().refusal(&signed(&twice)), sentence);
    let list = format!("[\"alice\",{},0,null,null,[],false]", NOW + 60);
    for other in ["7", "\"alice\"", "null", &list] {
        assert_eq!(by_secret().refusal(&signed(other)), sentence);
    }
}

#[test]
fn what_is_wrong_for_good_is_told_before_what_a_fresher_token_would_mend() {
    let expired = json!({"exp": 1, "aud": "shop"});
    let auth = meant_for(Some("chat"), None);
    assert_eq!(auth.refusal(&token(&expired)), "the token's aud does not name this service");
}

#[test]
fn a_forgery_learns_nothing_from_its_claims() {
    let forged = forge(r#"{"alg":"HS256"}"#, r#"{"sub":"alice","exp":1,"rooms":7}"#, &[7; 32]);
    assert_eq!(by_secret().refusal(&forged), WRONG_SIGNATURE);
}

const HS256_HEADER: &str = r#"{"alg":"HS256"}"#;
const ES256_HEADER: &str = r#"{"alg":"ES256"}"#;

proptest! {
    #[test]
    fn no_text_panics_or_signs_in(text in any::<String>()) {
        prop_assert!(by_secret().sign_in(&text).is_err());
    }

    #[test]
    fn no_three_parts_panic_or_sign_in(header in ".{0,40}", claims in ".{0,40}", signature in any::<Vec<u8>>()) {
        prop_assert!(by_secret().sign_in(&forge(&header, &claims, &signature)).is_err());
        prop_assert!(by_secret().sign_in(&forge(HS256_HEADER, &claims, &signature)).is_err());
        prop_assert!(auth(vec![ec()]).sign_in(&forge(ES256_HEADER, &claims, &signature)).is_err());
    }

    #[test]
    fn no_signed_claims_panic(exp in any::<f64>(), nbf in any::<i64>(), sub in any::<String>(), pattern in any::<String>()) {
        let claims = json!({"sub": sub, "exp": exp, "nbf": nbf, "rooms": [{"match": pattern, "can": []}]});
        let _answer = by_secret().sign_in(&sign(Algorithm::HS256, None, &claims));
    }
}
