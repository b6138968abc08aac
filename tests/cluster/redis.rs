//! Where rooms live: managed, external, nowhere; and Secrets that change.

use parley_tests::cluster::Space;
use serde_json::{Value, json};

#[tokio::test]
async fn isolated_instances_are_told_and_allowed() {
    let space = Space::of("isolated").await;
    space.apply(&space.chat("replicas: 2")).await;
    let message = space.reason("Degraded", "IsolatedReplicas").await;
    assert!(message.contains("do not see each other"), "{message}");
    space.ready().await;
}

#[tokio::test]
async fn an_external_server_is_used_waited_for_and_changed() {
    let space = Space::of("external").await;
    // The managed Valkey of another ChatCluster is as external as any, once it lets others in.
    let other = "{ apiVersion: parley.dev/v1alpha1, kind: ChatCluster, metadata: { name: other }, spec: { auth: { open: {} }, replicas: 0, redis: { managed: {} }, networkPolicy: { enabled: false } } }";
    space.apply(other).await;
    space.apply(&space.chat("replicas: 1, redis: { external: { secretRef: { name: server }, prefix: parley } }")).await;
    let message = space.reason("Ready", "SecretMissing").await;
    assert!(message.contains("there is no Secret server in this namespace"), "{message}");

    let secret = |url: &str| {
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "server" }, "stringData": { "url": url } })
            .to_string()
    };
    space.apply(&secret("http://wrong")).await;
    space.reason("Ready", "SecretInvalid").await;
    space.apply(&secret("redis://nobody.example.invalid:6379")).await;
    space.reason("RedisReady", "Unreachable").await;

    let generated = space.get("secret/other-valkey").await["data"]["password"].as_str().unwrap_or_default().to_owned();
    let password =
        space.kubectl(&["get", "secret/other-valkey", "-o", "go-template={{ .data.password | base64decode }}"]).await;
    assert!(!generated.is_empty() && password.len() >= 32);
    space.apply(&secret(&format!("redis://parley:{password}@other-valkey:6379"))).await;
    space.settled().await;
    space.reason("RedisReady", "Reachable").await;
}

#[tokio::test]
async fn a_changed_secret_replaces_the_instances() {
    let space = Space::of("secret").await;
    let secret = |fill: &str| {
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "token" }, "stringData": { "secret": fill.repeat(32) } }).to_string()
    };
    space.apply(&secret("a")).await;
    let chat =
        space.chat("replicas: 1").replace("auth: { open: {} }", "auth: { token: { secretRef: { name: token } } }");
    space.apply(&chat).await;
    space.settled().await;
    let before = space.instances().await;
    space.kubectl(&["annotate", "secret/token", "example.com/irrelevant=yes"]).await;
    space.apply(&secret("b")).await;
    space.until("deployment/demo", |deployment| deployment["metadata"]["generation"] == 2).await;
    space.settled().await;
    let after = space.instances().await;
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
    // The change of the annotation alone was no reason: there would be three.
    let sets = space.get("replicasets").await;
    assert_eq!(sets["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_managed_valkey_keeps_rooms_over_a_restart_if_it_has_storage() {
    let space = Space::of("storage").await;
    space.apply(&space.chat("replicas: 1, redis: { managed: { memory: 64Mi, storage: { size: 128Mi } } }")).await;
    space.ready().await;
    let mut alice = space.open("alice").await;
    let epoch = alice.join("general").await.epoch().to_owned();
    alice.chat("general", "kept").await;
    space.kubectl(&["delete", "pod/demo-valkey-0"]).await;
    space.until("statefulset/demo-valkey", |set| set["status"]["readyReplicas"] == 1).await;
    space.ready().await;
    let mut bob = space.open("bob").await;
    bob.send(json!({ "type": "join", "id": 1, "room": "general", "since": { "epoch": epoch, "offset": 0 } })).await;
    let joined = bob.expect("joined").await;
    assert_eq!(
        joined.messages().first().map(|message| message["msg"].clone()),
        Some(Value::from("kept")),
        "{joined:?}"
    );
}

#[tokio::test]
async fn a_volume_grows_where_its_class_can() {
    let space = Space::of("volume").await;
    let class = space.name().to_owned();
    let classes: Value = serde_json::from_str(&space.kubectl(&["get", "storageclasses", "-o", "json"]).await).unwrap();
    let provisioner = &classes["items"][0]["provisioner"];
    let expanding = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": class },
        "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": false });
    space.apply(&expanding.to_string()).await;
    let sized = |size: &str| {
        let storage = format!("storage: {{ size: {size}, storageClassName: {class} }}");
        space.chat(&format!("replicas: 1, redis: {{ managed: {{ memory: 64Mi, {storage} }} }}"))
    };
    space.apply(&sized("128Mi")).await;
    space.ready().await;

    space.apply(&sized("256Mi")).await;
    let message = space.reason("Degraded", "StorageNotGrown").await;
    assert!(message.contains("data-demo-valkey-0 stays smaller"), "{message}");
    space.ready().await;

    // Whoever looks after volumes lets them grow, and the operator tries again by itself.
    space.kubectl(&["patch", "storageclass", &class, "-p", r#"{"allowVolumeExpansion":true}"#]).await;
    let requested = |claim: &Value| claim["spec"]["resources"]["requests"]["storage"] == "256Mi";
    space.until("pvc/data-demo-valkey-0", requested).await;
    space.reason("Degraded", "AsExpected").await;
    space.kubectl(&["delete", "storageclass", &class]).await;
}

#[tokio::test]
async fn a_valkey_that_never_started_starts_with_the_right_image() {
    let space = Space::of("image").await;
    space.apply(&space.chat("replicas: 1, redis: { managed: { image: 'nowhere.invalid/valkey:9' } }")).await;
    let waits = |pod: &Value| {
        let reason = pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or_default();
        reason.contains("ImagePull")
    };
    space.until("pod/demo-valkey-0", waits).await;
    space.apply(&space.chat("replicas: 1, redis: { managed: {} }")).await;
    space.ready().await;
}
