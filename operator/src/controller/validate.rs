//! Step 2: a spec and what it points to become a [`ValidatedCluster`], in which every choice is made and every default
//! filled in; or a list of what is wrong. Pure.

mod exposure;
mod secrets;

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use super::dereference::References;
use crate::crd::{ChatCluster, History, Limits, Quantity, Resources, Storage};
use crate::names::Names;

pub use exposure::{Affinity, ValidatedIngress};
pub use secrets::Checksum;

/// Of one pod nothing comes before another. But otherwise one that was never ready, for a wrong image, would not be replaced
/// by one of a right template.
const POD_MANAGEMENT: &str = "Parallel";
/// Part of the managed Valkey's memory that holds data. The rest is for buffers, and for rewriting the log.
const DATA_SHARE: (u64, u64) = (3, 4);
/// The prefix of keys in a server that nobody else uses.
const OWN_PREFIX: &str = "parley";

/// A ChatCluster with every choice made.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedCluster {
    /// Names of children.
    pub names: Names,
    /// Where all of it lives.
    pub namespace: String,
    /// Of the ChatCluster; owner of all children.
    pub uid: String,
    /// Image of the service.
    pub image: String,
    /// Names of the Secrets with which images are pulled.
    pub image_pull_secrets: Vec<String>,
    /// Who decides on the number of instances.
    pub scale: Scale,
    /// How users sign in.
    pub auth: Auth,
    /// Key of the server API.
    pub api_key: Option<KeyOf>,
    /// Where rooms live.
    pub backplane: Backplane,
    /// How clients come in.
    pub ingress: Option<ValidatedIngress>,
    /// Pages that may connect, as the service takes them; nothing for the service's own default.
    pub allowed_origins: Vec<String>,
    /// The drain window.
    pub drain_seconds: i32,
    /// Caps.
    pub limits: Option<Limits>,
    /// Retention.
    pub history: Option<History>,
    /// Of each instance.
    pub resources: Resources,
    /// Whether network policies are made.
    pub network_policy: bool,
    /// Labels of the ServiceMonitor, if one is wanted and possible.
    pub service_monitor: Option<BTreeMap<String, String>>,
    /// Of all Secrets that an instance reads only once.
    pub checksum: Checksum,
    /// What is not as the spec says, without being wrong.
    pub notes: Vec<Note>,
}

/// Who decides on the number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The spec.
    Fixed(i32),
    /// A HorizontalPodAutoscaler.
    Auto {
        /// Fewest.
        min: i32,
        /// Most.
        max: i32,
        /// Aim, in percent of requested CPU.
        cpu_percent: i32,
        /// How long an instance must be spare before it goes.
        spare_seconds: i32,
    },
}

/// How users sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Everybody is believed.
    Open,
    /// By token.
    Token {
        /// What it is checked with.
        by: TokenKey,
        /// Its `aud`.
        audience: Option<String>,
        /// Its `iss`.
        issuer: Option<String>,
    },
}

/// What a token is checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKey {
    /// A shared secret.
    Secret(KeyOf),
    /// Public keys.
    Jwks(KeyOf),
}

/// A key of a Secret, known to be there and to be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOf {
    /// Name of the Secret.
    pub secret: String,
    /// The key.
    pub key: String,
}

/// Where rooms live.
#[derive(Debug, Clone, PartialEq)]
pub enum Backplane {
    /// In each instance.
    Memory,
    /// In a Valkey of the operator's.
    Managed(Valkey),
    /// In a server of the user's.
    External {
        /// Its URL.
        url: KeyOf,
        /// Certificates that TLS must lead to.
        ca: Option<KeyOf>,
        /// First part of every key.
        prefix: String,
    },
}

/// The managed Valkey.
#[derive(Debug, Clone, PartialEq)]
pub struct Valkey {
    /// Its image.
    pub image: String,
    /// Memory of its container.
    pub memory: Quantity,
    /// Most bytes of data.
    pub max_data_bytes: u64,
    /// Size and class of its volume.
    pub storage: Option<Storage>,
    /// The size of its volume at the beginning; it has grown since if `storage` says more.
    pub first_size: Option<Quantity>,
    /// How its StatefulSet replaces the pod; it stays as it was made.
    pub pod_management: String,
    /// Of the user `parley`.
    pub password: String,
    /// Whether its Secret is missing. It is then created, never applied over one that appeared meanwhile.
    pub secret_is_missing: bool,
}

impl Backplane {
    /// The word in `status.redis.mode`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Managed(_) => "managed",
            Self::External { .. } => "external",
        }
    }

    /// The prefix of keys, where there are keys.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        match self {
            Self::Memory => None,
            Self::Managed(_) => Some(OWN_PREFIX),
            Self::External { prefix, .. } => Some(prefix),
        }
    }
}

/// What is not as the spec says, without being wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub about: About,
    /// A stable word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// The condition that a note belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// `Progressing`, whatever it is.
    Progress,
    /// `ExposureReady`, which stays True.
    Exposure,
    /// `ExposureReady`, which becomes False.
    ExposureBroken,
    /// `Degraded`.
    Whole,
}

/// Something that only the author of the spec can put right. Nothing is applied until then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// A stable word for the condition.
    pub reason: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Checks everything and makes every choice.
///
/// # Errors
/// What the author of the spec must put right.
pub fn validate(
    cluster: &ChatCluster,
    references: &References,
    usual_image: &str,
) -> Result<ValidatedCluster, Invalid> {
    let spec = &cluster.spec;
    let names = Names::of(&cluster.name_any());
    let namespace = cluster.namespace().unwrap_or_default();
    let mut reader = secrets::Reader::new(&references.secrets);
    let mut notes = Vec::new();

    let auth = auth(&spec.auth, &mut reader)?;
    let api_key = spec.api.as_ref().map(|api| reader.read_api_key(&api.secret_ref)).transpose()?;
    let backplane = backplane(cluster, references, &names, &namespace, &mut reader)?;
    let scale = match &spec.autoscaling {
        Some(auto) => Scale::Auto {
            min: auto.min_replicas,
            max: auto.max_replicas,
            cpu_percent: auto.target_cpu_percent,
            spare_seconds: auto.scale_down_after_seconds,
        },
        None => Scale::Fixed(spec.replicas),
    };
    if backplane == Backplane::Memory && scale.most() > 1 {
        notes.push(isolated(scale.most()));
    }
    let ingress = spec.exposure.as_ref().map(|exposure| {
        exposure::ingress(&exposure.ingress, &references.ingress_class, &references.secrets, &mut notes)
    });
    let service_monitor = spec.monitoring.as_ref().map(|monitoring| monitoring.service_monitor.labels.clone());
    if service_monitor.is_some() && !references.service_monitors_served {
        let message =
            "there is no ServiceMonitor without its CRD: install the Prometheus operator, or leave out monitoring";
        notes.push(Note { about: About::Whole, reason: "ServiceMonitorMissing", message: message.to_owned() });
    }
    Ok(ValidatedCluster {
        uid: cluster.uid().unwrap_or_default(),
        image: spec.image.clone().unwrap_or_else(|| usual_image.to_owned()),
        image_pull_secrets: spec.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect(),
        scale,
        auth,
        api_key,
        backplane,
        ingress,
        allowed_origins: spec.allowed_origins.clone(),
        drain_seconds: spec.drain.seconds,
        limits: spec.limits.clone(),
        history: spec.history.clone(),
        resources: spec.resources.clone(),
        network_policy: spec.network_policy.enabled,
        service_monitor: service_monitor.filter(|_| references.service_monitors_served),
        checksum: reader.checksum(cluster.uid().as_deref().unwrap_or_default()),
        notes,
        names,
        namespace,
    })
}

impl Scale {
    /// Most instances that there may be.
    #[must_use]
    pub fn most(self) -> i32 {
        match self {
            Self::Fixed(replicas) => replicas,
            Self::Auto { max, .. } => max,
        }
    }
}

fn isolated(replicas: i32) -> Note {
    let message = format!(
        "up to {replicas} instances without a shared backplane: users on different instances do not see each other; set redis, or replicas: 1"
    );
    Note { about: About::Whole, reason: "IsolatedReplicas", message }
}

fn auth(auth: &crate::crd::Auth, reader: &mut secrets::Reader<'_>) -> Result<Auth, Invalid> {
    let Some(token) = &auth.token else { return Ok(Auth::Open) };
    let by = match (&token.secret_ref, &token.jwks_ref) {
        (Some(secret), _) => TokenKey::Secret(reader.read_token_secret(secret)?),
        (None, Some(jwks)) => TokenKey::Jwks(reader.read_jwks(jwks)?),
        (None, None) => {
            let message = "auth.token needs secretRef or jwksRef".to_owned();
            return Err(Invalid { reason: "InvalidSpec", message });
        }
    };
    Ok(Auth::Token { by, audience: token.audience.clone(), issuer: token.issuer.clone() })
}

fn backplane<'a>(
    cluster: &ChatCluster,
    references: &'a References,
    names: &Names,
    namespace: &str,
    reader: &mut secrets::Reader<'a>,
) -> Result<Backplane, Invalid> {
    let Some(redis) = &cluster.spec.redis else { return Ok(Backplane::Memory) };
    if let Some(external) = &redis.external {
        return Ok(Backplane::External {
            url: reader.read_redis_url(&external.secret_ref)?,
            ca: external.ca_ref.as_ref().map(|ca| reader.read_ca(ca)).transpose()?,
            prefix: external.prefix.clone().unwrap_or_else(|| format!("{namespace}.{}", names.chat())),
        });
    }
    let Some(managed) = &redis.managed else { return Ok(Backplane::Memory) };
    let Some(memory) = managed.memory.bytes().filter(|bytes| *bytes >= 32 << 20) else {
        let message = "redis.managed.memory must be at least 32Mi, as 256Mi".to_owned();
        return Err(Invalid { reason: "InvalidSpec", message });
    };
    let (password, secret_is_missing) = reader.read_password(&names.valkey(), &references.password);
    Ok(Backplane::Managed(Valkey {
        image: managed.image.clone(),
        memory: managed.memory.clone(),
        max_data_bytes: memory / DATA_SHARE.1 * DATA_SHARE.0,
        first_size: managed
            .storage
            .as_ref()
            .map(|storage| first_size(storage, references.made_with.volume_size.as_ref())),
        pod_management: references.made_with.pod_management.clone().unwrap_or_else(|| POD_MANAGEMENT.to_owned()),
        storage: managed.storage.clone(),
        password,
        secret_is_missing,
    }))
}

/// A StatefulSet keeps the size that it was made with; where that is the same amount, it may stand as the author wrote it.
fn first_size(storage: &Storage, live: Option<&Quantity>) -> Quantity {
    live.filter(|live| live.bytes() != storage.size.bytes()).unwrap_or(&storage.size).clone()
}

#[cfg(test)]
mod tests;
