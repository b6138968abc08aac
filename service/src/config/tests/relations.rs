//! Settings that are right by themselves and wrong together.

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The faults without what stands before the remedy.
fn remedies(vars: &FakeVars) -> Vec<String> {
    load(vars, &[])
        .expect_err("something is wrong")
        .0
        .into_iter()
        .map(|fault| fault.setting + ": " + &fault.remedy)
        .collect()
}

#[test]
fn open_sign_in_stays_on_loopback() {
    for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
        let loaded = load(&env("PARLEY_LISTEN", address), &[]).expect("loopback is safe");
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }
    for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
        assert_eq!(
            remedies(&env("PARLEY_LISTEN", address)),
            [format!(
                "PARLEY_AUTH: give token, or listen on a loopback address: others reach {address} \
                 (PARLEY_AUTH_OPEN_ANYWHERE=true lets anybody speak as anybody)"
            )]
        );
    }
}

#[test]
fn open_sign_in_anywhere_must_be_asked_for_and_is_warned_of() {
    let vars = env("PARLEY_LISTEN", "0.0.0.0:1").with("PARLEY_AUTH_OPEN_ANYWHERE", "true");
    assert_eq!(
        load(&vars, &[]).expect("asked for").warnings,
        ["sign-in is open on 0.0.0.0:1: anybody who reaches it can speak as anybody"]
    );
}

#[test]
fn tokens_need_exactly_one_source_of_keys() {
    let token = env("PARLEY_AUTH", "token").with("PARLEY_LISTEN", "0.0.0.0:1").with_file("/jwks.json", "{}");
    assert_eq!(
        remedies(&token),
        ["PARLEY_AUTH: give PARLEY_TOKEN_SECRET (or PARLEY_TOKEN_SECRET_FILE) or PARLEY_TOKEN_JWKS too"]
    );
    let with_secret = token.clone().with("PARLEY_TOKEN_SECRET", SECRET);
    assert!(load(&with_secret, &[]).is_ok());
    let with_jwks = token.with("PARLEY_TOKEN_JWKS", "/jwks.json");
    let source = TokenSource::Jwks("/jwks.json".into());
    let expected = AuthMode::Token(TokenConfig { source, audience: None, issuer: None });
    assert_eq!(serve(&with_jwks, &[]).auth.mode, expected);
    assert_eq!(
        remedies(&with_jwks.with("PARLEY_TOKEN_SECRET", SECRET)),
        ["PARLEY_TOKEN_JWKS: give this or PARLEY_TOKEN_SECRET, not both"]
    );
}

#[test]
fn a_short_token_secret_is_one_fault_and_not_two() {
    let vars = env("PARLEY_AUTH", "token").with("PARLEY_TOKEN_SECRET", &SECRET[1..]);
    assert_eq!(remedies(&vars), ["PARLEY_TOKEN_SECRET: give at least 32 bytes, as HS256 asks for"]);
}

#[test]
fn a_jwks_file_must_be_readable() {
    let vars = env("PARLEY_AUTH", "token").with("PARLEY_TOKEN_JWKS", "/missing.json");
    assert_eq!(
        faults(&vars, &[]),
        ["PARLEY_TOKEN_JWKS = \"/missing.json\" (environment): name a file that can be read (entity not found)"]
    );
}

#[test]
fn a_token_setting_without_tokens_is_a_trap_and_refused() {
    for (name, value) in [("PARLEY_TOKEN_SECRET", SECRET), ("PARLEY_TOKEN_AUDIENCE", "a"), ("PARLEY_TOKEN_ISSUER", "a")]
    {
        assert_eq!(
            remedies(&env(name, value)),
            [format!("{name}: set PARLEY_AUTH=token with it, or leave it out: `open` checks no token")]
        );
    }
}

#[test]
fn the_two_addresses_need_two_ports() {
    let both = |listen, admin| env("PARLEY_LISTEN", listen).with("PARLEY_ADMIN_LISTEN", admin);
    for admin in ["127.0.0.1:80", "0.0.0.0:80"] {
        assert_eq!(
            remedies(&both("127.0.0.1:80", admin)),
            ["PARLEY_ADMIN_LISTEN: give another port than that of PARLEY_LISTEN (127.0.0.1:80)"]
        );
    }
    assert!(load(&both("127.0.0.1:0", "127.0.0.1:0"), &[]).is_ok());
    assert!(load(&both("127.0.0.1:80", "127.0.0.2:80"), &[]).is_ok());
}

#[test]
fn an_outbox_holds_two_messages_and_all_outboxes_hold_one() {
    let vars = env("PARLEY_MAX_MESSAGE_BYTES", "60KiB").with("PARLEY_MAX_OUTBOX_BYTES", "64KiB");
    assert_eq!(remedies(&vars), ["PARLEY_MAX_OUTBOX_BYTES: give at least 120KiB, twice PARLEY_MAX_MESSAGE_BYTES"]);
    assert!(load(&vars.with("PARLEY_MAX_OUTBOX_BYTES", "120KiB"), &[]).is_ok());
    let vars = env("PARLEY_MAX_OUTBOX_BYTES", "2MiB").with("PARLEY_MAX_OUTBOX_TOTAL_BYTES", "1MiB");
    assert_eq!(remedies(&vars), ["PARLEY_MAX_OUTBOX_TOTAL_BYTES: give at least 2MiB, one PARLEY_MAX_OUTBOX_BYTES"]);
}

#[test]
fn a_replay_is_no_longer_than_the_history() {
    let short = env("PARLEY_HISTORY_MESSAGES", "100");
    assert_eq!(serve(&short, &[]).history.replay_messages, 100);
    assert_eq!(
        remedies(&short.with("PARLEY_REPLAY_MESSAGES", "101")),
        ["PARLEY_REPLAY_MESSAGES: give at most 100, as PARLEY_HISTORY_MESSAGES keeps no more"]
    );
}

#[test]
fn a_redis_url_chooses_the_backplane() {
    for scheme in ["redis", "rediss", "redis-sentinel", "valkey", "valkeys", "valkey-sentinel"] {
        let url = format!("{scheme}://user:pass@host:6379/0");
        let vars = env("PARLEY_REDIS_URL", &url);
        for vars in [vars.clone().with("PARLEY_REDIS_PREFIX", "chat"), vars.with("PARLEY_BACKPLANE", "redis")] {
            let BackplaneChoice::Redis(redis) = serve(&vars, &[]).backplane else { panic!("{scheme} is not Redis") };
            assert_eq!((redis.url.expose(), redis.ca_file), (url.as_str(), None));
        }
    }
    assert_eq!(remedies(&env("PARLEY_BACKPLANE", "redis")), ["PARLEY_BACKPLANE: give PARLEY_REDIS_URL too, or memory"]);
    assert_eq!(
        remedies(&env("PARLEY_BACKPLANE", "memory").with("PARLEY_REDIS_URL", "redis://host")),
        ["PARLEY_BACKPLANE: give redis, or leave PARLEY_REDIS_URL out"]
    );
}

#[test]
fn a_redis_url_must_be_one() {
    for url in ["host:6379", "http://host", "redis://", "redis://:6379", "redis-cluster://host", "redis://user:pass@"] {
        let found = load(&env("PARLEY_REDIS_URL", url), &[]).expect_err("no such URL").0;
        assert_eq!(found[0].setting, "PARLEY_REDIS_URL", "{found:?}");
    }
}
