//! The whole operator against an API server that has bad days.

use std::convert::Infallible;

use hyper::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::fake_api::{Api, Door};

const CHAT: &str = "/apis/parley.dev/v1alpha1/namespaces/chat/chatclusters/demo";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/chat/deployments/demo";
const LEASE_PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/parley-system/leases/parley-operator";

/// An operator with a fake API server, and where its probes are.
struct Stage {
    door: Door,
    probes: std::net::SocketAddr,
    stop: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
}

impl Stage {
    async fn of(api: &Api, up: bool) -> Self {
        let door = api.listen(up).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let probes = listener.local_addr().expect("an address");
        let config = Config::new(format!("http://{}", door.address).parse().expect("a URL"));
        let settings = Settings {
            image: "parley:test".to_owned(),
            namespaces: Vec::new(),
            listen: probes,
            namespace: "parley-system".to_owned(),
            lease: "parley-operator".to_owned(),
            identity: "operator-1".to_owned(),
            log: "info".to_owned(),
        };
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(look_after(settings, config, listener, stop.clone()));
        Self { door, probes, stop, running }
    }

    /// The first line of the answer to a probe.
    async fn probe(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.probes).await.expect("it listens");
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer.lines().next().unwrap_or_default().to_owned()
    }
}

fn chat(name: &str) -> Value {
    json!({
        "apiVersion": "parley.dev/v1alpha1", "kind": "ChatCluster",
        "metadata": { "name": name, "namespace": "chat", "uid": name, "generation": 1 },
        "spec": { "auth": { "open": {} }, "replicas": 0 },
    })
}

/// Looks until it is so; the last thing seen is in the failure.
async fn until<T: std::fmt::Debug>(look: impl Fn() -> T, holds: impl Fn(&T) -> bool) -> T {
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let looking = async {
        while !holds(&look()) {
            looks.tick().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), looking).await;
    let seen = look();
    assert!(in_time.is_ok(), "still {seen:?}");
    seen
}

#[tokio::test]
async fn an_api_server_that_is_not_there_yet_is_waited_for() {
    let api = Api::default();
    api.put(CHAT, chat("demo"));
    let stage = Stage::of(&api, false).await;
    until(|| stage.door.refused(), |refused| *refused > 0).await;
    assert_eq!(stage.probe("/readyz").await, "HTTP/1.0 503 Service Unavailable");
    assert_eq!(stage.probe("/livez").await, "HTTP/1.0 200 OK", "a restart would not help");
    stage.door.open();
    until(|| api.object(DEPLOYMENT), Value::is_object).await;
    assert_eq!(stage.probe("/readyz").await, "HTTP/1.0 200 OK");
}

#[tokio::test]
async fn an_operator_that_ends_lets_go_of_the_lease() {
    let api = Api::default();
    let mut stage = Stage::of(&api, true).await;
    until(|| api.object(LEASE_PATH)["spec"]["holderIdentity"].clone(), |holder| holder == "operator-1").await;
    stage.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(20), stage.running.join_next());
    ended.await.expect("it ends in time").expect("it ran").expect("no panic").expect("a good end");
    let lease = api.object(LEASE_PATH);
    assert!(lease.is_object() && lease["spec"]["holderIdentity"].is_null(), "{lease}");
}

#[tokio::test]
async fn a_watch_that_is_too_late_begins_anew_and_misses_nothing() {
    let api = Api::default();
    api.put(CHAT, chat("demo"));
    let _stage = Stage::of(&api, true).await;
    until(|| api.object(DEPLOYMENT), Value::is_object).await;
    api.put_unheard("/apis/parley.dev/v1alpha1/namespaces/chat/chatclusters/other", chat("other"));
    until(|| api.object("/apis/apps/v1/namespaces/chat/deployments/other"), Value::is_object).await;
    // And a child whose end nobody heard of comes back as well.
    api.remove_unheard(DEPLOYMENT);
    until(|| api.object(DEPLOYMENT), Value::is_object).await;
}

#[tokio::test]
async fn a_busy_api_server_is_asked_again_when_it_said() {
    let api = Api::default();
    api.busy(Method::PATCH, "/deployments/", "1");
    api.put(CHAT, chat("demo"));
    let _stage = Stage::of(&api, true).await;
    until(|| api.object(CHAT)["status"]["conditions"].clone(), Value::is_array).await;
    let asked = api.when_asked("PATCH demo of deployments");
    let [first, second] = asked[..] else { panic!("{asked:?}") };
    assert!(second.duration_since(first) >= jiff::SignedDuration::from_secs(1), "{asked:?}");
    assert!(!api.object(CHAT)["status"].to_string().contains("ApiUnavailable"), "it was no failure");
}

/// A client of an API server that has nothing, and lets nobody list Secrets.
fn without_secrets() -> Client {
    let service = tower::service_fn(|request: Request<Body>| async move {
        if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            std::future::pending::<()>().await;
        }
        let (status, answer) = if request.uri().path().ends_with("/secrets") {
            let refusal = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "secrets is forbidden", "reason": "Forbidden", "code": 403 });
            (StatusCode::FORBIDDEN, refusal)
        } else {
            let metadata = json!({ "resourceVersion": "1" });
            (
                StatusCode::OK,
                json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": Value::Array(vec![]) }),
            )
        };
        let response = Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
        Ok::<_, Infallible>(response.expect("a response"))
    });
    Client::new(service, "chat")
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_denied_is_named_and_counted() {
    let (metrics, health) = (Metrics::new(), Health::default());
    health.looked_at_lease(true);
    let settings = Settings {
        image: "parley:test".into(),
        namespaces: vec!["chat".into()],
        listen: ([127, 0, 0, 1], 0).into(),
        namespace: "system".into(),
        lease: "parley-operator".into(),
        identity: "a".into(),
        log: String::new(),
    };
    let (client, stop) = (without_secrets(), CancellationToken::new());
    let controllers = controllers(&client, &settings, &metrics, &health, &stop);
    assert!(tokio::time::timeout(Duration::from_millis(100), controllers).await.is_err(), "it goes on trying");
    let why = health.ready().unwrap_err();
    assert!(why.starts_with("not yet known: Secret in chat;"), "{why}");
    let text = metrics.render();
    assert!(text.contains(r#"parley_operator_watch_errors_total{kind="Secret"} 1"#), "{text}");
}
