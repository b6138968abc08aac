//! Step 3: what should be in the cluster, made of a [`ValidatedCluster`]. Pure: one file and one function per child. It
//! never looks at what is there.

mod autoscaler;
mod config_map;
mod deployment;
mod disruption_budget;
mod ingress;
mod network_policy;
mod pod;
mod service;
mod service_account;
mod service_monitor;
mod valkey;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::DynamicObject;
use kube::{CustomResourceExt as _, Resource as _};

use super::validate::{Backplane, ValidatedCluster};
use crate::crd::{ChatCluster, Quantity};
use crate::names::Component;

pub use service_monitor::api_resource as service_monitor_resource;

/// Everything that should be there. What is missing here and was made by the operator is pruned.
#[derive(Debug, Clone, PartialEq)]
pub struct Resources {
    /// Of the instances, and of the managed Valkey.
    pub service_accounts: Vec<ServiceAccount>,
    /// Settings.
    pub config_maps: Vec<ConfigMap>,
    /// Credentials of the managed Valkey.
    pub secret: Option<Secret>,
    /// There are no credentials: create them, and never write over others that somebody makes meanwhile.
    pub secret_is_missing: bool,
    /// For clients, one address per instance, and the managed Valkey.
    pub services: Vec<Service>,
    /// Who reaches what.
    pub network_policies: Vec<NetworkPolicy>,
    /// The managed Valkey.
    pub stateful_set: Option<StatefulSet>,
    /// Its volume.
    pub claim: Option<Claim>,
    /// The instances.
    pub deployment: Deployment,
    /// Number of instances to begin with, where the Deployment does not say one because an autoscaler does.
    pub initial_replicas: Option<i32>,
    /// Keeps node drains from taking several instances at once.
    pub disruption_budget: PodDisruptionBudget,
    /// The way in.
    pub ingress: Option<Ingress>,
    /// Decides on the number of instances.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// For a Prometheus operator.
    pub service_monitor: Option<DynamicObject>,
}

/// A PersistentVolumeClaim that a StatefulSet makes, and that only grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// The pod that it is for. It never comes before its claim.
    pub pod: String,
    /// How large it should be.
    pub size: Quantity,
}

/// What of the operator's own place children must know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// The namespace of the operator, from which it reads the instances' metrics.
    pub operator_namespace: String,
}

/// Builds every child.
#[must_use]
pub fn build(cluster: &ValidatedCluster, surroundings: &Surroundings) -> Resources {
    let settings = config_map::chat(cluster);
    let valkey = match &cluster.backplane {
        Backplane::Managed(valkey) => Some(valkey),
        Backplane::Memory | Backplane::External { .. } => None,
    };
    let policies = cluster.network_policy.then(|| {
        let chat = network_policy::chat(cluster, surroundings);
        [Some(chat), valkey.map(|_| network_policy::valkey(cluster))]
    });
    let valkey_settings = valkey.map(|valkey| valkey::config_map(cluster, valkey));
    Resources {
        service_accounts: [Component::Chat]
            .into_iter()
            .chain(valkey.map(|_| Component::Valkey))
            .map(|component| service_account::of(cluster, component))
            .collect(),
        secret: valkey.map(|valkey| valkey::secret(cluster, valkey)),
        secret_is_missing: valkey.is_some_and(|valkey| valkey.secret_is_missing),
        services: [service::clients(cluster), service::instances(cluster)]
            .into_iter()
            .chain(valkey.map(|_| valkey::service(cluster)))
            .collect(),
        network_policies: policies.into_iter().flatten().flatten().collect(),
        stateful_set: valkey
            .zip(valkey_settings.as_ref())
            .map(|(valkey, settings)| valkey::stateful_set(cluster, valkey, settings)),
        claim: valkey.and_then(|valkey| valkey::claim(cluster, valkey)),
        deployment: deployment::of(cluster, &settings),
        initial_replicas: autoscaler::initial_replicas(cluster.scale),
        disruption_budget: disruption_budget::of(cluster),
        ingress: cluster.ingress.as_ref().map(|ingress| ingress::of(cluster, ingress)),
        autoscaler: autoscaler::of(cluster),
        service_monitor: cluster.service_monitor.as_ref().map(|labels| service_monitor::of(cluster, labels)),
        config_maps: [settings].into_iter().chain(valkey_settings).collect(),
    }
}

/// What tells pods with the settings of this spec from others: the value of an annotation.
#[must_use]
pub fn settings_checksum(cluster: &ValidatedCluster) -> String {
    deployment::checksum(cluster, &config_map::chat(cluster))
}

/// Name, labels and owner of a child.
fn metadata(cluster: &ValidatedCluster, name: String, component: Component) -> ObjectMeta {
    let resource = ChatCluster::api_resource();
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(cluster.names.labels(component)),
        owner_references: Some(vec![OwnerReference {
            api_version: resource.api_version,
            kind: ChatCluster::kind(&()).into_owned(),
            name: cluster.names.chat(),
            uid: cluster.uid.clone(),
            controller: Some(true),
            // Deleting in the foreground waits for the children.
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests;
