//! An API server of a test's own: it keeps what it is given, lists and watches it, and can be told to be difficult. Either
//! a client asks it directly, or it listens on a port, for what only the whole client does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::serve::Listener;
use futures_util::stream::{self, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock;

/// More than any test has in one watch.
const EVENTS: usize = 1_000;

/// See the module. Cloning is a reference count.
#[derive(Clone, Default)]
pub(crate) struct Api(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    asked: Vec<(String, Timestamp)>,
    troubles: Vec<Trouble>,
    watches: Vec<(Collection, mpsc::Sender<Value>)>,
}

/// The answer to the next request of this method whose path contains this.
struct Trouble {
    method: Method,
    part: &'static str,
    status: StatusCode,
    message: &'static str,
    retry_after: Option<&'static str>,
}

/// Objects of one kind, in one namespace or in all.
#[derive(Clone, PartialEq, Eq)]
struct Collection {
    group: String,
    namespace: Option<String>,
    plural: String,
}

impl Collection {
    /// Of the path of a collection, and what comes after it.
    fn of(path: &str) -> (Self, Vec<&str>) {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = parts.split_at(if parts.first() == Some(&"api") { 2 } else { 3 }.min(parts.len()));
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let plural = rest.first().copied().unwrap_or_default().to_owned();
        (Self { group: group.join("/"), namespace, plural }, rest.iter().skip(1).copied().collect())
    }

    fn has(&self, path: &str) -> bool {
        let (of, rest) = Self::of(path);
        rest.len() == 1
            && (of.group, of.plural) == (self.group.clone(), self.plural.clone())
            && (self.namespace.is_none() || self.namespace == of.namespace)
    }
}

impl Api {
    /// A client that asks it without a network, and so without the retries of a real one.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "chat")
    }

    /// Listens on a free port; at first it hangs up on everybody if it is not `up`.
    pub(crate) async fn listen(&self, up: bool) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (up, refused) = (Arc::new(AtomicBool::new(up)), Arc::new(AtomicUsize::new(0)));
        let entrance = Entrance { listener, up: Arc::clone(&up), refused: Arc::clone(&refused) };
        let api = self.clone();
        let router = Router::new().fallback(async move |request: Request<axum::body::Body>| api.answer(request).await);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(entrance, router).await });
        Door { address, up, refused, _serving: serving }
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<axum::body::Body>
    where
        B: hyper::body::Body + Send,
        B::Error: std::fmt::Debug,
    {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let mut state = self.0.lock();
        let asked = format!("{} {}", head.method, path.rsplit('/').take(2).collect::<Vec<_>>().join(" of "));
        state.asked.push((asked, clock::now()));
        let trouble = |of: &Trouble| of.method == head.method && path.contains(of.part);
        if let Some(index) = state.troubles.iter().position(trouble) {
            let trouble = state.troubles.remove(index);
            let mut answer = answered(trouble.status, &refusal(trouble.status, trouble.message));
            if let Some(seconds) = trouble.retry_after {
                answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(seconds));
            }
            return answer;
        }
        if query.contains("watch=true") {
            let (sender, receiver) = mpsc::channel(EVENTS);
            state.watches.push((Collection::of(path).0, sender));
            let lines = stream::unfold(receiver, async |mut receiver| {
                let event: Value = receiver.recv().await?;
                Some((Ok::<_, Infallible>(format!("{event}\n")), receiver))
            });
            return Response::new(axum::body::Body::from_stream(lines.boxed()));
        }
        let strategic =
            head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind != "application/apply-patch+yaml");
        let (status, answer) = match head.method {
            Method::GET => state.read(path),
            Method::DELETE => state.delete(path),
            _ => state.write(&head.method, path, query, strategic, serde_json::from_slice(&body).expect("JSON")),
        };
        answered(status, &answer)
    }

    /// The next request of this method whose path contains this is answered so.
    pub(crate) fn trouble(&self, method: Method, part: &'static str, status: StatusCode, message: &'static str) {
        self.0.lock().troubles.push(Trouble { method, part, status, message, retry_after: None });
    }

    /// Too busy for the next request of this method whose path contains this; so many seconds later it is not.
    pub(crate) fn busy(&self, method: Method, part: &'static str, retry_after: &'static str) {
        let (status, message) = (StatusCode::TOO_MANY_REQUESTS, "too many requests, please try again later");
        let trouble = Trouble { method, part, status, message, retry_after: Some(retry_after) };
        self.0.lock().troubles.push(trouble);
    }

    /// Puts an object there, and those who watch hear of it.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.0.lock().keep(path, object);
    }

    /// Puts an object there, and tells those who watch its kind nothing but that they are too late.
    pub(crate) fn put_unheard(&self, path: &str, object: Value) {
        let mut state = self.0.lock();
        state.end_watches(path);
        state.keep(path, object);
    }

    /// Removes an object, and tells those who watch its kind nothing but that they are too late.
    pub(crate) fn remove_unheard(&self, path: &str) {
        let mut state = self.0.lock();
        state.end_watches(path);
        state.objects.remove(path);
    }

    /// An object; `null` if there is none.
    pub(crate) fn object(&self, path: &str) -> Value {
        self.0.lock().objects.get(path).cloned().unwrap_or_default()
    }

    /// How often it was asked this.
    pub(crate) fn asked(&self, what: &str) -> usize {
        self.when_asked(what).len()
    }

    /// When it was asked this.
    pub(crate) fn when_asked(&self, what: &str) -> Vec<Timestamp> {
        self.0.lock().asked.iter().filter(|(asked, _)| asked.contains(what)).map(|(_, when)| *when).collect()
    }
}

impl State {
    fn read(&self, path: &str) -> (StatusCode, Value) {
        if path == "/version" {
            return (
                StatusCode::OK,
                json!({ "major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "" }),
            );
        }
        if let Some(object) = self.objects.get(path) {
            return (StatusCode::OK, object.clone());
        }
        let (collection, rest) = Collection::of(path);
        if !rest.is_empty() || collection.plural.is_empty() {
            return (StatusCode::NOT_FOUND, refusal(StatusCode::NOT_FOUND, "not found"));
        }
        let items: Vec<&Value> =
            self.objects.iter().filter(|(path, _)| collection.has(path)).map(|(_, object)| object).collect();
        let version = self.version.to_string();
        (
            StatusCode::OK,
            json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": version }, "items": items }),
        )
    }

    fn delete(&mut self, path: &str) -> (StatusCode, Value) {
        if let Some(object) = self.objects.remove(path) {
            self.tell(path, "DELETED", &object);
        }
        (StatusCode::OK, json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }))
    }

    /// Applies, merges or creates; a status goes into the object that it is of.
    fn write(
        &mut self,
        method: &Method,
        path: &str,
        query: &str,
        strategic: bool,
        given: Value,
    ) -> (StatusCode, Value) {
        let path = match given["metadata"]["name"].as_str() {
            Some(name) if *method == Method::POST => format!("{path}/{name}"),
            _ => path.to_owned(),
        };
        let of_status = path.strip_suffix("/status").map(str::to_owned);
        let path = of_status.clone().unwrap_or(path);
        let before = self.objects.get(&path).cloned();
        let mut object = match (&before, of_status) {
            (Some(before), None) if strategic => merged(before.clone(), &given),
            (Some(before), Some(_)) => {
                let mut object = before.clone();
                object["status"] = given["status"].clone();
                object
            }
            (None, Some(_)) => {
                let mut object = given;
                // Whoever writes a status gets the whole object.
                object["spec"] = json!({ "auth": { "open": {} } });
                object
            }
            _ => given,
        };
        if let Some(before) = &before {
            // Whoever applies only a part leaves the rest, above all the owner.
            if object["metadata"]["ownerReferences"].is_null() {
                object["metadata"] = before["metadata"].clone();
            }
            for kept in ["uid", "resourceVersion", "managedFields"] {
                object["metadata"][kept] = before["metadata"][kept].clone();
            }
        }
        let counted = before.as_ref().map(|before| (&before["spec"], before["metadata"]["generation"].as_u64()));
        let (spec, generation) = counted.unwrap_or((&Value::Null, None));
        let next = u64::from(*spec != object["spec"]);
        object["metadata"]["generation"] = json!(generation.unwrap_or(0).saturating_add(next).max(1));
        if !strategic && let Some(manager) = query.split('&').find_map(|part| part.strip_prefix("fieldManager=")) {
            // A time of its own for every change, and none for an application that changes nothing.
            let mut entry = json!({ "manager": manager, "operation": "Apply", "fieldsV1": { "f:spec": {} } });
            entry["time"] = match &before {
                Some(before) if *before == object => before["metadata"]["managedFields"][0]["time"].clone(),
                _ => json!(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::try_from(self.version).unwrap_or(0))),
            };
            object["metadata"]["managedFields"] = json!([entry]);
        }
        if query.contains("dryRun=All") {
            return (StatusCode::OK, object);
        }
        if before.as_ref() != Some(&object) {
            self.keep(&path, object);
        }
        (StatusCode::OK, self.objects.get(&path).cloned().unwrap_or_default())
    }

    fn keep(&mut self, path: &str, mut object: Value) {
        self.version = self.version.saturating_add(1);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-of-{path}"));
        }
        if object["metadata"]["namespace"].is_null()
            && let Some(namespace) = Collection::of(path).0.namespace
        {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let kind = if self.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        self.tell(path, kind, &object);
        self.objects.insert(path.to_owned(), object);
    }

    fn end_watches(&mut self, path: &str) {
        let mut gone = refusal(StatusCode::GONE, "too old resource version");
        gone["reason"] = json!("Expired");
        for (_, sender) in self.watches.extract_if(.., |(collection, _)| collection.has(path)) {
            drop(sender.try_send(json!({ "type": "ERROR", "object": gone })));
        }
    }

    fn tell(&mut self, path: &str, kind: &str, object: &Value) {
        let event = json!({ "type": kind, "object": object });
        self.watches.retain(|(collection, sender)| !collection.has(path) || sender.try_send(event.clone()).is_ok());
    }
}

/// Where an API server listens. It closes when dropped.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    up: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    _serving: JoinSet<std::io::Result<()>>,
}

impl Door {
    /// From now on it answers.
    pub(crate) fn open(&self) {
        self.up.store(true, Ordering::Relaxed);
    }

    /// How many it hung up on.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

struct Entrance {
    listener: TcpListener,
    up: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
}

impl Listener for Entrance {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let accepted = self.listener.accept().await.expect("a connection");
            if self.up.load(Ordering::Relaxed) {
                return accepted;
            }
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn answered(status: StatusCode, answer: &Value) -> Response<axum::body::Body> {
    let kind = (header::CONTENT_TYPE, "application/json");
    let answer = Response::builder().status(status).header(kind.0, kind.1).body(answer.to_string().into());
    answer.expect("a response")
}

fn refusal(status: StatusCode, message: &str) -> Value {
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        StatusCode::FORBIDDEN => "Forbidden",
        _ => "Unknown",
    };
    let causes =
        if message.contains("is being terminated") { json!([{ "reason": "NamespaceTerminating" }]) } else { json!([]) };
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "code": status.as_u16(), "details": { "causes": causes } })
}

/// A merge as of RFC 7396.
fn merged(mut into: Value, patch: &Value) -> Value {
    let Value::Object(fields) = patch else { return patch.clone() };
    if !into.is_object() {
        into = json!({});
    }
    for (key, value) in fields {
        match (value.is_null(), into.as_object_mut()) {
            (true, Some(object)) => drop(object.remove(key)),
            (false, _) => into[key] = merged(into[key].take(), value),
            (true, None) => {}
        }
    }
    into
}
