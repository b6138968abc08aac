//! Reconciles against an API server of the test's own: what is asked, and what is made of its answers.

use std::collections::HashMap;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::client::Body;
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Recorder, Reporter};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::build::Surroundings;
use super::children::Children;
use super::context::{ClassMemory, Entropy, SecretMemory, Told};
use super::fixtures::{IMAGE, PASSWORD, cluster};
use super::ledger::Ledger;
use super::*;
use crate::metrics::Metrics;

mod events;
mod failures;
mod handover;
mod monitor;
mod password;

/// Answers like an API server that has nothing, keeps what it is given, and can be told to be difficult.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: HashMap<String, Value>,
    asked: Vec<String>,
    /// Answers to the next requests of this method whose path contains this.
    troubles: Vec<(Method, &'static str, StatusCode, &'static str)>,
}

impl Api {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                let (status, answer) = api.answer(&head.method, head.uri.path(), &body);
                let response = Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, std::convert::Infallible>(response.expect("a response"))
            }
        });
        Client::new(service, "chat")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let mut state = self.0.lock();
        state.asked.push(format!("{method} {}", path.rsplit('/').take(2).collect::<Vec<_>>().join(" of ")));
        let trouble = state.troubles.iter().position(|(of, part, ..)| of == method && path.contains(part));
        if let Some(index) = trouble {
            let (_, _, status, message) = state.troubles.remove(index);
            return (status, refusal(status, message));
        }
        match *method {
            Method::GET => match state.objects.get(path) {
                Some(object) => (StatusCode::OK, object.clone()),
                None => (StatusCode::NOT_FOUND, refusal(StatusCode::NOT_FOUND, "not found")),
            },
            Method::PATCH | Method::POST => {
                let object: Value = serde_json::from_slice(body).expect("JSON");
                let path = match object["metadata"]["name"].as_str() {
                    Some(name) if *method == Method::POST => format!("{path}/{name}"),
                    _ => path.to_owned(),
                };
                let mut object = object;
                // Whoever applies only a part leaves the rest, above all the owner.
                if let Some(before) =
                    state.objects.get(&path).filter(|_| object["metadata"]["ownerReferences"].is_null())
                {
                    object["metadata"] = before["metadata"].clone();
                }
                let mut answer = object.clone();
                if path.ends_with("/status") {
                    // Whoever writes a status gets the whole object.
                    answer["spec"] = json!({ "auth": { "open": {} } });
                }
                state.objects.insert(path, object);
                (StatusCode::OK, answer)
            }
            _ => (StatusCode::OK, json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" })),
        }
    }

    fn trouble(&self, method: Method, part: &'static str, status: StatusCode, message: &'static str) {
        self.0.lock().troubles.push((method, part, status, message));
    }

    fn put(&self, path: &str, object: Value) {
        self.0.lock().objects.insert(path.to_owned(), object);
    }

    fn asked(&self, what: &str) -> usize {
        self.0.lock().asked.iter().filter(|asked| asked.contains(what)).count()
    }

    /// The reason of a condition in the status that was written last.
    fn reason(&self, type_: &str) -> String {
        let state = self.0.lock();
        let status = state.objects.get("/apis/parley.dev/v1alpha1/namespaces/chat/chatclusters/demo/status");
        let conditions =
            status.and_then(|object| object["status"]["conditions"].as_array().cloned()).unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == type_);
        found.map(|condition| condition["reason"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    }
}

fn refusal(status: StatusCode, message: &str) -> Value {
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        StatusCode::FORBIDDEN => "Forbidden",
        _ => "Unknown",
    };
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": status.as_u16() })
}

fn context(api: &Api) -> Arc<Context> {
    let client = api.client();
    Arc::new(Context {
        client: client.clone(),
        children: Children::default(),
        entropy: Entropy(|| PASSWORD.to_owned()),
        ledger: Ledger::default(),
        secrets: SecretMemory::default(),
        ingress_classes: ClassMemory::default(),
        service_monitors: Mutex::default(),
        census: census::Census::default(),
        told: Told::default(),
        failures: Mutex::default(),
        recorder: Recorder::new(client, Reporter::from("test")),
        metrics: Metrics::new(),
        usual_image: IMAGE.to_owned(),
        surroundings: Surroundings::default(),
    })
}

async fn steps(spec: &str, context: &Context) -> Result<Action, ReconcileError> {
    Box::pin(five_steps(&cluster(spec), context, Timestamp::UNIX_EPOCH)).await
}

#[tokio::test]
async fn everything_is_applied_and_told() {
    let api = Api::default();
    steps("{ auth: { open: {} }, redis: { managed: {} } }", &context(&api)).await.unwrap();
    assert_eq!(api.asked("POST demo-valkey of secrets"), 0);
    assert_eq!(api.asked("POST secrets of chat"), 1, "the password is created, not applied over another");
    assert_eq!((api.asked("PATCH demo of deployments"), api.asked("PATCH demo of ingresses")), (1, 0));
    assert_eq!(api.reason("Ready"), "Starting");
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone() {
    let api = Api::default();
    let theirs = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "demo", "namespace": "chat", "uid": "x" } });
    api.put("/api/v1/namespaces/chat/services/demo", theirs.clone());
    let error = steps("auth: { open: {} }", &context(&api)).await.unwrap_err();
    assert_eq!(error.reason(), "NameTaken");
    assert_eq!(api.asked("PATCH demo of services"), 0);
    assert_eq!(api.reason("Degraded"), "NameTaken");
}

#[tokio::test]
async fn an_edit_of_somebody_else_is_taken_back_and_told() {
    let api = Api::default();
    api.trouble(Method::PATCH, "/deployments/", StatusCode::CONFLICT, "conflict with \"kubectl-edit\": .spec.replicas");
    steps("auth: { open: {} }", &context(&api)).await.unwrap();
    assert_eq!(api.asked("PATCH demo of deployments"), 2, "politely, then by force");
    assert_eq!(api.asked("POST events"), 2, "the edit, and IsolatedReplicas");
}

#[tokio::test]
async fn a_fight_is_given_up_and_told() {
    let api = Api::default();
    let context = context(&api);
    for _ in 0..5 {
        api.trouble(Method::PATCH, "/deployments/", StatusCode::CONFLICT, "conflict with \"other\"");
        steps("auth: { open: {} }", &context).await.unwrap();
    }
    api.trouble(Method::PATCH, "/deployments/", StatusCode::CONFLICT, "conflict with \"other\"");
    let error = steps("auth: { open: {} }", &context).await.unwrap_err();
    assert_eq!((error.reason(), pause(&error, 1)), ("FieldConflict", SLOWLY));
    assert_eq!(api.reason("Degraded"), "FieldConflict");
}

#[tokio::test]
async fn a_quota_is_named() {
    let api = Api::default();
    let message = "services \"demo\" is forbidden: exceeded quota: small";
    api.trouble(Method::PATCH, "/services/", StatusCode::FORBIDDEN, message);
    let error = steps("auth: { open: {} }", &context(&api)).await.unwrap_err();
    assert_eq!(error.reason(), "QuotaExceeded");
    assert_eq!((api.reason("Degraded"), api.reason("Ready")), ("QuotaExceeded".into(), "QuotaExceeded".into()));
}

#[tokio::test]
async fn a_busy_or_absent_api_server_is_asked_again_less_and_less_often() {
    let api = Api::default();
    api.trouble(Method::PATCH, "/configmaps/", StatusCode::INTERNAL_SERVER_ERROR, "etcd is gone");
    let error = steps("auth: { open: {} }", &context(&api)).await.unwrap_err();
    assert_eq!(error.reason(), "ApiUnavailable");
    let pauses: Vec<_> = [1, 2, 3, 20].map(|failures| pause(&error, failures).as_secs()).into();
    assert_eq!(pauses, [1, 2, 4, 300]);
}

#[tokio::test]
async fn a_missing_secret_waits_for_a_change() {
    let api = Api::default();
    let action = steps("auth: { token: { secretRef: { name: t } } }", &context(&api)).await.unwrap();
    assert_eq!(action, Action::await_change());
    assert_eq!((api.asked("PATCH demo of deployments"), api.reason("Ready")), (0, "SecretMissing".into()));
}

#[tokio::test]
async fn a_secret_that_did_not_change_is_not_read_again() {
    let api = Api::default();
    let mut context = Arc::into_inner(context(&api)).expect("nobody else has it");
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "t", "namespace": "chat", "resourceVersion": "7" },
        "data": { "secret": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" } });
    api.put("/api/v1/namespaces/chat/secrets/t", secret.clone());
    let meta: PartialObjectMeta<Secret> = serde_json::from_value(secret).unwrap();
    context.children.secrets = super::children::Stores::with(vec![meta]);
    for _ in 0..3 {
        steps("auth: { token: { secretRef: { name: t } } }", &context).await.unwrap();
    }
    assert_eq!(api.asked("GET t of secrets"), 1);
}

#[tokio::test]
async fn the_number_of_instances_is_handed_over_not_dropped() {
    let api = Api::default();
    let spec = "{ auth: { open: {} }, redis: { managed: {} }, autoscaling: { minReplicas: 3, maxReplicas: 5 } }";
    steps(spec, &context(&api)).await.unwrap();
    // Begins with three, another manager holds them, and then the operator lets go.
    assert_eq!(api.asked("PATCH demo of deployments"), 3);
    let state = api.0.lock();
    let last = &state.objects["/apis/apps/v1/namespaces/chat/deployments/demo"];
    assert!(last["spec"]["replicas"].is_null() && last["spec"]["template"].is_object(), "{last}");
}
