//! A chat server of a hundred lines for the load generator's own tests. It keeps rooms and logs as the protocol says,
//! and misbehaves on request. Its WebSocket side is tungstenite, which shares no code with the client under test.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use tokio_util::task::TaskTracker;

/// What goes wrong. A number is the offset at which it happens, once in every room, to one member of it.
#[derive(Clone, Copy, Default)]
pub(super) struct Mischief {
    /// Not delivered.
    pub(super) swallow: Option<u64>,
    /// Delivered twice.
    pub(super) repeat: Option<u64>,
    /// Delivered after the one that follows it.
    pub(super) swap: Option<u64>,
    /// Not delivered, but told as a gap.
    pub(super) gap: Option<u64>,
    /// Stored, and the publisher's connection cut before the ack.
    pub(super) cut: Option<u64>,
    /// One member is told to reconnect.
    pub(super) send_away: Option<u64>,
    /// The publish that would get this offset is refused the first time.
    pub(super) refuse: Option<u64>,
    /// Every upgrade is answered 401.
    pub(super) forbid: bool,
}

/// A running server; it ends with the test's runtime.
pub(super) struct Fake {
    port: u16,
    _tasks: TaskTracker,
}

type Outbox = mpsc::Sender<Action>;

enum Action {
    Send(String),
    Cut,
}

#[derive(Default)]
struct Room {
    log: Vec<Value>,
    acks: HashMap<String, u64>,
    members: Vec<(u64, Outbox)>,
    refused: bool,
    held: Option<String>,
}

type Rooms = Arc<Mutex<HashMap<String, Room>>>;

impl Fake {
    /// Listens on a port of its own.
    pub(super) async fn start(mischief: Mischief) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tasks = TaskTracker::new();
        let rooms = Rooms::default();
        let sessions = tasks.clone();
        tasks.spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                number += 1;
                sessions.spawn(serve(stream, number, mischief, Arc::clone(&rooms)));
            }
        });
        Self { port, _tasks: tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/ws", self.port)
    }
}

#[expect(clippy::result_large_err, reason = "tungstenite's callback is made so")]
async fn serve(stream: TcpStream, session: u64, mischief: Mischief, rooms: Rooms) {
    let mut user = String::new();
    let admit = |request: &Request, response: Response| {
        user = request.uri().query().and_then(|query| query.strip_prefix("user=")).unwrap_or("?").to_owned();
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::UNAUTHORIZED;
        if mischief.forbid { Err(refusal) } else { Ok(response) }
    };
    let Ok(mut socket) = accept_hdr_async(stream, admit).await else { return };
    let (outbox, mut actions) = mpsc::channel(100_000);
    say(&mut socket, json!({"type": "welcome", "server_id": "fake"}).to_string()).await;
    loop {
        tokio::select! {
            action = actions.recv() => match action {
                Some(Action::Send(frame)) => say(&mut socket, frame).await,
                Some(Action::Cut) | None => break,
            },
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let frame = serde_json::from_str(&text).unwrap();
                    hear(&frame, &user, session, &outbox, mischief, &rooms);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
        }
    }
    for room in rooms.lock().values_mut() {
        room.members.retain(|(member, _)| *member != session);
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, frame: String) {
    // The client may be gone; the read side will tell.
    let _ = socket.send(Message::text(frame)).await;
}

fn send(outbox: &Outbox, frame: &impl ToString) {
    // As above.
    let _ = outbox.try_send(Action::Send(frame.to_string()));
}

fn hear(frame: &Value, user: &str, session: u64, outbox: &Outbox, mischief: Mischief, rooms: &Rooms) {
    let mut rooms = rooms.lock();
    let id = frame["id"].clone();
    if frame["type"] == "ping" {
        return send(outbox, &json!({"type": "pong", "id": id}));
    }
    let name = frame["room"].as_str().unwrap();
    let room = rooms.entry(name.to_owned()).or_default();
    if frame["type"] == "join" {
        let top = room.log.len();
        let since = frame["since"]["offset"].as_u64().map(|offset| usize::try_from(offset).unwrap());
        let messages = since.map_or(Vec::new(), |since| room.log[since..].to_vec());
        room.members.push((session, outbox.clone()));
        return send(
            outbox,
            &json!({"type": "joined", "id": id, "room": name, "epoch": "e", "offset": top, "recovered": since.is_some(),
                "more": false, "messages": messages}),
        );
    }
    let next = room.log.len() as u64 + 1;
    if mischief.refuse == Some(next) && !room.refused {
        room.refused = true;
        return send(outbox, &json!({"type": "error", "id": id, "code": "rate_limited", "retry_after_ms": 5}));
    }
    let key = frame["key"].as_str().unwrap().to_owned();
    let known = room.acks.get(&key).copied();
    let offset = known.unwrap_or(next);
    let ack =
        json!({"type": "ack", "id": id, "room": name, "epoch": "e", "offset": offset, "at": 1_763_778_000_123_u64});
    if known.is_none() {
        let message = json!({"type": "message", "room": name, "offset": offset, "from": user, "msg": frame["msg"],
            "key": key, "at": 1_763_778_000_123_u64});
        room.acks.insert(key, offset);
        room.log.push(message.clone());
        deliver(room, name, offset, &message, mischief);
        if mischief.cut == Some(offset) {
            // As above.
            let _ = outbox.try_send(Action::Cut);
            return;
        }
    }
    send(outbox, &ack);
}

fn deliver(room: &mut Room, name: &str, offset: u64, message: &Value, mischief: Mischief) {
    let held = room.held.take();
    // The fields in the documented order, which a map does not keep.
    let [from, msg, key, at] = ["from", "msg", "key", "at"].map(|field| &message[field]);
    let text = format!(
        r#"{{"type":"message","room":"{name}","offset":{offset},"from":{from},"msg":{msg},"key":{key},"at":{at}}}"#
    );
    for (at, (_, member)) in room.members.iter().enumerate() {
        let chosen = at + 1 == room.members.len();
        let now = |offset_of: Option<u64>| chosen && offset_of == Some(offset);
        if now(mischief.send_away) {
            send(member, &json!({"type": "reconnect", "reason": "drain", "after_ms": 20, "elsewhere": true}));
        }
        if now(mischief.gap) {
            send(member, &json!({"type": "gap", "room": name, "epoch": "e", "offset": offset}));
        } else if now(mischief.swap) {
            room.held = Some(text.clone());
        } else if !now(mischief.swallow) {
            send(member, &text);
        }
        if now(mischief.repeat) {
            send(member, &text);
        }
        if let Some(held) = held.as_ref().filter(|_| chosen) {
            send(member, held);
        }
    }
}
