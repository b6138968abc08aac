//! Step 1: reads what a spec points to, and nothing else. It judges nothing; `validate` does.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::IngressClass;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::context::Context;
use super::ledger::Key;
use crate::crd::{ChatCluster, ChatClusterSpec, SecretRef};
use crate::names::Names;

/// What a spec points to, as it was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct References {
    /// Data of every Secret that the spec names and that exists, and of the managed Valkey's own.
    pub secrets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// What is known of the IngressClass.
    pub ingress_class: IngressClassFound,
    /// Whether the API server knows ServiceMonitors.
    pub service_monitors_served: bool,
    /// The password of a managed Valkey whose Secret holds none: the one that it was given before, or else a new one.
    pub password: String,
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
/// The API server refused or could not be reached.
pub async fn dereference(cluster: &ChatCluster, context: &Context) -> Result<References, kube::Error> {
    let namespace = cluster.namespace().unwrap_or_default();
    let mut secrets = BTreeMap::new();
    for name in secret_names(&cluster.spec, &Names::of(&cluster.name_any())) {
        if let Some(data) = secret(context, &namespace, &name).await? {
            secrets.insert(name, data);
        }
    }
    let ingress = cluster.spec.exposure.as_ref().map(|exposure| &exposure.ingress);
    let ingress_class = match ingress {
        Some(ingress) => ingress_class(context, ingress.class_name.as_deref()).await?,
        None => IngressClassFound::NotAsked,
    };
    let service_monitors_served = match cluster.spec.monitoring {
        Some(_) => context.service_monitors_served().await?,
        None => false,
    };
    let valkey = Names::of(&cluster.name_any()).valkey();
    let given = context.ledger.password(&Key::new(&cluster.uid().unwrap_or_default(), "Secret", valkey));
    let password = given.unwrap_or_else(|| context.entropy.password());
    Ok(References { secrets, ingress_class, service_monitors_served, password })
}

/// The Secrets that a spec depends on. A change of any of them is a reason to reconcile.
pub fn secret_names(spec: &ChatClusterSpec, names: &Names) -> BTreeSet<String> {
    let token = spec.auth.token.as_ref();
    let external = spec.redis.as_ref().and_then(|redis| redis.external.as_ref());
    let references: [Option<&SecretRef>; 5] = [
        token.and_then(|token| token.secret_ref.as_ref()),
        token.and_then(|token| token.jwks_ref.as_ref()),
        spec.api.as_ref().map(|api| &api.secret_ref),
        external.map(|external| &external.secret_ref),
        external.and_then(|external| external.ca_ref.as_ref()),
    ];
    let tls = spec.exposure.as_ref().and_then(|exposure| exposure.ingress.tls.as_ref()).map(|tls| &tls.secret_name);
    let managed = spec.redis.as_ref().is_some_and(|redis| redis.managed.is_some()).then(|| names.valkey());
    references.into_iter().flatten().map(|reference| &reference.name).chain(tls).cloned().chain(managed).collect()
}

async fn secret(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<BTreeMap<String, Vec<u8>>>, kube::Error> {
    let version = context.children.secrets.version(namespace, name);
    if let Some(known) = version.as_ref().and_then(|version| context.secrets.get(namespace, name, version)) {
        return Ok(Some(known));
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let Some(secret) = api.get_opt(name).await? else { return Ok(None) };
    let data: BTreeMap<_, _> =
        secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
    context.secrets.remember(namespace, name, secret.resource_version(), &data);
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
