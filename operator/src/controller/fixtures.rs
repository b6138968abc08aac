//! ChatClusters for tests: written as people write them, and made good by the real `validate`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::dereference::{IngressClassFound, MadeWith, References};
use super::validate::{Invalid, ValidatedCluster, validate};
use crate::crd::ChatCluster;

/// The image that the operator would be installed with.
pub(crate) const IMAGE: &str = "parley:test";
/// The password that a managed Valkey would be given.
pub(crate) const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

/// A ChatCluster `demo` in the namespace `chat`. Its name differs from the product's, so that swapped labels show.
pub(crate) fn cluster(spec: &str) -> ChatCluster {
    let spec: Value = serde_saphyr::from_str(spec).expect("YAML");
    serde_json::from_value(json!({
        "apiVersion": "parley.dev/v1alpha1", "kind": "ChatCluster",
        "metadata": { "name": "demo", "namespace": "chat", "uid": "uid-1", "generation": 3 }, "spec": spec,
    }))
    .expect("a ChatCluster")
}

/// What it points to: Traefik as the class, and these Secrets as `name/key: value`.
pub(crate) fn references(secrets: &[(&str, &str)]) -> References {
    let mut found: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (path, value) in secrets {
        let (name, key) = path.split_once('/').expect("name/key");
        found.entry(name.to_owned()).or_default().insert(key.to_owned(), value.as_bytes().to_vec());
    }
    References {
        secrets: found,
        ingress_class: IngressClassFound::Controller("traefik.io/ingress-controller".to_owned()),
        service_monitors_served: true,
        password: PASSWORD.to_owned(),
        made_with: MadeWith::default(),
    }
}

pub(crate) fn try_validated(spec: &str, secrets: &[(&str, &str)]) -> Result<ValidatedCluster, Invalid> {
    validate(&cluster(spec), &references(secrets), IMAGE)
}

pub(crate) fn validated(spec: &str, secrets: &[(&str, &str)]) -> ValidatedCluster {
    try_validated(spec, secrets).expect("a good spec")
}
