//! `spec.exposure`: how clients outside the cluster reach the chat.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How clients outside the cluster reach the chat.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// By an Ingress.
    pub ingress: IngressExposure,
}

/// An Ingress, with what its controller needs for session affinity and long connections.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IngressExposure {
    /// IngressClass; the cluster's default if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Host name of the chat.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "host is a host name in small letters without scheme, port or wildcard, as chat.example.com"
    ))]
    pub host: String,
    /// Serves the host by TLS. Left out, the URL is http:// and `tls` is somebody else's business.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Which controller's annotations are set: `Auto` finds out from the IngressClass.
    #[serde(default)]
    pub profile: Profile,
    /// Annotations of the Ingress; they win over those of the profile. Those that carry configuration snippets are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

/// The certificate of the host.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Secret with `tls.crt` and `tls.key`, of yours or of cert-manager.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// An ingress controller that is known by name.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[schemars(description = "Auto, Traefik, IngressNginx, or None for a plain Ingress without affinity.")]
pub enum Profile {
    #[default]
    #[expect(missing_docs, reason = "the description of the whole says it")]
    Auto,
    #[expect(missing_docs, reason = "the description of the whole says it")]
    Traefik,
    #[expect(missing_docs, reason = "the description of the whole says it")]
    IngressNginx,
    #[expect(missing_docs, reason = "the description of the whole says it")]
    None,
}
