//! Step 4: makes the cluster as the resources say, and removes what they do not name any more. Everything is applied by
//! one field manager; nothing is touched that the operator did not make.

mod error;
mod handover;
mod retirement;
mod volume;
mod writer;

use super::build::{Resources, service_monitor_resource};
use super::children::Children;
use super::context::Context;
use super::validate::{Note, ValidatedCluster};
use crate::names::Component;

pub use error::{ApplyError, ChildRef, Failure, Revert, is_terminating};
use writer::Writer;

/// Proof that everything was applied; the status is made from it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// Edits of others that were taken back.
    pub reverts: Vec<Revert>,
    /// What is not as the spec says, and does no harm yet.
    pub notes: Vec<Note>,
}

/// Applies everything.
///
/// # Errors
/// The first child that could not be applied. What was applied before it stays.
pub async fn apply(cluster: &ValidatedCluster, resources: Resources, context: &Context) -> Result<Applied, Failure> {
    let mut writer = Writer::new(cluster, context);
    let applied = Box::pin(in_order(&mut writer, resources, &context.children)).await;
    let reverts = writer.into_reverts();
    match applied {
        Ok(notes) => Ok(Applied { reverts, notes }),
        Err(error) => Err(Failure { error, reverts }),
    }
}

/// Applies in this order, each for a reason:
///
/// 1. an autoscaler that is not wanted goes first, or it would change the number that the Deployment gets back;
/// 2. accounts, settings and credentials, because pods do not start without them;
/// 3. network policies, so that no pod is ever open to more than it should be;
/// 4. Services before pods, so that names resolve when they start;
/// 5. Valkey before the instances, which are not ready without it;
/// 6. what leads to the instances, and what watches over them;
/// 7. at last everything that is not wanted any more, a managed Valkey only when nobody uses it any more.
async fn in_order(writer: &mut Writer<'_>, resources: Resources, children: &Children) -> Result<Vec<Note>, ApplyError> {
    let Resources {
        service_accounts,
        config_maps,
        secret,
        secret_is_missing,
        services,
        network_policies,
        stateful_set,
        claim,
        deployment,
        initial_replicas,
        disruption_budget,
        ingress,
        autoscaler,
        service_monitor,
    } = resources;

    if writer.prune(autoscaler.as_slice(), &children.autoscalers).await? {
        writer.expect_back(&deployment);
    }
    for account in &service_accounts {
        writer.apply(account, &children.service_accounts).await?;
    }
    for map in &config_maps {
        writer.apply(map, &children.config_maps).await?;
    }
    if let Some(secret) = &secret {
        if secret_is_missing {
            writer.create(secret, &children.secrets).await?;
        } else {
            writer.apply(secret, &children.secrets).await?;
        }
        writer.note_password(secret);
    }
    for policy in &network_policies {
        writer.apply(policy, &children.network_policies).await?;
    }
    for service in &services {
        writer.apply(service, &children.services).await?;
    }
    if let Some(stateful_set) = &stateful_set {
        writer.apply(stateful_set, &children.stateful_sets).await?;
    }
    let mut notes: Vec<_> = match &claim {
        Some(claim) => volume::grow(writer, claim, &children.pods).await?.into_iter().collect(),
        None => Vec::new(),
    };
    match initial_replicas {
        Some(initial) => handover::apply(writer, &deployment, initial, &children.deployments).await?,
        None => handover::take_back(writer, &deployment, &children.deployments).await?,
    }
    writer.apply(&disruption_budget, &children.disruption_budgets).await?;
    if let Some(ingress) = &ingress {
        writer.apply(ingress, &children.ingresses).await?;
    }
    if let Some(autoscaler) = &autoscaler {
        writer.apply(autoscaler, &children.autoscalers).await?;
    }
    writer.apply_optional(service_monitor, &service_monitor_resource(), &children.service_monitors).await?;

    if stateful_set.is_none() && retirement::is_early(writer, children) {
        writer.spare(Component::Valkey);
    }
    writer.prune(ingress.as_slice(), &children.ingresses).await?;
    writer.prune(stateful_set.as_slice(), &children.stateful_sets).await?;
    writer.prune(&services, &children.services).await?;
    writer.prune(&network_policies, &children.network_policies).await?;
    writer.prune(secret.as_slice(), &children.secrets).await?;
    writer.prune(&config_maps, &children.config_maps).await?;
    writer.prune(&service_accounts, &children.service_accounts).await?;
    notes.extend(writer.has_spared().then(retirement::note));
    Ok(notes)
}
