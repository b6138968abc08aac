//! The operator itself: restarts, replicas, scope, removal.

use parley_tests::cluster::{OPERATOR, Space, kubectl, program};
use serde_json::Value;

async fn operator_pods() -> Vec<String> {
    let text = kubectl(&[
        "-n",
        OPERATOR,
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/name=parley-operator",
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ]);
    text.await.expect("kubectl").split_whitespace().map(str::to_owned).collect()
}

async fn rolled_out() {
    kubectl(&["-n", OPERATOR, "rollout", "status", "deployment/parley-operator", "--timeout=120s"])
        .await
        .expect("the operator runs");
}

async fn leader() -> String {
    let lease: Value = serde_json::from_str(
        &kubectl(&["-n", OPERATOR, "get", "lease/parley-operator", "-o", "json"]).await.expect("a Lease"),
    )
    .expect("JSON");
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

/// The images that `kind/load.sh` installed, as values of the chart.
async fn images() -> [String; 3] {
    let values =
        program("helm", &["get", "values", "parley-operator", "--namespace", OPERATOR, "--output", "json"]).await;
    let values: Value = serde_json::from_str(&values.expect("helm")).expect("JSON");
    let text = |pointer| values.pointer(pointer).and_then(Value::as_str).expect("the value was set").to_owned();
    [
        format!("image.repository={}", text("/image/repository")),
        format!("image.tag={}", text("/image/tag")),
        format!("chatImage={}", text("/chatImage")),
    ]
}

/// Installs the chart anew with these values and no others but the images that it has.
async fn install(values: &[&str]) {
    install_with(images().await, values).await;
}

async fn install_with(images: [String; 3], values: &[&str]) {
    program("helm", &arguments(&images, values)).await.expect("helm");
}

fn arguments<'a>([repository, tag, chat]: &'a [String; 3], values: &[&'a str]) -> Vec<&'a str> {
    let usual = ["upgrade", "--install", "parley-operator", "charts/parley-operator", "--namespace", OPERATOR];
    let images = ["--set", repository, "--set", tag, "--set", chat];
    [&usual[..], &images[..], &["--wait", "--timeout=120s"], values].concat()
}

/// Installs the chart as it was if the test fails: the others need it.
struct Reinstall([String; 3]);

impl Reinstall {
    async fn on_failure() -> Self {
        Self(images().await)
    }
}

impl Drop for Reinstall {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let top = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
            drop(std::process::Command::new("helm").args(arguments(&self.0, &[])).current_dir(top).output());
        }
    }
}

#[tokio::test]
async fn an_operator_that_dies_in_a_rollout_is_followed_by_one_that_ends_it() {
    let space = Space::of("killed").await;
    space.apply(&space.chat("replicas: 1, redis: { managed: {} }")).await;
    space.ready().await;
    space.apply(&space.chat("replicas: 1, redis: { managed: {} }, history: { messages: 77 }")).await;
    for pod in operator_pods().await {
        kubectl(&["-n", OPERATOR, "delete", "pod", &pod, "--grace-period=0", "--force"]).await.expect("kubectl");
    }
    space.settled().await;
    assert_eq!(space.get("configmap/demo-settings").await["data"]["PARLEY_HISTORY_MESSAGES"], "77");
}

#[tokio::test]
async fn two_operators_hand_over_and_restart_nobody() {
    let space = Space::of("two").await;
    space.apply(&space.chat("replicas: 1")).await;
    space.settled().await;
    let instances = space.instances().await;
    let _usual = Reinstall::on_failure().await;
    install(&["--set", "replicas=2"]).await;
    let first = leader().await;
    kubectl(&["-n", OPERATOR, "delete", "pod", &first]).await.expect("kubectl");
    let second = parley_tests::eventually::eventually_fetched(std::time::Duration::from_secs(60), leader, |name| {
        !name.is_empty() && *name != first
    });
    second.await;
    // The one that acts now does act.
    space.kubectl(&["delete", "service/demo"]).await;
    space.until("service/demo", Value::is_object).await;
    // Nobody is left to take it, so that it can be seen to be let go.
    kubectl(&["-n", OPERATOR, "scale", "deployment/parley-operator", "--replicas=0"]).await.expect("kubectl");
    let patience = std::time::Duration::from_secs(60);
    parley_tests::eventually::eventually_fetched(patience, leader, String::is_empty).await;
    install(&["--set", "replicas=1"]).await;
    rolled_out().await;
    space.settled().await;
    assert_eq!(space.instances().await, instances, "another operator is no reason to restart");
}

#[tokio::test]
async fn in_some_namespaces_only_it_may_do_nothing_elsewhere() {
    let inside = Space::of("inside").await;
    let outside = Space::of("outside").await;
    let _usual = Reinstall::on_failure().await;
    install(&["--set", &format!("watchNamespaces={{{}}}", inside.name())]).await;
    rolled_out().await;
    let account = format!("--as=system:serviceaccount:{OPERATOR}:parley-operator");
    for (namespace, allowed) in [(inside.name(), true), (outside.name(), false)] {
        let may = kubectl(&["auth", "can-i", "create", "deployments.apps", "-n", namespace, &account]).await;
        assert_eq!(may.is_ok(), allowed, "{namespace}: {may:?}");
    }
    inside.apply(&inside.chat("replicas: 0")).await;
    outside.apply(&outside.chat("replicas: 0")).await;
    inside.until("deployment/demo", Value::is_object).await;
    let chat = inside.until("chat/demo", |chat| chat["status"].is_object()).await;
    let exposure = parley_tests::cluster::condition(&chat, "ExposureReady");
    assert_eq!(exposure["reason"], "AffinityNotConfigured", "it may not read IngressClasses, and says so");
    assert!(outside.get("chat/demo").await["status"].is_null());
    install(&[]).await;
    rolled_out().await;
    outside.until("deployment/demo", Value::is_object).await;
}

#[tokio::test]
async fn without_its_operator_a_chat_stays() {
    let space = Space::of("uninstall").await;
    space.apply(&space.chat("replicas: 1")).await;
    space.settled().await;
    let (instances, images) = (space.instances().await, images().await);
    let _usual = Reinstall(images.clone());
    program("helm", &["uninstall", "parley-operator", "--namespace", OPERATOR, "--wait"]).await.expect("helm");
    assert!(space.get("chat/demo").await.is_object());
    assert_eq!(space.instances().await, instances);
    install_with(images, &[]).await;
    rolled_out().await;
    space.settled().await;
    assert_eq!(space.instances().await, instances);
}
