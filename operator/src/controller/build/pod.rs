//! What the pods of both components have in common: the restricted Pod Security Standard, and where they are put.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, LocalObjectReference, PodAffinityTerm, PodAntiAffinity, PodSecurityContext,
    ResourceRequirements, SeccompProfile, SecurityContext, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::super::validate::ValidatedCluster;
use crate::crd::Quantity as Amount;

/// Tells the revisions of a Deployment apart.
const REVISION: &str = "pod-template-hash";

/// Of the pods and not of their account, because some clusters write into the list of every account.
pub(super) fn pull_secrets(cluster: &ValidatedCluster) -> Option<Vec<LocalObjectReference>> {
    let secrets = cluster.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    (!cluster.image_pull_secrets.is_empty()).then(|| secrets.collect())
}

/// For a pod that runs as this user and group, and whose volumes belong to it.
pub(super) fn security(user: i64) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(user),
        run_as_group: Some(user),
        fs_group: Some(user),
        // A large volume is not walked through at every start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..PodSecurityContext::default()
    }
}

/// For a container that needs no right at all.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        ..SecurityContext::default()
    }
}

/// Over nodes as evenly as there is room, revision by revision, so that a rollout does not end lopsided.
pub(super) fn spread(selector: &BTreeMap<String, String>) -> Vec<TopologySpreadConstraint> {
    vec![TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selecting(selector)),
        match_label_keys: Some(vec![REVISION.to_owned()]),
        ..TopologySpreadConstraint::default()
    }]
}

/// In different zones, where there are zones. Not as another constraint of the spread: that would be void, together with
/// the one over nodes, on every node without a zone.
pub(super) fn apart(selector: &BTreeMap<String, String>) -> Affinity {
    let term = PodAffinityTerm {
        topology_key: "topology.kubernetes.io/zone".to_owned(),
        label_selector: Some(selecting(selector)),
        match_label_keys: Some(vec![REVISION.to_owned()]),
        ..PodAffinityTerm::default()
    };
    let preferred = vec![WeightedPodAffinityTerm { weight: 100, pod_affinity_term: term }];
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(preferred),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn selecting(selector: &BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(selector.clone()), ..LabelSelector::default() }
}

/// Each amount with the name of its resource.
pub(super) fn requirements<'a>(
    requests: impl IntoIterator<Item = (&'a str, &'a Amount)>,
    limits: impl IntoIterator<Item = (&'a str, &'a Amount)>,
) -> ResourceRequirements {
    ResourceRequirements {
        requests: Some(amounts(requests)),
        limits: Some(amounts(limits)),
        ..ResourceRequirements::default()
    }
}

fn amounts<'a>(amounts: impl IntoIterator<Item = (&'a str, &'a Amount)>) -> BTreeMap<String, Quantity> {
    amounts.into_iter().map(|(name, amount)| (name.to_owned(), amount.to_kube())).collect()
}
