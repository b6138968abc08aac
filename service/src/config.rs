//! Settings: read once from flags, environment and files, checked as a whole, handed down as typed values.
//!
//! It starts nothing and opens nothing but the files that settings name. How a setting is called, what it defaults to
//! and what it means is in one table, `config/table.rs`.

mod balance;
mod check;
mod cli;
mod demo;
mod fault;
mod parse;
mod reader;
mod secret;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
mod traces;
mod vars;

use std::{
    ffi::OsString,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

#[cfg(any(test, feature = "testing"))]
pub use self::vars::FakeVars;
pub use self::{
    balance::{BalanceConfig, BalancePolicy},
    demo::DemoConfig,
    fault::{Fault, Faults, Source},
    reader::EffectiveSettings,
    secret::Secret,
    vars::{ProcessVars, Vars, find_program, process_args, program},
};
use self::{
    cli::{CommandLine, Verb},
    reader::Reader,
};
use crate::origin::OriginPolicy;

/// What one command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Invocation {
    /// `parley`: serve with these settings.
    Serve(Box<Config>),
    /// `parley config`: print this.
    ShowConfig(EffectiveSettings),
    /// `parley protocol`: print the protocol reference.
    Protocol,
    /// `parley openapi`: print the OpenAPI document.
    OpenApi,
    /// `parley balance`: spread connections over instances.
    Balance(Box<BalanceConfig>),
    /// `parley demo`: tell the story of two instances.
    Demo(DemoConfig),
    /// A process of the demo, hidden from help: process id of the demo, program, arguments.
    DemoChild(Vec<OsString>),
    /// `--help` or `--version`: print this text as it is; it ends with a line feed.
    Print(String),
}

/// An invocation, and what should be said about it besides.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What is to be done.
    pub invocation: Invocation,
    /// Sentences to log as warnings once logging works: unknown `PARLEY_*` variables, risks that were asked for.
    pub warnings: Vec<String>,
}

/// Everything that `parley` runs with. Each component gets its own part and sees no other.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Public address; port 0 means any free port.
    pub listen: SocketAddr,
    /// Address of health and metrics; another port than `listen` unless 0.
    pub admin_listen: SocketAddr,
    /// Name of this instance: 1 to 128 bytes of letters, digits, `.`, `-`, `_`.
    pub server_id: String,
    /// Where rooms live.
    pub backplane: BackplaneChoice,
    /// How users prove who they are.
    pub auth: AuthConfig,
    /// Key of the server API, printable ASCII; `None` switches the API off.
    pub api_key: Option<Secret>,
    /// Pages that may connect.
    pub allowed_origins: OriginPolicy,
    /// Name of the cookie that a client drops before it connects elsewhere.
    pub affinity_cookie: Option<String>,
    /// Between SIGTERM, which ends readiness, and the drain, which takes no newcomers.
    pub shutdown_delay: Duration,
    /// The drain window; zero hands all sessions over at once.
    pub drain: Duration,
    /// Who gets in.
    pub admission: AdmissionConfig,
    /// What one session may do and hold.
    pub limits: LimitsConfig,
    /// How long rooms remember.
    pub history: HistoryConfig,
    /// What is logged and how.
    pub log: LogConfig,
    /// Where traces go; `None` switches them off.
    pub traces: Option<TracesConfig>,
}

/// Where rooms live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackplaneChoice {
    /// In this process.
    Memory,
    /// In Redis or Valkey, shared by all instances.
    Redis(RedisConfig),
}

/// How to reach Redis or Valkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// The URL, secret because it may hold a password.
    pub url: Secret,
    /// PEM file with the certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// First part of every key and channel name; holds no braces.
    pub prefix: String,
}

/// How users prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// The one way that is in force.
    pub mode: AuthMode,
}

/// A way to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthMode {
    /// Everybody is who they say they are.
    Open,
    /// A signed token says who somebody is.
    Token(TokenConfig),
}

/// What a token must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// Where the keys are.
    pub source: TokenSource,
    /// The `aud` it must have; `None` = not checked.
    pub audience: Option<String>,
    /// The `iss` it must have; `None` = not checked.
    pub issuer: Option<String>,
}

/// Where the keys of tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// An HS256 secret of at least 32 bytes.
    Secret(Secret),
    /// A JWKS file. It could be read at start; what is in it was not checked.
    Jwks(PathBuf),
}

/// Who gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// Most connections at a time; `None` = no cap.
    pub max_connections: Option<NonZeroUsize>,
    /// Most upgrades per second; `None` = no cap.
    pub max_handshakes_per_second: Option<NonZeroU32>,
}

/// What one session may do and hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Longest `msg` or `data`, in bytes, 256 to 61,440: a client frame of 64 KiB has room for it and 4 KiB around it.
    pub message_bytes: usize,
    /// What may wait for one slow reader, in bytes; at least twice `message_bytes`.
    pub outbox_bytes: usize,
    /// What may wait for all slow readers together, in bytes; at least `outbox_bytes`.
    pub outbox_total_bytes: usize,
    /// Most rooms a session may have joined.
    pub rooms_per_session: usize,
    /// Sustained messages per second; `None` = no limit.
    pub messages_per_second: Option<NonZeroU32>,
    /// Messages at once before the sustained rate holds.
    pub messages_burst: NonZeroU32,
    /// Time between WebSocket pings, 1 to 300 s; dead after twice as long.
    pub ping: Duration,
    /// Time to sign in, 1 to 60 s.
    pub sign_in: Duration,
}

/// How long rooms remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryConfig {
    /// Newest messages kept per room, at least 1.
    pub messages: usize,
    /// Age at which a message goes, at least 1 s.
    pub age: Duration,
    /// Longest replay; at most `messages`.
    pub replay_messages: usize,
    /// Bytes for the logs of all rooms together on the memory backplane.
    pub total_bytes: usize,
}

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter that `tracing_subscriber::EnvFilter` takes.
    pub filter: String,
    /// Shape of a line.
    pub format: LogFormat,
    /// Whether text lines are coloured; no meaning for JSON.
    pub colour: bool,
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracesConfig {
    /// Whole URL that batches are posted to, `http` only, without user or password.
    pub endpoint: String,
    /// Longest time for one export with its retries.
    pub timeout: Duration,
}

impl Config {
    /// Reads the command line (without the program's name) and everything else that settings come from.
    ///
    /// # Errors
    /// Every fault of every setting at once. `--help`, `--version`, `protocol` and `openapi` need no settings and so
    /// fail only for a wrong command line.
    pub fn load(vars: &dyn Vars, args: &[OsString]) -> Result<Loaded, Faults> {
        let without_settings = |invocation| Ok(Loaded { invocation, warnings: Vec::new() });
        match cli::read(args) {
            CommandLine::Print(text) => without_settings(Invocation::Print(text)),
            CommandLine::Child(words) => without_settings(Invocation::DemoChild(words)),
            CommandLine::Run { verb: Verb::Serve, flags, faults } => {
                let (config, _, warnings) = read(Reader::new(vars, flags, faults), check::config)?;
                Ok(Loaded { invocation: Invocation::Serve(Box::new(config)), warnings })
            }
            CommandLine::Run { verb: Verb::Config, flags, faults } => {
                let (_, effective, warnings) = read(Reader::new(vars, flags, faults), check::config)?;
                Ok(Loaded { invocation: Invocation::ShowConfig(effective), warnings })
            }
            CommandLine::Run { verb: Verb::Balance, flags, faults } => {
                let (config, _, warnings) = read(Reader::new(vars, flags, faults), balance::config)?;
                Ok(Loaded { invocation: Invocation::Balance(Box::new(config)), warnings })
            }
            CommandLine::Run { verb: Verb::Demo, flags, faults } => {
                let (config, _, warnings) = read(Reader::new(vars, flags, faults), demo::config)?;
                Ok(Loaded { invocation: Invocation::Demo(config), warnings })
            }
            CommandLine::Run { faults, .. } if !faults.is_empty() => Err(Faults(faults)),
            CommandLine::Run { verb: Verb::Protocol, .. } => without_settings(Invocation::Protocol),
            CommandLine::Run { verb: Verb::OpenApi, .. } => without_settings(Invocation::OpenApi),
        }
    }

    /// All defaults, on free loopback ports, as the instance `test-1`.
    #[cfg(any(test, feature = "testing"))]
    pub fn for_tests() -> Self {
        let args = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--server-id=test-1"].map(OsString::from);
        match Self::load(&FakeVars::default(), &args).map(|loaded| loaded.invocation) {
            Ok(Invocation::Serve(config)) => *config,
            other => unreachable!("these arguments serve with defaults, not {other:?}"),
        }
    }
}

/// What one command runs with, what `parley config` would show of it, and warnings.
type ReadSettings<T> = (T, EffectiveSettings, Vec<String>);

fn read<T>(mut reader: Reader<'_>, settings: fn(&mut Reader<'_>) -> Option<T>) -> Result<ReadSettings<T>, Faults> {
    let config = settings(&mut reader);
    let mut warnings = suggest::unknown_variables(reader.vars());
    let (effective, others) = reader.finish()?;
    warnings.extend(others);
    Ok((config.expect("a setting without a value has left a fault behind"), effective, warnings))
}
