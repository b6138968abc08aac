//! Settings as users give them: what holds by default, what wins, what is refused and in which words.

mod command_line;
mod relations;
mod secrets;
mod traces;

use std::ffi::OsString;

use proptest::prelude::*;

use super::*;

fn load(vars: &FakeVars, args: &[&str]) -> Result<Loaded, Faults> {
    Config::load(vars, &args.iter().map(OsString::from).collect::<Vec<_>>())
}

fn serve(vars: &FakeVars, args: &[&str]) -> Config {
    match load(vars, args) {
        Ok(Loaded { invocation: Invocation::Serve(config), .. }) => *config,
        other => unreachable!("not to serve: {other:?}"),
    }
}

/// What `parley config` prints.
fn shown(vars: &FakeVars, args: &[&str]) -> String {
    match load(vars, &[&["config"], args].concat()) {
        Ok(Loaded { invocation: Invocation::ShowConfig(settings), .. }) => settings.to_string(),
        other => unreachable!("not to show: {other:?}"),
    }
}

fn printed(args: &[&str]) -> String {
    match load(&FakeVars::default(), args) {
        Ok(Loaded { invocation: Invocation::Print(text), .. }) => text,
        other => unreachable!("not to print: {other:?}"),
    }
}

/// The faults as the user reads them, one per entry.
fn faults(vars: &FakeVars, args: &[&str]) -> Vec<String> {
    let faults = load(vars, args).expect_err("something is wrong");
    faults.0.iter().map(ToString::to_string).collect()
}

fn env(name: &str, value: &str) -> FakeVars {
    FakeVars::default().with(name, value)
}

/// The line of `parley config` for one setting, without the padding.
fn line(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).expect("a line");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_given_means_the_documented_defaults() {
    let expected = Config {
        listen: "127.0.0.1:8080".parse().expect("address"),
        admin_listen: "127.0.0.1:8090".parse().expect("address"),
        server_id: "test-host".into(),
        backplane: BackplaneChoice::Memory,
        auth: AuthConfig { mode: AuthMode::Open },
        api_key: None,
        allowed_origins: crate::origin::OriginPolicy::SameOrigin,
        affinity_cookie: None,
        shutdown_delay: Duration::ZERO,
        drain: Duration::from_secs(30),
        admission: AdmissionConfig { max_connections: None, max_handshakes_per_second: None },
        limits: LimitsConfig {
            message_bytes: 32 * 1024,
            outbox_bytes: 512 * 1024,
            outbox_total_bytes: 256 * 1024 * 1024,
            rooms_per_session: 200,
            messages_per_second: NonZeroU32::new(20),
            messages_burst: NonZeroU32::new(50).expect("not zero"),
            ping: Duration::from_secs(20),
            sign_in: Duration::from_secs(5),
        },
        history: HistoryConfig {
            messages: 1000,
            age: Duration::from_secs(86_400),
            replay_messages: 1000,
            total_bytes: 256 * 1024 * 1024,
        },
        log: LogConfig { filter: "info".into(), format: LogFormat::Json, colour: false },
        traces: None,
    };
    assert_eq!(serve(&FakeVars::default(), &[]), expected);
}

#[test]
fn every_default_is_a_value_that_one_could_give() {
    // `parley config` prints defaults as text; pasted back into the environment they must mean the same.
    let defaults = FakeVars::default();
    let given = table::TABLE
        .iter()
        .filter(|spec| !spec.default.is_empty())
        .fold(defaults.clone(), |vars, spec| vars.with(&spec.env(), spec.default));
    assert_eq!(serve(&given, &[]), serve(&defaults, &[]));
}

#[test]
fn each_kind_of_value_is_read_as_it_is_meant() {
    let secret = "0123456789abcdef0123456789abcdef";
    let vars = FakeVars::default()
        .with_terminal(true)
        .with("PARLEY_LISTEN", "0.0.0.0:80")
        .with("PARLEY_ADMIN_LISTEN", " localhost:81 ")
        .with("PARLEY_SERVER_ID", "server-1")
        .with("PARLEY_AUTH", "token")
        .with("PARLEY_TOKEN_SECRET", secret)
        .with("PARLEY_TOKEN_AUDIENCE", "chat")
        .with("PARLEY_TOKEN_ISSUER", "https://id.example.com")
        .with("PARLEY_API_KEY_FILE", "/run/key")
        .with_file("/run/key", "abcdefghijklmnop\n")
        .with("PARLEY_ALLOWED_ORIGINS", "https://chat.example.com, https://*.example.org")
        .with("PARLEY_AFFINITY_COOKIE", "stick")
        .with("PARLEY_MAX_CONNECTIONS", "1000")
        .with("PARLEY_MAX_MESSAGE_BYTES", "4 kib")
        .with("PARLEY_MAX_OUTBOX_BYTES", "100000")
        .with("PARLEY_MESSAGES_PER_SECOND", "0")
        .with("PARLEY_LOG", "warn,parley_service::hub=debug")
        .with("PARLEY_LOG_FORMAT", "json");
    let config = serve(&vars, &[]);
    assert_eq!(config.listen, "0.0.0.0:80".parse().expect("address"));
    assert_eq!(config.admin_listen, "127.0.0.1:81".parse().expect("address"));
    assert_eq!(config.server_id, "server-1");
    let token = TokenConfig {
        source: TokenSource::Secret(Secret::new(secret)),
        audience: Some("chat".into()),
        issuer: Some("https://id.example.com".into()),
    };
    assert_eq!(config.auth.mode, AuthMode::Token(token));
    assert_eq!(config.api_key, Some(Secret::new("abcdefghijklmnop")));
    let origins = crate::origin::OriginPolicy::parse("https://chat.example.com,https://*.example.org");
    assert_eq!(Ok(config.allowed_origins), origins);
    assert_eq!(config.affinity_cookie.as_deref(), Some("stick"));
    assert_eq!(config.admission.max_connections, NonZeroUsize::new(1000));
    assert_eq!((config.limits.message_bytes, config.limits.outbox_bytes), (4096, 100_000));
    assert_eq!(config.limits.messages_per_second, None);
    let filter = "warn,parley_service::hub=debug".to_owned();
    assert_eq!(config.log, LogConfig { filter, format: LogFormat::Json, colour: true });
}

#[test]
fn a_flag_beats_the_environment_and_an_empty_flag_takes_it_back() {
    let vars = env("PARLEY_DRAIN_SECONDS", "60");
    assert_eq!(serve(&vars, &[]).drain, Duration::from_secs(60));
    assert_eq!(serve(&vars, &["--drain-seconds", "90"]).drain, Duration::from_secs(90));
    assert_eq!(serve(&vars, &["--drain-seconds="]).drain, Duration::from_secs(30));
    assert_eq!(serve(&env("PARLEY_DRAIN_SECONDS", ""), &[]).drain, Duration::from_secs(30));
}

#[test]
fn a_flag_beats_a_file_of_the_environment() {
    let vars = env("PARLEY_API_KEY_FILE", "/missing");
    assert_eq!(serve(&vars, &["--api-key", "abcdefghijklmnop"]).api_key, Some(Secret::new("abcdefghijklmnop")));
}

#[test]
fn the_server_id_falls_back_to_server_id_and_then_to_the_host_name() {
    let both = env("SERVER_ID", "server-2");
    assert_eq!(serve(&both, &[]).server_id, "server-2");
    assert_eq!(serve(&both.with("PARLEY_SERVER_ID", "server-1"), &[]).server_id, "server-1");
    let nameless = FakeVars::default().with_host_name(None);
    assert_eq!(faults(&nameless, &[]), ["PARLEY_SERVER_ID: give a name: this machine has no host name to use instead"]);
    assert_eq!(
        faults(&env("SERVER_ID", "a b"), &[]),
        ["PARLEY_SERVER_ID = \"a b\" (SERVER_ID): use 1 to 128 letters, digits, dots, dashes and underscores"]
    );
}

#[test]
fn people_get_text_and_pipes_get_json() {
    let terminal = FakeVars::default().with_terminal(true);
    let log = |vars: &FakeVars| (serve(vars, &[]).log.format, serve(vars, &[]).log.colour);
    assert_eq!(log(&terminal), (LogFormat::Text, true));
    assert_eq!(log(&FakeVars::default()), (LogFormat::Json, false));
    assert_eq!(log(&terminal.with("NO_COLOR", "1")), (LogFormat::Text, false));
    assert_eq!(log(&env("PARLEY_LOG_FORMAT", "text")), (LogFormat::Text, false));
}

#[test]
fn every_fault_is_told_at_once() {
    let vars = FakeVars::default()
        .with("PARLEY_LISTEN", "8080")
        .with("PARLEY_MAX_MESSAGE_BYTES", "2MB")
        .with("PARLEY_MAX_CONNECTIONS", "-1")
        .with("PARLEY_LOG", "=x")
        .with("PARLEY_ALLOWED_ORIGINS", "https://a/b");
    let found = faults(&vars, &["--drain-seconds", "4000", "--drian-seconds", "5"]);
    let settings: Vec<_> = found.iter().map(|fault| fault.split([' ', ':']).next().expect("a word")).collect();
    assert_eq!(
        settings,
        [
            "--drian-seconds",
            "PARLEY_LISTEN",
            "PARLEY_ALLOWED_ORIGINS",
            "PARLEY_DRAIN_SECONDS",
            "PARLEY_MAX_CONNECTIONS",
            "PARLEY_MAX_MESSAGE_BYTES",
            "PARLEY_LOG",
        ]
    );
}

#[test]
fn a_fault_names_the_setting_the_value_its_source_and_the_remedy() {
    let text = load(&env("PARLEY_LISTEN", "8080"), &["--ping-seconds=0"]).expect_err("two faults").to_string();
    assert_eq!(
        text,
        "2 settings are wrong\n  \
         PARLEY_LISTEN = \"8080\" (environment): give an IP address and a port, such as 127.0.0.1:8080 or [::]:8080\n  \
         PARLEY_PING_SECONDS = \"0\" (flag --ping-seconds): give a whole number: 1 to 300\n\
         `parley --help` lists every setting"
    );
}

#[test]
fn numbers_keep_to_the_bounds_that_help_states() {
    for spec in table::TABLE.iter().filter(|spec| spec.bounds.is_some()) {
        let (min, max) = spec.bounds.expect("filtered");
        let words = spec.bounds_words().expect("it has bounds");
        for wrong in
            [max.saturating_add(1).to_string(), "1.5".into(), "+5".into(), "many".into(), "99999999999999999999".into()]
        {
            let found = faults(&env(&spec.env(), &wrong), &[]);
            assert!(found.iter().any(|fault| fault.starts_with(&spec.env()) && fault.ends_with(&words)), "{found:?}");
        }
        if min > 1 || (min == 1 && spec.zero.is_none()) {
            let found = faults(&env(&spec.env(), &(min - 1).to_string()), &[]);
            assert!(found.iter().any(|fault| fault.ends_with(&words)), "{found:?}");
        }
    }
}

#[test]
fn text_that_means_nothing_is_refused() {
    for (name, value) in [
        ("PARLEY_LISTEN", "example.com:80"),
        ("PARLEY_SERVER_ID", "ä"),
        ("PARLEY_BACKPLANE", "etcd"),
        ("PARLEY_AUTH", "none"),
        ("PARLEY_AUTH_OPEN_ANYWHERE", "yes"),
        ("PARLEY_ALLOWED_ORIGINS", "*,https://a.example"),
        ("PARLEY_AFFINITY_COOKIE", "a;b"),
        ("PARLEY_REDIS_PREFIX", "{a}"),
        ("PARLEY_LOG_FORMAT", "xml"),
        ("PARLEY_LOG", "parley=loud"),
    ] {
        let found = faults(&env(name, value), &[]);
        assert!(found.len() == 1 && found[0].starts_with(&format!("{name} = {value:?} (environment): ")), "{found:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_value_that_is_no_text_is_refused_by_name() {
    use std::os::unix::ffi::OsStringExt;
    let vars = FakeVars::default().with("PARLEY_LOG", OsString::from_vec(vec![0xff]));
    assert_eq!(faults(&vars, &[]), ["PARLEY_LOG: give text in UTF-8"]);
    let vars = FakeVars::default().with("SERVER_ID", OsString::from_vec(vec![0xff]));
    assert_eq!(faults(&vars, &[]), ["SERVER_ID: give text in UTF-8"]);
}

#[test]
fn config_shows_each_setting_with_its_value_and_source() {
    let vars = env("PARLEY_LISTEN", "127.0.0.1:80").with("PARLEY_HISTORY_MESSAGES", "10");
    let text = shown(&vars, &["--messages-burst", "7"]);
    assert_eq!(text.lines().count(), table::TABLE.len());
    assert_eq!(line(&text, "PARLEY_LISTEN"), "PARLEY_LISTEN 127.0.0.1:80 environment");
    assert_eq!(line(&text, "PARLEY_MESSAGES_BURST"), "PARLEY_MESSAGES_BURST 7 flag --messages-burst");
    assert_eq!(line(&text, "PARLEY_SERVER_ID"), "PARLEY_SERVER_ID test-host host name");
    assert_eq!(line(&text, "PARLEY_BACKPLANE"), "PARLEY_BACKPLANE memory default");
    assert_eq!(line(&text, "PARLEY_ALLOWED_ORIGINS"), "PARLEY_ALLOWED_ORIGINS same origin default");
    assert_eq!(line(&text, "PARLEY_REPLAY_MESSAGES"), "PARLEY_REPLAY_MESSAGES 10 PARLEY_HISTORY_MESSAGES");
    assert_eq!(line(&text, "PARLEY_LOG_FORMAT"), "PARLEY_LOG_FORMAT json no terminal reads it");
    assert_eq!(line(&text, "PARLEY_AFFINITY_COOKIE"), "PARLEY_AFFINITY_COOKIE - default");
}

#[test]
fn tests_get_the_defaults_on_free_ports() {
    let config = Config::for_tests();
    assert_eq!((config.listen.port(), config.admin_listen.port(), config.server_id.as_str()), (0, 0, "test-1"));
    let defaults = serve(&FakeVars::default(), &[]);
    let Config { listen, admin_listen, .. } = config;
    assert_eq!(Config { server_id: "test-1".into(), listen, admin_listen, ..defaults }, config);
}

proptest! {
    #[test]
    fn no_combination_of_values_makes_it_panic(
        values in prop::collection::vec((prop::sample::select(table::TABLE), value()), 0..8),
        args in prop::collection::vec(argument(), 0..4),
    ) {
        let vars = values.into_iter().fold(FakeVars::default(), |vars, (spec, value)| vars.with(&spec.env(), value));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        if let Err(faults) = load(&vars, &args) {
            prop_assert!(!faults.0.is_empty());
        }
    }
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,6}(KiB|MiB)?",
        "(true|false|open|token|memory|redis|text|json)",
        "[a-z]{1,8}://[a-z.:*@/]{0,12}",
        ".{0,40}"
    ]
}

fn argument() -> impl Strategy<Value = String> {
    let flag = prop::sample::select(table::TABLE).prop_map(|spec| spec.flag());
    prop_oneof![flag.clone(), (flag, value()).prop_map(|(flag, value)| format!("{flag}={value}")), value(), "--?.{0,8}"]
}
