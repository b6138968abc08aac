//! Reconciles against an API server of the test's own: what is asked, and what is made of its answers.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Recorder, Reporter};
use parking_lot::Mutex;
use serde_json::json;

use super::build::Surroundings;
use super::children::Children;
use super::context::{ClassMemory, Entropy, SecretMemory, Told};
use super::fixtures::{IMAGE, PASSWORD, cluster};
use super::ledger::Ledger;
use super::*;
use crate::fake_api::Api;
use crate::metrics::Metrics;

mod events;
mod failures;
mod handover;
mod looks;
mod monitor;
mod password;
mod retire;
mod volume;

/// The reason of a condition in the status that was written last.
fn reason(api: &Api, type_: &str) -> String {
    let object = api.object("/apis/parley.dev/v1alpha1/namespaces/chat/chatclusters/demo");
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == type_);
    found.map(|condition| condition["reason"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
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
    assert_eq!(reason(&api, "Ready"), "Starting");
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone() {
    let api = Api::default();
    let theirs = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "demo", "namespace": "chat", "uid": "x" } });
    api.put("/api/v1/namespaces/chat/services/demo", theirs.clone());
    let error = steps("auth: { open: {} }", &context(&api)).await.unwrap_err();
    assert_eq!(error.reason(), "NameTaken");
    assert_eq!(api.asked("PATCH demo of services"), 0);
    assert_eq!(reason(&api, "Degraded"), "NameTaken");
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
    assert_eq!(reason(&api, "Degraded"), "FieldConflict");
}

#[tokio::test]
async fn a_fight_without_a_conflict_is_given_up_as_well() {
    let api = Api::default();
    let mut context = Arc::into_inner(context(&api)).expect("nobody else has it");
    let path = "/apis/apps/v1/namespaces/chat/deployments/demo";
    let known = |object: serde_json::Value| children::Stores::with(vec![serde_json::from_value(object).unwrap()]);
    steps("auth: { open: {} }", &context).await.unwrap();
    // What is seen late is applied again, which changes nothing, and is no fight.
    let mut late = api.object(path);
    late["metadata"]["managedFields"][0]["time"] = json!("2001-01-01T00:00:00Z");
    context.children.deployments = known(late);
    for _ in 0..9 {
        steps("auth: { open: {} }", &context).await.unwrap();
    }
    // Another operator writes other values under the same name: the API server sees one manager and no conflict.
    let mut outcomes = Vec::new();
    for round in 0..6 {
        let mut other = api.object(path);
        other["spec"]["minReadySeconds"] = json!(round + 1);
        other["metadata"]["managedFields"][0]["time"] = json!(format!("2030-01-01T00:00:0{round}Z"));
        api.put(path, other.clone());
        context.children.deployments = known(other);
        outcomes.push(steps("auth: { open: {} }", &context).await);
    }
    let error = outcomes.pop().expect("an outcome").unwrap_err();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((error.reason(), pause(&error, 1)), ("FieldConflict", SLOWLY));
    assert!(error.to_string().contains("another parley-operator"), "{error}");
    assert_eq!(api.object(path)["spec"]["minReadySeconds"], 6, "it gave way");
}

#[tokio::test]
async fn a_quota_is_named() {
    let api = Api::default();
    let message = "services \"demo\" is forbidden: exceeded quota: small";
    api.trouble(Method::PATCH, "/services/", StatusCode::FORBIDDEN, message);
    let error = steps("auth: { open: {} }", &context(&api)).await.unwrap_err();
    assert_eq!(error.reason(), "QuotaExceeded");
    assert_eq!((reason(&api, "Degraded"), reason(&api, "Ready")), ("QuotaExceeded".into(), "QuotaExceeded".into()));
}

#[tokio::test]
async fn in_a_namespace_that_goes_nothing_is_made_and_nothing_is_told() {
    let api = Api::default();
    let message = "unable to create new content in namespace chat because it is being terminated";
    api.trouble(Method::PATCH, "/services/", StatusCode::FORBIDDEN, message);
    assert_eq!(steps("auth: { open: {} }", &context(&api)).await.unwrap(), Action::await_change());
    assert_eq!((api.asked("PATCH demo of deployments"), api.asked("PATCH status of demo")), (0, 0));
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
    assert_eq!((api.asked("PATCH demo of deployments"), reason(&api, "Ready")), (0, "SecretMissing".into()));
}

#[tokio::test]
async fn what_may_not_be_read_is_told() {
    let token = "auth: { token: { secretRef: { name: t } } }";
    let exposed = "{ auth: { open: {} }, exposure: { ingress: { host: a.test, className: c } } }";
    for (spec, part, status, expected) in [
        (token, "/secrets/t", StatusCode::FORBIDDEN, "ReferenceForbidden"),
        (exposed, "/ingressclasses/c", StatusCode::INTERNAL_SERVER_ERROR, "ApiUnavailable"),
    ] {
        let api = Api::default();
        api.trouble(Method::GET, part, status, "no");
        let context = context(&api);
        // Of what may pass only the third failure in a row is told.
        context.failures.lock().insert(cluster(spec).uid().expect("an identity"), PASSING);
        let error = steps(spec, &context).await.unwrap_err();
        assert_eq!(error.reason(), expected);
        assert_eq!((reason(&api, "Ready"), reason(&api, "Degraded")), (expected.into(), expected.into()));
        assert_eq!((api.asked("PATCH demo of deployments"), api.asked("POST events")), (0, 1));
    }
}

#[tokio::test]
async fn a_failure_that_cannot_be_told_is_still_the_failure() {
    let api = Api::default();
    api.trouble(Method::PATCH, "/configmaps/", StatusCode::FORBIDDEN, "exceeded quota: small");
    api.trouble(Method::PATCH, "/chatclusters/demo/status", StatusCode::INTERNAL_SERVER_ERROR, "etcd is gone");
    let error = steps("auth: { open: {} }", &context(&api)).await.unwrap_err();
    assert_eq!(error.reason(), "QuotaExceeded");
}

#[tokio::test]
async fn a_secret_that_did_not_change_is_not_read_again() {
    let api = Api::default();
    let mut context = Arc::into_inner(context(&api)).expect("nobody else has it");
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "t", "namespace": "chat" },
        "data": { "secret": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" } });
    api.put("/api/v1/namespaces/chat/secrets/t", secret);
    let secret = api.object("/api/v1/namespaces/chat/secrets/t");
    let meta: PartialObjectMeta<Secret> = serde_json::from_value(secret).unwrap();
    context.children.secrets = super::children::Stores::with(vec![meta]);
    for _ in 0..3 {
        steps("auth: { token: { secretRef: { name: t } } }", &context).await.unwrap();
    }
    assert_eq!(api.asked("GET t of secrets"), 1);
}

#[tokio::test]
async fn a_certificate_is_looked_for_and_not_read() {
    let api = Api::default();
    let mut context = Arc::into_inner(context(&api)).expect("nobody else has it");
    let spec = "{ auth: { open: {} }, exposure: { ingress: { host: a.test, tls: { secretName: t } } } }";
    let path = "/apis/networking.k8s.io/v1/ingressclasses";
    api.put(
        path,
        json!({ "kind": "IngressClassList", "apiVersion": "networking.k8s.io/v1", "metadata": {}, "items": [{
        "metadata": { "name": "c", "annotations": { "ingressclass.kubernetes.io/is-default-class": "true" } },
        "spec": { "controller": "traefik.io/ingress-controller" } }] }),
    );
    steps(spec, &context).await.unwrap();
    assert_eq!(reason(&api, "ExposureReady"), "TlsSecretMissing");
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "t", "namespace": "chat", "resourceVersion": "7" } });
    let meta: PartialObjectMeta<Secret> = serde_json::from_value(secret).unwrap();
    context.children.secrets = super::children::Stores::with(vec![meta]);
    steps(spec, &context).await.unwrap();
    assert_eq!((reason(&api, "ExposureReady").as_str(), api.asked("GET t of secrets")), ("Configured", 0));
}

#[tokio::test]
async fn the_number_of_instances_is_handed_over_not_dropped() {
    let api = Api::default();
    let spec = "{ auth: { open: {} }, redis: { managed: {} }, autoscaling: { minReplicas: 3, maxReplicas: 5 } }";
    steps(spec, &context(&api)).await.unwrap();
    // Begins with three, another manager holds them, and then the operator lets go.
    assert_eq!(api.asked("PATCH demo of deployments"), 3);
    let last = api.object("/apis/apps/v1/namespaces/chat/deployments/demo");
    assert!(last["spec"]["replicas"].is_null() && last["spec"]["template"].is_object(), "{last}");
}
