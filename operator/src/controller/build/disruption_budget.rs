//! Keeps node drains from taking more than one instance at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::validate::ValidatedCluster;
use super::metadata;
use crate::names::Component;

pub(super) fn of(cluster: &ValidatedCluster) -> PodDisruptionBudget {
    let selector = cluster.names.selector(Component::Chat);
    PodDisruptionBudget {
        metadata: metadata(cluster, cluster.names.chat(), Component::Chat),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector { match_labels: Some(selector), ..LabelSelector::default() }),
            // An instance that is broken anyway must not hold up a node's drain for ever.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
