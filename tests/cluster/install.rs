//! From a ChatCluster to a chat that works, and samples that do not rot.

use parley_tests::cluster::{Space, condition, kubectl, program};
use serde_json::json;

#[tokio::test]
async fn a_chat_becomes_ready_and_users_on_different_instances_meet() {
    let space = Space::of("install").await;
    space.apply(&space.chat("redis: { managed: {} }")).await;
    space.ready().await;
    let (mut alice, mut bob) = (space.open("alice").await, space.open("bob").await);
    for client in [&mut alice, &mut bob] {
        client.send(json!({ "type": "join", "id": 1, "room": "general" })).await;
        client.expect("joined").await;
    }
    alice.send(json!({ "type": "chat", "id": 2, "room": "general", "msg": "hi" })).await;
    let message = bob.expect("message").await;
    assert_eq!(message["msg"], "hi");

    // True of the pods that the clients were on, not only of two pods that exist.
    let instances = space.instances().await;
    assert_eq!(instances.len(), 2);
    let served = served_by(&space, 8).await;
    assert_eq!(served.len(), 2, "the ingress gives both instances work: {served:?}");

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

/// The instances that so many new users meet.
async fn served_by(space: &Space, users: usize) -> std::collections::BTreeSet<String> {
    let mut met = std::collections::BTreeSet::new();
    for number in 0..users {
        let mut client = space.connect(&format!("user-{number}")).open().await;
        met.insert(client.expect("welcome").await.text("server_id").to_owned());
    }
    met
}

#[tokio::test]
async fn a_second_apply_changes_nothing() {
    let space = Space::of("again").await;
    let chat = space.chat("replicas: 1");
    space.apply(&chat).await;
    space.settled().await;
    let versions = async || {
        space
            .kubectl(&[
                "get",
                "deploy,svc,cm,sa,pdb,ingress,networkpolicy",
                "-o",
                "custom-columns=N:.metadata.name,G:.metadata.generation,C:.metadata.creationTimestamp",
            ])
            .await
    };
    let before = versions().await;
    space.apply(&chat).await;
    space.kubectl(&["annotate", "chat/demo", "example.com/look=again"]).await;
    space.settled().await;
    assert_eq!(versions().await, before);
}

#[tokio::test]
async fn every_sample_is_taken() {
    let space = Space::of("samples").await;
    for sample in ["minimal", "production", "external-redis", "autoscaling"] {
        let file = format!("../manifests/samples/{sample}.yaml");
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + &file).unwrap();
        let taken = space
            .try_kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"], Some(&text))
            .await;
        taken.unwrap_or_else(|error| panic!("{sample}: {error}"));
    }
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
