//! Instances with the server API switched on, an HTTP client that does exactly what it is told, and a WebSocket client.
//! It asserts nothing but that answers come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use parley_service::auth::open::OpenAuth;
use parley_service::backplane::{Backplane, PublishError, Unavailable};
use parley_service::clock::SystemClock;
use parley_service::config::{Config, Secret};
use parley_service::edge::services::Services;
use parley_service::entropy::SystemEntropy;
use parley_service::ids::{LogName, ServerId};
use parley_service::message::{Draft, Stored};
use parley_service::server::{Embedded, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tungstenite::Message;

use crate::around::{Around, Meddler};

pub const KEY: &str = "the-key-of-the-api-0123456789";
/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// One running instance; it stops when dropped.
pub struct Instance {
    pub address: SocketAddr,
    pub services: Arc<Services>,
    backplane: Arc<Around<Faults>>,
    _stop: DropGuard,
}

/// One instance with the API on.
pub async fn start() -> Instance {
    start_with(|_| {}).await
}

/// One instance with other settings.
pub async fn start_with(change: impl FnOnce(&mut Config)) -> Instance {
    fleet(1, change).await.remove(0)
}

/// Some instances on one backplane.
pub async fn fleet(size: usize, change: impl FnOnce(&mut Config)) -> Vec<Instance> {
    let mut config = Config::for_tests();
    config.api_key = Some(Secret::new(KEY));
    config.drain = Duration::ZERO;
    change(&mut config);
    let embedded = Embedded::new(&config, SystemClock::start(), Arc::new(SystemEntropy));
    let mut instances = Vec::new();
    for number in 1..=size {
        config.server_id = format!("test-{number}");
        let mut ports = embedded.ports(ServerId::parse(&config.server_id).unwrap(), Arc::new(OpenAuth));
        let backplane = Around::new(ports.backplane, Faults::default());
        ports.backplane = Arc::clone(&backplane) as Arc<dyn Backplane>;
        let server = Server::bind(&config, ports).await.unwrap();
        let (address, services) = (server.address().unwrap(), Arc::clone(server.services()));
        let stop = CancellationToken::new();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        TaskTracker::new().spawn(server.run(stop.clone(), move || ready.send(()).unwrap()));
        is_ready.await.unwrap();
        instances.push(Instance { address, services, backplane, _stop: stop.drop_guard() });
    }
    instances
}

impl Instance {
    /// What goes wrong with its publishes.
    pub fn faults(&self) -> &Faults {
        &self.backplane.meddler
    }

    /// A request with the key, and with a JSON body if there is one.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, &[("Authorization", &format!("Bearer {KEY}"))], body).await
    }

    /// A GET with the key.
    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    /// A request with these headers and none besides but those that HTTP needs and the content type.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut head = String::new();
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "Content-Type") {
            head.push_str("Content-Type: application/json\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !headers.iter().any(|(name, _)| *name == "Content-Length") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let text = format!("{method} {path} HTTP/1.1\r\nHost: parley\r\nConnection: close\r\n{head}\r\n{body}");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        Answer::read(&mut stream).await
    }

    /// A session of a user who joined these rooms by the URL.
    pub async fn connect(&self, user: &str, rooms: &[&str]) -> Client {
        let rooms: String = rooms.iter().map(|room| format!("&room={room}")).collect();
        let (socket, _) = connect_async(format!("ws://{}/ws?user={user}{rooms}", self.address)).await.unwrap();
        Client(socket)
    }
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// Reads until the peer closes or breaks off.
    pub async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A peer that refuses a body unread resets the connection after its answer: what came before counts.
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes));
        let _ = read.await.expect("the connection is closed after the answer");
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not an answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// The detail of a problem with this status and code, after everything that holds for all problems was checked.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert!(!self.body.contains(KEY));
        let problem = self.json(status);
        assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{self:?}");
        assert!(problem["title"].is_string(), "{self:?}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// A WebSocket client.
pub struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// The next frame of this type as it came; others are passed over.
    pub async fn raw(&mut self, kind: &str) -> String {
        let wanted = format!("\"type\":\"{kind}\"");
        loop {
            match self.next().await {
                Message::Text(text) if text.contains(&wanted) => return text.to_string(),
                Message::Close(frame) => panic!("closed while waiting for {kind}: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next frame of this type.
    pub async fn frame(&mut self, kind: &str) -> Value {
        serde_json::from_str(&self.raw(kind).await).unwrap()
    }

    /// The code with which the server closes.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.next().await {
                return frame.expect("every close has a code").code.into();
            }
        }
    }

    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
        next.expect("a frame comes in time").expect("the connection is open").unwrap()
    }
}

/// Lets the next publishes fail as told.
#[derive(Default)]
pub struct Faults {
    next: Mutex<Vec<PublishError>>,
}

impl Faults {
    /// The next publish is certainly not stored.
    pub fn refuse(&self) {
        self.next.lock().push(PublishError::Unavailable(Unavailable("told to".to_owned())));
    }

    /// The next publish is stored, but nobody learns of it.
    pub fn lose_answer(&self) {
        self.next.lock().push(PublishError::OutcomeUnknown("told to".to_owned()));
    }
}

impl Meddler for Faults {
    fn publish<'a>(
        &'a self,
        inner: &'a dyn Backplane,
        log: &'a LogName,
        draft: &'a Draft,
    ) -> BoxFuture<'a, Result<Stored, PublishError>> {
        let fault = self.next.lock().pop();
        Box::pin(async move {
            match fault {
                None => inner.publish(log, draft).await,
                Some(PublishError::Unavailable(fault)) => Err(fault.into()),
                Some(fault) => {
                    inner.publish(log, draft).await?;
                    Err(fault)
                }
            }
        })
    }
}
