//! Children are kept as declared; nothing else is touched.

use parley_tests::cluster::Space;
use serde_json::Value;

const KINDS: [&str; 14] = [
    "deployment/demo",
    "service/demo",
    "service/demo-instances",
    "service/demo-valkey",
    "configmap/demo-settings",
    "configmap/demo-valkey",
    "secret/demo-valkey",
    "serviceaccount/demo",
    "serviceaccount/demo-valkey",
    "poddisruptionbudget/demo",
    "ingress/demo",
    "networkpolicy/demo",
    "networkpolicy/demo-valkey",
    "statefulset/demo-valkey",
];

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn what_is_deleted_comes_back() {
    let space = Space::of("deleted").await;
    space.apply(&space.chat("replicas: 1, redis: { managed: {} }")).await;
    space.ready().await;
    let password = space.get("secret/demo-valkey").await["data"]["password"].clone();
    for child in KINDS {
        let before = uid(&space.get(child).await);
        space.kubectl(&["delete", child]).await;
        space.until(child, |object| !object.is_null() && uid(object) != before).await;
    }
    space.ready().await;
    assert_eq!(space.get("secret/demo-valkey").await["data"]["password"], password, "no reason for another password");
}

#[tokio::test]
async fn what_is_edited_is_set_back_and_told() {
    let space = Space::of("edited").await;
    space.apply(&space.chat("replicas: 1")).await;
    space.ready().await;
    for (child, patch, path, right) in [
        ("deployment/demo", r#"{"spec":{"replicas":2}}"#, "/spec/replicas", "1"),
        (
            "service/demo",
            r#"{"spec":{"selector":{"parley.dev/cluster":"other"}}}"#,
            "/spec/selector/parley.dev~1cluster",
            "\"demo\"",
        ),
        ("configmap/demo-settings", r#"{"data":{"PARLEY_DRAIN_SECONDS":"1"}}"#, "/data/PARLEY_DRAIN_SECONDS", "\"4\""),
        ("poddisruptionbudget/demo", r#"{"spec":{"maxUnavailable":"50%"}}"#, "/spec/maxUnavailable", "1"),
        (
            "networkpolicy/demo",
            r#"{"spec":{"policyTypes":["Ingress","Egress"]}}"#,
            "/spec/policyTypes",
            r#"["Ingress"]"#,
        ),
        ("serviceaccount/demo", r#"{"automountServiceAccountToken":true}"#, "/automountServiceAccountToken", "false"),
    ] {
        space.kubectl(&["patch", child, "--type=merge", "-p", patch]).await;
        let right: Value = serde_json::from_str(right).expect("JSON");
        space.until(child, |object| object.pointer(path) == Some(&right)).await;
    }
    let told = |events: &Value| {
        let items = events["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .any(|event| event["reason"] == "FieldConflict" && event["message"].to_string().contains("kubectl-patch"))
    };
    space.until("events", told).await;
}

#[tokio::test]
async fn what_is_not_wanted_any_more_goes_and_what_is_not_ours_stays() {
    let space = Space::of("pruned").await;
    let theirs = "{ apiVersion: v1, kind: ConfigMap, metadata: { name: demo-valkey, labels: { parley.dev/cluster: demo, app.kubernetes.io/managed-by: parley-operator } }, data: { a: b } }";
    space.apply(theirs).await;
    space.apply(&space.chat("replicas: 0")).await;
    space.until("ingress/demo", Value::is_object).await;
    space.until("networkpolicy/demo", Value::is_object).await;
    let bare = "{ apiVersion: parley.dev/v1alpha1, kind: ChatCluster, metadata: { name: demo }, spec: { auth: { open: {} }, replicas: 0, networkPolicy: { enabled: false } } }";
    space.apply(bare).await;
    space.until("ingress/demo", Value::is_null).await;
    space.until("networkpolicy/demo", Value::is_null).await;
    assert_eq!(space.get("configmap/demo-valkey").await["data"]["a"], "b", "it looks like ours, and is not");
}

#[tokio::test]
async fn a_name_that_is_taken_is_told_and_left_alone() {
    let space = Space::of("taken").await;
    space.apply("{ apiVersion: v1, kind: Service, metadata: { name: demo }, spec: { ports: [{ port: 1 }] } }").await;
    space.apply(&space.chat("replicas: 0")).await;
    let message = space.reason("Degraded", "NameTaken").await;
    assert!(message.contains("there is already a Service demo"), "{message}");
    assert_eq!(space.get("service/demo").await["spec"]["ports"][0]["port"], 1);
    space.kubectl(&["delete", "service/demo"]).await;
    space.kubectl(&["annotate", "chat/demo", "example.com/look=again"]).await;
    space.reason("Degraded", "AsExpected").await;
}
