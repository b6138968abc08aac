//! What a pod tells of itself.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, Pod, PodCondition};

use super::is_long_ago;
use crate::names::{CHECKSUM_ANNOTATION, COMPONENT_LABEL, Component};

/// Why a container waits while everything goes as it should.
const USUAL: &[&str] = &["ContainerCreating", "PodInitializing"];

pub(super) fn is_of(pod: &Pod, component: Component) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(COMPONENT_LABEL)).is_some_and(|value| value == component.as_str())
}

pub(super) fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

pub(super) fn is_draining(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

pub(super) fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

/// What tells its settings from those of other revisions.
pub(super) fn settings(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(CHECKSUM_ANNOTATION).map(String::as_str)
}

/// Since when it has not been ready: never, if it is.
pub(super) fn unready_since(pod: &Pod) -> Option<Timestamp> {
    if is_ready(pod) {
        return None;
    }
    // A pod that no node has taken yet has no such condition.
    let lost = condition(pod, "Ready").and_then(|condition| condition.last_transition_time.as_ref());
    lost.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

/// Since when all of it runs without being ready: then something outside of it is missing.
pub(super) fn deaf_since(pod: &Pod) -> Option<Timestamp> {
    let mut since = unready_since(pod)?;
    let mut any = false;
    for state in states(pod) {
        since = since.max(state.running.as_ref()?.started_at.as_ref()?.0);
        any = true;
    }
    any.then_some(since)
}

/// What keeps it from running. What is usual at a start counts once that has taken too long.
pub(super) fn hindrance(pod: &Pod, now: Timestamp) -> Option<String> {
    let since = unready_since(pod)?;
    let unscheduled = condition(pod, "PodScheduled").filter(|condition| condition.status == "False");
    if let Some(PodCondition { reason, message, .. }) = unscheduled {
        let (reason, message) = (reason.as_deref().unwrap_or("Unscheduled"), message.as_deref().unwrap_or_default());
        return Some(format!("{reason}: {message}"));
    }
    let reasons = states(pod).filter_map(|state| state.waiting.as_ref()?.reason.as_deref());
    let mut telling = reasons.filter(|reason| !USUAL.contains(reason) || is_long_ago(since, now));
    telling.next().map(str::to_owned)
}

fn states(pod: &Pod) -> impl Iterator<Item = &ContainerState> {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.filter_map(|container| container.state.as_ref())
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == type_)
}
