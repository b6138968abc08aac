//! The instances. A rollout never takes an instance before its successor is ready, and gives each the time that its
//! drain needs. Nothing in the template depends on the number of instances, so scaling restarts nobody.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapEnvSource, Container, ContainerPort, EnvFromSource, HTTPGetAction, KeyToPath, PodSpec,
    PodTemplateSpec, Probe, ProjectedVolumeSource, SecretProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::validate::{Auth, Backplane, KeyOf, Scale, TokenKey, ValidatedCluster};
use super::{metadata, pod, valkey};
use crate::crd::Resources;
use crate::names::{CHECKSUM_ANNOTATION, Component};

/// Public port of an instance.
pub(super) const HTTP_PORT: i32 = 8080;
/// Port of probes and metrics.
pub(super) const ADMIN_PORT: i32 = 8090;
/// Where Secrets are mounted.
pub(super) const SECRETS_PATH: &str = "/etc/parley/secrets";
pub(super) const TOKEN_SECRET: &str = "token-secret";
pub(super) const JWKS: &str = "jwks.json";
pub(super) const API_KEY: &str = "api-key";
pub(super) const REDIS_URL: &str = "redis-url";
pub(super) const REDIS_CA: &str = "redis-ca.crt";

/// The user of the image, which owns nothing.
const USER: i64 = 65_532;
/// Between SIGTERM, which ends readiness, and the drain: proxies notice meanwhile, also those that keep sending a cookie's
/// bearer to an endpoint that terminates, as long as it is ready. That takes two seconds until the probe, and as many in
/// the proxy; the rest is spare.
pub(super) const SHUTDOWN_DELAY_SECONDS: i32 = 8;
/// After the drain: stragglers are closed five seconds late, then everything is written out and closed.
const AFTER_DRAIN_SECONDS: i32 = 20;
const SECRETS: &str = "secrets";

pub(super) fn of(cluster: &ValidatedCluster, settings: &ConfigMap) -> Deployment {
    let selector = cluster.names.selector(Component::Chat);
    Deployment {
        metadata: metadata(cluster, cluster.names.chat(), Component::Chat),
        spec: Some(DeploymentSpec {
            replicas: match cluster.scale {
                Scale::Fixed(replicas) => Some(replicas),
                // Whoever names it owns it, and would take back what the autoscaler decides.
                Scale::Auto { .. } => None,
            },
            selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: Some(IntOrString::String("25%".to_owned())),
                }),
            }),
            revision_history_limit: Some(3),
            progress_deadline_seconds: Some(600),
            template: template(cluster, settings),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

pub(super) fn checksum(cluster: &ValidatedCluster, settings: &ConfigMap) -> String {
    valkey::checksum(settings.data.as_ref(), &cluster.checksum.0)
}

fn template(cluster: &ValidatedCluster, settings: &ConfigMap) -> PodTemplateSpec {
    let checksum = checksum(cluster, settings);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(cluster.names.labels(Component::Chat)),
            annotations: Some([(CHECKSUM_ANNOTATION.to_owned(), checksum)].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(cluster.names.chat()),
            automount_service_account_token: Some(false),
            image_pull_secrets: pod::pull_secrets(cluster),
            enable_service_links: Some(false),
            security_context: Some(pod::security(USER)),
            termination_grace_period_seconds: Some(i64::from(
                SHUTDOWN_DELAY_SECONDS + cluster.drain_seconds + AFTER_DRAIN_SECONDS,
            )),
            affinity: Some(pod::apart(&cluster.names.selector(Component::Chat))),
            topology_spread_constraints: Some(pod::spread(&cluster.names.selector(Component::Chat))),
            containers: vec![container(cluster)],
            volumes: volume(cluster).map(|volume| vec![volume]),
            ..PodSpec::default()
        }),
    }
}

fn container(cluster: &ValidatedCluster) -> Container {
    let port = |name: &str, port| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let Resources { requests, limits } = &cluster.resources;
    Container {
        name: "parley".to_owned(),
        image: Some(cluster.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        ports: Some(vec![port("http", HTTP_PORT), port("admin", ADMIN_PORT)]),
        env_from: Some(vec![EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource { name: cluster.names.settings(), optional: None }),
            ..EnvFromSource::default()
        }]),
        resources: Some(pod::requirements(
            [("cpu", &requests.cpu), ("memory", &requests.memory)],
            [("memory", &limits.memory)].into_iter().chain(limits.cpu.as_ref().map(|cpu| ("cpu", cpu))),
        )),
        security_context: Some(pod::container_security()),
        startup_probe: Some(Probe { period_seconds: Some(1), failure_threshold: Some(30), ..probe("/livez") }),
        liveness_probe: Some(Probe { period_seconds: Some(10), failure_threshold: Some(3), ..probe("/livez") }),
        // Quick, because proxies believe it: an instance that drains must not be given new clients.
        readiness_probe: Some(Probe { period_seconds: Some(2), failure_threshold: Some(1), ..probe("/readyz") }),
        volume_mounts: volume(cluster).map(|volume| {
            vec![VolumeMount {
                name: volume.name,
                mount_path: SECRETS_PATH.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]
        }),
        ..Container::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// All Secrets of an instance in one volume, each under a name of ours.
fn volume(cluster: &ValidatedCluster) -> Option<Volume> {
    let mut files: Vec<(KeyOf, &str)> = Vec::new();
    if let Auth::Token { by, .. } = &cluster.auth {
        files.push(match by {
            TokenKey::Secret(key) => (key.clone(), TOKEN_SECRET),
            TokenKey::Jwks(key) => (key.clone(), JWKS),
        });
    }
    files.extend(cluster.api_key.clone().map(|key| (key, API_KEY)));
    match &cluster.backplane {
        Backplane::Memory => {}
        Backplane::Managed(_) => {
            files.push((KeyOf { secret: cluster.names.valkey(), key: valkey::URL_KEY.to_owned() }, REDIS_URL));
        }
        Backplane::External { url, ca, .. } => {
            files.push((url.clone(), REDIS_URL));
            files.extend(ca.clone().map(|key| (key, REDIS_CA)));
        }
    }
    let projections = files.into_iter().map(|(key, path)| VolumeProjection {
        secret: Some(SecretProjection {
            name: key.secret,
            items: Some(vec![KeyToPath { key: key.key, path: path.to_owned(), mode: None }]),
            optional: None,
        }),
        ..VolumeProjection::default()
    });
    let sources: Vec<_> = projections.collect();
    (!sources.is_empty()).then(|| Volume {
        name: SECRETS.to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o440) }),
        ..Volume::default()
    })
}
