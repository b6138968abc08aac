//! What is kept of a watched object. Managed fields are large; only a fingerprint of the operator's own entry stays. It
//! changes when somebody else takes one of the fields that the operator set, and when one of them gets another value under
//! the operator's own name: another replica may have written late. Nothing else changes it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateWaiting, ContainerStatus, Pod, PodSpec};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::PartialObjectMeta;

use crate::names::{CHECKSUM_ANNOTATION, FIELD_MANAGER};

/// Where the fingerprint is kept in a store. Never sent anywhere.
const FINGERPRINT: &str = "parley.dev/kept-fingerprint";

/// Can be made small.
pub trait Slim {
    /// Drops what nobody reads.
    fn slim(&mut self);
}

/// The fingerprint of the operator's fields: of an object as the API server sent it, or as a store kept it.
#[must_use]
pub fn fingerprint(meta: &ObjectMeta) -> Option<String> {
    if let Some(kept) = meta.annotations.as_ref().and_then(|annotations| annotations.get(FINGERPRINT)) {
        return Some(kept.clone());
    }
    let entries = meta.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().is_none_or(str::is_empty)
    });
    let (entry, fields) = ours.filter_map(|entry| Some((entry, entry.fields_v1.as_ref()?))).next()?;
    // Only compared within one process.
    let mut hasher = DefaultHasher::new();
    fields.0.to_string().hash(&mut hasher);
    // The API server sets it anew when a value of ours changes, and leaves it when an application changes nothing.
    entry.time.as_ref().map(|time| time.0).hash(&mut hasher);
    meta.uid.hash(&mut hasher);
    Some(format!("{:x}", hasher.finish()))
}

fn slim_meta(meta: &mut ObjectMeta) {
    let kept = fingerprint(meta);
    meta.managed_fields = None;
    // Some tools keep whole objects in annotations.
    meta.annotations = kept.map(|kept| [(FINGERPRINT.to_owned(), kept)].into());
}

impl<K> Slim for PartialObjectMeta<K> {
    fn slim(&mut self) {
        slim_meta(&mut self.metadata);
    }
}

impl Slim for Deployment {
    fn slim(&mut self) {
        slim_meta(self.meta_mut());
        if let Some(spec) = &mut self.spec {
            spec.template = k8s_openapi::api::core::v1::PodTemplateSpec::default();
        }
    }
}

impl Slim for StatefulSet {
    fn slim(&mut self) {
        slim_meta(self.meta_mut());
        if let Some(spec) = &mut self.spec {
            spec.template = k8s_openapi::api::core::v1::PodTemplateSpec::default();
        }
    }
}

impl Slim for Ingress {
    fn slim(&mut self) {
        slim_meta(self.meta_mut());
        self.spec = None;
    }
}

impl Slim for HorizontalPodAutoscaler {
    fn slim(&mut self) {
        slim_meta(self.meta_mut());
    }
}

impl Slim for Pod {
    fn slim(&mut self) {
        let settings = self.metadata.annotations.as_mut().and_then(|all| all.remove_entry(CHECKSUM_ANNOTATION));
        slim_meta(self.meta_mut());
        if let Some((key, settings)) = settings {
            self.metadata.annotations.get_or_insert_default().insert(key, settings);
        }
        self.spec = self.spec.take().map(|_| PodSpec::default());
        if let Some(status) = &mut self.status {
            status.init_container_statuses = None;
            for container in status.container_statuses.iter_mut().flatten() {
                let state = container.state.take().unwrap_or_default();
                // Its message is written anew at every try.
                let waiting =
                    state.waiting.map(|waiting| ContainerStateWaiting { reason: waiting.reason, message: None });
                let state = ContainerState { waiting, running: state.running, terminated: None };
                *container = ContainerStatus { state: Some(state), ..ContainerStatus::default() };
            }
            status.pod_ips = None;
            status.host_ips = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};
    use serde_json::json;

    use super::super::super::ledger::{Key, Ledger};
    use super::*;

    fn meta(manager: &str, fields: serde_json::Value) -> ObjectMeta {
        let entry = ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some("Apply".to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        };
        ObjectMeta { uid: Some("u".into()), managed_fields: Some(vec![entry]), ..ObjectMeta::default() }
    }

    #[test]
    fn a_fingerprint_survives_being_kept_and_changes_with_our_fields() {
        let mut before = meta(FIELD_MANAGER, json!({ "f:spec": { "f:replicas": {} } }));
        let original = fingerprint(&before).unwrap();
        slim_meta(&mut before);
        assert_eq!(fingerprint(&before), Some(original.clone()));
        let after = meta(FIELD_MANAGER, json!({ "f:spec": {} }));
        assert_ne!(fingerprint(&after), Some(original));
        assert_eq!(fingerprint(&meta("kubectl", json!({}))), None);
    }

    #[test]
    fn of_a_pod_stays_what_the_status_tells() {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": { "annotations": { "parley.dev/settings-checksum": "c", "large": "x" }, "labels": { "a": "b" } },
            "spec": { "containers": [{ "name": "parley" }] },
            "status": { "containerStatuses": [{ "name": "parley", "image": "i", "imageID": "i", "ready": false, "restartCount": 3,
                "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } },
                "lastState": { "terminated": { "exitCode": 1 } } }] },
        }))
        .unwrap();
        pod.slim();
        let expected: Pod = serde_json::from_value(json!({
            "metadata": { "annotations": { "parley.dev/settings-checksum": "c" }, "labels": { "a": "b" } },
            "spec": { "containers": [] },
            "status": { "containerStatuses": [{ "name": "", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": "CrashLoopBackOff" } } }] },
        }))
        .unwrap();
        assert_eq!(pod, expected);
    }

    #[test]
    fn a_write_of_another_replica_under_our_name_is_noticed_and_our_own_is_not() {
        let written = |second| {
            let mut meta = meta(FIELD_MANAGER, json!({ "f:spec": { "f:replicas": {} } }));
            for entry in meta.managed_fields.iter_mut().flatten() {
                entry.time = Some(Time(Timestamp::from_second(second).unwrap()));
            }
            meta
        };
        let watched = |second| {
            let mut meta = written(second);
            slim_meta(&mut meta);
            fingerprint(&meta)
        };
        let key = Key { owner_uid: "u".into(), kind: "Deployment".into(), name: "demo".into() };
        let ledger = Ledger::default();
        ledger.note(key.clone(), 1, fingerprint(&written(7)), None);
        assert!(ledger.is_settled(&key, 1, watched(7).as_ref()), "our own write is no reason to write");
        assert!(!ledger.is_settled(&key, 1, watched(8).as_ref()), "other values in the same fields");
    }
}
