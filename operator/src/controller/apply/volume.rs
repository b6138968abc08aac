//! Enlarges the volume of the managed Valkey. A StatefulSet never changes the claims that it has made, so this is written to
//! the claim itself; whether it may grow is for its StorageClass to say.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::super::build::Claim;
use super::super::children::{Shelf as _, Stores};
use super::super::ledger::digest;
use super::super::validate::{About, Note};
use super::error::ApplyError;
use super::writer::Writer;
use crate::crd::Quantity;
use crate::names::{CLUSTER_LABEL, FIELD_MANAGER};

/// Asks for a larger volume where the claim asks for a smaller one. The claim is looked at once for every size and every pod
/// that uses it: while a pod lives, its claim cannot be replaced.
///
/// A note says why it did not grow. That is tried again at every reconcile.
pub(super) async fn grow(writer: &Writer<'_>, claim: &Claim, pods: &Stores<Pod>) -> Result<Option<Note>, ApplyError> {
    let key = writer.key("PersistentVolumeClaim", &claim.name);
    let desired = digest(&format!("{:?}", claim.size.bytes()));
    let Some(pod) = pods.meta(writer.namespace(), &claim.pod).and_then(|meta| meta.uid) else { return Ok(None) };
    if writer.ledger().is_settled(&key, desired, Some(&pod)) {
        return Ok(None);
    }
    match enlarged(writer, claim).await {
        Ok(None) => {
            writer.ledger().note(key, desired, Some(pod), None);
            Ok(None)
        }
        Ok(Some(why)) | Err(ApplyError::Refused { message: why, .. }) => {
            let message = format!(
                "the PersistentVolumeClaim {} stays smaller than redis.managed.storage.size: {why}",
                claim.name
            );
            Ok(Some(Note { about: About::Whole, reason: "StorageNotGrown", message }))
        }
        Err(error) => Err(error),
    }
}

/// Why it is not as large as it should be; nothing if it is.
async fn enlarged(writer: &Writer<'_>, claim: &Claim) -> Result<Option<String>, ApplyError> {
    let api = writer.api::<PersistentVolumeClaim>();
    let failed = |error| ApplyError::of(writer.reference::<PersistentVolumeClaim>(&claim.name), error);
    let Some(live) = api.get_opt(&claim.name).await.map_err(failed)? else { return Ok(None) };
    let requests = live.spec.and_then(|spec| spec.resources).and_then(|resources| resources.requests);
    let asked = requests.and_then(|mut requests| requests.remove("storage")).map(Quantity::from);
    if asked.and_then(|size| size.bytes()) >= claim.size.bytes() {
        return Ok(None);
    }
    if live.metadata.labels.unwrap_or_default().get(CLUSTER_LABEL) != Some(&writer.cluster_name()) {
        let why = format!("it has no label {CLUSTER_LABEL}, so it is yours: enlarge it yourself");
        return Ok(Some(why));
    }
    // Not applied: that would make a claim where there is none any more.
    let larger = json!({ "spec": { "resources": { "requests": { "storage": claim.size } } } });
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&claim.name, &parameters, &Patch::Merge(&larger)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        written => {
            written.map_err(failed)?;
            writer.count("PersistentVolumeClaim");
            Ok(None)
        }
    }
}
