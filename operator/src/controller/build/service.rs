//! How the instances are reached inside the cluster: one Service for clients, and one that names each instance. The admin
//! port is in neither.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::validate::ValidatedCluster;
use super::metadata;
use crate::names::{Component, SERVICE_LABEL};

pub(super) fn clients(cluster: &ValidatedCluster) -> Service {
    let mut metadata = metadata(cluster, cluster.names.chat(), Component::Chat);
    metadata.annotations = cluster
        .ingress
        .as_ref()
        .map(|ingress| ingress.service_annotations.clone())
        .filter(|annotations| !annotations.is_empty());
    Service { metadata, spec: Some(spec(cluster, 80, None)), ..Service::default() }
}

pub(super) fn instances(cluster: &ValidatedCluster) -> Service {
    let mut metadata = metadata(cluster, cluster.names.instances(), Component::Chat);
    metadata.labels.get_or_insert_default().insert(SERVICE_LABEL.0.to_owned(), SERVICE_LABEL.1.to_owned());
    Service { metadata, spec: Some(spec(cluster, 8080, Some("None".to_owned()))), ..Service::default() }
}

fn spec(cluster: &ValidatedCluster, port: i32, cluster_ip: Option<String>) -> ServiceSpec {
    ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        cluster_ip,
        selector: Some(cluster.names.selector(Component::Chat)),
        ports: Some(vec![ServicePort {
            name: Some("http".to_owned()),
            port,
            target_port: Some(IntOrString::String("http".to_owned())),
            protocol: Some("TCP".to_owned()),
            // Tells gateways that connections are upgraded.
            app_protocol: Some("kubernetes.io/ws".to_owned()),
            ..ServicePort::default()
        }]),
        ..ServiceSpec::default()
    }
}
