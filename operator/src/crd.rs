//! `ChatCluster`, as people write it: fields, defaults, bounds, and the rules that the API server itself enforces. Doc
//! comments become the descriptions that `kubectl explain` shows. It decides nothing; `controller/validate.rs` does.

mod auth;
mod exposure;
mod quantity;
mod redis;
mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt as _, KubeSchema};
use serde::{Deserialize, Serialize};

pub use auth::{Auth, OpenAuth, TokenAuth};
pub use exposure::{Exposure, IngressExposure, Profile, Tls};
pub use quantity::Quantity;
pub use redis::{ExternalRedis, ManagedRedis, Redis, Storage};
pub use status::{ChatClusterStatus, Condition, ConditionStatus, RedisStatus};

/// A chat service: instances of Parley, where their rooms live, and how clients reach them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "parley.dev",
    version = "v1alpha1",
    kind = "ChatCluster",
    plural = "chatclusters",
    shortname = "chat",
    category = "parley",
    namespaced,
    status = "ChatClusterStatus",
    derive = "PartialEq",
    doc = "A chat service: instances of Parley, where their rooms live, and how clients reach them.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Connections", type_ = "integer", json_path = ".status.connections"),
    printcolumn(name = "Redis", type_ = "string", json_path = ".status.redis.mode"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Draining", type_ = "integer", priority = 1, json_path = ".status.drainingReplicas"),
    validation = (
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "the name may have at most 40 small letters, digits and dashes, and begins with a letter: children are named after it"
    )
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    // It cannot tell a 2 that was filled in from one that was given.
    "!has(self.autoscaling) || self.replicas == 2",
    "give either replicas or autoscaling: with autoscaling the number of instances belongs to the autoscaler"
))]
#[x_kube(validation = (
    "!has(self.autoscaling) || quantity(string(self.resources.requests.cpu)).isGreaterThan(quantity('0'))",
    "autoscaling follows the CPU in percent of what is requested: resources.requests.cpu must be more than 0"
))]
pub struct ChatClusterSpec {
    /// Image of the service. Left out, it is the one that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// Secrets in the same namespace with which images are pulled from a registry that asks who you are; of the managed
    /// Valkey too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub image_pull_secrets: Vec<PullSecret>,

    /// Number of instances. Leave it out when `autoscaling` is set. 0 stops the chat and keeps the rest.
    // Filled in, because the scale subresource has no answer without it.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 500))]
    pub replicas: i32,

    /// How users sign in. There is no default, because nobody should find out later that everybody could come in.
    pub auth: Auth,

    /// Key of the server API, with which a back end publishes, reads history and kicks. Left out, the API is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,

    /// Where rooms live. Left out, each instance keeps its own, and users on different instances do not see each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,

    /// How clients outside the cluster reach the chat. Left out, it is reachable only inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,

    /// Web pages that may connect, as `https://chat.example.com`, `https://*.example.com`, or `*` for every page. Left
    /// out: pages of the host that the browser addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 280)))]
    #[x_kube(validation = ("!('*' in self) || self.size() == 1", "* allows every page: give it alone, or not at all"))]
    #[x_kube(validation = (
        // What the service takes: the scheme of a page or of an app; a host whose last label is no number if it stands for
        // subdomains, or an IPv6 address; a port up to 65535.
        r"self.all(origin, origin == '*' || origin.matches(r'^[A-Za-z][-A-Za-z0-9+.]*://(([-A-Za-z0-9_]+[.])*[-A-Za-z0-9_]+[.]?|[*][.]([-A-Za-z0-9_]+[.])*[-A-Za-z0-9_]*[-A-Za-z_][-A-Za-z0-9_]*[.]?|\[[0-9A-Fa-f:]+\])(:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9][0-9]|6[0-4][0-9][0-9][0-9]|[1-5][0-9][0-9][0-9][0-9]|[1-9][0-9]?[0-9]?[0-9]?))?$') && (!origin.contains('[') || isIP(origin.split('[')[1].split(']')[0])))",
        "an origin is a scheme and a host without a path, as https://chat.example.com or https://*.example.com, or * for every page"
    ))]
    pub allowed_origins: Vec<String>,

    /// Lets a HorizontalPodAutoscaler choose the number of instances by their CPU; needs metrics-server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,

    /// How an instance that stops hands its sessions to the others.
    #[serde(default)]
    pub drain: Drain,

    /// Caps of one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,

    /// What is kept of each room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,

    /// Requests and limits of each instance.
    #[serde(default)]
    pub resources: Resources,

    /// Which pods may reach which port. Effective where the cluster's network enforces NetworkPolicies.
    #[serde(default)]
    pub network_policy: NetworkPolicy,

    /// Hands the metrics of the instances to a Prometheus operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
}

/// A key of a Secret in the same namespace. A change of it replaces the pods, one after the other.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it; the field that refers to it says which one holds if this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// A Secret of the type `kubernetes.io/dockerconfigjson`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PullSecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The server API at `/api/v1`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Api {
    /// Secret with the API's key, at least 16 letters, digits or signs; key `key` if not said otherwise.
    pub secret_ref: SecretRef,
}

/// Bounds and aim of the autoscaler. It scales down by one instance in two minutes, because each has sessions to hand over.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.minReplicas <= self.maxReplicas", "minReplicas may not be larger than maxReplicas"))]
pub struct Autoscaling {
    /// Fewest instances.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 500))]
    pub min_replicas: i32,
    /// Most instances.
    #[schemars(range(min = 1, max = 500))]
    pub max_replicas: i32,
    /// Average CPU of the instances that is aimed at, in percent of what they request.
    #[serde(rename = "targetCPUPercent", default = "sixty")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu_percent: i32,
    /// How long an instance must have been spare before it is taken away.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 0, max = 3600))]
    pub scale_down_after_seconds: i32,
}

/// The drain of an instance.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Time over which an instance that is asked to stop hands over its sessions. Its pod may live 28 seconds longer.
    #[serde(default = "sixty")]
    #[schemars(range(min = 0, max = 3600))]
    pub seconds: i32,
}

/// Caps of one instance; beyond them connections are answered 503 with Retry-After.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Connections of one instance; 0 for no cap.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub max_connections: i32,
    /// New connections of one instance in a second; 0 for no cap.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_handshakes_per_second: i32,
}

/// Retention of each room.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Newest messages that are kept of each room.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub messages: i32,
    /// Age at which a message is dropped from its room.
    #[serde(default = "day")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub seconds: i32,
}

/// Requests and limits of a container. Each amount that is left out has its default.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = (
    "quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) <= 0",
    "requests.memory may not be more than limits.memory, which is 512Mi if left out"
))]
#[x_kube(validation = (
    "!has(self.limits.cpu) || quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0",
    "requests.cpu, which is 100m if left out, may not be more than limits.cpu"
))]
pub struct Resources {
    /// What the scheduler reserves.
    #[serde(default)]
    pub requests: Requests,
    /// What the container may not exceed.
    #[serde(default)]
    pub limits: Ceilings,
}

/// What the scheduler reserves.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// As `100m` or `2`.
    #[serde(default = "tenth_of_a_cpu")]
    pub cpu: Quantity,
    /// As `128Mi`.
    #[serde(default = "little_memory")]
    pub memory: Quantity,
}

/// What the container may not exceed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// As `2`. It makes fan-out wait, so there is none if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// As `512Mi`.
    #[serde(default = "much_memory")]
    pub memory: Quantity,
}

/// Network policies of the instances and of the managed Valkey.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Whether the operator makes them.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// For a Prometheus operator.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// Makes a ServiceMonitor. Without its CRD in the cluster nothing is made, and the status says so.
    pub service_monitor: ServiceMonitor,
}

/// How the instances are scraped.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ServiceMonitor {
    /// Labels by which your Prometheus finds it, as `release: prometheus`.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}
fn two() -> i32 {
    2
}
fn sixty() -> i32 {
    60
}
fn five_minutes() -> i32 {
    300
}
fn thousand() -> i32 {
    1000
}
fn day() -> i32 {
    86_400
}
fn tenth_of_a_cpu() -> Quantity {
    "100m".into()
}
fn little_memory() -> Quantity {
    "128Mi".into()
}
fn much_memory() -> Quantity {
    "512Mi".into()
}

impl Default for Drain {
    fn default() -> Self {
        Self { seconds: sixty() }
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self { cpu: tenth_of_a_cpu(), memory: little_memory() }
    }
}

impl Default for Ceilings {
    fn default() -> Self {
        Self { cpu: None, memory: much_memory() }
    }
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { enabled: yes() }
    }
}

/// The definition for the API server.
///
/// A field that may be left out is not `nullable`: the API server then drops a `null` before it looks at the rules,
/// instead of counting it as given.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    let mut crd = ChatCluster::crd();
    crd.metadata.annotations = Some([("helm.sh/resource-policy".to_owned(), "keep".to_owned())].into());
    let mut json = serde_json::to_value(&crd).expect("a definition is plain data");
    forget_null(&mut json);
    serde_json::from_value(json).expect("fewer keys are still a definition")
}

fn forget_null(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            if map.get("nullable") == Some(&serde_json::Value::Bool(true)) {
                map.remove("nullable");
            }
            map.values_mut().for_each(forget_null);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(forget_null),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
