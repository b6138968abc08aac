//! Somebody who chats: a client of the protocol, as small as the story allows. It remembers its position, so that it can
//! resume; it never decides to.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::DemoError;

/// Where everybody meets.
pub(super) const ROOM: &str = "general";
/// How long any single answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// One connected person.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) name: &'static str,
    /// The instance that welcomed it.
    pub(super) instance: String,
    /// Lines that are new to it, as they came.
    pub(super) heard: Vec<String>,
    socket: WebSocketStream<TcpStream>,
    position: Position,
}

/// How far somebody has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    epoch: String,
    offset: u64,
}

impl Person {
    /// Connects, and joins from now or from where it was.
    pub(super) async fn arrive(
        at: SocketAddr,
        name: &'static str,
        since: Option<&Position>,
    ) -> Result<Self, DemoError> {
        let failed = |why: String| DemoError::Chat { name, why };
        let connecting = async {
            let stream = TcpStream::connect(at).await?;
            stream.set_nodelay(true)?;
            let url = format!("ws://{at}/ws?user={name}");
            Ok::<_, tokio_tungstenite::tungstenite::Error>(tokio_tungstenite::client_async(url, stream).await?.0)
        };
        let connected = tokio::time::timeout(ANSWER_WAIT, connecting).await;
        let socket = connected.map_err(|_| failed("nobody answers".to_owned()))?.map_err(|e| failed(e.to_string()))?;
        let position = Position { epoch: String::new(), offset: 0 };
        let mut person = Self { name, instance: String::new(), heard: Vec::new(), socket, position };
        let welcome = person.expect("welcome").await?;
        person.instance = welcome["server_id"].as_str().unwrap_or_default().to_owned();
        let mut join = json!({ "type": "join", "id": "join", "room": ROOM });
        if let Some(since) = since {
            join["since"] = json!({ "epoch": since.epoch, "offset": since.offset });
        }
        person.send(&join).await?;
        let joined = loop {
            let joined = person.expect("joined").await?;
            if joined["room"] == ROOM {
                break joined;
            }
        };
        if since.is_some() && joined["recovered"] != true {
            return Err(failed("what was missed cannot be had any more".to_owned()));
        }
        person.position.epoch = joined["epoch"].as_str().unwrap_or_default().to_owned();
        person.position.offset = since.map_or(joined["offset"].as_u64().unwrap_or_default(), |since| since.offset);
        for message in joined["messages"].as_array().into_iter().flatten() {
            person.take_in(message);
        }
        Ok(person)
    }

    pub(super) fn position(&self) -> Position {
        self.position.clone()
    }

    /// Says a line and waits until it is stored.
    pub(super) async fn say(&mut self, line: &str) -> Result<(), DemoError> {
        self.send(&json!({ "type": "chat", "id": line, "room": ROOM, "msg": line })).await?;
        loop {
            let ack = self.expect("ack").await?;
            if ack["id"] == line {
                return Ok(());
            }
        }
    }

    /// Listens until `line` was heard; `false` when the connection has ended. Cancel-safe.
    pub(super) async fn hear(&mut self, line: &str) -> bool {
        while !self.heard.iter().any(|heard| heard == line) {
            match self.next().await {
                Ok(frame) => self.note(&frame),
                Err(_) => return false,
            }
        }
        true
    }

    async fn send(&mut self, frame: &Value) -> Result<(), DemoError> {
        let sent = self.socket.send(Message::text(frame.to_string())).await;
        sent.map_err(|error| DemoError::Chat { name: self.name, why: error.to_string() })
    }

    /// The next frame of this type; messages on the way are heard.
    async fn expect(&mut self, kind: &str) -> Result<Value, DemoError> {
        let name = self.name;
        let waiting = async {
            loop {
                let frame = self.next().await?;
                self.note(&frame);
                match frame["type"].as_str().unwrap_or_default() {
                    "error" => return Err(DemoError::Chat { name, why: frame["message"].to_string() }),
                    other if other == kind => return Ok(frame),
                    _ => {}
                }
            }
        };
        let late = |_| Err(DemoError::Chat { name, why: format!("`{kind}` did not come in time") });
        tokio::time::timeout(ANSWER_WAIT, waiting).await.unwrap_or_else(late)
    }

    fn note(&mut self, frame: &Value) {
        if frame["type"] == "message" && frame["room"] == ROOM {
            self.take_in(frame);
        }
    }

    /// What was seen before is no news: a client drops it.
    fn take_in(&mut self, message: &Value) {
        let offset = message["offset"].as_u64().unwrap_or_default();
        if offset > self.position.offset {
            self.position.offset = offset;
            self.heard.push(message["msg"].as_str().unwrap_or_default().to_owned());
        }
    }

    async fn next(&mut self) -> Result<Value, DemoError> {
        let failed = |why: String| DemoError::Chat { name: self.name, why };
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(|error| failed(error.to_string()));
                }
                Some(Ok(Message::Close(_))) | None => return Err(failed("the connection ended".to_owned())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(failed(error.to_string())),
            }
        }
    }
}
