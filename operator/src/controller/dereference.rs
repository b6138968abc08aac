//! Step 1: reads what a spec points to, and nothing else: of a Secret the keys that are named. It judges nothing; `validate`
//! does.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::IngressClass;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::context::{Context, Data};
use super::ledger::Key;
use crate::crd::{ChatCluster, ChatClusterSpec, Quantity, SecretRef};
use crate::names::Names;

/// What a spec points to, as it was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct References {
    /// Every Secret that the spec names and that exists, and the managed Valkey's own; of each, the keys that are needed.
    pub secrets: BTreeMap<String, Data>,
    /// What is known of the IngressClass.
    pub ingress_class: IngressClassFound,
    /// Whether the API server knows ServiceMonitors.
    pub service_monitors_served: bool,
    /// The password of a managed Valkey whose Secret holds none: the one that it was given before, or else a new one.
    pub password: String,
    /// What the StatefulSet of a managed Valkey was made with and can never change.
    pub made_with: MadeWith,
}

/// Fields of a StatefulSet that cannot be changed; nothing where there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MadeWith {
    /// The size of the volume that it asks for.
    pub volume_size: Option<Quantity>,
    /// `Parallel`, or what an earlier operator made.
    pub pod_management: Option<String>,
}

/// Something that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{what} could not be read: {cause}")]
pub struct DereferenceError {
    what: String,
    /// Why. Part of the message, since people read it in a condition.
    cause: Box<kube::Error>,
}

impl DereferenceError {
    fn of(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        |cause| Self { what: what.into(), cause: Box::new(cause) }
    }

    /// A stable word for conditions and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.cause.as_ref() {
            kube::Error::Api(status) if status.is_forbidden() => "ReferenceForbidden",
            _ => "ApiUnavailable",
        }
    }

    /// The API server could not be asked just now, which the next try may mend.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.reason() == "ApiUnavailable"
    }
}

/// What is known of an IngressClass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IngressClassFound {
    /// The spec asks for none.
    #[default]
    NotAsked,
    /// It is there, and this is its controller.
    Controller(String),
    /// There is none of this name; empty: there is no default one.
    Missing(String),
    /// IngressClasses belong to the cluster, and the operator may see only some namespaces.
    Forbidden,
}

/// Reads everything. What has not changed since the last time is not read again.
///
/// # Errors
/// What could not be read, because the API server refused or could not be reached.
pub async fn dereference(cluster: &ChatCluster, context: &Context) -> Result<References, DereferenceError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let mut secrets = BTreeMap::new();
    for (name, keys) in secret_keys(&cluster.spec, &Names::of(&cluster.name_any())) {
        let read = secret(context, &namespace, &name, &keys).await;
        if let Some(data) = read.map_err(DereferenceError::of(format!("Secret {name}")))? {
            secrets.insert(name, data);
        }
    }
    let ingress = cluster.spec.exposure.as_ref().map(|exposure| &exposure.ingress);
    let ingress_class = match ingress {
        Some(ingress) => {
            let name = ingress.class_name.as_deref();
            let what =
                name.map_or_else(|| "the default IngressClass".to_owned(), |name| format!("IngressClass {name}"));
            ingress_class(context, name).await.map_err(DereferenceError::of(what))?
        }
        None => IngressClassFound::NotAsked,
    };
    let service_monitors_served = match cluster.spec.monitoring {
        Some(_) => {
            let served = context.service_monitors_served().await;
            served.map_err(DereferenceError::of("the list of kinds that are served"))?
        }
        None => false,
    };
    let valkey = Names::of(&cluster.name_any()).valkey();
    let given = context.ledger.password(&Key::new(&cluster.uid().unwrap_or_default(), "Secret", valkey));
    let password = given.unwrap_or_else(|| context.entropy.password());
    let made_with = made_with(context, &namespace, &Names::of(&cluster.name_any()).valkey());
    Ok(References { secrets, ingress_class, service_monitors_served, password, made_with })
}

/// Which keys are read if the spec names none.
pub mod usual_key {
    /// Of `auth.token.secretRef`.
    pub const TOKEN: &str = "secret";
    /// Of `auth.token.jwksRef`.
    pub const JWKS: &str = "jwks.json";
    /// Of `api.secretRef`.
    pub const API: &str = "key";
    /// Of `redis.external.secretRef`.
    pub const URL: &str = "url";
    /// Of `redis.external.caRef`.
    pub const CA: &str = "ca.crt";
    /// Of the managed Valkey's own Secret.
    pub const PASSWORD: &str = "password";
}

/// The Secrets that a spec depends on, with the keys that are needed of each; of a certificate for an Ingress none. A change
/// of any of them is a reason to reconcile.
pub fn secret_keys(spec: &ChatClusterSpec, names: &Names) -> BTreeMap<String, BTreeSet<String>> {
    let token = spec.auth.token.as_ref();
    let external = spec.redis.as_ref().and_then(|redis| redis.external.as_ref());
    let references: [(Option<&SecretRef>, &str); 5] = [
        (token.and_then(|token| token.secret_ref.as_ref()), usual_key::TOKEN),
        (token.and_then(|token| token.jwks_ref.as_ref()), usual_key::JWKS),
        (spec.api.as_ref().map(|api| &api.secret_ref), usual_key::API),
        (external.map(|external| &external.secret_ref), usual_key::URL),
        (external.and_then(|external| external.ca_ref.as_ref()), usual_key::CA),
    ];
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (reference, usual) in references {
        let Some(SecretRef { name, key }) = reference else { continue };
        keys.entry(name.clone()).or_default().insert(key.as_deref().unwrap_or(usual).to_owned());
    }
    if let Some(tls) = spec.exposure.as_ref().and_then(|exposure| exposure.ingress.tls.as_ref()) {
        keys.entry(tls.secret_name.clone()).or_default();
    }
    if spec.redis.as_ref().is_some_and(|redis| redis.managed.is_some()) {
        keys.entry(names.valkey()).or_default().insert(usual_key::PASSWORD.to_owned());
    }
    keys
}

/// The class that a spec asks for: of no name, the default one.
pub fn class_name(spec: &ChatClusterSpec) -> Option<Option<String>> {
    spec.exposure.as_ref().map(|exposure| exposure.ingress.class_name.clone())
}

fn made_with(context: &Context, namespace: &str, stateful_set: &str) -> MadeWith {
    let live = context.children.stateful_sets.get(namespace, stateful_set);
    let Some(spec) = live.as_ref().and_then(|live| live.spec.as_ref()) else { return MadeWith::default() };
    let claim = spec.volume_claim_templates.iter().flatten().find_map(|claim| claim.spec.as_ref());
    let requests = claim.and_then(|claim| claim.resources.as_ref()?.requests.as_ref());
    MadeWith {
        volume_size: requests.and_then(|requests| requests.get("storage")).cloned().map(Quantity::from),
        pod_management: spec.pod_management_policy.clone(),
    }
}

async fn secret(
    context: &Context,
    namespace: &str,
    name: &str,
    keys: &BTreeSet<String>,
) -> Result<Option<Data>, kube::Error> {
    let version = context.children.secrets.version(namespace, name);
    if keys.is_empty() {
        // Whether it is there is known without reading it.
        return Ok(version.map(|_| Data::new()));
    }
    if let Some(known) = version.as_ref().and_then(|version| context.secrets.get(namespace, name, version, keys)) {
        return Ok(Some(known));
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let Some(Secret { metadata, data, .. }) = api.get_opt(name).await? else {
        context.secrets.forget(namespace, name);
        return Ok(None);
    };
    let wanted = data.into_iter().flatten().filter(|(key, _)| keys.contains(key));
    let data: Data = wanted.map(|(key, value)| (key, value.0)).collect();
    if let Some(version) = metadata.resource_version {
        context.secrets.remember(namespace, name, &version, keys, &data);
    }
    Ok(Some(data))
}

async fn ingress_class(context: &Context, name: Option<&str>) -> Result<IngressClassFound, kube::Error> {
    if let Some(known) = context.ingress_classes.get(name) {
        return Ok(known);
    }
    let api: Api<IngressClass> = Api::all(context.client.clone());
    let controller = |class: IngressClass| class.spec.and_then(|spec| spec.controller).unwrap_or_default();
    let asked = match name {
        Some(name) => api.get_opt(name).await,
        None => api.list(&ListParams::default()).await.map(|list| list.items.into_iter().find(is_default)),
    };
    let found = match asked {
        Ok(Some(class)) => IngressClassFound::Controller(controller(class)),
        Ok(None) => IngressClassFound::Missing(name.unwrap_or_default().to_owned()),
        Err(kube::Error::Api(status)) if status.is_forbidden() => IngressClassFound::Forbidden,
        Err(error) => return Err(error),
    };
    context.ingress_classes.remember(name, found.clone());
    Ok(found)
}

fn is_default(class: &IngressClass) -> bool {
    class.annotations().get("ingressclass.kubernetes.io/is-default-class").is_some_and(|value| value == "true")
}
