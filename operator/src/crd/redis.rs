//! `spec.redis`: where rooms live, if instances are to share them.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Quantity, SecretRef};

/// A Valkey of the operator's, or a Redis or Valkey of yours.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = (
    "has(self.managed) != has(self.external)",
    "choose one: managed for a Valkey that the operator runs, external for a server of yours"
))]
pub struct Redis {
    /// One Valkey, run by the operator. It is not replicated: for high availability use `external`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedRedis>,
    /// A server of yours: one Redis or Valkey of version 7 or later, or Sentinels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalRedis>,
}

/// One Valkey with a password of its own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = (
    "has(self.storage) == has(oldSelf.storage)",
    "storage can be neither added nor removed later: make another ChatCluster"
))]
pub struct ManagedRedis {
    /// Image of Valkey or Redis, version 7.2 or later.
    #[serde(default = "valkey_image")]
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Memory of the server's container. Three quarters of it hold data; beyond that publishes fail rather than rooms vanish.
    #[serde(default = "valkey_memory")]
    pub memory: Quantity,
    /// Keeps rooms on a volume. Left out, a restart of Valkey empties the rooms, and clients are told of the gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
}

/// The volume of the managed Valkey. It outlives the ChatCluster: delete its PersistentVolumeClaim yourself.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
        "storage can only grow: for a smaller one make another ChatCluster"
    ),
    validation = (
        "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        "storageClassName cannot be changed later: make another ChatCluster"
    )
)]
pub struct Storage {
    /// Size, as `1Gi`; at least three times `memory` leaves room for rewriting the log. It can grow later if the
    /// StorageClass can expand volumes.
    pub size: Quantity,
    /// StorageClass; the cluster's default if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// Where your server is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRedis {
    /// Secret with the URL, user and password included: redis://, rediss:// (TLS), redis-sentinel:// or the same with
    /// valkey; key `url` if not said otherwise.
    pub secret_ref: SecretRef,
    /// Secret with the certificates (PEM) that a TLS connection must lead to; key `ca.crt` if not said otherwise. Left
    /// out, the public ones are believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretRef>,
    /// First part of every key and channel. Chats with one prefix on one server share their rooms. Left out, it is made
    /// of namespace and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = (
        "self.matches('^[-A-Za-z0-9._:]+$')",
        "a prefix has 1 to 64 letters, digits, dots, dashes, underscores and colons"
    ))]
    pub prefix: Option<String>,
}

fn valkey_image() -> String {
    "docker.io/valkey/valkey:9".to_owned()
}

fn valkey_memory() -> Quantity {
    "256Mi".into()
}
