//! ServiceMonitors, whose kind an API server may not know. A watch of an unknown kind would only fail again and again, so it
//! begins with the first that the operator makes.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::stream::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Notify;

use super::super::build::service_monitor_resource;
use super::{Scope, Shelf, Touched, kept};
use crate::names::{CLUSTER_LABEL, managed_selector};

type Monitor = PartialObjectMeta<DynamicObject>;

/// The store of ServiceMonitors, empty until there is one.
#[derive(Clone)]
pub struct Monitors {
    store: Store<Monitor>,
    exist: Arc<Notify>,
}

impl Default for Monitors {
    fn default() -> Self {
        Self { store: Writer::new(service_monitor_resource()).as_reader(), exist: Arc::default() }
    }
}

impl Monitors {
    /// Begins to watch as soon as there is something to watch.
    pub(super) fn watch(client: &Client, scope: &Scope, relisted: &Arc<Notify>) -> (Self, Touched<Monitor>) {
        let resource = service_monitor_resource();
        let api: Api<Monitor> = match scope {
            Scope::Cluster => Api::all_with(client.clone(), &resource),
            Scope::Namespace(name) => Api::namespaced_with(client.clone(), name, &resource),
        };
        let writer = Writer::new(resource);
        let monitors = Self { store: writer.as_reader(), exist: Arc::default() };
        let (exist, relisted) = (Arc::clone(&monitors.exist), Arc::clone(relisted));
        let begins = async move {
            exist.notified().await;
            let config = watcher::Config { label_selector: Some(managed_selector()), ..watcher::Config::default() };
            kept(watcher(api, config), writer, relisted)
        };
        (monitors, begins.flatten_stream().boxed())
    }

    /// A store with what a test puts into it.
    #[cfg(test)]
    pub(crate) fn with(monitor: Monitor) -> Self {
        let mut writer = Writer::new(service_monitor_resource());
        writer.apply_watcher_event(&watcher::Event::Apply(monitor));
        Self { store: writer.as_reader(), ..Self::default() }
    }

    /// There is one from now on.
    pub fn exist(&self) {
        self.exist.notify_one();
    }
}

impl Shelf for Monitors {
    fn meta(&self, namespace: &str, name: &str) -> Option<ObjectMeta> {
        let reference = ObjectRef::new_with(name, service_monitor_resource()).within(namespace);
        self.store.get(&reference).map(|monitor| monitor.metadata.clone())
    }

    fn metas(&self, namespace: &str, cluster: &str) -> Vec<ObjectMeta> {
        let is_its = |monitor: &&Arc<Monitor>| {
            monitor.namespace().as_deref() == Some(namespace)
                && monitor.labels().get(CLUSTER_LABEL).is_some_and(|name| name == cluster)
        };
        self.store.state().iter().filter(is_its).map(|monitor| monitor.metadata.clone()).collect()
    }
}
