//! The number of instances has one owner at a time.

use parley_tests::cluster::{Space, ingress};
use parley_tests::resumer::Resumer;
use serde_json::Value;

/// Who owns the Deployment's number of instances.
fn owners(deployment: &Value) -> Vec<String> {
    let entries = deployment["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let owning = entries.iter().filter(|entry| entry["fieldsV1"]["f:spec"]["f:replicas"].is_object());
    owning.map(|entry| entry["manager"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn deployment(space: &Space) -> Value {
    let text = space.kubectl(&["get", "deployment/demo", "-o", "json", "--show-managed-fields"]).await;
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn the_number_is_handed_over_and_back() {
    let space = Space::of("handover").await;
    space.apply(&space.chat("replicas: 3, redis: { managed: {} }")).await;
    space.ready().await;
    assert_eq!(owners(&deployment(&space).await), ["parley-operator"]);

    space.apply(&space.chat("autoscaling: { minReplicas: 2, maxReplicas: 3 }, redis: { managed: {} }")).await;
    space.until("hpa/demo", Value::is_object).await;
    space.until("chat/demo", |chat| chat["status"]["observedGeneration"] == chat["metadata"]["generation"]).await;
    let now = deployment(&space).await;
    assert_eq!(now["spec"]["replicas"], 3, "nobody was stopped by the hand-over");
    assert!(!owners(&now).contains(&"parley-operator".to_owned()), "{:?}", owners(&now));

    space.apply(&space.chat("replicas: 1, redis: { managed: {} }")).await;
    space.until("hpa/demo", Value::is_null).await;
    space.until("deployment/demo", |deployment| deployment["spec"]["replicas"] == 1).await;
    assert!(owners(&deployment(&space).await).contains(&"parley-operator".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_brings_instances_and_the_operator_never_writes_their_number() {
    let space = Space::of("hpa").await;
    // Little is asked for, so that little is load.
    let small =
        space.chat("autoscaling: { minReplicas: 1, maxReplicas: 2, targetCPUPercent: 50, scaleDownAfterSeconds: 0 }, redis: { managed: {} }");
    space.apply(&small.replace("cpu: 50m", "cpu: 10m")).await;
    space.ready().await;
    space.reason("AutoscalingReady", "Active").await;
    let host = space.host();
    drop(space.open("first").await);
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(Resumer::joined_at(&format!("user-{number}"), &["general"], ingress(), &host).await);
    }
    let talk = async {
        loop {
            for client in &clients {
                client.publish("general", "load").await;
            }
            clients[0].acked().await;
        }
    };
    tokio::select! {
        () = talk => {}
        _ = space.until("deployment/demo", |deployment| deployment["spec"]["replicas"] == 2) => {}
    }
    drop(clients);
    space.settled().await;
    let owners = owners(&deployment(&space).await);
    assert!(!owners.contains(&"parley-operator".to_owned()), "{owners:?}");
    assert!(owners.iter().any(|owner| owner == "kube-controller-manager"), "the autoscaler set it: {owners:?}");

    // With nobody left, one is enough.
    space.until("deployment/demo", |deployment| deployment["spec"]["replicas"] == 1).await;
    let owners = self::owners(&deployment(&space).await);
    assert!(!owners.contains(&"parley-operator".to_owned()), "{owners:?}");
}
