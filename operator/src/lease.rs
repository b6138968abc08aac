//! Which of several replicas acts: the one that holds the Lease. No two machines' clocks are compared. Whoever stands by
//! takes the Lease only after it has stayed the same for its whole duration by the own clock; whoever holds it stops well
//! before that; and every write names the version that it was decided on, so that one that comes late changes nothing.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;

use crate::clock;
use crate::health::Health;
use crate::names::FIELD_MANAGER;
use crate::term::Term;

/// How long it stays the same before another replica takes it.
const DURATION: Duration = Duration::from_secs(15);
/// How long a replica acts after it began to renew it. The rest is for writes that are on their way.
const ACTS: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// See the module.
pub struct Lease {
    api: Api<Object>,
    name: String,
    identity: String,
    term: Term,
    health: Health,
    /// The version of another holder that was seen last, and since when.
    seen: Option<(Option<String>, Instant)>,
}

/// Why a replica may not act any more.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Lost {
    /// Another one acts.
    #[error("the Lease was lost to another replica")]
    Taken,
    /// Another one may act soon.
    #[error("the Lease could not be renewed for {} seconds", ACTS.as_secs())]
    NotRenewed,
}

impl Lease {
    /// The Lease `name` of `namespace`, as `identity` sees it. The term follows it.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, term: Term, health: Health) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), identity: identity.to_owned(), term, health, seen: None }
    }

    /// Until this replica holds the Lease.
    pub async fn acquire(&mut self) {
        while !self.look().await.unwrap_or(false) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Renews the Lease, until that is not possible any more.
    pub async fn keep(&mut self) -> Lost {
        loop {
            let until = self.term.until();
            let renewed = async {
                loop {
                    tokio::time::sleep(PAUSE).await;
                    if let Some(held) = self.look().await {
                        return held;
                    }
                }
            };
            match tokio::time::timeout_at(until, renewed).await {
                Ok(true) => {}
                Ok(false) => return self.lost(Lost::Taken),
                Err(_) => return self.lost(Lost::NotRenewed),
            }
        }
    }

    /// Gives the Lease back, so that another replica need not wait for it. Nothing may be written after this.
    pub async fn release(&mut self) {
        self.term.end();
        if let Err(error) = self.free().await {
            tracing::warn!(error = %error, "the Lease was not released");
        }
    }

    fn lost(&self, why: Lost) -> Lost {
        self.term.end();
        why
    }

    /// One look. Whether this replica holds the Lease; nothing if that could not be learnt.
    async fn look(&mut self) -> Option<bool> {
        let held = self.claim().await;
        self.health.looked_at_lease(held.is_ok());
        held.inspect_err(|error| tracing::warn!(error = %error, "the Lease could not be read or written; trying again"))
            .ok()
    }

    /// Takes the Lease if it is free, renews it if it is held.
    async fn claim(&mut self) -> Result<bool, kube::Error> {
        let Some(Object { metadata, spec }) = self.api.get_opt(&self.name).await? else {
            // Free, and taken at the next look, by whoever looks first.
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            self.api.create(&PostParams::default(), &Object { metadata, spec: None }).await?;
            return Ok(false);
        };
        let spec = spec.unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        let began = clock::instant();
        let is_mine = holder.as_ref() == Some(&self.identity);
        if holder.is_some() && !is_mine {
            let since = match &self.seen {
                Some((version, since)) if *version == metadata.resource_version => *since,
                _ => began,
            };
            self.seen = Some((metadata.resource_version.clone(), since));
            let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            if began - since < seconds.map_or(DURATION, Duration::from_secs) {
                return Ok(false);
            }
        }
        let now = MicroTime(clock::now());
        let mut claimed = json!({
            "metadata": { "resourceVersion": metadata.resource_version },
            "spec": { "holderIdentity": self.identity, "leaseDurationSeconds": DURATION.as_secs(), "renewTime": now },
        });
        if !is_mine {
            claimed["spec"]["acquireTime"] = json!(now);
            claimed["spec"]["leaseTransitions"] = json!(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        self.api.patch(&self.name, &parameters(), &Patch::Merge(claimed)).await?;
        self.term.prolong(began + ACTS);
        Ok(true)
    }

    async fn free(&self) -> Result<(), kube::Error> {
        let Some(Object { metadata, spec }) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        if spec.and_then(|spec| spec.holder_identity).as_ref() == Some(&self.identity) {
            let freed = json!({
                "metadata": { "resourceVersion": metadata.resource_version },
                "spec": { "holderIdentity": null, "acquireTime": null, "renewTime": null },
            });
            self.api.patch(&self.name, &parameters(), &Patch::Merge(freed)).await?;
        }
        Ok(())
    }
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests;
