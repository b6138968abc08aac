//! A namespace per test in the cluster that `kind/up.sh` makes, and words for what tests do there. What happened in it is
//! shown when a test fails. It goes through `kubectl`, as people do.
#![expect(clippy::panic, reason = "an expectation that is not met fails the test here")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::client::{Client, Connect, Event};
use crate::eventually::eventually_fetched;

/// The operator's own namespace.
pub const OPERATOR: &str = "parley-system";
/// Where the ingress controller listens on this machine; `hostPort` in kind/cluster.yaml.
pub const INGRESS: &str = "127.0.0.1:8480";
/// How long anything may take here. Two cores start pods slowly.
const DEADLINE: Duration = Duration::from_secs(180);
/// An ingress controller that knows all instances gives each some of so many.
const NEWCOMERS: usize = 8;
/// Between two looks: each costs a process.
const PAUSE: Duration = Duration::from_millis(500);

/// A namespace under the restricted Pod Security Standard, deleted with everything in it when dropped.
pub struct Space {
    name: String,
}

impl Space {
    /// Makes it. Purposes differ from test to test.
    pub async fn of(purpose: &str) -> Self {
        let name = format!("t-{purpose}");
        // One of an earlier run may still be on its way out.
        kubectl(&["delete", "namespace", &name, "--ignore-not-found", "--wait=true"]).await.expect("kubectl");
        let labels =
            "pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: latest";
        let yaml =
            format!("{{ apiVersion: v1, kind: Namespace, metadata: {{ name: {name}, labels: {{ {labels} }} }} }}");
        run(&["apply", "-f", "-"], Some(&yaml)).await.expect("a namespace");
        Self { name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host under which its chat is reached.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.localhost", self.name)
    }

    /// A small chat `demo` behind the ingress, with these lines added to its spec.
    #[must_use]
    pub fn chat(&self, more: &str) -> String {
        let host = self.host();
        let resources = "resources: { requests: { cpu: 50m, memory: 32Mi }, limits: { memory: 256Mi } }";
        let spec = format!(
            "auth: {{ open: {{}} }}, drain: {{ seconds: 4 }}, {resources}, exposure: {{ ingress: {{ host: {host} }} }}"
        );
        format!(
            "{{ apiVersion: parley.dev/v1alpha1, kind: ChatCluster, metadata: {{ name: demo }}, spec: {{ {spec}, {more} }} }}"
        )
    }

    /// `kubectl` in this namespace.
    ///
    /// # Errors
    /// What it wrote to standard error.
    pub async fn try_kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String, String> {
        run(&[&["--namespace", &self.name], arguments].concat(), input).await
    }

    /// `kubectl` in this namespace.
    ///
    /// # Panics
    /// It failed.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        match self.try_kubectl(arguments, None).await {
            Ok(output) => output,
            Err(error) => panic!("kubectl {}: {error}", arguments.join(" ")),
        }
    }

    /// Applies YAML as a user would.
    ///
    /// # Panics
    /// It was refused.
    pub async fn apply(&self, yaml: &str) {
        if let Err(error) =
            self.try_kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(yaml)).await
        {
            panic!("{error}\n{yaml}");
        }
    }

    /// The sentence with which YAML is refused.
    ///
    /// # Panics
    /// It was taken.
    pub async fn refused(&self, yaml: &str) -> String {
        match self.try_kubectl(&["apply", "--server-side", "--dry-run=server", "-f", "-"], Some(yaml)).await {
            Ok(_) => panic!("this was taken: {yaml}"),
            Err(error) => error,
        }
    }

    /// An object as JSON.
    ///
    /// # Panics
    /// There is none.
    pub async fn get(&self, what: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", what, "-o", "json"]).await).expect("JSON")
    }

    /// Looks until `holds`; the last thing seen is in the failure. An object that is not there is `null`.
    pub async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let looking = async {
            loop {
                let seen = self.try_kubectl(&["get", what, "-o", "json", "--ignore-not-found"], None).await;
                // What could not be asked says nothing; least of all that something is gone.
                if let Ok(text) = seen {
                    last = serde_json::from_str(&text).unwrap_or_default();
                    if holds(&last) {
                        return;
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        if tokio::time::timeout(DEADLINE, looking).await.is_err() {
            panic!("{what} is still not so: {last:#}");
        }
        last
    }

    /// Waits until a condition of a ChatCluster has this reason, and returns its message.
    pub async fn reason(&self, type_: &str, reason: &str) -> String {
        let chat = self.until("chat/demo", |chat| condition(chat, type_)["reason"] == reason).await;
        condition(&chat, type_)["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the chat of now is ready.
    pub async fn ready(&self) {
        let is_ready = |chat: &Value| {
            let ready = condition(chat, "Ready");
            ready["status"] == "True" && ready["observedGeneration"] == chat["metadata"]["generation"]
        };
        self.until("chat/demo", is_ready).await;
    }

    /// Waits until nothing is on its way any more: ready, and no instance drains.
    pub async fn settled(&self) {
        self.ready().await;
        self.until("chat/demo", |chat| condition(chat, "Progressing")["status"] == "False").await;
    }

    /// Connects as a user through the ingress, as soon as somebody behind it welcomes.
    pub async fn open(&self, user: &str) -> Client {
        let opening = async {
            loop {
                if let Ok(mut client) = self.connect(user).try_open().await
                    && matches!(client.next_whenever().await, Event::Frame(frame) if frame.kind() == "welcome")
                    // An instance that has just lost its store says so instead.
                    && matches!(client.next_whenever().await, Event::Frame(frame) if frame.kind() == "joined")
                {
                    return client.ignoring_presence();
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(DEADLINE, opening).await.expect("the ingress lets in")
    }

    /// Waits until the ingress controller, which learns of them one by one, gives every instance some of its newcomers.
    pub async fn spread(&self) {
        let instances: BTreeSet<String> = self.instances().await.into_iter().collect();
        let newcomers = async || {
            let mut met = BTreeSet::new();
            // Until it lets in at all.
            drop(self.open("first").await);
            for number in 0..NEWCOMERS {
                let mut client = self.connect(&format!("newcomer-{number}")).open().await;
                met.insert(client.expect("welcome").await.text("server_id").to_owned());
            }
            met
        };
        eventually_fetched(DEADLINE, newcomers, |met| *met == instances).await;
    }

    /// A connection through the ingress that is not made yet.
    #[must_use]
    pub fn connect(&self, user: &str) -> Connect {
        Connect::to(ingress()).user(user).header("host", &self.host())
    }

    /// Names of the instances that live and do not drain.
    pub async fn instances(&self) -> Vec<String> {
        let pods = self.get("pods").await;
        let items = pods["items"].as_array().cloned().unwrap_or_default();
        let lives = |pod: &&Value| {
            pod["metadata"]["labels"]["app.kubernetes.io/component"] == "chat"
                && pod["metadata"]["deletionTimestamp"].is_null()
        };
        items.iter().filter(lives).map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn story(&self) -> String {
        let mut story = format!("---- namespace {}\n", self.name);
        let looks: [&[&str]; 4] = [
            &["get", "chat,all,ingress,pdb,hpa,networkpolicy,configmap,pvc", "-o", "wide"],
            &["get", "chat", "-o", "yaml"],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &["logs", "--selector", "parley.dev/cluster", "--prefix", "--tail=40"],
        ];
        for look in looks {
            let _ = write!(
                story,
                "---- kubectl {}\n{}\n",
                look.join(" "),
                shown(&[&["--namespace", &self.name], look].concat())
            );
        }
        let logs =
            ["--namespace", OPERATOR, "logs", "--selector", "app.kubernetes.io/name=parley-operator", "--tail=60"];
        let _ = write!(story, "---- the operator\n{}", shown(&logs));
        story
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story());
        }
        drop(shown(&["delete", "namespace", &self.name, "--wait=false"]));
    }
}

/// A condition of an object; `null` if it has none of this type.
#[must_use]
pub fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|condition| condition["type"] == type_)).unwrap_or(&Value::Null)
}

/// Where the ingress controller listens.
///
/// # Panics
/// Never: it is an address.
#[must_use]
pub fn ingress() -> SocketAddr {
    INGRESS.parse().expect("an address")
}

/// `kubectl` anywhere.
///
/// # Errors
/// What it wrote to standard error.
pub async fn kubectl(arguments: &[&str]) -> Result<String, String> {
    run(arguments, None).await
}

/// Any program, at the top of the repository.
///
/// # Errors
/// What it wrote to standard error.
pub async fn program(name: &str, arguments: &[&str]) -> Result<String, String> {
    let top = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let output = tokio::process::Command::new(name).args(arguments).current_dir(top).output().await;
    judged(output.map_err(|error| error.to_string())?)
}

async fn run(arguments: &[&str], input: Option<&str>) -> Result<String, String> {
    let mut command = tokio::process::Command::new("kubectl");
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().map_err(|error| format!("kubectl cannot be started: {error}"))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).await.map_err(|error| error.to_string())?;
    }
    judged(child.wait_with_output().await.map_err(|error| error.to_string())?)
}

fn judged(output: std::process::Output) -> Result<String, String> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        // Some tell what is wrong on the one, some on the other.
        let both = [output.stderr, output.stdout].concat();
        Err(String::from_utf8_lossy(&both).into_owned())
    }
}

/// What `kubectl` says, whatever it is: for stories and for tidying up.
fn shown(arguments: &[&str]) -> String {
    match Command::new("kubectl").args(arguments).output() {
        Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        Err(error) => error.to_string(),
    }
}
