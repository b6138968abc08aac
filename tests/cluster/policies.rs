//! Who reaches which port. A network may ignore policies; where it does, a program of the tests enforces them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use parley_service::clock::{Clock as _, SystemClock};
use parley_tests::cluster::Space;
use serde_json::Value;

/// Two of nobody's, each a server and a client.
const STRANGER: &str = "{ apiVersion: v1, kind: List, items: [
  POD closed,
  POD stranger ] }";
const POD: &str = "{ apiVersion: v1, kind: Service, metadata: { name: NAME }, spec: { selector: { app: NAME }, ports: [{ port: 6379 }] } },
  { apiVersion: v1, kind: Pod, metadata: { name: NAME, labels: { app: NAME } }, spec: {
      securityContext: { runAsNonRoot: true, runAsUser: 999, seccompProfile: { type: RuntimeDefault } },
      containers: [{ name: valkey, image: 'docker.io/valkey/valkey:9', imagePullPolicy: IfNotPresent,
        args: [valkey-server, --save, '', --protected-mode, 'no'],
        readinessProbe: { tcpSocket: { port: 6379 }, periodSeconds: 1 },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } } }] } }";
/// Lets nobody reach one of them.
const CLOSED: &str = "{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: closed },
    spec: { podSelector: { matchLabels: { app: closed } }, policyTypes: [Ingress] } }";
/// A network that enforces policies takes one in sooner than that.
const TAKEN_IN: Duration = Duration::from_secs(30);
/// How long looking may take, until what is to be seen is seen: each look is a program started in a pod.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether a pod gets a connection.
async fn reaches(space: &Space, pod: &str, address: &str) -> bool {
    let connect = format!("timeout 3 bash -c '</dev/tcp/{}'", address.replace(':', "/"));
    space.try_kubectl(&["exec", pod, "--", "sh", "-c", &connect], None).await.is_ok()
}

/// Whether a pod gets a connection, as soon as the network knows of everything.
async fn is_let_in(space: &Space, pod: &str, address: &str) -> bool {
    let reached = async { while !reaches(space, pod, address).await {} };
    tokio::time::timeout(PATIENCE, reached).await.is_ok()
}

/// Whether a pod is refused at an address, as soon as the network has taken everything in. Only what is refused several
/// times counts, by a pod that can connect: if only to itself.
async fn is_kept_out(space: &Space, pod: &str, address: &str) -> bool {
    let clock = SystemClock::start();
    let began = clock.now().mono;
    let refused = async {
        let mut times = 0;
        while times < 3 {
            if reaches(space, pod, address).await {
                times = 0;
                if clock.now().mono.since(began) > TAKEN_IN {
                    return false;
                }
            } else if reaches(space, pod, "127.0.0.1:6379").await {
                times += 1;
            }
        }
        true
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("one can look several times")
}

/// Policies of a namespace are enforced from outside until this is dropped.
struct Enforced(Child);

impl Enforced {
    fn of(space: &Space) -> Self {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/lib/enforce-policies.py");
        let mut command = Command::new(program);
        command.arg(space.name()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Python");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut said).expect("a line");
        assert_eq!(said, "enforced\n");
        Self(child)
    }
}

impl Drop for Enforced {
    fn drop(&mut self) {
        // It ends by itself, and takes back what it did.
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn each_port_is_for_those_who_need_it() {
    let space = Space::of("policies").await;
    let pods = STRANGER.replace("POD closed", &POD.replace("NAME", "closed"));
    space.apply(&pods.replace("POD stranger", &POD.replace("NAME", "stranger"))).await;
    space.kubectl(&["wait", "--for=condition=Ready", "pod/closed", "pod/stranger", "--timeout=120s"]).await;
    for (from, to) in [("stranger", "closed:6379"), ("closed", "stranger:6379")] {
        assert!(is_let_in(&space, from, to).await, "without a policy all is open, and {from} does not reach {to}");
    }
    space.apply(CLOSED).await;
    let by_the_network = is_kept_out(&space, "stranger", "closed:6379").await;
    println!("policies are enforced by {}", if by_the_network { "the network" } else { "a program of the tests" });
    assert!(is_let_in(&space, "closed", "stranger:6379").await, "what no policy is about is open");
    let _enforced = (!by_the_network).then(|| Enforced::of(&space));

    // Ready: instances reach their Valkey. Connected: the ingress controller reaches them. Counted: so does the operator.
    space.apply(&space.chat("replicas: 1, redis: { managed: {} }")).await;
    space.ready().await;
    let _alice = space.open("alice").await;
    space.until("chat/demo", |chat| chat["status"]["connections"].as_i64().is_some_and(|count| count > 0)).await;

    let pods = space.get("pods").await;
    let of = |component: &str| {
        let is_it = |pod: &&Value| pod["metadata"]["labels"]["app.kubernetes.io/component"] == component;
        let found = pods["items"].as_array().and_then(|pods| pods.iter().find(is_it));
        found.and_then(|pod| pod["status"]["podIP"].as_str()).unwrap_or_default().to_owned()
    };
    let (chat, valkey) = (of("chat"), of("valkey"));
    for (from, to) in [
        ("stranger", "closed:6379".to_owned()),
        ("stranger", format!("{chat}:8090")),
        ("stranger", format!("{valkey}:6379")),
        ("demo-valkey-0", format!("{chat}:8080")),
    ] {
        assert!(is_kept_out(&space, from, &to).await, "{from} reaches {to}");
    }
    assert!(is_let_in(&space, "stranger", &format!("{chat}:8080")).await, "the public port is open to all");
    assert!(is_let_in(&space, "closed", "stranger:6379").await, "what no policy is about is open");
}
