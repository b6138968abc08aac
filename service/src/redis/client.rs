//! One connection to the server, set so that it fails fast and loses nothing in silence: fred's defaults wait for ever,
//! repeat what may have been done, and drop what a slow task has not read. It knows no keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::rustls::pki_types::CertificateDer;
use fred::rustls::pki_types::pem::PemObject as _;
use fred::rustls::{ClientConfig, RootCertStore};
use fred::types::config::{
    Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, TcpConfig, TlsConnector, UnresponsiveConfig,
};
use fred::types::{ClientState, ClusterHash, ConnectHandle, CustomCommand, RespVersion, Value};
use tokio::sync::broadcast;

use super::reply::Reply;
use crate::config::RedisConfig;

pub(crate) use fred::types::Message;
pub(crate) use fred::types::config::Server as Address;

/// Why a connection ended or could not be made.
pub(crate) type Failure = (Error, Option<Address>);

/// How long a command waits for its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(2);
/// A connection on which an answer is overdue for this long is given up.
const OVERDUE: Duration = Duration::from_secs(5);
/// First and longest pause between attempts to connect, and how much chance adds, in milliseconds.
const PAUSE_MS: (u32, u32, u32) = (100, 1_000, 100);
/// Commands that may wait for their turn. Further ones fail at once.
const COMMANDS_WAITING: usize = 10_000;
/// Messages that may wait for the task that takes them. fred drops what is beyond, and says so. It costs about 10 MiB.
const MESSAGES_WAITING: usize = 16_384;
/// fred has nine queues of one capacity; those of the command connection only carry its own events.
const EVENTS_WAITING: usize = 64;

/// Why there can be no connection at all.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The URL cannot be understood.
    #[error("PARLEY_REDIS_URL: {0}")]
    Url(String),
    /// The certificates cannot be used.
    #[error("PARLEY_REDIS_CA_FILE: {0}")]
    Certificates(String),
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallError {
    /// It never left this process.
    NotSent(String),
    /// The server answered with this error.
    Refused(String),
    /// No answer came in time. It may have been carried out.
    Late(String),
    /// The connection ended before the answer, or what came was the answer to something else. It may have been carried out.
    Broken(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::NotSent(text) | Self::Refused(text) | Self::Late(text) | Self::Broken(text)) = self;
        f.write_str(text)
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Publishing, reading, everything else.
    Commands,
    /// Only what is subscribed to, so that nothing waits behind a large answer.
    Subscriptions,
}

impl Role {
    /// For logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Subscriptions => "subscriptions",
        }
    }
}

/// See the module. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    client: Client,
    /// It ended, and fred has not made another yet. fred itself still calls this connected for a while, and keeps commands
    /// of which nobody could say later whether they were sent.
    down: Arc<AtomicBool>,
    /// How many connections there were so far: tells an answer of the present one from what came before.
    life: Arc<AtomicU64>,
}

impl Connection {
    /// A connection that is not made yet.
    pub(crate) fn new(config: &RedisConfig, role: Role) -> Result<Self, SetUpError> {
        let url = config.url.expose();
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        // fred would read the system's certificates even where others are given: it is told of TLS afterwards.
        let plain = insecure(scheme);
        let secure = plain != scheme;
        let mut set_up = Config::from_url(&format!("{plain}://{rest}"))
            .map_err(|error| SetUpError::Url(error.details().to_owned()))?;
        if secure {
            set_up.tls = Some(certificates(config)?.into());
        }
        // The first attempt is made at once, and if it fails fred gives up: `link.rs` asks it again.
        set_up.fail_fast = true;
        set_up.version = RespVersion::RESP3;
        let performance = PerformanceConfig {
            default_command_timeout: ANSWER,
            broadcast_channel_capacity: match role {
                Role::Commands => EVENTS_WAITING,
                Role::Subscriptions => MESSAGES_WAITING,
            },
            ..PerformanceConfig::default()
        };
        let connection = ConnectionConfig {
            connection_timeout: CONNECT,
            internal_command_timeout: ANSWER,
            // A second attempt could store a message twice, and nobody would know.
            max_command_attempts: 1,
            max_command_buffer_len: COMMANDS_WAITING,
            unresponsive: UnresponsiveConfig { max_timeout: Some(OVERDUE), interval: Duration::from_secs(1) },
            tcp: TcpConfig { nodelay: Some(true), user_timeout: Some(2 * OVERDUE), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let (first, longest, jitter) = PAUSE_MS;
        let mut policy = ReconnectPolicy::new_exponential(0, first, longest, 2);
        policy.set_jitter(jitter);
        let client = Client::new(set_up, Some(performance), Some(connection), Some(policy));
        Ok(Self { client, down: Arc::default(), life: Arc::default() })
    }

    /// Starts connecting; the handle ends only when fred gives up.
    pub(crate) fn connect(&self) -> ConnectHandle {
        self.client.connect()
    }

    /// Sends a command, once, when first polled. Dropping the future does not call the command back.
    pub(crate) fn call(
        &self,
        command: &'static str,
        arguments: Vec<Value>,
    ) -> impl Future<Output = Result<Reply, CallError>> + Send + use<> {
        let (client, down) = (self.client.clone(), Arc::clone(&self.down));
        async move {
            if down.load(Ordering::Acquire) || client.state() != ClientState::Connected {
                return Err(CallError::NotSent("there is no connection".to_owned()));
            }
            let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
            match client.custom_raw(command, arguments).await {
                Ok(frame) => Reply::take(frame).map_err(CallError::Refused),
                Err(error) => Err(unanswered(&error)),
            }
        }
    }

    /// Asks for the end of a subscription when called; nothing answers.
    pub(crate) fn unsubscribe(&self, channel: &str) {
        let client = self.client.clone();
        let channel = channel.to_owned();
        // The command is queued by the first poll, and there is no answer to wait for.
        drop(futures_util::FutureExt::now_or_never(async move { client.sunsubscribe(channel).await }));
    }

    /// What arrives on subscribed channels.
    pub(crate) fn messages(&self) -> broadcast::Receiver<Message> {
        self.client.message_rx()
    }

    /// Says each time that a connection stands, the first one included.
    pub(crate) fn connections(&self) -> broadcast::Receiver<Address> {
        self.client.reconnect_rx()
    }

    /// Why connections ended or could not be made.
    pub(crate) fn errors(&self) -> broadcast::Receiver<Failure> {
        self.client.error_rx()
    }

    /// A connection ended or could not be made, or there is one again. Whoever follows [`Connection::errors`] and
    /// [`Connection::connections`] says so.
    pub(crate) fn is_down(&self, down: bool) {
        if !down {
            self.life.fetch_add(1, Ordering::AcqRel);
        }
        self.down.store(down, Ordering::Release);
    }

    /// Which of its connections this is; `None`: there is none to be used.
    pub(crate) fn life(&self) -> Option<u64> {
        (!self.down.load(Ordering::Acquire)).then(|| self.life.load(Ordering::Acquire))
    }

    /// Lets nothing more be sent over the connection of that life. `false`: it is not the present one, or was given up.
    pub(crate) fn give_up(&self, life: Option<u64>) -> bool {
        life.is_some() && life == self.life() && !self.down.swap(true, Ordering::AcqRel)
    }

    /// Gives the connection up and makes another. Waits until it stands.
    pub(crate) async fn replace(&self) {
        // While fred is connecting anyway, it would keep the order for later and give up a good connection for it.
        if self.client.state() == ClientState::Connected {
            // Where none can be made, fred goes on trying; whoever waits has other means to know.
            drop(self.client.force_reconnection().await);
        }
    }

    /// Ends it for good.
    pub(crate) async fn close(&self) {
        // The server notices the end of the connection, too.
        drop(self.client.quit().await);
    }
}

/// The scheme without its sign of TLS.
fn insecure(scheme: &str) -> String {
    let (kind, suffix) = scheme.split_at(scheme.find('-').unwrap_or(scheme.len()));
    let kind = match kind {
        "rediss" => "redis",
        "valkeys" => "valkey",
        other => other,
    };
    format!("{kind}{suffix}")
}

/// What is known of a command without an answer.
fn unanswered(error: &Error) -> CallError {
    let text = error.details().to_owned();
    let kept_back = ["Failed to route command.", "Client is not initialized.", "Failed to send command to router."];
    match error.kind() {
        ErrorKind::Backpressure => CallError::NotSent("too many commands are waiting".to_owned()),
        _ if kept_back.contains(&text.as_str()) => CallError::NotSent("there is no connection".to_owned()),
        ErrorKind::Timeout => CallError::Late(format!("no answer within {} s", ANSWER.as_secs())),
        _ => CallError::Broken(format!("the connection ended before the answer ({text})")),
    }
}

fn certificates(config: &RedisConfig) -> Result<TlsConnector, SetUpError> {
    let Some(path) = &config.ca_file else {
        return TlsConnector::default_rustls().map_err(|error| SetUpError::Certificates(error.details().to_owned()));
    };
    let fault = |error: &dyn std::fmt::Display| SetUpError::Certificates(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fault(&error))? {
        roots.add(certificate.map_err(|error| fault(&error))?).map_err(|error| fault(&error))?;
    }
    if roots.is_empty() {
        return Err(SetUpError::Certificates("there is no certificate in it".to_owned()));
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn config(url: &str) -> RedisConfig {
        RedisConfig { url: Secret::new(url), ca_file: None, prefix: "p".to_owned() }
    }

    #[tokio::test]
    async fn every_scheme_that_settings_allow_is_understood() {
        for scheme in ["redis", "valkey"] {
            assert!(Connection::new(&config(&format!("{scheme}://user:pass@host:1/2")), Role::Commands).is_ok());
            let sentinel = format!("{scheme}-sentinel://host:1/0?node=other:2&sentinelServiceName=primary");
            let connection = Connection::new(&config(&sentinel), Role::Commands);
            assert!(connection.is_ok_and(|connection| connection.client.uses_sentinels()), "{sentinel}");
        }
        let schemes =
            [("rediss", "redis"), ("valkeys", "valkey"), ("rediss-sentinel", "redis-sentinel"), ("redis", "redis")];
        for (secure, plain) in schemes {
            assert_eq!(insecure(secure), plain);
        }
    }

    #[tokio::test]
    async fn a_url_that_cannot_be_used_is_a_fault() {
        for url in ["redis://host:notaport", "redis-sentinel://host:1"] {
            assert!(matches!(Connection::new(&config(url), Role::Commands), Err(SetUpError::Url(_))), "{url}");
        }
    }

    #[tokio::test]
    async fn what_never_left_is_told_from_what_may_have_been_done() {
        let connection = Connection::new(&config("redis://127.0.0.1:1"), Role::Commands).unwrap();
        let answer = connection.call("PING", Vec::new()).await;
        assert_eq!(answer, Err(CallError::NotSent("there is no connection".to_owned())));
        let of = |kind, text: &'static str| unanswered(&Error::new(kind, text));
        assert!(matches!(of(ErrorKind::Timeout, ""), CallError::Late(_)));
        assert!(matches!(of(ErrorKind::IO, "Connection closed."), CallError::Broken(_)));
        assert!(matches!(of(ErrorKind::Unknown, "Failed to route command."), CallError::NotSent(_)));
        assert!(matches!(of(ErrorKind::Backpressure, ""), CallError::NotSent(_)));
    }
}
