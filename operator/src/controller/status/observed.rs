//! Reads from the stores what the conditions need. What is older than the last application counts as not seen yet, so
//! that no condition is true of the spec before.

use std::net::IpAddr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;

use super::super::census::Count;
use super::super::children::Children;
use crate::names::{COMPONENT_LABEL, Component, Names};

/// What is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// How far the instances are.
    pub rollout: Rollout,
    /// Instances that the Deployment should have.
    pub wanted: i32,
    /// Instances that do not drain.
    pub instances: i32,
    /// Those of them that take sessions.
    pub ready: i32,
    /// Instances that drain.
    pub draining: i32,
    /// The managed Valkey answers.
    pub valkey_ready: bool,
    /// What the autoscaler says; nothing before it looked.
    pub autoscaler: Option<Result<(), String>>,
    /// Where the Ingress can be reached, if its controller says so.
    pub ingress_address: Option<String>,
    /// What the instances tell of themselves.
    pub count: Count,
    /// Where the instances can be asked.
    pub addresses: Vec<IpAddr>,
}

/// How far the instances are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Rollout {
    /// What was applied has not been seen yet.
    #[default]
    Unseen,
    /// On its way.
    Going {
        /// Instances of the current revision.
        updated: i32,
        /// Instances that take sessions.
        ready: i32,
    },
    /// It makes no progress.
    Stuck(String),
    /// Every instance is of the current revision and takes sessions.
    Done,
}

/// What the stores know of a ChatCluster. `applied` are the generations that the last application led to, of the
/// Deployment and of the StatefulSet.
#[must_use]
pub fn observe(children: &Children, namespace: &str, names: &Names, applied: (Option<i64>, Option<i64>)) -> Observed {
    let deployment = children.deployments.get(namespace, &names.chat());
    let mut observed = Observed {
        rollout: rollout(deployment.as_deref(), applied.0),
        wanted: deployment.and_then(|found| found.spec.as_ref()?.replicas).unwrap_or_default(),
        valkey_ready: valkey_is_ready(children, namespace, names, applied.1),
        autoscaler: autoscaler(children, namespace, names),
        ingress_address: ingress_address(children, namespace, names),
        ..Observed::default()
    };
    for pod in children.pods.of_cluster(namespace, &names.chat()) {
        let labels = pod.metadata.labels.iter().flatten();
        let is_instance =
            labels.into_iter().any(|(key, value)| key == COMPONENT_LABEL && value == Component::Chat.as_str());
        if !is_instance || is_over(&pod) {
            continue;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            observed.draining += 1;
        } else {
            observed.instances += 1;
            observed.ready += i32::from(has_condition(&pod, "Ready"));
        }
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
        observed.addresses.extend(address.and_then(|ip| ip.parse::<IpAddr>().ok()));
    }
    observed
}

fn rollout(deployment: Option<&Deployment>, applied: Option<i64>) -> Rollout {
    let Some(deployment) = deployment else { return Rollout::Unseen };
    let status = deployment.status.clone().unwrap_or_default();
    let generation = deployment.metadata.generation.max(applied);
    if status.observed_generation < generation {
        return Rollout::Unseen;
    }
    let stuck = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "Progressing" && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    if let Some(stuck) = stuck {
        return Rollout::Stuck(stuck.message.clone().unwrap_or_default());
    }
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let counts = [status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas];
    if counts.iter().all(|count| count.unwrap_or_default() == wanted) {
        return Rollout::Done;
    }
    Rollout::Going {
        updated: status.updated_replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
    }
}

fn valkey_is_ready(children: &Children, namespace: &str, names: &Names, applied: Option<i64>) -> bool {
    children.stateful_sets.get(namespace, &names.valkey()).is_some_and(|set| {
        let status = set.status.clone().unwrap_or_default();
        let seen = status.observed_generation >= set.metadata.generation.max(applied);
        // Before the old pod goes, it is ready still.
        seen && (status.updated_replicas, status.ready_replicas) == (Some(1), Some(1))
    })
}

fn autoscaler(children: &Children, namespace: &str, names: &Names) -> Option<Result<(), String>> {
    let autoscaler = children.autoscalers.get(namespace, &names.chat())?;
    let conditions = autoscaler.status.as_ref()?.conditions.as_ref()?;
    let active = conditions.iter().find(|condition| condition.type_ == "ScalingActive")?;
    Some(if active.status == "True" { Ok(()) } else { Err(active.message.clone().unwrap_or_default()) })
}

fn ingress_address(children: &Children, namespace: &str, names: &Names) -> Option<String> {
    let ingress = children.ingresses.get(namespace, &names.chat())?;
    let points = ingress.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    points.iter().find_map(|point| point.hostname.clone().or_else(|| point.ip.clone()))
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn has_condition(pod: &Pod, type_: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}
