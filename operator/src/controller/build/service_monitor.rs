//! Tells a Prometheus operator how to scrape the instances. Its kind is not part of Kubernetes, so it is plain data.

use std::collections::BTreeMap;

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use super::super::validate::ValidatedCluster;
use super::{deployment, metadata};
use crate::names::{Component, SERVICE_LABEL};

/// How the API server knows it.
#[must_use]
pub fn api_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", "ServiceMonitor"))
}

pub(super) fn of(cluster: &ValidatedCluster, labels: &BTreeMap<String, String>) -> DynamicObject {
    let mut metadata = metadata(cluster, cluster.names.chat(), Component::Chat);
    // Ours win: by them the operator knows its own.
    let mut all = labels.clone();
    all.extend(metadata.labels.take().unwrap_or_default());
    metadata.labels = Some(all);
    let mut selector = cluster.names.selector(Component::Chat);
    selector.insert(SERVICE_LABEL.0.to_owned(), SERVICE_LABEL.1.to_owned());
    let mut monitor = DynamicObject::new(&cluster.names.chat(), &api_resource());
    monitor.metadata = metadata;
    monitor.data = json!({ "spec": {
        // The headless Service has every instance, and only that one, or each would be scraped twice. The port is the
        // pods' own, since no Service exposes it.
        "selector": { "matchLabels": selector },
        "endpoints": [{ "targetPort": deployment::ADMIN_PORT, "path": "/metrics" }],
    } });
    monitor
}
