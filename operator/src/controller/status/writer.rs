//! Writes a status that has changed, and says so in events: on transitions only, and for every edit that was taken back.

use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use super::super::apply::{ChildRef, is_terminating};
use super::super::context::Context;
use super::Outcome;
use crate::crd::{ChatCluster, ChatClusterStatus, Condition, ConditionStatus};
use crate::names::FIELD_MANAGER;

/// Writes the status unless it is there already.
///
/// # Errors
/// The API server refused or could not be reached.
pub async fn write(
    cluster: &ChatCluster,
    status: &ChatClusterStatus,
    outcome: Outcome<'_>,
    context: &Context,
) -> Result<(), kube::Error> {
    tell_reverts(cluster, outcome, context).await;
    let before = context.told.last(cluster);
    if cluster.status.as_ref() == Some(status) {
        context.told.note(cluster, status);
        return Ok(());
    }
    let namespace = cluster.namespace().unwrap_or_default();
    let api: Api<ChatCluster> = Api::namespaced(context.client.clone(), &namespace);
    let document = json!({
        "apiVersion": ChatCluster::api_version(&()),
        "kind": ChatCluster::kind(&()),
        "metadata": { "uid": cluster.uid() },
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&cluster.name_any(), &parameters, &Patch::Apply(&document)).await {
        // It is gone, or another one has its name: then there is nothing to say about it.
        Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => return Ok(()),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    context.told.note(cluster, status);
    for (type_, condition) in transitions(&before.conditions, &status.conditions) {
        let child = outcome.child(&condition.reason);
        publish(cluster, child, context, type_, &condition.reason, condition.message.clone()).await;
    }
    Ok(())
}

/// Tells of every edit that was taken back.
pub async fn tell_reverts(cluster: &ChatCluster, outcome: Outcome<'_>, context: &Context) {
    for revert in outcome.reverts() {
        let note = format!("set {} back to what the ChatCluster says: {}", revert.child, revert.conflict);
        publish(cluster, Some(&revert.child), context, EventType::Warning, "FieldConflict", note).await;
    }
}

/// The conditions that are worth an event, with its type.
fn transitions<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<(EventType, &'a Condition)> {
    let mut events: Vec<(EventType, &Condition)> = Vec::new();
    for condition in after {
        let last = before.iter().find(|last| last.type_ == condition.type_);
        if last.is_some_and(|last| (last.status, &last.reason) == (condition.status, &condition.reason)) {
            continue;
        }
        let was = last.map(|last| last.status);
        let type_ = match (condition.type_.as_str(), condition.status) {
            ("Ready", ConditionStatus::True) | ("Degraded", ConditionStatus::False) if was.is_some() => {
                EventType::Normal
            }
            ("Ready", ConditionStatus::True) => EventType::Normal,
            ("Degraded", ConditionStatus::True) => EventType::Warning,
            ("Ready", ConditionStatus::False) if was == Some(ConditionStatus::True) => EventType::Warning,
            // At first everything is still starting.
            ("RedisReady" | "ExposureReady" | "AutoscalingReady", ConditionStatus::False)
                if condition.reason != "Starting" || was == Some(ConditionStatus::True) =>
            {
                EventType::Warning
            }
            ("ExposureReady", ConditionStatus::True)
                if !matches!(condition.reason.as_str(), "Configured" | "NotRequested") =>
            {
                EventType::Warning
            }
            _ => continue,
        };
        // One trouble shows in several conditions; it is told once.
        if !events.iter().any(|(_, told)| told.reason == condition.reason && told.message == condition.message) {
            events.push((type_, condition));
        }
    }
    events
}

/// An event that cannot be published is no reason to fail: the status says the same. Events of one reason are joined, and
/// only the first one's note is kept, unless they are about different children.
async fn publish(
    cluster: &ChatCluster,
    child: Option<&ChildRef>,
    context: &Context,
    type_: EventType,
    reason: &str,
    note: String,
) {
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(1000).collect()),
        action: "Reconcile".to_owned(),
        secondary: child.map(ChildRef::object),
    };
    let published = context.recorder.publish(&event, &cluster.object_ref(&())).await;
    if let Err(error) = published.or_else(|error| if is_terminating(&error) { Ok(()) } else { Err(error) }) {
        tracing::warn!(error = %error, "an event could not be published");
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn condition(type_: &str, status: ConditionStatus, reason: &str) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status,
            reason: reason.to_owned(),
            message: reason.to_lowercase(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    fn told(before: &[Condition], after: &[Condition]) -> Vec<String> {
        transitions(before, after).into_iter().map(|(type_, told)| format!("{type_:?} {}", told.reason)).collect()
    }

    #[test]
    fn only_transitions_are_told() {
        let starting = [condition("Ready", ConditionStatus::False, "Starting")];
        let ready = [condition("Ready", ConditionStatus::True, "Ready")];
        assert_eq!(told(&[], &starting), [""; 0], "a beginning is no trouble");
        assert_eq!(told(&starting, &ready), ["Normal Ready"]);
        assert_eq!(told(&ready, &ready), [""; 0]);
        assert_eq!(told(&ready, &starting), ["Warning Starting"]);
    }

    #[test]
    fn one_trouble_is_told_once() {
        let ready = [condition("Ready", ConditionStatus::True, "Ready")];
        let both = [
            condition("Ready", ConditionStatus::False, "SecretMissing"),
            condition("Degraded", ConditionStatus::True, "SecretMissing"),
        ];
        assert_eq!(told(&ready, &both), ["Warning SecretMissing"]);
    }
}
