//! Secrets: where they may come from, and that nothing ever prints one.

use proptest::prelude::*;

use super::*;

const SETTINGS: [&str; 3] = ["redis-url", "token-secret", "api-key"];

fn variable(flag: &str) -> String {
    format!("PARLEY_{}", flag.to_uppercase().replace('-', "_"))
}

/// Everything that a start could print, whether it succeeds or not.
fn all_that_is_printed(vars: &FakeVars, args: &[&str]) -> String {
    let serve = load(vars, args);
    let config = load(vars, &[&["config"], args].concat());
    let display = [&serve, &config].map(|result| match result {
        Ok(Loaded { invocation: Invocation::ShowConfig(settings), .. }) => settings.to_string(),
        Ok(_) => String::new(),
        Err(faults) => faults.to_string(),
    });
    format!("{serve:?} {config:?} {} {}", display[0], display[1])
}

proptest! {
    #[test]
    fn no_output_holds_a_secret(
        secret in "[A-Za-z0-9+/]{40,60}",
        setting in prop::sample::select(&SETTINGS[..]),
        form in prop::sample::select(&["", "redis://user:", "redis-cluster://"][..]),
        auth in prop::sample::select(&["open", "token", "other"][..]),
        short in prop::bool::ANY,
    ) {
        // A short one is refused, which makes other words than one that is taken.
        let secret = if short { &secret[..12] } else { &secret[..] };
        let value = format!("{form}{secret}");
        let (flag, file) = (format!("--{setting}"), format!("--{setting}-file"));
        let joined = format!("{flag}={value}");
        let mistyped = [format!("{flag}s"), format!("{flag}s={value}")];
        let plain = env("PARLEY_AUTH", auth);
        let in_env = plain.clone().with(&variable(setting), value.as_str());
        let as_path = plain.clone().with(&format!("{}_FILE", variable(setting)), value.as_str());
        let in_file = plain.clone().with(&format!("{}_FILE", variable(setting)), "/f").with_file("/f", &value);
        let outputs = [
            all_that_is_printed(&in_env, &[]),
            all_that_is_printed(&in_file, &[]),
            all_that_is_printed(&as_path, &[]),
            all_that_is_printed(&plain, &[&flag, &value]),
            all_that_is_printed(&plain, &[&joined]),
            all_that_is_printed(&plain, &[&file, &value]),
            all_that_is_printed(&plain, &[&joined, &joined]),
            all_that_is_printed(&plain, &[&flag, "half", &value]),
            all_that_is_printed(&plain, &[&mistyped[0], &value]),
            all_that_is_printed(&plain, &[&mistyped[1]]),
            all_that_is_printed(&in_env, &[&file, "/missing"]),
        ];
        for output in outputs {
            prop_assert!(!output.contains(secret), "{output}");
        }
    }
}

#[test]
fn config_shows_that_a_secret_is_set_and_from_where() {
    let vars = env("PARLEY_API_KEY_FILE", "/run/key").with_file("/run/key", "abcdefghijklmnop\r\n");
    assert_eq!(line(&shown(&vars, &[]), "PARLEY_API_KEY"), "PARLEY_API_KEY *** file /run/key");
    let none = shown(&FakeVars::default(), &[]);
    assert_eq!(line(&none, "PARLEY_API_KEY"), "PARLEY_API_KEY the server API is off default");
}

#[test]
fn a_secret_has_one_source() {
    let vars = env("PARLEY_API_KEY_FILE", "/run/key").with("PARLEY_API_KEY", "abcdefghijklmnop");
    assert_eq!(faults(&vars, &[]), ["PARLEY_API_KEY: give this or PARLEY_API_KEY_FILE, not both"]);
    let both = ["--api-key=abcdefghijklmnop", "--api-key-file=/run/key"];
    assert_eq!(faults(&FakeVars::default(), &both), ["--api-key: give this or --api-key-file, not both"]);
}

#[test]
fn a_secret_file_that_is_missing_or_empty_is_a_fault() {
    let vars = env("PARLEY_API_KEY_FILE", "/run/key");
    assert_eq!(faults(&vars, &[]), ["PARLEY_API_KEY_FILE: name a file that can be read (entity not found)"]);
    let empty = vars.with_file("/run/key", "\n");
    assert_eq!(faults(&empty, &[]), ["PARLEY_API_KEY_FILE: name a file that is not empty"]);
}

#[test]
fn an_api_key_must_fit_into_a_header() {
    let remedy = "give at least 16 letters, digits or signs, without spaces";
    for key in ["short", "abcdefgh ijklmnop", "abcdefghijklmnopä"] {
        assert_eq!(faults(&env("PARLEY_API_KEY", key), &[]), [format!("PARLEY_API_KEY (environment): {remedy}")]);
    }
}

#[test]
fn a_secret_prints_as_stars() {
    let secret = Secret::new("abcdefghijklmnop");
    assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
    assert_eq!(secret.expose(), "abcdefghijklmnop");
}
