//! `spec.auth`: how users sign in.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SecretRef;

/// How users sign in: `open` or `token`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = (
    "has(self.open) != has(self.token)",
    "choose one: open: {} believes every name, token asks for a signed token"
))]
pub struct Auth {
    /// Everybody is believed to be who they say. Anybody who reaches the chat can speak as anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenAuth>,
    /// A JSON Web Token is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenAuth>,
}

/// Nothing to set: `open: {}`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
pub struct OpenAuth {}

/// Which tokens are good.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.secretRef) != has(self.jwksRef)",
    "choose one: secretRef for tokens that your back end signs with a shared secret, jwksRef for public keys"
))]
pub struct TokenAuth {
    /// Secret with the HS256 secret of at least 32 bytes; key `secret` if not said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Secret with a JWKS document (HS256, RS256, ES256); key `jwks.json` if not said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_ref: Option<SecretRef>,
    /// The `aud` that a token must have; not checked if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub audience: Option<String>,
    /// The `iss` that a token must have; not checked if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub issuer: Option<String>,
}
