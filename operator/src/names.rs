//! Every name that the operator gives: children, labels, keys, field managers. Length limits are here, because children's
//! names are made by adding to the name of their ChatCluster. It knows no Kubernetes object.

use std::collections::BTreeMap;

/// The field manager of everything that is applied.
pub const FIELD_MANAGER: &str = "parley-operator";
/// Holds `replicas` of a Deployment between the operator, which lets go of it, and the autoscaler, which takes it.
pub const HANDOVER_MANAGER: &str = "parley-operator-handover";
/// The `controller` of events.
pub const REPORTER: &str = "parley-operator";

/// Says that an object is the operator's; watches select by it.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "parley-operator");
/// Names the ChatCluster of a child and of its pods.
pub const CLUSTER_LABEL: &str = "parley.dev/cluster";
/// Tells the pods of the service from those of its Valkey.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Tells the two Services of the instances apart, for those who must select one of them.
pub const SERVICE_LABEL: (&str, &str) = ("parley.dev/service", "instances");
/// On a pod template: changes with the settings and Secrets that a process reads only once.
pub const CHECKSUM_ANNOTATION: &str = "parley.dev/settings-checksum";

/// Longest name of a ChatCluster: the longest suffix and the two hashes that Kubernetes adds to pods fit into 63.
pub const LONGEST_NAME: usize = 40;

/// The two things that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The service: `parley`.
    Chat,
    /// Its managed Valkey.
    Valkey,
}

impl Component {
    /// The value of [`COMPONENT_LABEL`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Valkey => "valkey",
        }
    }
}

/// Names of the children of one ChatCluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    cluster: String,
}

impl Names {
    /// For the ChatCluster of this name.
    #[must_use]
    pub fn of(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned() }
    }

    /// The ChatCluster itself, and what stands for the service: Deployment, Service, Ingress and so on.
    #[must_use]
    pub fn chat(&self) -> String {
        self.cluster.clone()
    }

    /// The headless Service, with one address per instance.
    #[must_use]
    pub fn instances(&self) -> String {
        format!("{}-instances", self.cluster)
    }

    /// The ConfigMap with the service's settings.
    #[must_use]
    pub fn settings(&self) -> String {
        format!("{}-settings", self.cluster)
    }

    /// All that belongs to the managed Valkey.
    #[must_use]
    pub fn valkey(&self) -> String {
        format!("{}-valkey", self.cluster)
    }

    /// The host name by which pods of the same namespace reach the managed Valkey.
    #[must_use]
    pub fn valkey_host(&self, namespace: &str) -> String {
        format!("{}.{namespace}.svc", self.valkey())
    }

    /// What selects the pods of a component; part of a Deployment that can never change.
    #[must_use]
    pub fn selector(&self, component: Component) -> BTreeMap<String, String> {
        [(CLUSTER_LABEL, self.cluster.as_str()), (COMPONENT_LABEL, component.as_str())]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// The labels of a child.
    #[must_use]
    pub fn labels(&self, component: Component) -> BTreeMap<String, String> {
        let mut labels = self.selector(component);
        labels.extend([
            ("app.kubernetes.io/name".to_owned(), "parley".to_owned()),
            ("app.kubernetes.io/instance".to_owned(), self.cluster.clone()),
            (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
        ]);
        labels
    }
}

/// The label selector of all children of all ChatClusters.
#[must_use]
pub fn managed_selector() -> String {
    format!("{}={}", MANAGED_BY.0, MANAGED_BY.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_leaves_room_for_every_suffix() {
        let names = Names::of(&"n".repeat(LONGEST_NAME));
        for name in [names.chat(), names.instances(), names.settings(), names.valkey()] {
            // A Deployment's pods get `-` and a hash of 10, `-` and 5; a StatefulSet's revision label `-` and a hash of 10.
            assert!(name.len() + 11 <= 63, "{name}");
        }
    }

    #[test]
    fn a_selector_is_part_of_the_labels() {
        let names = Names::of("demo");
        let labels = names.labels(Component::Valkey);
        assert!(names.selector(Component::Valkey).iter().all(|(key, value)| labels.get(key) == Some(value)));
    }
}
