//! Applies a Deployment whose number of instances belongs to an autoscaler, or comes back from one. A field that the
//! operator drops while it is the only owner would fall back to 1, so another manager holds the number until the
//! autoscaler takes it; and the same manager takes it from the autoscaler, so that this is nobody's edit.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::super::children::Shelf;
use super::error::ApplyError;
use super::writer::Writer;
use crate::names::{FIELD_MANAGER, HANDOVER_MANAGER};

pub(super) async fn apply(
    writer: &mut Writer<'_>,
    deployment: &Deployment,
    initial: i32,
    shelf: &dyn Shelf,
) -> Result<(), ApplyError> {
    if writer.is_settled(deployment, shelf) {
        return Ok(());
    }
    let name = deployment.name_any();
    let api = writer.api::<Deployment>();
    let live =
        api.get_opt(&name).await.map_err(|error| ApplyError::of(writer.reference::<Deployment>(&name), error))?;
    match live {
        None => {
            let mut beginning = deployment.clone();
            if let Some(spec) = &mut beginning.spec {
                spec.replicas = Some(initial);
            }
            writer.apply(&beginning, shelf).await?;
            hold(writer, &name, initial).await?;
        }
        Some(live) if owns_replicas(&live) => {
            // An autoscaler leaves what is scaled to 0 alone.
            let live = live.spec.as_ref().and_then(|spec| spec.replicas).filter(|live| *live > 0);
            let replicas = live.unwrap_or(initial);
            hold(writer, &name, replicas).await?;
        }
        Some(_) => {}
    }
    writer.apply(deployment, shelf).await
}

/// Applies a Deployment that says how many instances there are. Where an autoscaler said it before, the other manager
/// takes the number from it first, and lets go once the operator has it too.
pub(super) async fn take_back(
    writer: &mut Writer<'_>,
    deployment: &Deployment,
    shelf: &dyn Shelf,
) -> Result<(), ApplyError> {
    if !writer.is_expected_back(deployment) {
        return writer.apply(deployment, shelf).await;
    }
    let name = deployment.name_any();
    let live = writer.api::<Deployment>().get_metadata_opt(&name).await;
    let live = live.map_err(|error| ApplyError::of(writer.reference::<Deployment>(&name), error))?;
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    if let Some((_, replicas)) = live.filter(|live| writer.is_ours(&live.metadata)).zip(replicas) {
        hold(writer, &name, replicas).await?;
    }
    writer.apply(deployment, shelf).await?;
    other_manager(writer, &name, json!({})).await?;
    writer.is_back(deployment);
    Ok(())
}

/// Has the other manager set the number that is there already.
async fn hold(writer: &Writer<'_>, name: &str, replicas: i32) -> Result<(), ApplyError> {
    other_manager(writer, name, json!({ "spec": { "replicas": replicas } })).await
}

/// Has the other manager own these fields and no others.
async fn other_manager(writer: &Writer<'_>, name: &str, mut held: Value) -> Result<(), ApplyError> {
    held["apiVersion"] = json!("apps/v1");
    held["kind"] = json!("Deployment");
    held["metadata"] = json!({ "name": name });
    let parameters = PatchParams::apply(HANDOVER_MANAGER).force();
    let api = writer.api::<Deployment>();
    let written = api.patch(name, &parameters, &Patch::Apply(&held)).await;
    written.map_err(|error| ApplyError::of(writer.reference::<Deployment>(name), error))?;
    Ok(())
}

fn owns_replicas(deployment: &Deployment) -> bool {
    deployment.metadata.managed_fields.iter().flatten().any(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"]["f:replicas"].is_object())
    })
}
