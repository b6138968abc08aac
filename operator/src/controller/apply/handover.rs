//! Applies a Deployment whose number of instances belongs to an autoscaler. A field that the operator drops while it is
//! the only owner would fall back to 1, so another manager holds the number until the autoscaler takes it.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::super::children::Shelf;
use super::writer::{ApplyError, Writer};
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
    let live = api.get_opt(&name).await.map_err(|error| failed(&name, error))?;
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
            let replicas = live.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(initial);
            hold(writer, &name, replicas).await?;
        }
        Some(_) => {}
    }
    writer.apply(deployment, shelf).await
}

/// Has the other manager set the number that is there already.
async fn hold(writer: &Writer<'_>, name: &str, replicas: i32) -> Result<(), ApplyError> {
    let held = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": { "replicas": replicas },
    });
    let parameters = PatchParams::apply(HANDOVER_MANAGER).force();
    let api = writer.api::<Deployment>();
    api.patch(name, &parameters, &Patch::Apply(&held)).await.map_err(|error| failed(name, error))?;
    Ok(())
}

fn owns_replicas(deployment: &Deployment) -> bool {
    deployment.metadata.managed_fields.iter().flatten().any(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"]["f:replicas"].is_object())
    })
}

fn failed(name: &str, error: kube::Error) -> ApplyError {
    ApplyError::Api { child: format!("Deployment {name}"), cause: Box::new(error) }
}
