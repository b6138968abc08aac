//! A managed Valkey that the spec does not name any more: it goes with the last instance that uses it, and not before the
//! others serve.

use std::slice::from_ref;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use crate::controller::build::settings_checksum;
use crate::controller::children::Stores;
use crate::controller::fixtures::validated;

const MANAGED: &str = "{ auth: { open: {} }, redis: { managed: {} } }";
const EXTERNAL: &str = "{ auth: { open: {} }, redis: { external: { secretRef: { name: r } } } }";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/chat/deployments/demo";
const URL: &str = "redis://nobody";
/// What belongs to a managed Valkey.
const ITS: [&str; 6] = ["statefulsets", "services", "networkpolicies", "secrets", "configmaps", "serviceaccounts"];

fn path(plural: &str, name: &str) -> String {
    let group = match plural {
        "statefulsets" | "deployments" => "apis/apps/v1",
        "networkpolicies" => "apis/networking.k8s.io/v1",
        _ => "api/v1",
    };
    format!("/{group}/namespaces/chat/{plural}/{name}")
}

/// What a watch of this kind knows.
fn watched<K>(api: &Api, plural: &str, names: &[&str]) -> Stores<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + 'static,
{
    let objects = names.iter().map(|name| api.object(&path(plural, name))).filter(Value::is_object);
    Stores::with(objects.map(|object| serde_json::from_value(object).expect("an object")).collect())
}

/// The operator after its watches have told of everything: of a Deployment with this many instances of now and in all, and
/// of these pods.
fn knows(context: Context, api: &Api, (updated, all): (i32, i32), pods: &[Value]) -> Context {
    let mut deployment = api.object(DEPLOYMENT);
    let wanted = deployment["spec"]["replicas"].clone();
    deployment["status"] = json!({ "observedGeneration": deployment["metadata"]["generation"], "replicas": all,
        "updatedReplicas": updated, "readyReplicas": wanted, "availableReplicas": wanted });
    let pods = pods.iter().map(|pod| serde_json::from_value(pod.clone()).expect("a pod")).collect();
    let both = &["demo", "demo-valkey"];
    let children = Children {
        deployments: Stores::with(vec![serde_json::from_value(deployment).expect("a Deployment")]),
        pods: Stores::with(pods),
        stateful_sets: watched(api, "statefulsets", both),
        services: watched(api, "services", both),
        network_policies: watched(api, "networkpolicies", both),
        secrets: watched(api, "secrets", both),
        config_maps: watched(api, "configmaps", &["demo-settings", "demo-valkey"]),
        service_accounts: watched(api, "serviceaccounts", both),
        ..Children::default()
    };
    Context { children, ..context }
}

/// An instance of this spec.
fn instance(spec: &str) -> Value {
    let checksum = settings_checksum(&validated(spec, &[("r/url", URL)]));
    json!({ "metadata": { "name": format!("demo-{checksum}"), "namespace": "chat",
        "labels": { "parley.dev/cluster": "demo", "app.kubernetes.io/component": "chat" },
        "annotations": { "parley.dev/settings-checksum": checksum } } })
}

fn draining(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod
}

/// What of it is there still.
fn left(api: &Api) -> Vec<&'static str> {
    ITS.into_iter().filter(|plural| api.object(&path(plural, "demo-valkey")).is_object()).collect()
}

/// An API server with a chat that has a Valkey, and the operator that made it.
async fn with_valkey(spec: &str) -> (Api, Context) {
    let api = Api::default();
    let url = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "r", "namespace": "chat" },
        "data": { "url": "cmVkaXM6Ly9ub2JvZHk=" } });
    api.put("/api/v1/namespaces/chat/secrets/r", url);
    let context = Arc::into_inner(context(&api)).expect("nobody else has it");
    steps(spec, &context).await.unwrap();
    assert_eq!(left(&api), ITS);
    (api, context)
}

fn progressing(api: &Api) -> String {
    let object = api.object("/apis/parley.dev/v1alpha1/namespaces/chat/chatclusters/demo");
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions[1]["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_valkey_outlives_the_instances_that_use_it() {
    let (api, context) = with_valkey(MANAGED).await;
    let (former, current) = (instance(MANAGED), instance(EXTERNAL));
    let context = knows(context, &api, (2, 2), &[former.clone(), former.clone()]);
    let versions = ITS.map(|plural| api.object(&path(plural, "demo-valkey"))["metadata"]["resourceVersion"].clone());
    // What the watches know is of the spec before.
    steps(EXTERNAL, &context).await.unwrap();
    assert_eq!(left(&api), ITS, "nobody has seen the change yet");
    assert!(progressing(&api).contains("the managed Valkey is kept"), "{}", progressing(&api));
    assert_eq!(reason(&api, "Degraded"), "AsExpected", "that is no reason to look");

    let seen: [(_, &[Value]); 5] = [
        // The former ones were lost, and those of now do not serve.
        ((1, 2), from_ref(&current)),
        ((1, 3), &[former.clone(), former.clone(), current.clone()]),
        ((2, 3), &[former.clone(), current.clone()]),
        ((2, 2), &[draining(former.clone()), current.clone()]),
        ((2, 2), &[former, current.clone()]),
    ];
    let mut context = context;
    for (counts, pods) in seen {
        context = knows(context, &api, counts, pods);
        steps(EXTERNAL, &context).await.unwrap();
        assert_eq!(left(&api), ITS, "{counts:?} {pods:?}");
    }
    let now = ITS.map(|plural| api.object(&path(plural, "demo-valkey"))["metadata"]["resourceVersion"].clone());
    assert_eq!(now, versions, "it was not written either");

    let context = knows(context, &api, (2, 2), &[current]);
    steps(EXTERNAL, &context).await.unwrap();
    assert_eq!(left(&api), [""; 0]);
    assert!(api.object(&path("secrets", "r")).is_object(), "that is somebody else's");
    assert_eq!(progressing(&api), "everything is as the spec says");
}

#[tokio::test]
async fn another_operator_keeps_it_as_well() {
    let (api, context) = with_valkey(MANAGED).await;
    let pods = [instance(MANAGED), instance(EXTERNAL)];
    steps(EXTERNAL, &knows(context, &api, (2, 2), &pods)).await.unwrap();
    let another = Arc::into_inner(super::context(&api)).expect("nobody else has it");
    let another = knows(another, &api, (1, 3), &pods);
    steps(EXTERNAL, &another).await.unwrap();
    assert_eq!(left(&api), ITS);
    steps(EXTERNAL, &knows(another, &api, (2, 2), &pods[1..])).await.unwrap();
    assert_eq!(left(&api), [""; 0]);
}

#[tokio::test]
async fn who_comes_back_to_it_finds_it_as_it_was() {
    let (api, context) = with_valkey(MANAGED).await;
    let secret = api.object(&path("secrets", "demo-valkey"));
    let former = instance(MANAGED);
    let context = knows(context, &api, (2, 2), &[former.clone(), former.clone()]);
    steps(EXTERNAL, &context).await.unwrap();
    let context = knows(context, &api, (1, 3), &[former.clone(), former]);
    steps(MANAGED, &context).await.unwrap();
    assert_eq!(api.object(&path("secrets", "demo-valkey")), secret);
    assert_eq!((left(&api), api.asked("DELETE")), (ITS.to_vec(), 0));
    assert!(!progressing(&api).contains("kept"), "{}", progressing(&api));
}

#[tokio::test]
async fn of_one_that_is_wanted_goes_what_is_not() {
    let (api, context) = with_valkey(MANAGED).await;
    let context = knows(context, &api, (1, 3), &[instance(MANAGED)]);
    let open = "{ auth: { open: {} }, redis: { managed: {} }, networkPolicy: { enabled: false } }";
    steps(open, &context).await.unwrap();
    assert_eq!(left(&api), ["statefulsets", "services", "secrets", "configmaps", "serviceaccounts"]);
}

#[tokio::test]
async fn without_instances_it_goes_as_soon_as_that_is_seen() {
    let (api, context) = with_valkey("{ auth: { open: {} }, replicas: 0, redis: { managed: {} } }").await;
    let context = knows(context, &api, (0, 0), &[]);
    let none = "{ auth: { open: {} }, replicas: 0 }";
    steps(none, &context).await.unwrap();
    assert_eq!(left(&api), ITS);
    steps(none, &knows(context, &api, (0, 0), &[])).await.unwrap();
    assert_eq!(left(&api), [""; 0]);
}
