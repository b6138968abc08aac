//! A WebSocket client for tests: it sends what it is told, shows frames one by one, and fails with the story of its last
//! frames. It never reconnects; `resumer.rs` does.
#![expect(clippy::panic, reason = "an expectation that is not met fails the test here")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderName, HeaderValue};

use crate::frame::{Frame, Story};
use crate::http::Answer;

/// How long anything that is expected may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A connection that is not made yet.
#[derive(Debug, Clone)]
pub struct Connect {
    address: SocketAddr,
    query: Vec<(&'static str, String)>,
    headers: Vec<(String, String)>,
    receive_buffer: Option<u32>,
}

/// What a client meets.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A frame of the protocol.
    Frame(Frame),
    /// A close frame: its code and reason.
    Closed(u16, String),
    /// The connection ended without one.
    Gone,
}

/// One connection.
pub struct Client {
    peer: SocketAddr,
    socket: WebSocketStream<TcpStream>,
    waiting: VecDeque<Event>,
    ignored: Vec<&'static str>,
    story: Story,
    next_id: u64,
}

impl Connect {
    /// A connection to the public address of an instance.
    #[must_use]
    pub fn to(address: SocketAddr) -> Self {
        Self { address, query: Vec::new(), headers: Vec::new(), receive_buffer: None }
    }

    /// Signs in by name: `?user=`.
    #[must_use]
    pub fn user(self, name: &str) -> Self {
        self.query("user", name)
    }

    /// Signs in by token in the URL: `?token=`.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.query("token", token)
    }

    /// Joins at once: `?room=`.
    #[must_use]
    pub fn room(self, name: &str) -> Self {
        self.query("room", name)
    }

    /// Signs in by token in the `Authorization` header.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Asks the kernel to receive no more than about this for a client that does not read.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    fn query(mut self, name: &'static str, value: &str) -> Self {
        self.query.push((name, value.to_owned()));
        self
    }

    fn path(&self) -> String {
        let pairs = self.query.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value)));
        format!("/ws?{}", pairs.collect::<Vec<_>>().join("&"))
    }

    /// Connects.
    ///
    /// # Panics
    /// The upgrade was refused.
    pub async fn open(self) -> Client {
        match self.try_open().await {
            Ok(client) => client,
            Err(answer) => panic!("the upgrade was refused: {answer:?}"),
        }
    }

    /// Connects and expects to be refused.
    ///
    /// # Panics
    /// It was not.
    pub async fn refused(self) -> Answer {
        match self.try_open().await {
            Ok(_) => panic!("the upgrade was accepted"),
            Err(answer) => answer,
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// The answer with which the upgrade was refused; its status is 0 when the connection could not be made or ended.
    pub async fn try_open(self) -> Result<Client, Answer> {
        let nothing = || Answer { status: 0, headers: Vec::new(), body: String::new() };
        let name = self.query.first().map_or("a client", |(_, value)| value.as_str()).to_owned();
        let mut request = format!("ws://{}{}", self.address, self.path()).into_client_request().expect("a URL");
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header value"));
        }
        let connected = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(bytes) = self.receive_buffer {
                socket.set_recv_buffer_size(bytes)?;
            }
            socket.connect(self.address).await
        };
        let stream = connected.await.map_err(|_| nothing())?;
        stream.set_nodelay(true).map_err(|_| nothing())?;
        let upgraded = tokio::time::timeout(DEADLINE, tokio_tungstenite::client_async(request, stream)).await;
        match upgraded.expect("the upgrade is answered in time") {
            Ok((socket, _)) => {
                let (waiting, ignored, story) = (VecDeque::new(), Vec::new(), Story::of(&name));
                Ok(Client { peer: self.address, socket, waiting, ignored, story, next_id: 1 })
            }
            Err(tungstenite::Error::Http(response)) => {
                let (parts, body) = response.into_parts();
                let headers = parts.headers.iter();
                Err(Answer {
                    status: parts.status.as_u16(),
                    headers: headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap_or_default().to_owned())).collect(),
                    body: String::from_utf8_lossy(&body.unwrap_or_default()).into_owned(),
                })
            }
            Err(_) => Err(nothing()),
        }
    }
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

impl Client {
    /// From now on, frames of these types are skipped.
    #[must_use]
    pub fn ignoring(mut self, kinds: &[&'static str]) -> Self {
        self.ignored.extend(kinds);
        self
    }

    /// From now on, presence hints are skipped; replies to `presence` have an `id` and are not.
    #[must_use]
    pub fn ignoring_presence(self) -> Self {
        self.ignoring(&["presence"])
    }

    /// Takes the `welcome` and the `joined` of `@me` that follow a sign-in before the upgrade.
    pub async fn welcomed(mut self) -> Self {
        self.expect("welcome").await;
        let joined = self.expect("joined").await;
        assert_eq!(joined.room(), "@me", "{}", self.story);
        self
    }

    /// The other end of the connection.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What happened so far, for the message of an assertion.
    #[must_use]
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// Sends a frame. A connection that is gone is found out by what is expected next.
    pub async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    /// Sends any text.
    pub async fn send_text(&mut self, text: &str) {
        self.story.add('→', text);
        self.send_raw(Message::text(text)).await;
    }

    /// Sends any WebSocket message.
    pub async fn send_raw(&mut self, message: Message) {
        let sent = tokio::time::timeout(DEADLINE, self.socket.send(message)).await;
        if sent.is_err() {
            panic!("the server takes nothing any more\n{}", self.story);
        }
    }

    /// The bare connection, for bytes that are no WebSocket frames.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    async fn receive(&mut self) -> Event {
        match tokio::time::timeout(DEADLINE, self.next_whenever()).await {
            Ok(event) => event,
            Err(_) => panic!("nothing came for {DEADLINE:?}\n{}", self.story),
        }
    }

    /// The next event of the socket, whenever it comes; nothing is skipped. Cancel-safe.
    ///
    /// # Panics
    /// A frame is not JSON.
    pub async fn next_whenever(&mut self) -> Event {
        loop {
            return match self.socket.next().await {
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                    Ok(value) => Event::Frame(Frame::new(value)),
                    Err(error) => panic!("a frame is not JSON ({error}): {text}\n{}", self.story),
                },
                Some(Ok(Message::Close(close))) => {
                    let (code, reason) = close.map_or((1005, String::new()), |c| (c.code.into(), c.reason.to_string()));
                    Event::Closed(code, reason)
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => Event::Gone,
            };
        }
    }

    /// The text of the next frame of this type, byte for byte; others are skipped.
    pub async fn next_text(&mut self, kind: &str) -> String {
        let wanted = format!("{{\"type\":\"{kind}\"");
        loop {
            match tokio::time::timeout(DEADLINE, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) if text.starts_with(&wanted) => return text.as_str().to_owned(),
                Ok(Some(Ok(Message::Text(_)))) => {}
                other => panic!("expected a text frame, not {other:?}\n{}", self.story),
            }
        }
    }

    /// The payload of the next pong of the WebSocket layer; frames before it are skipped.
    pub async fn next_pong(&mut self) -> Vec<u8> {
        loop {
            match tokio::time::timeout(DEADLINE, self.socket.next()).await {
                Ok(Some(Ok(Message::Pong(payload)))) => return payload.to_vec(),
                Ok(Some(Ok(_))) => {}
                other => panic!("expected a pong, not {other:?}\n{}", self.story),
            }
        }
    }

    fn is_ignored(&self, event: &Event) -> bool {
        matches!(event, Event::Frame(frame) if self.ignored.contains(&frame.kind()) && frame["id"].is_null())
    }

    /// The next event that is not ignored.
    pub async fn next(&mut self) -> Event {
        if let Some(event) = self.waiting.pop_front() {
            return event;
        }
        loop {
            let event = self.receive().await;
            self.note('←', &event);
            if !self.is_ignored(&event) {
                return event;
            }
        }
    }

    fn note(&mut self, sign: char, event: &Event) {
        match event {
            Event::Frame(frame) => self.story.add(sign, &frame.to_string()),
            Event::Closed(code, reason) => self.story.add(sign, &format!("close {code} {reason}")),
            Event::Gone => self.story.add(sign, "connection gone"),
        }
    }

    /// The next event, which must be a frame.
    pub async fn next_frame(&mut self) -> Frame {
        match self.next().await {
            Event::Frame(frame) => frame,
            other => panic!("expected a frame, not {other:?}\n{}", self.story),
        }
    }

    /// The next frame, which must be of this type.
    pub async fn expect(&mut self, kind: &str) -> Frame {
        let frame = self.next_frame().await;
        assert_eq!(frame.kind(), kind, "{}", self.story);
        frame
    }

    /// The next frame, which must be `joined` of this room.
    pub async fn expect_joined(&mut self, room: &str) -> Frame {
        let frame = self.expect("joined").await;
        assert_eq!(frame.room(), room, "{}", self.story);
        frame
    }

    /// The next frame, which must be this `message`.
    pub async fn expect_message(&mut self, room: &str, offset: u64, msg: impl Into<Value>) -> Frame {
        let frame = self.expect("message").await;
        let seen = (frame.room(), frame.offset(), &frame["msg"]);
        assert_eq!(seen, (room, offset, &msg.into()), "{}", self.story);
        frame
    }

    /// The next frame, which must be an `error` of this code.
    pub async fn expect_error(&mut self, code: &str) -> Frame {
        let frame = self.expect("error").await;
        assert_eq!(frame.text("code"), code, "{}", self.story);
        frame
    }

    /// The next frame, which must be a `gap` of this room.
    pub async fn expect_gap(&mut self, room: &str) -> Frame {
        let frame = self.expect("gap").await;
        assert_eq!(frame.room(), room, "{}", self.story);
        frame
    }

    /// Reads to the end, which must be a close with this code; returns the frames before it.
    pub async fn expect_close(&mut self, code: u16) -> Vec<Frame> {
        let mut before = Vec::new();
        loop {
            match self.next().await {
                Event::Frame(frame) => before.push(frame),
                Event::Closed(closed, _) => {
                    assert_eq!(closed, code, "{}", self.story);
                    return before;
                }
                Event::Gone => panic!("expected close {code}, the connection just ended\n{}", self.story),
            }
        }
    }

    /// Sends a frame with an `id` of its own and returns the reply with that `id`. Other frames that come before it are
    /// kept for later, in their order.
    pub async fn ask(&mut self, mut frame: Value) -> Frame {
        let id = self.next_id;
        self.next_id += 1;
        frame["id"] = json!(id);
        self.send(frame).await;
        loop {
            let event = self.receive().await;
            match event {
                Event::Frame(frame) if frame["id"] == json!(id) => {
                    self.story.add('←', &frame.to_string());
                    return frame;
                }
                Event::Frame(_) => {
                    self.note('·', &event);
                    if !self.is_ignored(&event) {
                        self.waiting.push_back(event);
                    }
                }
                other => panic!("expected the reply to {id}, not {other:?}\n{}", self.story),
            }
        }
    }

    /// As [`Client::ask`], and the reply must be of this type.
    pub async fn ask_for(&mut self, kind: &str, frame: Value) -> Frame {
        let reply = self.ask(frame).await;
        assert_eq!(reply.kind(), kind, "{}", self.story);
        reply
    }

    /// As [`Client::ask`], and the reply must be an `error` of this code.
    pub async fn ask_error(&mut self, code: &str, frame: Value) -> Frame {
        let reply = self.ask_for("error", frame).await;
        assert_eq!(reply.text("code"), code, "{}", self.story);
        reply
    }

    /// Joins without history.
    pub async fn join(&mut self, room: &str) -> Frame {
        self.ask_for("joined", json!({ "type": "join", "room": room })).await
    }

    /// Joins with the newest messages.
    pub async fn join_with_history(&mut self, room: &str, history: u64) -> Frame {
        self.ask_for("joined", json!({ "type": "join", "room": room, "history": history })).await
    }

    /// Joins from a position.
    pub async fn resume(&mut self, room: &str, since: &Value) -> Frame {
        self.ask_for("joined", json!({ "type": "join", "room": room, "since": since })).await
    }

    /// Publishes and returns the ack.
    pub async fn chat(&mut self, room: &str, msg: impl Into<Value>) -> Frame {
        self.ask_for("ack", json!({ "type": "chat", "room": room, "msg": msg.into() })).await
    }

    /// The server has answered everything sent so far, and nothing else has come that is not ignored.
    pub async fn expect_quiet(&mut self) {
        self.ask_for("pong", json!({ "type": "ping" })).await;
        assert!(self.waiting.is_empty(), "expected nothing\n{}", self.story);
    }

    /// Closes politely and waits for the server's answer.
    pub async fn close(mut self) {
        drop(self.socket.close(None).await);
        while !matches!(self.next().await, Event::Closed(..) | Event::Gone) {}
    }
}
