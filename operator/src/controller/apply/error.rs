//! What there is to tell of an application: edits that were taken back, and the child at which it ended.

use std::fmt;

use k8s_openapi::api::core::v1::ObjectReference;

/// Names a child: `Deployment demo` in messages, and in an event as what it is about besides the ChatCluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildRef(ObjectReference);

impl ChildRef {
    /// Of this kind and name.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self(ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        })
    }

    /// As it was at this version. Events about different versions are different events, so each tells its own story.
    #[must_use]
    pub fn at(mut self, version: Option<String>) -> Self {
        self.0.resource_version = version;
        self
    }

    /// As Kubernetes writes it.
    #[must_use]
    pub fn object(&self) -> ObjectReference {
        self.0.clone()
    }

    /// `Deployment`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.kind.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for ChildRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.0.name.as_deref().unwrap_or_default())
    }
}

/// Somebody else's edit that was taken back.
#[derive(Debug, Clone, PartialEq)]
pub struct Revert {
    /// What was edited.
    pub child: ChildRef,
    /// What the API server said: who, and which fields.
    pub conflict: String,
}

/// An application that ended early.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: ApplyError,
    /// Edits of others that were taken back before.
    pub reverts: Vec<Revert>,
}

/// Why a child could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of that name belongs to somebody else.
    #[error(
        "there is already a {child} that is not of this ChatCluster: delete or rename it, or give the ChatCluster another name"
    )]
    NameTaken {
        /// What should have been there.
        child: ChildRef,
    },
    /// Somebody sets the same fields again and again.
    #[error(
        "{child} is changed back again and again: {conflict}; make that stop, the operator tries again in ten minutes"
    )]
    Contested {
        /// What is fought over.
        child: ChildRef,
        /// What the API server said.
        conflict: String,
    },
    /// Everything goes; nothing new may come.
    #[error("{child} is not written any more: its namespace is being deleted")]
    NamespaceTerminating {
        /// What was to be written.
        child: ChildRef,
    },
    /// The API server does not want it so.
    #[error("the API server refuses {child}: {message}")]
    Refused {
        /// What it refuses.
        child: ChildRef,
        /// Its words.
        message: String,
    },
    /// The API server could not be asked, or changed its mind meanwhile.
    #[error("{child} could not be written: {cause}")]
    Api {
        /// What was to be written.
        child: ChildRef,
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
            Self::NamespaceTerminating { .. } => "NamespaceTerminating",
            Self::Refused { message, .. } if message.contains("exceeded quota") => "QuotaExceeded",
            Self::Refused { .. } => "ChildRefused",
            Self::Api { .. } => "ApiUnavailable",
        }
    }

    /// The API server could not be asked just now, which the next try may mend.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Api { .. })
    }

    /// Whether it is no harm to those who connect, as long as everything was applied before.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        let behind = ["ServiceAccount", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceMonitor"];
        self.is_passing() || behind.contains(&self.child().kind())
    }

    /// The child at which it ended.
    #[must_use]
    pub fn child(&self) -> &ChildRef {
        match self {
            Self::NameTaken { child }
            | Self::Contested { child, .. }
            | Self::NamespaceTerminating { child }
            | Self::Refused { child, .. }
            | Self::Api { child, .. } => child,
        }
    }

    pub(super) fn of(child: ChildRef, error: kube::Error) -> Self {
        match &error {
            _ if is_terminating(&error) => Self::NamespaceTerminating { child },
            // Forbidden is also the answer of a quota.
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => {
                Self::Refused { child, message: status.message.clone() }
            }
            _ => Self::Api { child, cause: Box::new(error) },
        }
    }
}

/// Whether a write was refused because its namespace is being deleted. The API server gives this as a cause of 403.
pub fn is_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == "NamespaceTerminating")
}
