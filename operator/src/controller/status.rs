//! Step 5: says what is. One pure function per condition; times of transition are kept. The only writer is
//! `status/writer.rs`.

mod autoscaling;
mod degraded;
mod exposure;
mod instances;
mod observed;
mod pods;
mod progressing;
mod ready;
mod redis;
mod writer;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::apply::{Applied, ChildRef, Failure, Revert};
use super::dereference::DereferenceError;
use super::validate::{Invalid, Note, ValidatedCluster};
use crate::crd::{ChatCluster, ChatClusterStatus, Condition, ConditionStatus, RedisStatus};
use crate::names::{Component, Names};

pub use observed::{Latest, Observed, Rollout, observe};
pub use writer::{tell_reverts, write};

/// So long instances or their Valkey may be missing before somebody should look: the restart of a pod, the drain of a node
/// and one more instance take less.
const GRACE: SignedDuration = SignedDuration::from_mins(2);

/// Whether [`GRACE`] is over.
fn is_long_ago(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) >= GRACE
}

/// How far a reconcile came.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// The author of the spec must put something right; nothing was applied.
    Refused(&'a Invalid),
    /// Something that the spec names could not be read.
    Unread(&'a DereferenceError),
    /// Something could not be applied.
    Failed(&'a ValidatedCluster, &'a Failure),
    /// Everything was applied.
    Applied(&'a ValidatedCluster, &'a Applied),
}

impl<'a> Outcome<'a> {
    /// Edits of others that were taken back.
    fn reverts(self) -> &'a [Revert] {
        match self {
            Self::Refused(_) | Self::Unread(_) => &[],
            Self::Failed(_, failure) => &failure.reverts,
            Self::Applied(_, applied) => &applied.reverts,
        }
    }

    /// What is not as the spec says, and does no harm yet.
    fn notes(self) -> &'a [Note] {
        match self {
            Self::Applied(_, applied) => &applied.notes,
            Self::Refused(_) | Self::Unread(_) | Self::Failed(..) => &[],
        }
    }

    /// The spec with every choice made, if it is good.
    #[must_use]
    pub fn validated(self) -> Option<&'a ValidatedCluster> {
        match self {
            Self::Refused(_) | Self::Unread(_) => None,
            Self::Failed(cluster, _) | Self::Applied(cluster, _) => Some(cluster),
        }
    }

    /// What a condition of this reason is about besides the ChatCluster.
    fn child(self, reason: &str) -> Option<&'a ChildRef> {
        match self {
            Self::Failed(_, failure) if failure.error.reason() == reason => Some(failure.error.child()),
            Self::Refused(_) | Self::Unread(_) | Self::Failed(..) | Self::Applied(..) => None,
        }
    }
}

/// Everything that a condition is made of.
#[derive(Debug, Clone, Copy)]
struct Facts<'a> {
    /// How far the reconcile came.
    outcome: Outcome<'a>,
    /// What is in the cluster.
    observed: &'a Observed,
    /// All of this spec was applied in a reconcile before.
    applied_before: bool,
    /// Since when `RedisReady` has been False.
    redis_failed: Option<Timestamp>,
    /// The time.
    now: Timestamp,
}

/// One condition without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    status: ConditionStatus,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::True, reason, message: message.into() }
    }

    fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::False, reason, message: message.into() }
    }

    fn unknown(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::Unknown, reason, message: message.into() }
    }
}

impl Facts<'_> {
    /// The spec with every choice made, if it is good.
    fn validated(&self) -> Option<&ValidatedCluster> {
        self.outcome.validated()
    }

    /// The spec, if all of it was applied and what failed since is no harm to those who connect: then what is seen in the
    /// cluster is what the spec leads to.
    fn in_force(&self) -> Option<&ValidatedCluster> {
        match self.outcome {
            Outcome::Applied(cluster, _) => Some(cluster),
            Outcome::Failed(cluster, failure) if self.applied_before && failure.error.is_harmless() => Some(cluster),
            Outcome::Failed(..) | Outcome::Unread(_) | Outcome::Refused(_) => None,
        }
    }

    /// What is wrong with the backplane or the instances for longer than a moment, as reason and message: the cause first.
    fn trouble(self) -> Option<(&'static str, String)> {
        redis::trouble(self).map(|verdict| (verdict.reason, verdict.message)).or_else(|| instances::trouble(self))
    }

    /// Why what the spec says is not in force, as reason and message.
    fn obstacle(&self) -> Option<(&'static str, String)> {
        match self.outcome {
            Outcome::Refused(invalid) => Some((invalid.reason, invalid.message.clone())),
            Outcome::Unread(error) => Some((error.reason(), error.to_string())),
            Outcome::Failed(_, Failure { error, .. }) => Some((error.reason(), error.to_string())),
            Outcome::Applied(..) => None,
        }
    }
}

/// The whole status; `last` is the one before.
#[must_use]
pub fn status(
    cluster: &ChatCluster,
    last: ChatClusterStatus,
    outcome: Outcome<'_>,
    observed: &Observed,
    now: Timestamp,
) -> ChatClusterStatus {
    let generation = cluster.metadata.generation;
    let facts = Facts {
        outcome,
        observed,
        applied_before: exposure::was_applied(&last.conditions, generation),
        redis_failed: redis::failed_since(&last.conditions),
        now,
    };
    let verdicts = [
        ("Ready", ready::of(facts)),
        ("Progressing", progressing::of(facts)),
        ("Degraded", degraded::of(facts)),
        ("RedisReady", redis::of(facts)),
        ("ExposureReady", exposure::of(facts)),
        ("AutoscalingReady", autoscaling::of(facts)),
    ];
    let conditions = verdicts.map(|(type_, verdict)| condition(type_, verdict, &last.conditions, generation, now));
    let selector = Names::of(cluster.metadata.name.as_deref().unwrap_or_default()).selector(Component::Chat);
    let selector: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let validated = facts.validated();
    ChatClusterStatus {
        observed_generation: generation,
        replicas: observed.instances,
        ready_replicas: observed.ready,
        draining_replicas: observed.draining,
        connections: observed.count.sessions,
        selector: Some(selector.join(",")),
        url: match validated {
            Some(validated) => validated.ingress.as_ref().map(super::validate::ValidatedIngress::url),
            None => last.url,
        },
        redis: match validated {
            Some(validated) => Some(RedisStatus { mode: validated.backplane.mode().to_owned() }),
            None => last.redis,
        },
        conditions: conditions.into(),
    }
}

/// Whether something is on its way that no event may end, but time.
#[must_use]
pub fn is_under_way(status: &ChatClusterStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| match condition.type_.as_str() {
        "Progressing" => condition.status == ConditionStatus::True,
        "RedisReady" => condition.reason == redis::STARTING,
        _ => false,
    })
}

/// What keeps something from running, as the end of a sentence.
fn because(hindrances: &BTreeSet<String>) -> String {
    let hindrances: Vec<_> = hindrances.iter().map(String::as_str).collect();
    if hindrances.is_empty() { String::new() } else { format!(" ({})", hindrances.join("; ")) }
}

fn condition(type_: &str, verdict: Verdict, last: &[Condition], generation: Option<i64>, now: Timestamp) -> Condition {
    let before = last.iter().find(|condition| condition.type_ == type_ && condition.status == verdict.status);
    Condition {
        type_: type_.to_owned(),
        status: verdict.status,
        reason: verdict.reason.to_owned(),
        message: verdict.message,
        // Whole seconds: the API server keeps no more, and a status that differs is written again.
        last_transition_time: before
            .map_or_else(|| Time(whole_seconds(now)), |before| before.last_transition_time.clone()),
        observed_generation: generation,
    }
}

fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
