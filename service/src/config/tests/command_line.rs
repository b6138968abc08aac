//! Flags, commands, help, and names that were mistyped.

use super::*;

#[test]
fn help_names_each_setting_with_its_variable_and_default() {
    let help = printed(&["--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    for spec in table::TABLE {
        assert!(help.contains(&format!("--{} <{}>", spec.name, spec.value_name)), "--{} is missing", spec.name);
        assert!(help.contains(&format!("env {};", spec.env())), "{} is missing", spec.env());
        assert!(help.contains(spec.help), "the help of --{} is missing", spec.name);
        let default = if spec.default_words.is_empty() { spec.default } else { spec.default_words };
        assert!(help.contains(&format!("{default}]")), "the default of --{} is missing", spec.name);
        if spec.secret {
            assert!(help.contains(&format!("--{}-file <FILE>", spec.name)), "--{}-file is missing", spec.name);
            assert!(help.contains(&format!("env {}_FILE;", spec.env())), "{}_FILE is missing", spec.env());
        }
    }
    for group in ["Addresses:", "Sign-in:", "Limits of a session:", "History:", "Logs:"] {
        assert!(help.contains(group), "{group} is missing");
    }
    assert_eq!(printed(&["-h"]), printed(&["--help"]));
}

#[test]
fn version_is_one_line() {
    assert_eq!(printed(&["--version"]), format!("parley {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn commands_that_need_no_settings_ignore_wrong_ones() {
    let vars = env("PARLEY_LISTEN", "8080");
    let invocation = |args| load(&vars, args).map(|loaded| loaded.invocation);
    assert_eq!(invocation(&["protocol"]), Ok(Invocation::Protocol));
    assert_eq!(invocation(&["openapi"]), Ok(Invocation::OpenApi));
    assert!(invocation(&["protocol", "--no-such"]).is_err());
    assert!(invocation(&["config"]).is_err());
}

#[test]
fn flags_may_stand_before_and_after_the_command() {
    let text = shown(&FakeVars::default(), &["--drain-seconds", "9"]);
    assert_eq!(line(&text, "PARLEY_DRAIN_SECONDS"), "PARLEY_DRAIN_SECONDS 9 flag --drain-seconds");
    let loaded = load(&FakeVars::default(), &["--drain-seconds=9", "config"]).expect("no faults");
    assert!(matches!(loaded.invocation, Invocation::ShowConfig(settings) if settings.to_string() == text));
}

#[test]
fn every_mistake_of_a_command_line_is_told() {
    let args = ["--lisen", "127.0.0.1:1", "--quux=1", "confg", "--log", "info", "--log", "warn", "stray", "--api-key"];
    assert_eq!(
        faults(&FakeVars::default(), &args),
        [
            "--lisen: no such flag; did you mean --listen?",
            "--quux: no such flag; `parley --help` lists them all",
            "argument 4: no such command; did you mean config?",
            "argument 9: no such command; `parley --help` lists them all",
            "--log: give it once",
            "--api-key: give it one value",
        ]
    );
}

#[test]
fn an_unknown_flag_takes_its_value_along_but_not_a_command() {
    assert_eq!(faults(&FakeVars::default(), &["--lisen", "config"]), ["--lisen: no such flag; did you mean --listen?"]);
}

#[test]
fn an_unknown_variable_is_a_warning_with_a_suggestion() {
    let vars = env("PARLEY_LISEN", "x").with("PARLEY_QUUX", "x").with("PARLEY_API_KEY_FIL", "x");
    let loaded = load(&vars, &[]).expect("no faults");
    assert_eq!(
        loaded.warnings,
        [
            "PARLEY_API_KEY_FIL: no such setting; did you mean PARLEY_API_KEY_FILE?",
            "PARLEY_LISEN: no such setting; did you mean PARLEY_LISTEN?",
            "PARLEY_QUUX: no such setting; `parley --help` lists them all",
        ]
    );
}

#[test]
fn variables_that_kubernetes_makes_for_services_are_not_ours() {
    let names = [
        "PARLEY_SERVICE_HOST",
        "PARLEY_SERVICE_PORT",
        "PARLEY_SERVICE_PORT_HTTP",
        "PARLEY_PORT",
        "PARLEY_PORT_8080_TCP",
        "PARLEY_PORT_8080_TCP_ADDR",
        "PARLEY_REDIS_SERVICE_HOST",
        "PARLEY_REDIS_PORT_6379_TCP_PROTO",
    ];
    let vars = names.iter().fold(FakeVars::default(), |vars, name| vars.with(name, "10.0.0.1"));
    assert_eq!(load(&vars, &[]).expect("no faults").warnings, Vec::<String>::new());
}

#[test]
fn every_setting_is_known_by_its_own_variable() {
    for spec in table::TABLE {
        // An empty value counts as none, so this asks for the names only.
        let vars = env(&spec.env(), "").with(&format!("{}_FILE", spec.env()), "");
        let warnings = load(&vars, &[]).expect("no faults").warnings;
        assert_eq!(warnings.len(), usize::from(!spec.secret), "{warnings:?}");
    }
}
