//! What the operator knows of the cluster without asking: one watched store per kind of child. Of most kinds only the
//! metadata is kept; of the others only what the status needs.

mod slim;

use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::names::{CLUSTER_LABEL, managed_selector};

pub use slim::{Slim, fingerprint};

/// One namespace, or all of them. Each scope is watched and reconciled by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All namespaces.
    Cluster,
    /// This one.
    Namespace(String),
}

impl Scope {
    /// The API of a kind in this scope.
    #[must_use]
    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::Cluster => Api::all(client.clone()),
            Self::Namespace(name) => Api::namespaced(client.clone(), name),
        }
    }
}

/// Touched objects of one kind.
pub type Touched<K> = BoxStream<'static, Result<K, watcher::Error>>;
type Meta<K> = PartialObjectMeta<K>;

/// One store per kind.
#[expect(missing_docs, reason = "the fields are the kinds")]
#[derive(Clone, Default)]
pub struct Children {
    pub service_accounts: Stores<Meta<ServiceAccount>>,
    pub config_maps: Stores<Meta<ConfigMap>>,
    /// Of all Secrets, also the users': a change of one that a spec names must be seen.
    pub secrets: Stores<Meta<Secret>>,
    pub services: Stores<Meta<Service>>,
    pub network_policies: Stores<Meta<NetworkPolicy>>,
    pub disruption_budgets: Stores<Meta<PodDisruptionBudget>>,
    pub ingresses: Stores<Ingress>,
    pub stateful_sets: Stores<StatefulSet>,
    pub deployments: Stores<Deployment>,
    pub autoscalers: Stores<HorizontalPodAutoscaler>,
    pub pods: Stores<Pod>,
}

/// The stream that fills each store, and wakes the ChatCluster that an object belongs to.
#[expect(missing_docs, reason = "the fields are the kinds")]
pub struct Streams {
    pub service_accounts: Touched<Meta<ServiceAccount>>,
    pub config_maps: Touched<Meta<ConfigMap>>,
    pub secrets: Touched<Meta<Secret>>,
    pub services: Touched<Meta<Service>>,
    pub network_policies: Touched<Meta<NetworkPolicy>>,
    pub disruption_budgets: Touched<Meta<PodDisruptionBudget>>,
    pub ingresses: Touched<Ingress>,
    pub stateful_sets: Touched<StatefulSet>,
    pub deployments: Touched<Deployment>,
    pub autoscalers: Touched<HorizontalPodAutoscaler>,
    pub pods: Touched<Pod>,
}

/// Begins to watch everything. Nothing happens until the streams are polled.
#[must_use]
pub fn watch(client: &Client, scope: &Scope) -> (Children, Streams) {
    let ours = managed_selector();
    let (service_accounts, a) = stores(client, scope, Some(&ours));
    let (config_maps, b) = stores(client, scope, Some(&ours));
    let (secrets, c) = stores(client, scope, None);
    let (services, d) = stores(client, scope, Some(&ours));
    let (network_policies, e) = stores(client, scope, Some(&ours));
    let (disruption_budgets, f) = stores(client, scope, Some(&ours));
    let (ingresses, g) = stores(client, scope, Some(&ours));
    let (stateful_sets, h) = stores(client, scope, Some(&ours));
    let (deployments, i) = stores(client, scope, Some(&ours));
    let (autoscalers, j) = stores(client, scope, Some(&ours));
    let (pods, k) = stores(client, scope, Some(&ours));
    let children = Children {
        service_accounts,
        config_maps,
        secrets,
        services,
        network_policies,
        disruption_budgets,
        ingresses,
        stateful_sets,
        deployments,
        autoscalers,
        pods,
    };
    let streams = Streams {
        service_accounts: a,
        config_maps: b,
        secrets: c,
        services: d,
        network_policies: e,
        disruption_budgets: f,
        ingresses: g,
        stateful_sets: h,
        deployments: i,
        autoscalers: j,
        pods: k,
    };
    (children, streams)
}

fn stores<K>(client: &Client, scope: &Scope, selector: Option<&str>) -> (Stores<K>, Touched<K>)
where
    K: Slim
        + Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let config = watcher::Config { label_selector: selector.map(str::to_owned), ..watcher::Config::default() };
    let (reader, writer) = reflector::store();
    let stream = watcher(scope.api::<K>(client), config)
        .default_backoff()
        .modify(Slim::slim)
        .reflect(writer)
        .touched_objects()
        .boxed();
    (Stores(reader), stream)
}

/// The store of one kind.
#[derive(Clone)]
pub struct Stores<K: Resource<DynamicType = ()> + Clone + 'static>(Store<K>);

impl<K: Resource<DynamicType = ()> + Clone + 'static> Default for Stores<K> {
    fn default() -> Self {
        Self(reflector::store::Writer::default().as_reader())
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Stores<K> {
    /// The object of this name.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.0.get(&ObjectRef::new(name).within(namespace))
    }

    /// The `resourceVersion` of the object of this name.
    #[must_use]
    pub fn version(&self, namespace: &str, name: &str) -> Option<String> {
        self.get(namespace, name)?.meta().resource_version.clone()
    }

    /// All objects that carry the label of a ChatCluster.
    #[must_use]
    pub fn of_cluster(&self, namespace: &str, cluster: &str) -> Vec<Arc<K>> {
        let is_its = |object: &Arc<K>| {
            let meta = object.meta();
            meta.namespace.as_deref() == Some(namespace)
                && meta.labels.as_ref().and_then(|labels| labels.get(CLUSTER_LABEL)).is_some_and(|name| name == cluster)
        };
        self.0.state().into_iter().filter(is_its).collect()
    }

    /// Waits until everything that was there at the start is known.
    pub async fn ready(&self) {
        // The only error is that the writer is gone, and then the whole process ends.
        drop(self.0.wait_until_ready().await);
    }

    /// A store with what a test puts into it.
    #[cfg(test)]
    pub(crate) fn with(objects: Vec<K>) -> Self
    where
        K: std::fmt::Debug,
    {
        let mut writer = reflector::store::Writer::<K>::default();
        let reader = writer.as_reader();
        for object in objects {
            writer.apply_watcher_event(&watcher::Event::Apply(object));
        }
        Self(reader)
    }
}

/// A store, whatever its kind.
pub trait Shelf: Sync {
    /// Metadata of the object of this name.
    fn meta(&self, namespace: &str, name: &str) -> Option<ObjectMeta>;
    /// Metadata of all objects that carry the label of a ChatCluster.
    fn metas(&self, namespace: &str, cluster: &str) -> Vec<ObjectMeta>;
}

impl<K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static> Shelf for Stores<K> {
    fn meta(&self, namespace: &str, name: &str) -> Option<ObjectMeta> {
        self.get(namespace, name).map(|object| object.meta().clone())
    }

    fn metas(&self, namespace: &str, cluster: &str) -> Vec<ObjectMeta> {
        self.of_cluster(namespace, cluster).iter().map(|object| object.meta().clone()).collect()
    }
}

impl Children {
    /// Waits until everything that was there at the start is known.
    pub async fn ready(&self) {
        let Self {
            service_accounts,
            config_maps,
            secrets,
            services,
            network_policies,
            disruption_budgets,
            ingresses,
            stateful_sets,
            deployments,
            autoscalers,
            pods,
        } = self;
        service_accounts.ready().await;
        config_maps.ready().await;
        secrets.ready().await;
        services.ready().await;
        network_policies.ready().await;
        disruption_budgets.ready().await;
        ingresses.ready().await;
        stateful_sets.ready().await;
        deployments.ready().await;
        autoscalers.ready().await;
        pods.ready().await;
    }
}
