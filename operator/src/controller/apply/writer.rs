//! Writes one child at a time: looks whether it is the operator's, applies it, tells whose edit was taken back, prunes.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::children::{Monitors, Shelf, fingerprint};
use super::super::context::Context;
use super::super::ledger::{Key, Ledger, digest};
use super::super::validate::{Backplane, ValidatedCluster};
use super::error::{ApplyError, ChildRef, Revert};
use crate::clock;
use crate::names::{COMPONENT_LABEL, Component, FIELD_MANAGER};

/// Writes the children of one ChatCluster.
pub(super) struct Writer<'a> {
    cluster: &'a ValidatedCluster,
    context: &'a Context,
    reverts: Vec<Revert>,
    /// Its children are not pruned.
    spared: Option<Component>,
    has_spared: bool,
}

/// A child of a kind that is known at compile time.
pub(super) trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl<K> Child for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl<'a> Writer<'a> {
    pub(super) fn new(cluster: &'a ValidatedCluster, context: &'a Context) -> Self {
        Self { cluster, context, reverts: Vec::new(), spared: None, has_spared: false }
    }

    pub(super) fn into_reverts(self) -> Vec<Revert> {
        self.reverts
    }

    /// From now on nothing of this component is pruned.
    pub(super) fn spare(&mut self, component: Component) {
        self.spared = Some(component);
    }

    /// Whether there was something that would have been pruned otherwise.
    pub(super) fn has_spared(&self) -> bool {
        self.has_spared
    }

    pub(super) fn cluster(&self) -> &'a ValidatedCluster {
        self.cluster
    }

    /// Notes the password that the managed Valkey has from now on.
    pub(super) fn note_password(&self, secret: &Secret) {
        if let Backplane::Managed(valkey) = &self.cluster.backplane {
            self.context.ledger.note_password(self.key("Secret", &secret.name_any()), &valkey.password);
        }
    }

    /// The number of instances is about to come back from an autoscaler.
    pub(super) fn expect_back(&self, deployment: &Deployment) {
        self.context.ledger.expect_back(self.key("Deployment", &deployment.name_any()), true);
    }

    /// The number of instances is back.
    pub(super) fn is_back(&self, deployment: &Deployment) {
        self.context.ledger.expect_back(self.key("Deployment", &deployment.name_any()), false);
    }

    pub(super) fn is_expected_back(&self, deployment: &Deployment) -> bool {
        self.context.ledger.is_expected_back(&self.key("Deployment", &deployment.name_any()))
    }

    pub(super) fn ledger(&self) -> &'a Ledger {
        &self.context.ledger
    }

    pub(super) fn namespace(&self) -> &'a str {
        &self.cluster.namespace
    }

    pub(super) fn cluster_name(&self) -> String {
        self.cluster.names.chat()
    }

    /// Counts a write of this kind.
    pub(super) fn count(&self, kind: &str) {
        self.context.metrics.written(kind);
    }

    pub(super) fn api<K: Child>(&self) -> Api<K> {
        Api::namespaced(self.context.client.clone(), &self.cluster.namespace)
    }

    /// Whether the child is just so already.
    pub(super) fn is_settled<K: Child>(&self, child: &K, shelf: &dyn Shelf) -> bool {
        let name = child.name_any();
        let live = shelf.meta(&self.cluster.namespace, &name).filter(|meta| self.is_ours(meta));
        let print = live.as_ref().and_then(fingerprint);
        self.context.ledger.is_settled(&self.key(&K::kind(&()), &name), hash(child), print.as_ref())
    }

    /// Applies a child, unless it is just so already.
    pub(super) async fn apply<K: Child>(&mut self, child: &K, shelf: &dyn Shelf) -> Result<(), ApplyError> {
        if self.is_settled(child, shelf) {
            return Ok(());
        }
        let edited = self.look::<K>(&child.name_any(), shelf).await?;
        self.patch(child, edited).await
    }

    /// Creates a child that was not there. If it is by now, the next round reads it.
    pub(super) async fn create<K: Child>(&mut self, child: &K, shelf: &dyn Shelf) -> Result<(), ApplyError> {
        self.look::<K>(&child.name_any(), shelf).await?;
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let created = self.api::<K>().create(&parameters, child).await;
        created.map_err(|error| ApplyError::of(self.reference::<K>(&child.name_any()), error))?;
        // From the first moment owned in the way in which everything else is.
        self.patch(child, None).await
    }

    /// Applies at once, without looking. `edited` is the version that somebody else's edit led to, if there is one.
    async fn patch<K: Child>(&mut self, child: &K, edited: Option<String>) -> Result<(), ApplyError> {
        let name = child.name_any();
        let (key, reference) = (self.key(&K::kind(&()), &name), self.reference::<K>(&name));
        let api = self.api::<K>();
        let (ledger, desired) = (&self.context.ledger, hash(child));
        let before = ledger.fingerprint(&key, desired).filter(|_| edited.is_some());
        // Who gives way only asks what would change.
        let gives_way = before.is_some() && ledger.is_worn_out(&key, clock::now());
        let polite = PatchParams { dry_run: gives_way, ..PatchParams::apply(FIELD_MANAGER) };
        let written = match api.patch(&name, &polite, &Patch::Apply(child)).await {
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                let conflict = status.message.clone();
                if !ledger.may_revert(&key, clock::now()) {
                    return Err(ApplyError::Contested { child: reference, conflict });
                }
                let written = api.patch(&name, &polite.force(), &Patch::Apply(child)).await;
                if written.is_ok() {
                    self.reverts.push(Revert { child: reference.clone().at(edited), conflict });
                }
                written
            }
            // No conflict, and yet it has to be changed: fields were taken away, or set under the operator's own name.
            Ok(written) if before.is_some_and(|before| fingerprint(written.meta()).as_ref() != Some(&before)) => {
                if gives_way || !ledger.may_revert(&key, clock::now()) {
                    let conflict =
                        "by whom is not known; another parley-operator that looks after this namespace would do so";
                    return Err(ApplyError::Contested { child: reference, conflict: conflict.to_owned() });
                }
                Ok(written)
            }
            other => other,
        };
        let written = written.map_err(|error| ApplyError::of(reference, error))?;
        self.context.metrics.written(&key.kind);
        let meta = written.meta();
        ledger.note(key, desired, fingerprint(meta), meta.generation);
        Ok(())
    }

    /// A kind that the API server may not know: applied if wanted, else removed if it was made before.
    pub(super) async fn apply_optional(
        &mut self,
        child: Option<DynamicObject>,
        resource: &ApiResource,
        shelf: &Monitors,
    ) -> Result<(), ApplyError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.context.client.clone(), &self.cluster.namespace, resource);
        let name = child.as_ref().map_or_else(|| self.cluster.names.chat(), ResourceExt::name_any);
        let reference = ChildRef::new(&resource.api_version, &resource.kind, &self.cluster.namespace, &name);
        let key = self.key(&resource.kind, &name);
        // Its labels are wanted as much as its data: by them a Prometheus finds it.
        let desired = digest(&child.as_ref().map_or_else(|| "nothing".to_owned(), |child| hash(child).to_string()));
        let seen = shelf.meta(&self.cluster.namespace, &name).filter(|meta| self.is_ours(meta));
        let print = match (&child, &seen) {
            (Some(_), seen) => seen.as_ref().and_then(fingerprint),
            // That nothing was there is believed once it was seen, as long as nothing comes up.
            (None, None) => Some("nothing".to_owned()),
            (None, Some(_)) => None,
        };
        if self.context.ledger.is_settled(&key, desired, print.as_ref()) {
            return Ok(());
        }
        let live = match api.get_metadata_opt(&name).await {
            Ok(live) => live,
            // Without the kind there is nothing to remove; and nothing is wanted, or `validate` would have said so.
            // A kind that it does not know is answered by 404 without a reason.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => None,
            Err(error) => return Err(ApplyError::of(reference, error)),
        };
        let ours = live.as_ref().is_none_or(|live| self.is_ours(&live.metadata));
        let print = match child {
            Some(_) if !ours => return Err(ApplyError::NameTaken { child: reference }),
            Some(child) => {
                let force = PatchParams::apply(FIELD_MANAGER).force();
                let written = api.patch(&name, &force, &Patch::Apply(&child)).await;
                let written = written.map_err(|error| ApplyError::of(reference, error))?;
                self.context.metrics.written(&resource.kind);
                shelf.exist();
                fingerprint(&written.metadata)
            }
            None => {
                if live.is_some() && ours {
                    api.delete(&name, &DeleteParams::default())
                        .await
                        .map_err(|error| ApplyError::of(reference, error))?;
                }
                print
            }
        };
        self.context.ledger.note(key, desired, print, None);
        Ok(())
    }

    /// Deletes children of a kind that are the operator's and not among those to keep; true if there was one.
    pub(super) async fn prune<K: Child>(&mut self, keep: &[K], shelf: &dyn Shelf) -> Result<bool, ApplyError> {
        let mut any = false;
        for meta in shelf.metas(&self.cluster.namespace, &self.cluster.names.chat()) {
            let name = meta.name.clone().unwrap_or_default();
            let wanted = keep.iter().any(|child| child.name_any() == name);
            if wanted || !self.is_ours(&meta) || meta.deletion_timestamp.is_some() {
                continue;
            }
            let component = meta.labels.as_ref().and_then(|labels| labels.get(COMPONENT_LABEL));
            if self.spared.is_some_and(|spared| component.is_some_and(|component| component == spared.as_str())) {
                self.has_spared = true;
                continue;
            }
            let kind = K::kind(&());
            let exactly = Preconditions { uid: meta.uid, resource_version: None };
            let parameters = DeleteParams { preconditions: Some(exactly), ..DeleteParams::background() };
            match self.api::<K>().delete(&name, &parameters).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(error) => return Err(ApplyError::of(self.reference::<K>(&name), error)),
            }
            any = true;
            self.context.metrics.pruned(&kind);
            self.context.ledger.forget(&self.key(&kind, &name));
        }
        Ok(any)
    }

    /// Makes sure that the name is free, or the operator's own. Tells the version of what is there.
    async fn look<K: Child>(&self, name: &str, shelf: &dyn Shelf) -> Result<Option<String>, ApplyError> {
        if let Some(live) = shelf.meta(&self.cluster.namespace, name).filter(|meta| self.is_ours(meta)) {
            return Ok(live.resource_version);
        }
        // What nobody made with our label is not in the store.
        let live = self.api::<K>().get_metadata_opt(name).await;
        let live = live.map_err(|error| ApplyError::of(self.reference::<K>(name), error))?;
        match live {
            Some(live) if !self.is_ours(&live.metadata) => {
                Err(ApplyError::NameTaken { child: self.reference::<K>(name) })
            }
            live => Ok(live.and_then(|live| live.metadata.resource_version)),
        }
    }

    pub(super) fn is_ours(&self, meta: &ObjectMeta) -> bool {
        meta.owner_references
            .iter()
            .flatten()
            .any(|owner| owner.controller == Some(true) && owner.uid == self.cluster.uid)
    }

    pub(super) fn reference<K: Child>(&self, name: &str) -> ChildRef {
        ChildRef::new(&K::api_version(&()), &K::kind(&()), &self.cluster.namespace, name)
    }

    pub(super) fn key(&self, kind: &str, name: &str) -> Key {
        Key::new(&self.cluster.uid, kind, name.to_owned())
    }
}

fn hash<K: Serialize>(child: &K) -> u64 {
    digest(&serde_json::to_string(child).unwrap_or_default())
}
