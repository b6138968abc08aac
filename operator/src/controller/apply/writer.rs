//! Writes one child at a time: looks whether it is the operator's, applies it, tells whose edit was taken back, prunes.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::children::{Shelf, fingerprint};
use super::super::context::Context;
use super::super::ledger::{Key, digest};
use super::super::validate::ValidatedCluster;
use crate::clock;
use crate::names::FIELD_MANAGER;

/// Somebody else's edit that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revert {
    /// `Deployment demo`.
    pub child: String,
    /// What the API server said: who, and which fields.
    pub conflict: String,
}

/// Why a child could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of that name belongs to somebody else.
    #[error(
        "there is already a {kind} {name} that the operator did not make: delete or rename it, or give the ChatCluster another name"
    )]
    NameTaken {
        /// Of the object.
        kind: String,
        /// Of the object.
        name: String,
    },
    /// Somebody sets the same fields again and again.
    #[error(
        "{child} is changed back again and again: {conflict}; make that stop, the operator tries again in ten minutes"
    )]
    Contested {
        /// `Deployment demo`.
        child: String,
        /// What the API server said.
        conflict: String,
    },
    /// The API server does not want it so.
    #[error("the API server refuses {child}: {message}")]
    Refused {
        /// `Deployment demo`.
        child: String,
        /// Its words.
        message: String,
    },
    /// The API server could not be asked, or changed its mind meanwhile.
    #[error("{child} could not be written: {cause}")]
    Api {
        /// `Deployment demo`.
        child: String,
        /// Why. Part of the message, since people read it in a condition.
        cause: Box<kube::Error>,
    },
}

impl ApplyError {
    /// A stable word for conditions and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NameTaken { .. } => "NameTaken",
            Self::Contested { .. } => "FieldConflict",
            Self::Refused { message, .. } if message.contains("exceeded quota") => "QuotaExceeded",
            Self::Refused { .. } => "ChildRefused",
            Self::Api { .. } => "ApiUnavailable",
        }
    }

    fn of(child: &str, error: kube::Error) -> Self {
        match &error {
            // Forbidden is also the answer of a quota.
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => {
                Self::Refused { child: child.to_owned(), message: status.message.clone() }
            }
            _ => Self::Api { child: child.to_owned(), cause: Box::new(error) },
        }
    }
}

/// Writes the children of one ChatCluster.
pub(super) struct Writer<'a> {
    cluster: &'a ValidatedCluster,
    context: &'a Context,
    reverts: Vec<Revert>,
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
        Self { cluster, context, reverts: Vec::new() }
    }

    pub(super) fn into_reverts(self) -> Vec<Revert> {
        self.reverts
    }

    /// The generation that a child has since it was applied.
    pub(super) fn generation(&self, kind: &str, name: &str) -> Option<i64> {
        self.context.ledger.generation(&self.key(kind, name))
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
        self.look::<K>(&child.name_any(), shelf).await?;
        self.patch(child).await
    }

    /// Creates a child that must not be there yet. If it is, the next round reads it.
    pub(super) async fn create<K: Child>(&mut self, child: &K, shelf: &dyn Shelf) -> Result<(), ApplyError> {
        let text = describe(child);
        self.look::<K>(&child.name_any(), shelf).await?;
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.api::<K>().create(&parameters, child).await.map_err(|error| ApplyError::of(&text, error))?;
        // From the first moment owned in the way in which everything else is.
        self.patch(child).await
    }

    /// Applies at once, without looking.
    pub(super) async fn patch<K: Child>(&mut self, child: &K) -> Result<(), ApplyError> {
        let (name, text) = (child.name_any(), describe(child));
        let key = self.key(&K::kind(&()), &name);
        let api = self.api::<K>();
        let polite = PatchParams::apply(FIELD_MANAGER);
        let written = match api.patch(&name, &polite, &Patch::Apply(child)).await {
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                self.note_revert(&key, &text, &status.message)?;
                api.patch(&name, &polite.force(), &Patch::Apply(child)).await
            }
            other => other,
        };
        let written = written.map_err(|error| ApplyError::of(&text, error))?;
        self.context.metrics.written(&key.kind);
        let meta = written.meta();
        self.context.ledger.note(key, hash(child), fingerprint(meta), meta.generation);
        Ok(())
    }

    /// A kind that the API server may not know: applied if wanted, else removed if it was made before.
    pub(super) async fn apply_optional(
        &mut self,
        child: Option<DynamicObject>,
        resource: &ApiResource,
    ) -> Result<(), ApplyError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.context.client.clone(), &self.cluster.namespace, resource);
        let name = child.as_ref().map_or_else(|| self.cluster.names.chat(), ResourceExt::name_any);
        let text = format!("{} {name}", resource.kind);
        let key = self.key(&resource.kind, &name);
        // Its labels are wanted as much as its data: by them a Prometheus finds it.
        let desired =
            child.as_ref().map_or_else(|| Ok("nothing".to_owned()), serde_json::to_string).unwrap_or_default();
        // Nobody watches these, so what was done once is believed until the spec changes or the operator restarts.
        let done = Some(resource.kind.clone());
        if self.context.ledger.is_settled(&key, digest(&desired), done.as_ref()) {
            return Ok(());
        }
        let live = match api.get_metadata_opt(&name).await {
            Ok(live) => live,
            // Without the kind there is nothing to remove; and nothing is wanted, or `validate` would have said so.
            // A kind that it does not know is answered by 404 without a reason.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => None,
            Err(error) => return Err(ApplyError::of(&text, error)),
        };
        let ours = live.as_ref().is_none_or(|live| self.is_ours(&live.metadata));
        match child {
            Some(_) if !ours => return Err(ApplyError::NameTaken { kind: resource.kind.clone(), name }),
            Some(child) => {
                let force = PatchParams::apply(FIELD_MANAGER).force();
                api.patch(&name, &force, &Patch::Apply(&child)).await.map_err(|error| ApplyError::of(&text, error))?;
            }
            None if live.is_some() && ours => {
                api.delete(&name, &DeleteParams::default()).await.map_err(|error| ApplyError::of(&text, error))?;
            }
            None => {}
        }
        self.context.ledger.note(key, digest(&desired), done, None);
        Ok(())
    }

    /// Deletes children of a kind that are the operator's and not among those to keep.
    pub(super) async fn prune<K: Child>(&mut self, keep: &[K], shelf: &dyn Shelf) -> Result<(), ApplyError> {
        for meta in shelf.metas(&self.cluster.namespace, &self.cluster.names.chat()) {
            let name = meta.name.clone().unwrap_or_default();
            let wanted = keep.iter().any(|child| child.name_any() == name);
            if wanted || !self.is_ours(&meta) || meta.deletion_timestamp.is_some() {
                continue;
            }
            let kind = K::kind(&());
            let exactly = Preconditions { uid: meta.uid, resource_version: None };
            let parameters = DeleteParams { preconditions: Some(exactly), ..DeleteParams::background() };
            match self.api::<K>().delete(&name, &parameters).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(error) => return Err(ApplyError::of(&format!("{kind} {name}"), error)),
            }
            self.context.metrics.pruned(&kind);
            self.context.ledger.forget(&self.key(&kind, &name));
        }
        Ok(())
    }

    /// Makes sure that the name is free, or the operator's own.
    async fn look<K: Child>(&self, name: &str, shelf: &dyn Shelf) -> Result<(), ApplyError> {
        let kind = K::kind(&());
        let live = match shelf.meta(&self.cluster.namespace, name).filter(|meta| self.is_ours(meta)) {
            Some(_) => return Ok(()),
            // What nobody made with our label is not in the store.
            None => self.api::<K>().get_metadata_opt(name).await,
        };
        let live = live.map_err(|error| ApplyError::of(&format!("{kind} {name}"), error))?;
        match live {
            Some(live) if !self.is_ours(&live.metadata) => {
                Err(ApplyError::NameTaken { kind: kind.into_owned(), name: name.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn note_revert(&mut self, key: &Key, child: &str, conflict: &str) -> Result<(), ApplyError> {
        let conflict = conflict.to_owned();
        if !self.context.ledger.may_revert(key, clock::now()) {
            return Err(ApplyError::Contested { child: child.to_owned(), conflict });
        }
        self.reverts.push(Revert { child: child.to_owned(), conflict });
        Ok(())
    }

    fn is_ours(&self, meta: &ObjectMeta) -> bool {
        meta.owner_references
            .iter()
            .flatten()
            .any(|owner| owner.controller == Some(true) && owner.uid == self.cluster.uid)
    }

    fn key(&self, kind: &str, name: &str) -> Key {
        Key { owner_uid: self.cluster.uid.clone(), kind: kind.to_owned(), name: name.to_owned() }
    }
}

fn describe<K: Child>(child: &K) -> String {
    format!("{} {}", K::kind(&()), child.name_any())
}

fn hash<K: Child>(child: &K) -> u64 {
    digest(&serde_json::to_string(child).unwrap_or_default())
}
