//! Keeps every ChatCluster as declared. One reconcile is a pipeline of five steps: dereference → validate → build →
//! apply → status. Steps two and three are pure.

pub mod dereference;

pub mod validate;

pub mod build;

pub mod apply;

pub mod status;

pub mod census;
pub mod children;
pub mod context;
pub mod ledger;
pub mod watches;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;

use crate::clock;
use crate::crd::{ChatCluster, ChatClusterStatus};
use crate::names::Names;
use apply::{ApplyError, Failure};
use context::Context;
use dereference::DereferenceError;
use ledger::Key;
use status::{Latest, Observed, Outcome};

/// Without any event, everything is looked at again after this.
const SLOWLY: Duration = Duration::from_mins(10);
/// First pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// So often in a row an API server may fail to answer before people are told: the second try comes after a second, the
/// third after two more.
const PASSING: u32 = 2;

/// Why a reconcile has to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// What the spec points to could not be read.
    #[error(transparent)]
    Dereference(#[from] DereferenceError),
    /// A child could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The status could not be written.
    #[error("the status could not be written")]
    Status(#[source] kube::Error),
}

impl ReconcileError {
    /// A stable word for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Dereference(error) => error.reason(),
            Self::Apply(error) => error.reason(),
            Self::Status(_) => "StatusFailed",
        }
    }
}

/// One reconcile.
///
/// # Errors
/// Something that another try may mend. What only a user can mend is no error: it is in the status, and waits for a change.
pub async fn reconcile(
    object: Arc<DeserializeGuard<ChatCluster>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let Ok(cluster) = &object.0 else {
        tracing::warn!(name = %object.name_any(), "a ChatCluster cannot be read: it was stored under another schema");
        return Ok(Action::await_change());
    };
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let began = clock::now();
    // On the heap, because all children and all their writes are in it.
    let result = Box::pin(five_steps(cluster, &context, began)).await;
    let seconds = clock::now().duration_since(began).as_secs_f64();
    context.metrics.reconciled(result.as_ref().map_or_else(ReconcileError::reason, |_| "ok"), seconds);
    let uid = cluster.uid().unwrap_or_default();
    if result.is_ok() {
        context.failures.lock().remove(&uid);
    }
    result
}

async fn five_steps(cluster: &ChatCluster, context: &Context, now: Timestamp) -> Result<Action, ReconcileError> {
    let references = match dereference::dereference(cluster, context).await {
        Ok(references) => references,
        Err(error) => {
            fail(cluster, Outcome::Unread(&error), error.is_passing(), context, now).await;
            return Err(error.into());
        }
    };
    let validated = match validate::validate(cluster, &references, &context.usual_image) {
        Ok(validated) => validated,
        Err(invalid) => {
            tell(cluster, Outcome::Refused(&invalid), context, now).await?;
            return Ok(Action::await_change());
        }
    };
    let resources = build::build(&validated, &context.surroundings);
    match Box::pin(apply::apply(&validated, resources, context)).await {
        Ok(applied) => Ok(Action::requeue(tell(cluster, Outcome::Applied(&validated, &applied), context, now).await?)),
        // Nobody is left to be told.
        Err(Failure { error: ApplyError::NamespaceTerminating { .. }, .. }) => Ok(Action::await_change()),
        Err(failure) => {
            let is_passing = failure.error.is_passing();
            fail(cluster, Outcome::Failed(&validated, &failure), is_passing, context, now).await;
            Err(failure.error.into())
        }
    }
}

/// Tells of a failure, of a passing one only when it comes again and again. That it could not be told as well is only logged.
async fn fail(cluster: &ChatCluster, outcome: Outcome<'_>, is_passing: bool, context: &Context, now: Timestamp) {
    let before = context.failures.lock().get(&cluster.uid().unwrap_or_default()).copied().unwrap_or_default();
    if is_passing && before < PASSING {
        status::tell_reverts(cluster, outcome, context).await;
        return;
    }
    if let Err(untold) = tell(cluster, outcome, context, now).await {
        tracing::warn!(error = %chain(&untold), "a failure could not be told");
    }
}

async fn observe(cluster: &ChatCluster, outcome: Outcome<'_>, context: &Context, now: Timestamp) -> Observed {
    let (names, uid) = (Names::of(&cluster.name_any()), cluster.uid().unwrap_or_default());
    let generation = |kind: &str, name: String| context.ledger.generation(&Key::new(&uid, kind, name));
    let latest = Latest {
        deployment: generation("Deployment", names.chat()),
        stateful_set: generation("StatefulSet", names.valkey()),
        settings: outcome.validated().map(build::settings_checksum),
    };
    let namespace = cluster.namespace().unwrap_or_default();
    let mut observed = status::observe(&context.children, &namespace, &names, &latest, now);
    observed.count = context.census.count(&uid, &observed.addresses, now).await;
    observed
}

/// Writes the status, and says when to look again.
async fn tell(
    cluster: &ChatCluster,
    outcome: Outcome<'_>,
    context: &Context,
    now: Timestamp,
) -> Result<Duration, ReconcileError> {
    let observed = observe(cluster, outcome, context, now).await;
    let status = status::status(cluster, context.told.last(cluster), outcome, &observed, now);
    status::write(cluster, &status, outcome, context).await.map_err(ReconcileError::Status)?;
    Ok(next_look(&observed, &status))
}

/// Where there are instances, their sessions are counted now and then; and what is on its way may take too long.
fn next_look(observed: &Observed, status: &ChatClusterStatus) -> Duration {
    let waits = !observed.addresses.is_empty() || status::is_under_way(status);
    if waits { census::INTERVAL } else { SLOWLY }
}

/// How long to wait after a failure.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
pub fn error_policy(
    object: Arc<DeserializeGuard<ChatCluster>>,
    error: &ReconcileError,
    context: Arc<Context>,
) -> Action {
    let uid = object.uid().unwrap_or_default();
    let mut failures = context.failures.lock();
    let count = failures.entry(uid).or_insert(0);
    *count = count.saturating_add(1);
    let pause = pause(error, *count);
    tracing::warn!(
        cluster.name = %object.name_any(),
        cluster.namespace = %object.namespace().unwrap_or_default(),
        error = %chain(error),
        pause_seconds = pause.as_secs(),
        "a ChatCluster could not be reconciled"
    );
    Action::requeue(pause)
}

/// A fight is left alone for a while; everything else is tried again, less and less often.
fn pause(error: &ReconcileError, failures: u32) -> Duration {
    match error {
        ReconcileError::Apply(ApplyError::Contested { .. }) => SLOWLY,
        _ => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The ValidatedCluster of YAML, for tests of later steps.
#[cfg(test)]
pub(crate) mod fixtures;

#[cfg(test)]
mod tests;
