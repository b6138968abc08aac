//! Decides on the Ingress: which controller's annotations, which of the user's, and what there is to say about it.

use std::collections::BTreeMap;

use super::super::dereference::IngressClassFound;
use super::{About, Note};
use crate::crd::{IngressExposure, Profile};
use crate::profiles::{self, Row};

/// How a class is named without className, for controllers that have no IngressClass.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// Where nobody names a class. Some controllers do not need one, as those of GKE.
const UNNAMED: &str = "no IngressClass is the default of this cluster, so only a controller that takes Ingresses without one serves the chat";

/// An Ingress with every choice made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedIngress {
    /// Its class; the cluster's default if none.
    pub class_name: Option<String>,
    /// Its host.
    pub host: String,
    /// Secret with the certificate.
    pub tls_secret: Option<String>,
    /// Of the Ingress.
    pub annotations: BTreeMap<String, String>,
    /// Of the Service behind it.
    pub service_annotations: BTreeMap<String, String>,
    /// What keeps a client on its instance.
    pub affinity: Affinity,
}

/// What keeps a client on its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// Nothing; every connection goes anywhere.
    None,
    /// A cookie that scripts cannot read.
    HiddenCookie,
    /// A cookie that a client can drop.
    Cookie,
}

impl ValidatedIngress {
    /// Where people open the chat; also the origin of its own page.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls_secret.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }
}

pub(super) fn ingress(
    spec: &IngressExposure,
    class: &IngressClassFound,
    secrets: &BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    notes: &mut Vec<Note>,
) -> ValidatedIngress {
    let row = row(spec, class, notes);
    let tls_secret = spec.tls.as_ref().map(|tls| tls.secret_name.clone());
    if let Some(secret) = tls_secret.as_ref().filter(|secret| !secrets.contains_key(*secret)) {
        let message = format!("there is no Secret {secret} with the certificate of {} yet", spec.host);
        notes.push(Note { about: About::ExposureBroken, reason: "TlsSecretMissing", message });
    }
    let (dropped, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
        spec.annotations.clone().into_iter().partition(|(key, value)| profiles::is_snippet(key, value));
    if !dropped.is_empty() {
        let names: Vec<_> = dropped.into_keys().collect();
        let message = format!(
            "left out, because they could configure the ingress controller itself: {}; ask its administrator",
            names.join(", ")
        );
        notes.push(Note { about: About::Exposure, reason: "AnnotationsDropped", message });
    }
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut annotations = row.map(|row| pairs(row.ingress)).unwrap_or_default();
    annotations.extend(kept);
    let mut service_annotations = row.map(|row| pairs(row.service)).unwrap_or_default();
    if tls_secret.is_some() {
        service_annotations.extend(row.map(|row| pairs(row.service_if_tls)).unwrap_or_default());
    }
    ValidatedIngress {
        class_name: spec.class_name.clone(),
        host: spec.host.clone(),
        tls_secret,
        annotations,
        service_annotations,
        affinity: match row {
            None => Affinity::None,
            Some(Row { cookie_is_readable: true, .. }) => Affinity::Cookie,
            Some(_) => Affinity::HiddenCookie,
        },
    }
}

fn row(spec: &IngressExposure, class: &IngressClassFound, notes: &mut Vec<Note>) -> Option<&'static Row> {
    // Then the API server does not set the default class either.
    let by_annotation = spec.class_name.is_none() && spec.annotations.contains_key(CLASS_ANNOTATION);
    let missing = match class {
        IngressClassFound::Missing(name) => Some(name.as_str()),
        IngressClassFound::NotAsked | IngressClassFound::Controller(_) | IngressClassFound::Forbidden => None,
    };
    if let Some(name) = missing.filter(|name| !name.is_empty()) {
        let message = format!("there is no IngressClass {name}: `kubectl get ingressclass` lists those that are");
        notes.push(Note { about: About::ExposureBroken, reason: "IngressClassMissing", message });
    }
    if spec.profile != Profile::Auto {
        if missing == Some("") && !by_annotation {
            let message = format!("{UNNAMED}: if none does, set className");
            notes.push(Note { about: About::Exposure, reason: "IngressClassNotSet", message });
        }
        return profiles::of_name(spec.profile);
    }
    let why = match class {
        _ if by_annotation => {
            format!("no affinity: {CLASS_ANNOTATION} does not tell the ingress controller; set profile to choose one")
        }
        IngressClassFound::Controller(controller) => match profiles::of_controller(controller) {
            Some(row) => return Some(row),
            None => format!("no affinity: the ingress controller {controller} is not known; the chat works without it"),
        },
        IngressClassFound::Forbidden => {
            "no affinity: the operator may not read IngressClasses here; set profile to choose one".to_owned()
        }
        IngressClassFound::Missing(name) if name.is_empty() => {
            format!("no affinity: {UNNAMED}: if none does, set className, else profile")
        }
        IngressClassFound::Missing(_) | IngressClassFound::NotAsked => return None,
    };
    notes.push(Note { about: About::Exposure, reason: "AffinityNotConfigured", message: why });
    None
}
