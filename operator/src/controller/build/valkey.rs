//! The managed Valkey: one server, a user confined to the service's keys, and a memory policy that refuses instead of
//! forgetting. It is not replicated.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, Container, ContainerPort, EmptyDirVolumeSource, ExecAction, KeyToPath,
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, Secret,
    SecretProjection, Service, ServicePort, ServiceSpec, TCPSocketAction, Volume, VolumeMount, VolumeProjection,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::validate::{ValidatedCluster, Valkey};
use super::{Claim, metadata, pod};
use crate::checksum::{Sum, sha256};
use crate::crd::{Quantity, Storage};
use crate::names::{CHECKSUM_ANNOTATION, Component};

/// Where it listens.
pub(super) const PORT: i32 = 6379;
/// The key of its Secret with the URL for the instances.
pub(super) const URL_KEY: &str = "url";
/// Its volume.
const VOLUME: &str = "data";
/// The user of the instances.
const APP_USER: &str = "parley";
/// The user and group `valkey` of Valkey's images, and `redis` of Redis's.
const UID: i64 = 999;
/// What the service's library asks for. It says so itself when a right is missing.
const RIGHTS: &str =
    "-@all +@read +@write +@connection +spublish +ssubscribe +sunsubscribe +fcall +function|load +info +time";
/// Works with the images of both; the answer of a server that still loads is an error.
const PING: &str = "$(command -v valkey-cli || command -v redis-cli) -e ping";

pub(super) fn secret(cluster: &ValidatedCluster, valkey: &Valkey) -> Secret {
    let host = cluster.names.valkey_host(&cluster.namespace);
    let password = &valkey.password;
    let data = [
        ("password", password.clone()),
        (URL_KEY, format!("redis://{APP_USER}:{password}@{host}:{PORT}")),
        ("users.acl", users(&valkey.password, cluster.backplane.prefix().unwrap_or_default())),
    ];
    Secret {
        metadata: metadata(cluster, cluster.names.valkey(), Component::Valkey),
        data: Some(data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The default user may only be asked whether the server is there: probes need no password then.
fn users(password: &str, prefix: &str) -> String {
    let hash = sha256(password);
    format!(
        "user default on nopass resetkeys resetchannels -@all +ping\n\
         user {APP_USER} on #{hash} resetkeys resetchannels ~{prefix}:* &{prefix}:* {RIGHTS}\n"
    )
}

pub(super) fn config_map(cluster: &ValidatedCluster, valkey: &Valkey) -> ConfigMap {
    let append = if valkey.storage.is_some() { "yes" } else { "no" };
    let settings = format!(
        "bind * -::*\n\
         port {PORT}\n\
         protected-mode no\n\
         dir /data\n\
         aclfile /etc/valkey/users.acl\n\
         maxmemory {}\n\
         # A room that is forgotten is worse than a message that is refused.\n\
         maxmemory-policy noeviction\n\
         appendonly {append}\n\
         save \"\"\n",
        valkey.max_data_bytes
    );
    ConfigMap {
        metadata: metadata(cluster, cluster.names.valkey(), Component::Valkey),
        data: Some([("valkey.conf".to_owned(), settings)].into()),
        ..ConfigMap::default()
    }
}

pub(super) fn service(cluster: &ValidatedCluster) -> Service {
    Service {
        metadata: metadata(cluster, cluster.names.valkey(), Component::Valkey),
        spec: Some(ServiceSpec {
            // With an address of its own: it stays when the pod is replaced, and refuses at once while there is none.
            type_: Some("ClusterIP".to_owned()),
            selector: Some(cluster.names.selector(Component::Valkey)),
            ports: Some(vec![ServicePort {
                name: Some("redis".to_owned()),
                port: PORT,
                target_port: Some(IntOrString::String("redis".to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

pub(super) fn stateful_set(cluster: &ValidatedCluster, valkey: &Valkey, settings: &ConfigMap) -> StatefulSet {
    StatefulSet {
        metadata: metadata(cluster, cluster.names.valkey(), Component::Valkey),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(cluster.names.valkey()),
            pod_management_policy: Some(valkey.pod_management.clone()),
            selector: LabelSelector {
                match_labels: Some(cluster.names.selector(Component::Valkey)),
                ..LabelSelector::default()
            },
            template: template(cluster, valkey, settings),
            volume_claim_templates: valkey
                .storage
                .as_ref()
                .zip(valkey.first_size.as_ref())
                .map(|(storage, size)| vec![claim_template(cluster, storage, size)]),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn template(cluster: &ValidatedCluster, valkey: &Valkey, settings: &ConfigMap) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(cluster.names.labels(Component::Valkey)),
            annotations: Some(
                [(CHECKSUM_ANNOTATION.to_owned(), checksum(settings.data.as_ref(), &valkey.password))].into(),
            ),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(cluster.names.valkey()),
            automount_service_account_token: Some(false),
            image_pull_secrets: pod::pull_secrets(cluster),
            enable_service_links: Some(false),
            security_context: Some(pod::security(UID)),
            // Writing out the log may take its time.
            termination_grace_period_seconds: Some(60),
            containers: vec![container(valkey)],
            volumes: Some(volumes(cluster, valkey)),
            ..PodSpec::default()
        }),
    }
}

fn container(valkey: &Valkey) -> Container {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    };
    let memory = ("memory", &valkey.memory);
    Container {
        name: "valkey".to_owned(),
        image: Some(valkey.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        // The entry points of both images take it for the server's.
        args: Some(vec!["/etc/valkey/valkey.conf".to_owned()]),
        ports: Some(vec![ContainerPort {
            name: Some("redis".to_owned()),
            container_port: PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(pod::requirements([("cpu", &"50m".into()), memory], [memory])),
        security_context: Some(pod::container_security()),
        // Loading a long log is no reason to be killed: it listens from the beginning.
        liveness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction { port: IntOrString::String("redis".to_owned()), host: None }),
            initial_delay_seconds: Some(10),
            period_seconds: Some(10),
            timeout_seconds: Some(5),
            failure_threshold: Some(6),
            ..Probe::default()
        }),
        readiness_probe: Some(Probe {
            exec: Some(ExecAction { command: Some(["sh", "-c", PING].map(str::to_owned).into()) }),
            period_seconds: Some(5),
            timeout_seconds: Some(5),
            failure_threshold: Some(2),
            ..Probe::default()
        }),
        volume_mounts: Some(vec![mount(VOLUME, "/data", false), mount("settings", "/etc/valkey", true)]),
        ..Container::default()
    }
}

fn volumes(cluster: &ValidatedCluster, valkey: &Valkey) -> Vec<Volume> {
    let item = |key: &str| KeyToPath { key: key.to_owned(), path: key.to_owned(), mode: None };
    let settings = Volume {
        name: "settings".to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(vec![
                VolumeProjection {
                    config_map: Some(ConfigMapProjection {
                        name: cluster.names.valkey(),
                        items: Some(vec![item("valkey.conf")]),
                        optional: None,
                    }),
                    ..VolumeProjection::default()
                },
                VolumeProjection {
                    secret: Some(SecretProjection {
                        name: cluster.names.valkey(),
                        items: Some(vec![item("users.acl")]),
                        optional: None,
                    }),
                    ..VolumeProjection::default()
                },
            ]),
        }),
        ..Volume::default()
    };
    let scratch =
        Volume { name: VOLUME.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
    if valkey.storage.is_some() { vec![settings] } else { vec![settings, scratch] }
}

/// The claim that the StatefulSet makes of its template, and how large its volume should be by now.
pub(super) fn claim(cluster: &ValidatedCluster, valkey: &Valkey) -> Option<Claim> {
    let pod = format!("{}-0", cluster.names.valkey());
    let size = valkey.storage.as_ref()?.size.clone();
    Some(Claim { name: format!("{VOLUME}-{pod}"), pod, size })
}

fn claim_template(cluster: &ValidatedCluster, storage: &Storage, size: &Quantity) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(VOLUME.to_owned()),
            // Not those by which the operator prunes: the volume outlives the ChatCluster.
            labels: Some(cluster.names.selector(Component::Valkey)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size.to_kube())].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// Changes with the settings and with what is secret besides them.
pub(super) fn checksum(settings: Option<&BTreeMap<String, String>>, secret: &str) -> String {
    let mut sum = Sum::default();
    for (key, value) in settings.into_iter().flatten() {
        sum.add(key);
        sum.add(value);
    }
    sum.add(secret);
    sum.short()
}
