//! What the operator knows of the cluster without asking: one watched store per kind of child. Of most kinds only the
//! metadata is kept; of the others only what the status needs.

mod monitors;
mod slim;

use std::hash::Hash;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::health::Health;
use crate::metrics::Metrics;
use crate::names::{CLUSTER_LABEL, managed_selector};

pub use monitors::Monitors;
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
    pub service_monitors: Monitors,
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
    pub service_monitors: Touched<Meta<DynamicObject>>,
    /// A kind was listed anew, after a watch that was too late: what vanished meanwhile is heard of in no other way.
    pub relisted: BoxStream<'static, ()>,
}

/// Who is told how a watch fares: one that is refused or broken must show.
#[derive(Clone)]
pub struct Watchers {
    /// Counts what goes wrong.
    pub metrics: Metrics,
    /// Is not ready before everything is known.
    pub health: Health,
}

impl Watchers {
    /// Tells of this watch of a kind.
    pub fn of<K, S>(
        &self,
        kind: &str,
        scope: &Scope,
        events: S,
    ) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + use<K, S>
    where
        S: Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
    {
        let (watchers, kind) = (self.clone(), kind.to_owned());
        let what = match scope {
            Scope::Cluster => kind.clone(),
            Scope::Namespace(namespace) => format!("{kind} in {namespace}"),
        };
        self.health.awaits(what.clone());
        events.inspect(move |event| match event {
            Ok(watcher::Event::InitDone) => watchers.health.knows(&what),
            Ok(_) => {}
            Err(error) => {
                watchers.metrics.watch_failed(&kind);
                tracing::warn!(error = %error, kind, "a watch was refused or broke; it is begun anew");
            }
        })
    }
}

/// Begins to watch everything. Nothing happens until the streams are polled.
#[must_use]
pub fn watch(client: &Client, scope: &Scope, watchers: &Watchers) -> (Children, Streams) {
    let ours = managed_selector();
    let relisted = Arc::new(Notify::new());
    let (service_accounts, a) = stores(client, scope, watchers, Some(&ours), &relisted);
    let (config_maps, b) = stores(client, scope, watchers, Some(&ours), &relisted);
    let (secrets, c) = stores(client, scope, watchers, None, &relisted);
    let (services, d) = stores(client, scope, watchers, Some(&ours), &relisted);
    let (network_policies, e) = stores(client, scope, watchers, Some(&ours), &relisted);
    let (disruption_budgets, f) = stores(client, scope, watchers, Some(&ours), &relisted);
    let (ingresses, g) = stores(client, scope, watchers, Some(&ours), &relisted);
    let (stateful_sets, h) = stores(client, scope, watchers, Some(&ours), &relisted);
    let (deployments, i) = stores(client, scope, watchers, Some(&ours), &relisted);
    let (autoscalers, j) = stores(client, scope, watchers, Some(&ours), &relisted);
    let (pods, k) = stores(client, scope, watchers, Some(&ours), &relisted);
    let (service_monitors, l) = Monitors::watch(client, scope, &relisted);
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
        service_monitors,
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
        service_monitors: l,
        relisted: stream::unfold(relisted, async |relisted| {
            relisted.notified().await;
            Some(((), relisted))
        })
        .boxed(),
    };
    (children, streams)
}

fn stores<K>(
    client: &Client,
    scope: &Scope,
    watchers: &Watchers,
    selector: Option<&str>,
    relisted: &Arc<Notify>,
) -> (Stores<K>, Touched<K>)
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
    let stream =
        kept(watchers.of(&K::kind(&()), scope, watcher(scope.api::<K>(client), config)), writer, Arc::clone(relisted));
    (Stores(reader), stream)
}

/// Keeps what a watch tells, made small, and passes it on.
fn kept<K>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
    writer: Writer<K>,
    relisted: Arc<Notify>,
) -> Touched<K>
where
    K: Slim + Resource + Clone + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    events
        .default_backoff()
        .modify(Slim::slim)
        .reflect(writer)
        .inspect_ok(move |event| {
            if matches!(event, watcher::Event::InitDone) {
                relisted.notify_one();
            }
        })
        .touched_objects()
        .boxed()
}

/// The store of one kind.
#[derive(Clone)]
pub struct Stores<K: Resource<DynamicType = ()> + Clone + 'static>(Store<K>);

impl<K: Resource<DynamicType = ()> + Clone + 'static> Default for Stores<K> {
    fn default() -> Self {
        Self(Writer::default().as_reader())
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
        let mut writer = Writer::<K>::default();
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
            // Known once there is one.
            service_monitors: _,
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
