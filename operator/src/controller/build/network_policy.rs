//! Who reaches which port: clients the public one, the operator and Prometheus the admin port, instances their Valkey.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::validate::ValidatedCluster;
use super::{Surroundings, deployment, metadata, valkey};
use crate::names::Component;

pub(super) fn chat(cluster: &ValidatedCluster, surroundings: &Surroundings) -> NetworkPolicy {
    let namespace = ("kubernetes.io/metadata.name", surroundings.operator_namespace.as_str());
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(selecting([namespace])),
        pod_selector: Some(selecting([("app.kubernetes.io/name", "parley-operator")])),
        ip_block: None,
    };
    // Where Prometheus is, nobody told us.
    let anybody =
        NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() };
    let scrapers = if cluster.service_monitor.is_some() { anybody } else { operator };
    policy(
        cluster,
        Component::Chat,
        vec![rule(deployment::HTTP_PORT, None), rule(deployment::ADMIN_PORT, Some(vec![scrapers]))],
        &["Ingress"],
    )
}

pub(super) fn valkey(cluster: &ValidatedCluster) -> NetworkPolicy {
    let instances = NetworkPolicyPeer {
        pod_selector: Some(LabelSelector {
            match_labels: Some(cluster.names.selector(Component::Chat)),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    };
    // It answers and never calls anybody.
    policy(cluster, Component::Valkey, vec![rule(valkey::PORT, Some(vec![instances]))], &["Ingress", "Egress"])
}

fn policy(
    cluster: &ValidatedCluster,
    component: Component,
    ingress: Vec<NetworkPolicyIngressRule>,
    types: &[&str],
) -> NetworkPolicy {
    let name = match component {
        Component::Chat => cluster.names.chat(),
        Component::Valkey => cluster.names.valkey(),
    };
    NetworkPolicy {
        metadata: metadata(cluster, name, component),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(cluster.names.selector(component)),
                ..LabelSelector::default()
            }),
            ingress: Some(ingress),
            egress: None,
            policy_types: Some(types.iter().map(|name| (*name).to_owned()).collect()),
        }),
    }
}

fn rule(port: i32, from: Option<Vec<NetworkPolicyPeer>>) -> NetworkPolicyIngressRule {
    let port = NetworkPolicyPort {
        port: Some(IntOrString::Int(port)),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    };
    NetworkPolicyIngressRule { ports: Some(vec![port]), from }
}

fn selecting<const N: usize>(labels: [(&str, &str); N]) -> LabelSelector {
    let labels: BTreeMap<_, _> = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}
