//! `status`: what the operator found and did. Written by `controller/status`, read by people and by `kubectl wait`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator found and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ChatClusterStatus {
    /// The generation of the spec that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Instances, without those that drain.
    #[serde(default)]
    pub replicas: i32,
    /// Instances that take new sessions.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Instances that hand over their sessions and then end.
    #[serde(default)]
    pub draining_replicas: i32,
    /// Open sessions of all instances, to two digits and at most every 30 seconds; left out while no instance answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    /// Selects the pods of the instances; for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Where people open the chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where rooms live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStatus>,
    /// Ready, Progressing, Degraded, RedisReady, ExposureReady, AutoscalingReady.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where rooms live.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RedisStatus {
    /// `memory`, `managed` or `external`.
    pub mode: String,
}

/// One statement about the chat.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// One word for programs; the list is in the operator's README.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// When `status` last changed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Time,
    /// The generation of the spec that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// True, False or Unknown.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(description = "True, False or Unknown.")]
pub enum ConditionStatus {
    #[expect(missing_docs, reason = "the description of the whole says it")]
    True,
    #[expect(missing_docs, reason = "the description of the whole says it")]
    False,
    #[expect(missing_docs, reason = "the description of the whole says it")]
    Unknown,
}
