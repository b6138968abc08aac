//! Whole children, and the rules that hold for all of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::super::fixtures::validated;
use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const FULL: &str =
    "{ auth: { token: { secretRef: { name: t }, audience: chat } }, api: { secretRef: { name: t, key: api } },
    redis: { managed: { storage: { size: 1Gi } } }, exposure: { ingress: { className: traefik, host: a.b } },
    autoscaling: { maxReplicas: 5 }, limits: { maxConnections: 1000 }, history: { messages: 50 },
    monitoring: { serviceMonitor: { labels: { release: prometheus } } } }";

fn full() -> Resources {
    build(&validated(FULL, &[("t/secret", TOKEN), ("t/api", TOKEN)]), &surroundings())
}

fn small() -> Resources {
    build(&validated("auth: { open: {} }", &[]), &surroundings())
}

fn surroundings() -> Surroundings {
    Surroundings { operator_namespace: "parley-system".into() }
}

fn settings(resources: &Resources) -> Value {
    json!(resources.config_maps[0].data)
}

fn pods(resources: &Resources) -> Vec<PodSpec> {
    let set = resources.stateful_set.clone().and_then(|set| set.spec).and_then(|spec| spec.template.spec);
    let deployment = resources.deployment.spec.clone().and_then(|spec| spec.template.spec);
    deployment.into_iter().chain(set).collect()
}

#[test]
fn the_smallest_cluster_has_just_these_children() {
    let Resources { secret, stateful_set, ingress, autoscaler, service_monitor, services, network_policies, .. } =
        small();
    assert_eq!((secret, stateful_set, ingress, autoscaler, service_monitor), (None, None, None, None, None));
    assert_eq!((services.len(), network_policies.len()), (2, 1));
}

#[test]
fn settings_of_the_smallest_cluster() {
    let expected = json!({
        "PARLEY_LISTEN": "[::]:8080", "PARLEY_ADMIN_LISTEN": "[::]:8090", "PARLEY_LOG_FORMAT": "json",
        "PARLEY_SHUTDOWN_DELAY_SECONDS": "8", "PARLEY_DRAIN_SECONDS": "60", "PARLEY_AUTH": "open", "PARLEY_AUTH_OPEN_ANYWHERE": "true",
        "PARLEY_BACKPLANE": "memory", "PARLEY_MAX_OUTBOX_TOTAL_BYTES": "268435456", "PARLEY_HISTORY_TOTAL_BYTES": "134217728",
    });
    assert_eq!(settings(&small()), expected);
}

#[test]
fn settings_of_a_full_cluster() {
    let expected = json!({
        "PARLEY_LISTEN": "[::]:8080", "PARLEY_ADMIN_LISTEN": "[::]:8090", "PARLEY_LOG_FORMAT": "json",
        "PARLEY_SHUTDOWN_DELAY_SECONDS": "8", "PARLEY_DRAIN_SECONDS": "60", "PARLEY_AUTH": "token", "PARLEY_TOKEN_AUDIENCE": "chat",
        "PARLEY_TOKEN_SECRET_FILE": "/etc/parley/secrets/token-secret", "PARLEY_API_KEY_FILE": "/etc/parley/secrets/api-key",
        "PARLEY_REDIS_URL_FILE": "/etc/parley/secrets/redis-url", "PARLEY_REDIS_PREFIX": "parley",
        "PARLEY_AFFINITY_COOKIE": "parley-affinity", "PARLEY_MAX_CONNECTIONS": "1000",
        "PARLEY_MAX_HANDSHAKES_PER_SECOND": "0", "PARLEY_HISTORY_MESSAGES": "50", "PARLEY_HISTORY_SECONDS": "86400",
        "PARLEY_MAX_OUTBOX_TOTAL_BYTES": "268435456",
    });
    assert_eq!(settings(&full()), expected);
}

#[test]
fn every_pod_is_as_restricted_as_the_standard_asks() {
    for pod in pods(&full()) {
        let security = pod.security_context.unwrap();
        assert_eq!(
            (security.run_as_non_root, security.seccomp_profile.unwrap().type_.as_str()),
            (Some(true), "RuntimeDefault")
        );
        assert_eq!((pod.automount_service_account_token, pod.enable_service_links), (Some(false), Some(false)));
        for container in pod.containers {
            let security = json!(container.security_context);
            let expected = json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } });
            assert_eq!(security, expected);
            assert!(container.resources.unwrap().limits.unwrap().contains_key("memory"));
        }
    }
}

#[test]
fn one_constraint_only_spreads_the_pods() {
    // A second one with a key that nodes lack would make the scheduler forget the first.
    let constraints = pods(&full())[0].topology_spread_constraints.clone().unwrap();
    let keys: Vec<_> = constraints.iter().map(|constraint| constraint.topology_key.as_str()).collect();
    assert_eq!(keys, ["kubernetes.io/hostname"]);
}

#[test]
fn a_pod_lives_longer_than_its_drain() {
    let spec = "{ auth: { open: {} }, drain: { seconds: 100 } }";
    let resources = build(&validated(spec, &[]), &surroundings());
    assert_eq!(pods(&resources)[0].termination_grace_period_seconds, Some(128));
    assert_eq!(settings(&resources)["PARLEY_DRAIN_SECONDS"], "100");
}

#[test]
fn the_number_of_instances_is_named_by_its_owner_only() {
    let replicas = |resources: &Resources| resources.deployment.spec.as_ref().unwrap().replicas;
    assert_eq!((replicas(&small()), small().initial_replicas), (Some(2), None));
    assert_eq!((replicas(&full()), full().initial_replicas), (None, Some(2)));
    let spec = full().autoscaler.unwrap().spec.unwrap();
    assert_eq!((spec.min_replicas, spec.max_replicas), (Some(2), 5));
}

#[test]
fn scaling_restarts_nobody() {
    let template = |replicas: i32| {
        let spec = format!("{{ auth: {{ open: {{}} }}, redis: {{ managed: {{}} }}, replicas: {replicas} }}");
        build(&validated(&spec, &[]), &surroundings()).deployment.spec.unwrap().template
    };
    assert_eq!(template(1), template(5));
}

#[test]
fn a_changed_setting_or_secret_changes_the_template() {
    let checksum = |spec: &str, secret: &str| {
        let resources = build(&validated(spec, &[("t/secret", secret)]), &surroundings());
        json!(resources.deployment)["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let spec = "{ auth: { token: { secretRef: { name: t } } } }";
    let other = TOKEN.replace('0', "9");
    assert_ne!(checksum(spec, TOKEN), checksum(spec, &other));
    let longer = "{ auth: { token: { secretRef: { name: t } } }, drain: { seconds: 61 } }";
    assert_ne!(checksum(spec, TOKEN), checksum(longer, TOKEN));
}

#[test]
fn the_admin_port_is_in_no_service() {
    for service in full().services {
        let text = json!(service).to_string();
        assert!(!text.contains("8090") && !text.contains("admin"), "{text}");
    }
}

#[test]
fn ports_of_clients_are_said_to_be_upgraded() {
    for service in &full().services[..2] {
        assert_eq!(json!(service)["spec"]["ports"][0]["appProtocol"], "kubernetes.io/ws");
    }
}

#[test]
fn the_app_user_of_valkey_is_confined_to_its_prefix() {
    let secret = full().secret.unwrap().data.unwrap();
    let users = String::from_utf8(secret["users.acl"].0.clone()).unwrap();
    assert!(users.contains("user default on nopass resetkeys resetchannels -@all +ping\n"), "{users}");
    assert!(users.contains(" resetkeys resetchannels ~parley:* &parley:* -@all +@read"), "{users}");
    assert!(!users.contains(super::super::fixtures::PASSWORD), "only its hash is there");
    let url = String::from_utf8(secret["url"].0.clone()).unwrap();
    assert_eq!(url, format!("redis://parley:{}@demo-valkey.chat.svc:6379", super::super::fixtures::PASSWORD));
}

#[test]
fn valkey_refuses_rather_than_forgets() {
    let settings = full().config_maps[1].data.clone().unwrap()["valkey.conf"].clone();
    for line in ["maxmemory 201326592\n", "maxmemory-policy noeviction\n", "appendonly yes\n", "save \"\"\n"] {
        assert!(settings.contains(line), "{settings}");
    }
}

#[test]
fn a_volume_outlives_the_cluster() {
    let spec = full().stateful_set.unwrap().spec.unwrap();
    let policy = spec.persistent_volume_claim_retention_policy.unwrap();
    assert_eq!((policy.when_deleted.as_deref(), policy.when_scaled.as_deref()), (Some("Retain"), Some("Retain")));
    assert_eq!(spec.volume_claim_templates.unwrap().len(), 1);
}

#[test]
fn every_child_is_owned_and_labelled() {
    let resources = full();
    let metas = [
        resources.deployment.metadata.clone(),
        resources.disruption_budget.metadata.clone(),
        resources.ingress.clone().unwrap().metadata,
        resources.autoscaler.clone().unwrap().metadata,
        resources.service_monitor.clone().unwrap().metadata,
        resources.stateful_set.clone().unwrap().metadata,
        resources.secret.clone().unwrap().metadata,
    ];
    let lists = resources.services.iter().map(|child| child.metadata.clone());
    let lists = lists.chain(resources.config_maps.iter().map(|child| child.metadata.clone()));
    let lists = lists.chain(resources.service_accounts.iter().map(|child| child.metadata.clone()));
    let lists = lists.chain(resources.network_policies.iter().map(|child| child.metadata.clone()));
    for meta in metas.into_iter().chain(lists) {
        let owner = json!([{ "apiVersion": "parley.dev/v1alpha1", "kind": "ChatCluster", "name": "demo", "uid": "uid-1", "controller": true, "blockOwnerDeletion": true }]);
        assert_eq!(json!(meta.owner_references), owner);
        assert_eq!(meta.namespace.as_deref(), Some("chat"));
        let labels = meta.labels.unwrap();
        assert_eq!(
            (labels["parley.dev/cluster"].as_str(), labels["app.kubernetes.io/managed-by"].as_str()),
            ("demo", "parley-operator")
        );
    }
}

#[test]
fn every_instance_is_scraped_once() {
    let resources = full();
    let wanted = resources.service_monitor.unwrap().data["spec"]["selector"]["matchLabels"].clone();
    let wanted = wanted.as_object().unwrap();
    let selected = |service: &&Service| {
        let labels = json!(service.metadata.labels);
        wanted.iter().all(|(key, value)| labels[key] == *value)
    };
    let names: Vec<_> =
        resources.services.iter().filter(selected).map(|service| service.metadata.name.clone()).collect();
    assert_eq!(names, [Some("demo-instances".to_owned())]);
}

#[test]
fn only_instances_reach_valkey() {
    let policies = full().network_policies;
    let valkey = json!(policies[1].spec);
    assert_eq!(valkey["policyTypes"], json!(["Ingress", "Egress"]));
    let from = json!([{ "podSelector": { "matchLabels": { "app.kubernetes.io/component": "chat", "parley.dev/cluster": "demo" } } }]);
    assert_eq!(valkey["ingress"][0]["from"], from);
    assert!(valkey["egress"].is_null());
}

/// The service's own parser judges the settings that are written for it.
#[test]
fn the_service_takes_every_setting() {
    for (resources, secret) in [(small(), ""), (full(), TOKEN)] {
        let vars = Written { settings: resources.config_maps[0].data.clone().unwrap(), secret };
        let loaded = parley_service::config::Config::load(&vars, &[]);
        assert!(loaded.is_ok(), "{}", loaded.err().map(|faults| faults.to_string()).unwrap_or_default());
    }
}

/// A pod with the settings of a ConfigMap and with one secret in all files.
struct Written {
    settings: BTreeMap<String, String>,
    secret: &'static str,
}

impl parley_service::config::Vars for Written {
    fn var(&self, name: &str) -> Option<OsString> {
        self.settings.get(name).map(Into::into)
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        self.settings.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        let is_url = path.ends_with("redis-url");
        Ok(if is_url { "redis://parley:secret@demo-valkey.chat.svc:6379".to_owned() } else { self.secret.to_owned() })
    }

    fn host_name(&self) -> Option<String> {
        Some("demo-1".to_owned())
    }

    fn stderr_is_terminal(&self) -> bool {
        false
    }
}

#[test]
fn images_are_pulled_with_the_secrets_that_are_named() {
    let spec = "{ auth: { open: {} }, redis: { managed: {} }, imagePullSecrets: [{ name: registry }] }";
    for pod in pods(&build(&validated(spec, &[]), &surroundings())) {
        assert_eq!(json!(pod.image_pull_secrets), json!([{ "name": "registry" }]));
    }
    assert_eq!(pods(&small())[0].image_pull_secrets, None);
}

/// What an upgrade of the operator must not change without need: another template replaces every instance of everybody. If
/// it must be, this is the place to say so, and the changelog another.
#[test]
fn nobody_is_restarted_by_another_operator() {
    let templates = |resources: &Resources| {
        let deployment = resources.deployment.spec.as_ref().map(|spec| &spec.template);
        let set = resources.stateful_set.as_ref().and_then(|set| set.spec.as_ref()).map(|spec| &spec.template);
        json!({ "deployment": deployment, "statefulSet": set })
    };
    for (name, resources, pinned) in
        [("small", small(), include_str!("tests/small.json")), ("full", full(), include_str!("tests/full.json"))]
    {
        let (built, pinned): (Value, Value) = (templates(&resources), serde_json::from_str(pinned).unwrap_or_default());
        assert!(built == pinned, "{name}.json is another now:\n{built:#}");
    }
}
