//! The way in from outside the cluster.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};

use super::super::validate::{ValidatedCluster, ValidatedIngress};
use super::metadata;
use crate::names::Component;

pub(super) fn of(cluster: &ValidatedCluster, ingress: &ValidatedIngress) -> Ingress {
    let mut metadata = metadata(cluster, cluster.names.chat(), Component::Chat);
    metadata.annotations = Some(ingress.annotations.clone()).filter(|annotations| !annotations.is_empty());
    let backend = IngressBackend {
        service: Some(IngressServiceBackend {
            name: cluster.names.chat(),
            port: Some(ServiceBackendPort { name: Some("http".to_owned()), number: None }),
        }),
        resource: None,
    };
    let path = HTTPIngressPath { path: Some("/".to_owned()), path_type: "Prefix".to_owned(), backend };
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: ingress.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: Some(ingress.host.clone()),
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            }]),
            tls: ingress.tls_secret.as_ref().map(|secret| {
                vec![IngressTLS { hosts: Some(vec![ingress.host.clone()]), secret_name: Some(secret.clone()) }]
            }),
            default_backend: None,
        }),
        status: None,
    }
}
