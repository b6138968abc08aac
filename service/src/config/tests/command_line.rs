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

#[test]
fn the_balancer_has_flags_of_its_own() {
    let balance = |args: &[&str]| match load(&FakeVars::default(), &[&["balance"], args].concat()) {
        Ok(Loaded { invocation: Invocation::Balance(config), .. }) => *config,
        other => unreachable!("not to balance: {other:?}"),
    };
    let config =
        balance(&["--upstream", "one:81", "--upstream=http://127.0.0.1:82/", "--upstream", "[::1]:83,four:84"]);
    assert_eq!(config.upstreams, ["one:81", "127.0.0.1:82", "[::1]:83", "four:84"]);
    assert_eq!((config.policy, config.max_connections), (BalancePolicy::RoundRobin, 20_000));
    assert_eq!((config.listen.to_string().as_str(), config.drain.as_secs()), ("127.0.0.1:8080", 30));
    let config = balance(&["--upstream=h:1", "--policy=cookie", "--affinity-cookie= "]);
    assert_eq!(config.affinity_cookie, "parley-route");
}

#[test]
fn what_the_balancer_cannot_use_is_refused() {
    let refused = |args: &[&str]| faults(&FakeVars::default(), &[&["balance"], args].concat()).join("\n");
    for (args, wanted) in [
        (&[][..], "PARLEY_UPSTREAM: name an instance"),
        (&["--upstream=h"], "give host and port"),
        (&["--upstream=https://h:1"], "give host and port"),
        (&["--upstream=h:1/path"], "give host and port"),
        (&["--upstream=me@h:1"], "give host and port"),
        (&["--upstream=h:0"], "give host and port"),
        (&["--upstream=h:1,h:1"], "h:1 is there twice"),
        (&["--upstream=h:1", "--policy=random"], "give round-robin, least-connections or cookie"),
        (&["--upstream=h:1", "--affinity-cookie=route"], "give --policy cookie too"),
        (&["--upstream=h:1", "--server-id=x"], "--server-id: no such flag"),
    ] {
        assert!(refused(args).contains(wanted), "{args:?}: {}", refused(args));
    }
    let many: Vec<String> = (0..65).map(|n| format!("h:{}", n + 1)).collect();
    assert!(refused(&[&format!("--upstream={}", many.join(","))]).contains("at most 64"));
    let late = faults(&FakeVars::default(), &["--log=info", "balance"]);
    assert_eq!(late, ["balance: put it first: `parley balance …`, it has flags of its own"]);
}

#[test]
fn the_demo_has_switches() {
    let demo = |args: &[&str]| match load(&FakeVars::default(), &[&["demo"], args].concat()) {
        Ok(Loaded { invocation: Invocation::Demo(config), .. }) => Ok(config),
        Err(faults) => Err(faults.to_string()),
        other => unreachable!("not the demo: {other:?}"),
    };
    let plain = DemoConfig { isolated: false, stay: false, ports: [8080, 8081, 8082], redis_url: None };
    assert_eq!(demo(&[]), Ok(plain.clone()));
    assert_eq!(demo(&["--isolated", "--stay"]), Ok(DemoConfig { isolated: true, stay: true, ..plain.clone() }));
    assert_eq!(demo(&["--isolated=false", "--ports", "0,0,9"]), Ok(DemoConfig { ports: [0, 0, 9], ..plain }));
    for (args, wanted) in [
        (&["--ports=1,2"][..], "give three different ports"),
        (&["--ports=1,1,2"], "give three different ports"),
        (&["--isolated=maybe"], "give true or false"),
        (&["--isolated", "--redis-url=redis://h"], "isolated instances use no Redis"),
    ] {
        assert!(demo(args).is_err_and(|text| text.contains(wanted)), "{args:?}");
    }
}

#[test]
fn each_command_with_settings_of_its_own_helps_with_them() {
    for (word, table) in [("balance", table::balance::TABLE), ("demo", table::demo::TABLE)] {
        let help = printed(&[word, "--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
        for spec in table {
            assert!(help.contains(&format!("--{}", spec.name)) && help.contains(spec.help), "{word} --{}", spec.name);
        }
        assert!(!help.contains("--server-id"), "{help}");
    }
}
