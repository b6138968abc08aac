//! The settings of the instances, as the environment variables that the service takes. Secrets are not here: they are
//! mounted as files, and only the paths are named.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::super::validate::{Affinity, Auth, Backplane, TokenKey, ValidatedCluster};
use super::{deployment, metadata};
use crate::names::Component;
use crate::profiles;

/// Of both families: a pod may have an address of either.
const ANYWHERE: &str = "[::]";
/// Part of an instance's memory that may wait for slow readers.
const OUTBOX_SHARE: u64 = 2;
/// Part of it for logs, where rooms live in the instance.
const LOG_SHARE: u64 = 4;
/// What the service takes at least for either.
const LEAST_BYTES: u64 = 1 << 20;

pub(super) fn chat(cluster: &ValidatedCluster) -> ConfigMap {
    ConfigMap {
        metadata: metadata(cluster, cluster.names.settings(), Component::Chat),
        data: Some(settings(cluster)),
        ..ConfigMap::default()
    }
}

fn settings(cluster: &ValidatedCluster) -> BTreeMap<String, String> {
    let file = |name: &str| format!("{}/{name}", deployment::SECRETS_PATH);
    let mut settings = Settings(BTreeMap::new());
    settings.set("LISTEN", format!("{ANYWHERE}:{}", deployment::HTTP_PORT));
    settings.set("ADMIN_LISTEN", format!("{ANYWHERE}:{}", deployment::ADMIN_PORT));
    settings.set("LOG_FORMAT", "json");
    settings.set("SHUTDOWN_DELAY_SECONDS", deployment::SHUTDOWN_DELAY_SECONDS);
    settings.set("DRAIN_SECONDS", cluster.drain_seconds);
    match &cluster.auth {
        Auth::Open => {
            settings.set("AUTH", "open");
            settings.set("AUTH_OPEN_ANYWHERE", "true");
        }
        Auth::Token { by, audience, issuer } => {
            settings.set("AUTH", "token");
            match by {
                TokenKey::Secret(_) => settings.set("TOKEN_SECRET_FILE", file(deployment::TOKEN_SECRET)),
                TokenKey::Jwks(_) => settings.set("TOKEN_JWKS", file(deployment::JWKS)),
            }
            settings.set_some("TOKEN_AUDIENCE", audience.as_ref());
            settings.set_some("TOKEN_ISSUER", issuer.as_ref());
        }
    }
    settings.set_some("API_KEY_FILE", cluster.api_key.as_ref().map(|_| file(deployment::API_KEY)));
    match &cluster.backplane {
        Backplane::Memory => settings.set("BACKPLANE", "memory"),
        Backplane::Managed(_) => settings.set("REDIS_URL_FILE", file(deployment::REDIS_URL)),
        Backplane::External { ca, .. } => {
            settings.set("REDIS_URL_FILE", file(deployment::REDIS_URL));
            settings.set_some("REDIS_CA_FILE", ca.as_ref().map(|_| file(deployment::REDIS_CA)));
        }
    }
    settings.set_some("REDIS_PREFIX", cluster.backplane.prefix());
    if !cluster.allowed_origins.is_empty() {
        settings.set("ALLOWED_ORIGINS", cluster.allowed_origins.join(","));
    }
    let readable = cluster.ingress.as_ref().filter(|ingress| ingress.affinity == Affinity::Cookie);
    settings.set_some("AFFINITY_COOKIE", readable.map(|_| profiles::COOKIE));
    if let Some(limits) = &cluster.limits {
        settings.set("MAX_CONNECTIONS", limits.max_connections);
        settings.set("MAX_HANDSHAKES_PER_SECOND", limits.max_handshakes_per_second);
    }
    if let Some(history) = &cluster.history {
        settings.set("HISTORY_MESSAGES", history.messages);
        settings.set("HISTORY_SECONDS", history.seconds);
    }
    if let Some(bytes) = cluster.resources.limits.memory.bytes() {
        settings.set("MAX_OUTBOX_TOTAL_BYTES", (bytes / OUTBOX_SHARE).max(LEAST_BYTES));
        if cluster.backplane == Backplane::Memory {
            settings.set("HISTORY_TOTAL_BYTES", (bytes / LOG_SHARE).max(LEAST_BYTES));
        }
    }
    settings.0
}

struct Settings(BTreeMap<String, String>);

impl Settings {
    fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(format!("PARLEY_{name}"), value.to_string());
    }

    fn set_some(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }
}
