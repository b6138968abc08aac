//! Reads from the stores what the conditions need. What is older than the last application counts as not seen yet, so
//! that no condition is true of the spec before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};

use super::super::census::Count;
use super::super::children::Children;
use super::{is_long_ago, pods};
use crate::names::{Component, Names};

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
    /// Those of these that have the settings of the current spec.
    pub current: i32,
    /// Instances with the settings of the current spec that run and take no sessions, and since when.
    pub deaf: BTreeMap<IpAddr, Timestamp>,
    /// Instances with other settings, also those that drain.
    pub former: i32,
    /// What keeps instances from running.
    pub hindrances: BTreeSet<String>,
    /// Instances that drain.
    pub draining: i32,
    /// The managed Valkey answers.
    pub valkey_ready: bool,
    /// Since when its pod has not been ready, if there is one.
    pub valkey_unready_since: Option<Timestamp>,
    /// What keeps it from running.
    pub valkey_hindrances: BTreeSet<String>,
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
    /// It was complete once, and instances have been missing for long. A Deployment itself says so only of rollouts.
    Lacking {
        /// Instances that take sessions.
        ready: i32,
    },
    /// Every instance is of the current revision and takes sessions.
    Done,
}

/// What was applied last: what is older counts as not seen yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latest {
    /// The generation of the Deployment.
    pub deployment: Option<i64>,
    /// The generation of the StatefulSet.
    pub stateful_set: Option<i64>,
    /// The checksum of the settings of the current spec.
    pub settings: Option<String>,
}

/// What the stores know of a ChatCluster.
#[must_use]
pub fn observe(children: &Children, namespace: &str, names: &Names, latest: &Latest, now: Timestamp) -> Observed {
    let deployment = children.deployments.get(namespace, &names.chat());
    let mut observed = Observed {
        rollout: rollout(deployment.as_deref(), latest.deployment, now),
        wanted: deployment.as_ref().and_then(|found| found.spec.as_ref()?.replicas).unwrap_or_default(),
        hindrances: deployment.as_deref().and_then(refusal).into_iter().collect(),
        valkey_ready: valkey_is_ready(children, namespace, names, latest.stateful_set),
        autoscaler: autoscaler(children, namespace, names),
        ingress_address: ingress_address(children, namespace, names),
        ..Observed::default()
    };
    for pod in children.pods.of_cluster(namespace, &names.chat()).iter().filter(|pod| !pods::is_over(pod)) {
        if pods::is_of(pod, Component::Valkey) {
            observed.valkey_unready_since = pods::unready_since(pod);
            observed.valkey_hindrances.extend(pods::hindrance(pod, now));
        }
        if !pods::is_of(pod, Component::Chat) {
            continue;
        }
        let address = pods::address(pod);
        observed.addresses.extend(address);
        let is_current = latest.settings.is_some() && pods::settings(pod) == latest.settings.as_deref();
        observed.former += i32::from(!is_current);
        if pods::is_draining(pod) {
            observed.draining += 1;
            continue;
        }
        observed.instances += 1;
        observed.ready += i32::from(pods::is_ready(pod));
        observed.hindrances.extend(pods::hindrance(pod, now));
        if is_current {
            observed.current += i32::from(pods::is_ready(pod));
            observed.deaf.extend(address.zip(pods::deaf_since(pod)));
        }
    }
    observed
}

fn rollout(deployment: Option<&Deployment>, applied: Option<i64>, now: Timestamp) -> Rollout {
    let Some(deployment) = deployment else { return Rollout::Unseen };
    let status = deployment.status.clone().unwrap_or_default();
    let generation = deployment.metadata.generation.max(applied);
    if status.observed_generation < generation {
        return Rollout::Unseen;
    }
    let progressing = condition(deployment, "Progressing");
    let progress = progressing.and_then(|condition| condition.reason.as_deref());
    if progress == Some("ProgressDeadlineExceeded") {
        return Rollout::Stuck(progressing.and_then(|condition| condition.message.clone()).unwrap_or_default());
    }
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let counts = [status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas];
    if counts.iter().all(|count| count.unwrap_or_default() == wanted) {
        return Rollout::Done;
    }
    let ready = status.ready_replicas.unwrap_or_default();
    // Since none may be unavailable, this is about every single instance.
    let lacking = condition(deployment, "Available").filter(|condition| condition.status == "False");
    let since = lacking.and_then(|condition| condition.last_transition_time.as_ref());
    if progress == Some("NewReplicaSetAvailable") && since.is_some_and(|since| is_long_ago(since.0, now)) {
        return Rollout::Lacking { ready };
    }
    Rollout::Going { updated: status.updated_replicas.unwrap_or_default(), ready }
}

/// Why the API server takes no pods of it, as a quota.
fn refusal(deployment: &Deployment) -> Option<String> {
    let failing = condition(deployment, "ReplicaFailure").filter(|condition| condition.status == "True")?;
    let reason = failing.reason.as_deref().unwrap_or("FailedCreate");
    Some(format!("{reason}: {}", failing.message.as_deref().unwrap_or_default()))
}

fn condition<'a>(deployment: &'a Deployment, type_: &str) -> Option<&'a DeploymentCondition> {
    deployment.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == type_)
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
