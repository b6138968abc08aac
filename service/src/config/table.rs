//! The one table of settings: name, default, bounds, help. Flags, environment, `--help` and `parley config` come from it.
//!
//! It reads nothing: `reader` looks values up, `parse` turns them into types, `check` relates them to each other.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use super::{LogFormat, Secret, parse};
use crate::origin::OriginPolicy;

/// What a setting is to people: everything but its type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    /// `max-outbox-bytes`: the flag `--max-outbox-bytes` and the variable `PARLEY_MAX_OUTBOX_BYTES`.
    pub(super) name: &'static str,
    /// Stands for the value in `--help`.
    pub(super) value_name: &'static str,
    /// What holds when nobody gives a value, in the same words a user would write; empty for none.
    pub(super) default: &'static str,
    /// Said in place of `default` where the default depends on something.
    pub(super) default_words: &'static str,
    /// The heading in `--help`.
    pub(super) group: &'static str,
    /// One or two sentences.
    pub(super) help: &'static str,
    /// Smallest and largest number, for settings that are numbers.
    pub(super) bounds: Option<(u64, u64)>,
    /// What `0` means where it is allowed besides the bounds.
    pub(super) zero: Option<&'static str>,
    /// Whether the numbers are bytes.
    pub(super) bytes: bool,
    /// A secret is never printed and may also be given as a file.
    pub(super) secret: bool,
    /// How often its flag may be given.
    pub(super) times: Times,
}

/// How often a flag may be given, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// Once, with a value.
    Once,
    /// Any number of times; the variable holds a list with commas.
    Many,
    /// Once; without a value it means `true`.
    Switch,
}

impl Spec {
    /// `PARLEY_MAX_OUTBOX_BYTES`.
    pub(super) fn env(&self) -> String {
        format!("PARLEY_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// `--max-outbox-bytes`.
    pub(super) fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// `1 to 300` and what zero means, for `--help` and for faults.
    pub(super) fn bounds_words(&self) -> Option<String> {
        let (min, max) = self.bounds?;
        let number = |n| if self.bytes { parse::bytes_words(n) } else { n.to_string() };
        let zero = self.zero.map(|meaning| format!(", or 0 for {meaning}")).unwrap_or_default();
        Some(format!("{} to {}{zero}", number(min), number(max)))
    }
}

/// Turns the text of a setting into its type; the error is what would be right.
pub(super) type Parse<T> = fn(&Spec, &str) -> Result<T, String>;

/// A setting together with its type.
pub(super) struct Setting<T: 'static> {
    pub(super) spec: Spec,
    pub(super) parse: Parse<T>,
}

impl<T> Setting<T> {
    const fn new(
        group: &'static str,
        name: &'static str,
        value_name: &'static str,
        default: &'static str,
        parse: Parse<T>,
        help: &'static str,
    ) -> Self {
        let spec = Spec {
            name,
            value_name,
            default,
            default_words: "",
            group,
            help,
            bounds: None,
            zero: None,
            bytes: false,
            secret: false,
            times: Times::Once,
        };
        Self { spec, parse }
    }

    const fn within(mut self, min: u64, max: u64) -> Self {
        self.spec.bounds = Some((min, max));
        self
    }

    const fn in_bytes(mut self, min: u64, max: u64) -> Self {
        self.spec.bytes = true;
        self.within(min, max)
    }

    const fn or_zero_for(mut self, meaning: &'static str) -> Self {
        self.spec.zero = Some(meaning);
        self
    }

    const fn default_words(mut self, words: &'static str) -> Self {
        self.spec.default_words = words;
        self
    }

    const fn times(mut self, times: Times) -> Self {
        self.spec.times = times;
        self
    }

    const fn secret(mut self) -> Self {
        self.spec.secret = true;
        self
    }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

const ADDRESSES: &str = "Addresses";
const ROOMS: &str = "Where rooms live";
const SIGN_IN: &str = "Sign-in";
const BROWSERS: &str = "Browsers";
const ADMISSION: &str = "Admission and drain";
const LIMITS: &str = "Limits of a session";
const HISTORY: &str = "History";
const LOGS: &str = "Logs";

/// Declares one static per setting and the table of them all, so that none can be forgotten in the table. What stands
/// before is taken over from another command.
macro_rules! settings {
    ($($taken:path),* ; $($key:ident: $type:ty = $setting:expr;)*) => {
        $(pub(in crate::config) static $key: Setting<$type> = $setting;)*

        /// Every setting of this command, in the order of `--help`.
        pub(in crate::config) static TABLE: &[&Spec] = &[$(&$key.spec,)* $(&$taken.spec),*];
    };
}

pub(super) mod balance;
pub(super) mod demo;

/// The tables of all commands.
pub(super) static TABLES: [&[&Spec]; 3] = [TABLE, balance::TABLE, demo::TABLE];

settings! {
    ;
    LISTEN: SocketAddr = Setting::new(ADDRESSES, "listen", "ADDR", "127.0.0.1:8080", parse::address,
        "Public address: /ws, /, /health, /instance and /api/v1. Port 0 takes any free one.");
    ADMIN_LISTEN: SocketAddr = Setting::new(ADDRESSES, "admin-listen", "ADDR", "127.0.0.1:8090", parse::address,
        "Address of /livez, /readyz and /metrics. Never expose it by an ingress.");
    SERVER_ID: Option<String> = Setting::new(ADDRESSES, "server-id", "NAME", "", parse::server_id,
        "Name of this instance in logs, in `welcome` and on /instance.").default_words("SERVER_ID, else the host name");

    BACKPLANE: String = Setting::new(ROOMS, "backplane", "KIND", "", parse::backplane,
        "`memory` keeps rooms in this process; `redis` shares them with other instances.")
        .default_words("memory; redis once a URL is given");
    REDIS_URL: Option<Secret> = Setting::new(ROOMS, "redis-url", "URL", "", parse::redis_url,
        "redis://, rediss:// or redis-sentinel://, or the same with valkey.").secret();
    REDIS_CA_FILE: Option<PathBuf> = Setting::new(ROOMS, "redis-ca-file", "FILE", "", parse::path,
        "Certificates (PEM) that a TLS connection to Redis must lead to, in place of the system's.");
    REDIS_PREFIX: String = Setting::new(ROOMS, "redis-prefix", "TEXT", "parley", parse::redis_prefix,
        "First part of every key and channel name.");

    AUTH: String = Setting::new(SIGN_IN, "auth", "MODE", "open", parse::auth,
        "`open` believes /ws?user=alice; `token` asks for a JWT.");
    AUTH_OPEN_ANYWHERE: bool = Setting::new(SIGN_IN, "auth-open-anywhere", "BOOL", "false", parse::boolean,
        "Allows `open` on an address that others can reach. Anybody can then speak as anybody.");
    TOKEN_SECRET: Option<Secret> = Setting::new(SIGN_IN, "token-secret", "TEXT", "", parse::token_secret,
        "HS256 secret of at least 32 bytes. `token` needs this or a JWKS file, not both.").secret();
    TOKEN_JWKS: Option<PathBuf> = Setting::new(SIGN_IN, "token-jwks", "FILE", "", parse::path,
        "JWKS file with the keys of tokens (HS256, RS256, ES256); read again when it changes.");
    TOKEN_AUDIENCE: Option<String> = Setting::new(SIGN_IN, "token-audience", "TEXT", "", parse::text,
        "The `aud` that a token must have.").default_words("not checked");
    TOKEN_ISSUER: Option<String> = Setting::new(SIGN_IN, "token-issuer", "TEXT", "", parse::text,
        "The `iss` that a token must have.").default_words("not checked");
    API_KEY: Option<Secret> = Setting::new(SIGN_IN, "api-key", "TEXT", "", parse::api_key,
        "Key of the server API: at least 16 letters, digits or signs.").secret().default_words("the server API is off");

    ALLOWED_ORIGINS: OriginPolicy = Setting::new(BROWSERS, "allowed-origins", "LIST", "", parse::origins,
        "Pages that may connect: https://chat.example.com,https://*.example.com or * for every page.")
        .default_words("same origin");
    AFFINITY_COOKIE: Option<String> = Setting::new(BROWSERS, "affinity-cookie", "NAME", "", parse::cookie_name,
        "Cookie of the ingress that a client drops when it is told to reconnect elsewhere.");

    SHUTDOWN_DELAY_SECONDS: Duration = Setting::new(ADMISSION, "shutdown-delay-seconds", "N", "0", parse::seconds,
        "After SIGTERM, how long newcomers are still taken while readiness already fails: until every balancer has noticed.")
        .within(0, 300);
    DRAIN_SECONDS: Duration = Setting::new(ADMISSION, "drain-seconds", "N", "30", parse::seconds,
        "After SIGTERM and this delay, the time over which sessions are handed to other instances.").within(0, 3600);
    MAX_CONNECTIONS: Option<NonZeroUsize> = Setting::new(ADMISSION, "max-connections", "N", "0", parse::cap,
        "Connections beyond this are answered 503 with Retry-After.").within(1, 10_000_000).or_zero_for("no cap");
    MAX_HANDSHAKES_PER_SECOND: Option<NonZeroU32> = Setting::new(ADMISSION, "max-handshakes-per-second", "N", "0", parse::cap,
        "Upgrades beyond this rate are answered 503 with Retry-After.").within(1, 1_000_000).or_zero_for("no cap");

    MAX_MESSAGE_BYTES: usize = Setting::new(LIMITS, "max-message-bytes", "SIZE", "32KiB", parse::number,
        "Longest `msg` or `data`; a client frame of 64 KiB must hold it.").in_bytes(256, 60 * KIB);
    MAX_OUTBOX_BYTES: usize = Setting::new(LIMITS, "max-outbox-bytes", "SIZE", "512KiB", parse::number,
        "What may wait for a slow reader before it is closed; at least twice the longest message.")
        .in_bytes(64 * KIB, 64 * MIB);
    MAX_OUTBOX_TOTAL_BYTES: usize = Setting::new(LIMITS, "max-outbox-total-bytes", "SIZE", "256MiB", parse::number,
        "What may wait for all slow readers of this instance together.").in_bytes(MIB, 1024 * GIB);
    MAX_ROOMS_PER_SESSION: usize = Setting::new(LIMITS, "max-rooms-per-session", "N", "200", parse::number,
        "Rooms that one session may have joined at a time.").within(1, 10_000);
    MESSAGES_PER_SECOND: Option<NonZeroU32> = Setting::new(LIMITS, "messages-per-second", "N", "20", parse::cap,
        "Messages that one session may send, sustained.").within(1, 10_000).or_zero_for("no limit");
    MESSAGES_BURST: NonZeroU32 = Setting::new(LIMITS, "messages-burst", "N", "50", parse::number,
        "Messages that one session may send at once before the sustained rate holds.").within(1, 10_000);
    PING_SECONDS: Duration = Setting::new(LIMITS, "ping-seconds", "N", "20", parse::seconds,
        "Time between WebSocket pings; a connection is dead after twice as long without a sign of life.").within(1, 300);
    SIGN_IN_SECONDS: Duration = Setting::new(LIMITS, "sign-in-seconds", "N", "5", parse::seconds,
        "Time that a new connection has to sign in.").within(1, 60);

    HISTORY_MESSAGES: usize = Setting::new(HISTORY, "history-messages", "N", "1000", parse::number,
        "Newest messages that are kept of each room.").within(1, 1_000_000);
    HISTORY_SECONDS: Duration = Setting::new(HISTORY, "history-seconds", "N", "86400", parse::seconds,
        "Age at which a message is dropped from its room.").within(1, 31_536_000);
    REPLAY_MESSAGES: usize = Setting::new(HISTORY, "replay-messages", "N", "1000", parse::number,
        "Longest replay when a session resumes; at most PARLEY_HISTORY_MESSAGES.").within(1, 1_000_000)
        .default_words("1000, or PARLEY_HISTORY_MESSAGES if that is less");
    HISTORY_TOTAL_BYTES: usize = Setting::new(HISTORY, "history-total-bytes", "SIZE", "256MiB", parse::number,
        "Memory for the messages of all rooms together, on the memory backplane.").in_bytes(MIB, 1024 * GIB);

    LOG: String = Setting::new(LOGS, "log", "FILTER", "info", parse::log_filter,
        "What is logged: error, warn, info, debug or trace, also per module: info,parley_service::hub=debug.");
    LOG_FORMAT: Option<LogFormat> = Setting::new(LOGS, "log-format", "FORMAT", "", parse::log_format,
        "`text` or `json`, to standard error.").default_words("text on a terminal, else json");
}
