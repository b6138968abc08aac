//! Every file of manifests/samples does what it says it is for.

use parley_tests::cluster::{Space, condition, kubectl, program};
use serde_json::{Value, json};

/// Where the ingress controller takes TLS in: `hostPort` in kind/cluster.yaml, as curl is told it.
const INGRESS_TLS: &str = "8443:127.0.0.1";

/// What a person without Prometheus lacks: a kind that takes anything.
const SERVICE_MONITORS: &str = "{ apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: { name: servicemonitors.monitoring.coreos.com }, spec: { group: monitoring.coreos.com, scope: Namespaced, names: { kind: ServiceMonitor, plural: servicemonitors }, versions: [{ name: v1, served: true, storage: true, schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } } }] } }";

/// A Valkey that is none of the operator's, as somebody may have one.
const THEIR_VALKEY: &str = "{ apiVersion: v1, kind: List, items: [
  { apiVersion: v1, kind: Service, metadata: { name: theirs }, spec: { selector: { app: theirs }, ports: [{ port: 6379 }] } },
  { apiVersion: v1, kind: Pod, metadata: { name: theirs, labels: { app: theirs } }, spec: {
      securityContext: { runAsNonRoot: true, runAsUser: 999, seccompProfile: { type: RuntimeDefault } },
      containers: [{ name: valkey, image: 'docker.io/valkey/valkey:9', imagePullPolicy: IfNotPresent,
        args: [valkey-server, --save, '', --requirepass, a-password-of-theirs],
        readinessProbe: { tcpSocket: { port: 6379 }, periodSeconds: 1 },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } } }] } }] }";
const THEIR_URL: &str = "redis://:a-password-of-theirs@theirs:6379";

fn sample(name: &str) -> String {
    let file = format!("{}/../manifests/samples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(file).expect("a sample")
}

async fn their_valkey(space: &Space) {
    space.apply(THEIR_VALKEY).await;
    space.kubectl(&["wait", "--for=condition=Ready", "pod/theirs", "--timeout=120s"]).await;
}

async fn secret(space: &Space, name: &str, key: &str, value: &str) {
    space.kubectl(&["create", "secret", "generic", name, &format!("--from-literal={key}={value}")]).await;
}

#[tokio::test]
async fn the_minimal_one_is_a_chat_in_two_browsers_on_two_pods() {
    let space = Space::of("minimal").await;
    space.apply(&sample("minimal")).await;
    space.ready().await;
    let said = program("npm", &["--prefix", "service/web", "run", "test:cluster"]).await;
    let said = said.unwrap_or_else(|error| panic!("{error}"));
    let met = said.lines().find(|line| line.ends_with(" met")).unwrap_or_else(|| panic!("{said}"));
    println!("{met}");
    let instances = space.instances().await;
    assert!(
        instances.len() == 2 && instances.iter().all(|pod| met.contains(pod)),
        "{met}, but there are {instances:?}"
    );
}

#[tokio::test]
async fn the_one_for_a_server_of_yours_uses_it() {
    let space = Space::of("theirs").await;
    their_valkey(&space).await;
    secret(&space, "redis", "url", THEIR_URL).await;
    space.apply(&sample("external-redis")).await;
    space.ready().await;
    space.reason("RedisReady", "Reachable").await;
    let keys = space
        .kubectl(&[
            "exec",
            "theirs",
            "--",
            "valkey-cli",
            "--no-auth-warning",
            "-a",
            "a-password-of-theirs",
            "keys",
            "*",
        ])
        .await;
    assert!(keys.contains("chat"), "the prefix that the sample gives: {keys}");
}

#[tokio::test]
async fn the_one_for_production_is_a_chat_behind_tls_tokens_and_a_key() {
    let space = Space::of("production").await;
    space.apply(SERVICE_MONITORS).await;
    kubectl(&["wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com"]).await.unwrap();
    their_valkey(&space).await;
    let key = "k".repeat(32);
    secret(&space, "chat-token", "secret", &"t".repeat(32)).await;
    secret(&space, "chat-api", "key", &key).await;
    secret(&space, "chat-redis", "url", THEIR_URL).await;
    let own = rcgen::generate_simple_self_signed(["chat.example.com".to_owned()]).unwrap();
    let tls = json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": { "name": "chat-example-com" },
        "stringData": { "tls.crt": own.cert.pem(), "tls.key": own.signing_key.serialize_pem() } });
    space.apply(&tls.to_string()).await;
    space.apply(&sample("production")).await;
    let chat = space.until("chat/chat", |chat| condition(chat, "Ready")["status"] == "True").await;
    for (type_, reason) in [("ExposureReady", "Configured"), ("RedisReady", "Reachable"), ("Degraded", "AsExpected")] {
        assert_eq!(condition(&chat, type_)["reason"], reason, "{chat:#}");
    }
    assert_eq!(chat["status"]["url"], "https://chat.example.com");

    let ask = async |path: &str, more: &[&str]| {
        let url = format!("https://chat.example.com:8443{path}");
        let usual = ["-sk", "-w", "\n%{http_code}", "--resolve", &format!("chat.example.com:{INGRESS_TLS}"), &url];
        program("curl", &[&usual, more].concat()).await.unwrap_or_default()
    };
    let welcomed = async || ask("/instance", &[]).await;
    let patience = std::time::Duration::from_secs(60);
    parley_tests::eventually::eventually_fetched(patience, welcomed, |answer| answer.ends_with("\n200")).await;
    let unknown = ask(
        "/ws?user=alice",
        &[
            "-H",
            "Connection: Upgrade",
            "-H",
            "Upgrade: websocket",
            "-H",
            "Sec-WebSocket-Version: 13",
            "-H",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
    )
    .await;
    assert!(unknown.ends_with("\n401"), "nobody is believed: {unknown}");
    let message = ["-H", "content-type: application/json", "-d", r#"{"from":"back end","msg":"hi"}"#];
    let refused = ask("/api/v1/rooms/general/messages", &message).await;
    assert!(refused.ends_with("\n401"), "{refused}");
    let authorization = format!("authorization: Bearer {key}");
    let with_key = [&["-H", &authorization], &message[..]].concat();
    let taken = ask("/api/v1/rooms/general/messages", &with_key).await;
    assert!(taken.ends_with("\n200") || taken.ends_with("\n201"), "{taken}");

    // The ServiceMonitor is kept like every other child.
    let first = space.get("servicemonitor/chat").await;
    assert_eq!(first["metadata"]["labels"]["release"], "prometheus");
    space.kubectl(&["delete", "servicemonitor/chat"]).await;
    space
        .until("servicemonitor/chat", |monitor| {
            monitor["metadata"]["uid"].is_string() && monitor["metadata"]["uid"] != first["metadata"]["uid"]
        })
        .await;
    space.kubectl(&["patch", "servicemonitor/chat", "--type=merge", "-p", r#"{"spec":{"endpoints":[]}}"#]).await;
    space.until("servicemonitor/chat", |monitor| monitor["spec"]["endpoints"] == first["spec"]["endpoints"]).await;
    space.kubectl(&["patch", "chat/chat", "--type=merge", "-p", r#"{"spec":{"monitoring":null}}"#]).await;
    space.until("servicemonitor/chat", Value::is_null).await;
    kubectl(&["delete", "crd/servicemonitors.monitoring.coreos.com"]).await.unwrap();
}

#[tokio::test]
async fn the_one_that_scales_itself_does() {
    let space = Space::of("autoscaling").await;
    space.apply(&sample("autoscaling")).await;
    space.ready().await;
    space.reason("AutoscalingReady", "Active").await;
    let autoscaler = space.get("hpa/demo").await;
    assert_eq!((&autoscaler["spec"]["minReplicas"], &autoscaler["spec"]["maxReplicas"]), (&json!(2), &json!(6)));
    assert!(space.instances().await.len() >= 2);
}
