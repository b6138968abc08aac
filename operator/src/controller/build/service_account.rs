//! Who the pods are: nobody. An account of their own keeps them from whatever the namespace's default one may do.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::super::validate::ValidatedCluster;
use super::metadata;
use crate::names::Component;

pub(super) fn of(cluster: &ValidatedCluster, component: Component) -> ServiceAccount {
    let name = match component {
        Component::Chat => cluster.names.chat(),
        Component::Valkey => cluster.names.valkey(),
    };
    ServiceAccount {
        metadata: metadata(cluster, name, component),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
