//! The volume of the managed Valkey: it grows as the spec says, and what hinders it is told.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;

use super::*;
use crate::controller::children::Stores;

const PATH: &str = "/api/v1/namespaces/chat/persistentvolumeclaims/data-demo-valkey-0";
const SET: &str = "/apis/apps/v1/namespaces/chat/statefulsets/demo-valkey";

fn spec(size: &str) -> String {
    format!("{{ auth: {{ open: {{}} }}, redis: {{ managed: {{ storage: {{ size: {size} }} }} }} }}")
}

/// What the operator knows after this StatefulSet made this pod, and a claim of 1Gi.
fn known(api: &Api, set: serde_json::Value, pod: &str) -> Context {
    let mut context = Arc::into_inner(context(api)).expect("nobody else has it");
    let set: StatefulSet = serde_json::from_value(set).expect("a StatefulSet");
    context.children.stateful_sets = Stores::with(vec![set]);
    context.children.pods = pods(pod);
    context
}

fn pods(uid: &str) -> Stores<Pod> {
    let pod = json!({ "metadata": { "name": "demo-valkey-0", "namespace": "chat", "uid": uid } });
    Stores::with(vec![serde_json::from_value(pod).expect("a pod")])
}

fn claim(labels: serde_json::Value) -> serde_json::Value {
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "data-demo-valkey-0", "namespace": "chat", "labels": labels },
        "spec": { "resources": { "requests": { "storage": "1Gi" } } } })
}

fn requested(object: &serde_json::Value) -> &serde_json::Value {
    &object["spec"]["resources"]["requests"]["storage"]
}

/// An API server with a Valkey that has a volume of 1Gi, and what the operator knows of it.
async fn with_a_volume() -> (Api, Context) {
    let api = Api::default();
    steps(&spec("1Gi"), &context(&api)).await.unwrap();
    api.put(PATH, claim(json!({ "parley.dev/cluster": "demo" })));
    let context = known(&api, api.object(SET), "pod-1");
    (api, context)
}

#[tokio::test]
async fn a_volume_grows_with_the_spec_and_its_stateful_set_stays_as_it_is() {
    let (api, context) = with_a_volume().await;
    steps(&spec("1Gi"), &context).await.unwrap();
    assert_eq!(requested(&api.object(PATH)), "1Gi");
    for _ in 0..3 {
        steps(&spec("2Gi"), &context).await.unwrap();
    }
    assert_eq!(requested(&api.object(PATH)), "2Gi");
    assert_eq!(requested(&api.object(SET)["spec"]["volumeClaimTemplates"][0]), "1Gi");
    assert_eq!((api.asked("GET data-demo-valkey-0"), api.asked("PATCH data-demo-valkey-0")), (2, 1), "once a size");
    assert_eq!(reason(&api, "Degraded"), "AsExpected");
}

#[tokio::test]
async fn the_volume_of_another_pod_is_looked_at_again() {
    let (api, mut context) = with_a_volume().await;
    steps(&spec("2Gi"), &context).await.unwrap();
    // Somebody deleted pod and claim, and the StatefulSet made both anew.
    api.put(PATH, claim(json!({ "parley.dev/cluster": "demo" })));
    context.children.pods = pods("pod-2");
    steps(&spec("2Gi"), &context).await.unwrap();
    assert_eq!(requested(&api.object(PATH)), "2Gi");
}

#[tokio::test]
async fn a_volume_that_may_not_grow_is_told_and_tried_again() {
    let (api, context) = with_a_volume().await;
    api.trouble(Method::PATCH, "/persistentvolumeclaims/", StatusCode::FORBIDDEN, "its storageclass cannot resize");
    steps(&spec("2Gi"), &context).await.unwrap();
    assert_eq!(reason(&api, "Degraded"), "StorageNotGrown");
    assert_eq!(requested(&api.object(PATH)), "1Gi");
    steps(&spec("2Gi"), &context).await.unwrap();
    assert_eq!((reason(&api, "Degraded").as_str(), requested(&api.object(PATH)).as_str()), ("AsExpected", Some("2Gi")));
}

#[tokio::test]
async fn a_claim_of_somebody_else_is_left_alone() {
    let (api, context) = with_a_volume().await;
    api.put(PATH, claim(json!({})));
    steps(&spec("2Gi"), &context).await.unwrap();
    assert_eq!((requested(&api.object(PATH)).as_str(), api.asked("PATCH data-demo-valkey-0")), (Some("1Gi"), 0));
    assert_eq!(reason(&api, "Degraded"), "StorageNotGrown");
}

#[tokio::test]
async fn before_there_is_a_pod_there_is_no_volume() {
    let api = Api::default();
    steps(&spec("2Gi"), &context(&api)).await.unwrap();
    assert_eq!(api.asked("of persistentvolumeclaims"), 0);
    assert_eq!(requested(&api.object(SET)["spec"]["volumeClaimTemplates"][0]), "2Gi");
}

#[tokio::test]
async fn a_stateful_set_of_an_earlier_operator_keeps_what_cannot_be_changed() {
    let (api, mut context) = with_a_volume().await;
    let policy = |api: &Api| api.object(SET)["spec"]["podManagementPolicy"].clone();
    assert_eq!(policy(&api), "Parallel");
    let mut earlier = api.object(SET);
    earlier["spec"]["podManagementPolicy"] = json!("OrderedReady");
    api.put(SET, earlier.clone());
    context.children.stateful_sets = Stores::with(vec![serde_json::from_value(earlier).expect("a StatefulSet")]);
    steps(&spec("2Gi"), &context).await.unwrap();
    assert_eq!(policy(&api), "OrderedReady");
}
