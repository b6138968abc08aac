//! From a ChatCluster to a chat that works, and files that do not rot.

use std::collections::BTreeMap;

use parley_tests::cluster::{OPERATOR, Space, condition, kubectl, program};
use serde_json::{Value, json};

#[tokio::test]
async fn a_chat_becomes_ready_and_users_on_different_instances_meet() {
    let space = Space::of("install").await;
    space.apply(&space.chat("redis: { managed: {} }")).await;
    space.ready().await;
    assert_eq!(space.instances().await.len(), 2);
    space.spread().await;
    let (mut alice, mut bob) = (space.open("alice").await, space.open("bob").await);
    for client in [&mut alice, &mut bob] {
        client.send(json!({ "type": "join", "id": 1, "room": "general" })).await;
        client.expect("joined").await;
    }
    alice.send(json!({ "type": "chat", "id": 2, "room": "general", "msg": "hi" })).await;
    let message = bob.expect("message").await;
    assert_eq!(message["msg"], "hi");

    let chat = space.get("chat/demo").await;
    assert_eq!(chat["status"]["redis"]["mode"], "managed");
    assert_eq!(chat["status"]["url"], format!("http://{}", space.host()));
    for type_ in ["RedisReady", "ExposureReady", "AutoscalingReady"] {
        assert_eq!(condition(&chat, type_)["status"], "True", "{type_}");
    }
    let table = space.kubectl(&["get", "chat", "demo"]).await;
    for column in ["READY", "REPLICAS", "CONNECTIONS", "REDIS", "URL", "AGE"] {
        assert!(table.contains(column), "{table}");
    }
}

#[tokio::test]
async fn a_second_apply_changes_nothing() {
    let space = Space::of("again").await;
    let chat = space.chat("replicas: 1, redis: { managed: {} }");
    space.apply(&chat).await;
    space.settled().await;
    let before = written(&space).await;
    assert!(before.len() > 10, "{before:?}");
    // Another operator knows nothing of what was applied, and applies all of it.
    kubectl(&["-n", OPERATOR, "delete", "pods", "-l", "app.kubernetes.io/name=parley-operator"]).await.unwrap();
    // The last child that is applied, so that once it is back, all the others were.
    space.kubectl(&["delete", "ingress/demo"]).await;
    space.until("ingress/demo", Value::is_object).await;
    assert_eq!(written(&space).await, before);
    // And nothing was written into what the user wrote.
    let difference = space.try_kubectl(&["diff", "--server-side", "-f", "-"], Some(&chat)).await;
    assert_eq!(difference, Ok(String::new()));
}

/// When the operator last changed each child: an apply that changes nothing leaves no trace.
async fn written(space: &Space) -> BTreeMap<String, Value> {
    let kinds = "deploy,sts,svc,cm,secret,sa,pdb,networkpolicy";
    let children =
        space.kubectl(&["get", kinds, "-l", "parley.dev/cluster", "-o", "json", "--show-managed-fields"]).await;
    let children: Value = serde_json::from_str(&children).expect("JSON");
    let mut written = BTreeMap::new();
    for child in children["items"].as_array().into_iter().flatten() {
        let name = format!("{} {}", child["kind"], child["metadata"]["name"]);
        let mut entries = child["metadata"]["managedFields"].as_array().into_iter().flatten();
        let ours = entries.find(|entry| entry["manager"] == "parley-operator").cloned().unwrap_or_default();
        written.insert(name, json!([ours["time"], child["metadata"]["uid"], child["metadata"]["generation"]]));
    }
    written
}

#[tokio::test]
async fn checkers_object_to_nothing_in_chart_and_children() {
    let space = Space::of("checked").await;
    let all = "redis: { managed: { storage: { size: 64Mi } } }, autoscaling: { minReplicas: 1, maxReplicas: 2 }";
    space.apply(&space.chat(all).replace("exposure: {", "api: { secretRef: { name: key } }, exposure: {")).await;
    space.kubectl(&["create", "secret", "generic", "key", "--from-literal=key=0123456789abcdef0123456789abcdef"]).await;
    // The last one that is made.
    space.until("hpa/demo", Value::is_object).await;
    let kinds = "deploy,sts,svc,cm,secret,sa,pdb,ingress,networkpolicy,hpa";
    let mut children = Vec::new();
    let found = space.kubectl(&["get", kinds, "-l", "parley.dev/cluster", "-o", "json"]).await;
    let found: Value = serde_json::from_str(&found).expect("JSON");
    for mut child in found["items"].as_array().cloned().unwrap_or_default() {
        let of_the_server = ["uid", "resourceVersion", "creationTimestamp", "generation"];
        child["metadata"].as_object_mut().expect("metadata").retain(|key, _| !of_the_server.contains(&key.as_str()));
        child.as_object_mut().expect("an object").remove("status");
        children.push(child.to_string());
    }
    assert!(children.len() >= 14, "{children:#?}");
    // JSON is YAML.
    let folder = parley_tests::folder::Folder::new("checked");
    let file = folder.path().join("children.yaml");
    std::fs::write(&file, children.join("\n---\n")).unwrap();
    let said = program("tests/lib/check-manifests.sh", &[file.to_str().unwrap()]).await;
    println!("{}", said.unwrap_or_else(|error| panic!("{error}")));
}

#[tokio::test]
async fn every_field_is_explained() {
    let text = kubectl(&["explain", "chat.spec", "--recursive"]).await.unwrap();
    for field in ["autoscaling", "targetCPUPercent", "allowedOrigins", "secretRef", "storageClassName"] {
        assert!(text.contains(field), "{text}");
    }
}

#[tokio::test]
async fn the_manifest_is_what_the_chart_renders() {
    let rendered = program("kind/manifest.sh", &[]).await.unwrap();
    let committed =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/operator.yaml")).unwrap();
    assert!(rendered == committed, "run `kind/manifest.sh >manifests/operator.yaml` and commit it");
    kubectl(&["apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "../manifests/operator.yaml"])
        .await
        .unwrap();
}
