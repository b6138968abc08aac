//! What a reconcile works with: the client, what is known of the cluster, and small memories. Made once by `run`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use kube::runtime::events::Recorder;
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;

use super::build::{Surroundings, service_monitor_resource};
use super::census::Census;
use super::children::Children;
use super::dereference::IngressClassFound;
use super::ledger::Ledger;
use crate::clock;
use crate::crd::{ChatCluster, ChatClusterStatus};
use crate::entropy;
use crate::metrics::Metrics;

/// How long an answer about the cluster itself is believed.
const BELIEVED: SignedDuration = SignedDuration::from_mins(5);

/// See the module.
pub struct Context {
    /// Talks to the API server.
    pub client: Client,
    /// What is watched.
    pub children: Children,
    /// Where passwords come from.
    pub entropy: Entropy,
    /// What was applied.
    pub ledger: Ledger,
    /// Secrets that were read, as long as they do not change.
    pub secrets: SecretMemory,
    /// IngressClasses that were read lately.
    pub ingress_classes: ClassMemory,
    /// Whether ServiceMonitors were known lately.
    pub service_monitors: Mutex<Option<(Timestamp, bool)>>,
    /// Counts sessions.
    pub census: Census,
    /// The status of each ChatCluster as it was written last.
    pub told: Told,
    /// How often a ChatCluster failed in a row, by uid.
    pub failures: Mutex<HashMap<String, u32>>,
    /// Publishes events; one for all, since it joins repetitions.
    pub recorder: Recorder,
    /// Counters.
    pub metrics: Metrics,
    /// The image of ChatClusters that name none.
    pub usual_image: String,
    /// The operator's own place.
    pub surroundings: Surroundings,
}

/// Where passwords come from; a test puts its own there.
#[derive(Debug, Clone, Copy)]
pub struct Entropy(pub fn() -> String);

impl Default for Entropy {
    fn default() -> Self {
        Self(entropy::password)
    }
}

impl Entropy {
    /// A new password.
    #[must_use]
    pub fn password(self) -> String {
        (self.0)()
    }
}

impl Context {
    /// Whether the API server knows ServiceMonitors.
    ///
    /// # Errors
    /// It could not be asked.
    pub async fn service_monitors_served(&self) -> Result<bool, kube::Error> {
        let now = clock::now();
        if let Some((then, served)) = *self.service_monitors.lock()
            && now.duration_since(then) < BELIEVED
        {
            return Ok(served);
        }
        let resource = service_monitor_resource();
        let served = match self.client.list_api_group_resources(&resource.api_version).await {
            Ok(list) => list.resources.iter().any(|served| served.kind == resource.kind),
            Err(kube::Error::Api(status)) if status.code == 404 => false,
            Err(error) => return Err(error),
        };
        *self.service_monitors.lock() = Some((now, served));
        Ok(served)
    }
}

/// Keys of a Secret with their values.
pub type Data = BTreeMap<String, Vec<u8>>;

/// Most bytes of all values together that are kept. What does not fit is read again each time: slow, but no harm to others.
const MOST_BYTES: usize = 8 << 20;

/// Secrets that were read, as long as they do not change: of those that some ChatCluster names, the keys that it names.
#[derive(Debug, Default)]
pub struct SecretMemory(Mutex<HashMap<(String, String), Kept>>);

#[derive(Debug)]
struct Kept {
    version: String,
    /// What was asked for; a key that was not there has no value.
    keys: BTreeSet<String>,
    data: Data,
}

impl SecretMemory {
    /// What these keys hold in this version.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str, version: &str, keys: &BTreeSet<String>) -> Option<Data> {
        let memory = self.0.lock();
        let kept = memory.get(&(namespace.to_owned(), name.to_owned()))?;
        let known = kept.version == version && keys.is_subset(&kept.keys);
        let wanted = || kept.data.iter().filter(|(key, _)| keys.contains(*key));
        known.then(|| wanted().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Remembers what these keys hold, besides what is known of the same version; another version is forgotten.
    pub fn remember(&self, namespace: &str, name: &str, version: &str, keys: &BTreeSet<String>, data: &Data) {
        let mut memory = self.0.lock();
        let of = (namespace.to_owned(), name.to_owned());
        let known = memory.remove(&of).filter(|kept| kept.version == version);
        let mut kept =
            known.unwrap_or_else(|| Kept { version: version.to_owned(), keys: BTreeSet::new(), data: Data::new() });
        kept.keys.extend(keys.iter().cloned());
        kept.data.extend(data.clone());
        if memory.values().chain([&kept]).map(Kept::bytes).sum::<usize>() <= MOST_BYTES {
            memory.insert(of, kept);
        }
    }

    /// Forgets one that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.0.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Forgets those that no ChatCluster names any more, as namespace and name.
    pub fn keep_only(&self, named: &HashSet<(String, String)>) {
        self.0.lock().retain(|of, _| named.contains(of));
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.data.values().map(Vec::len).sum()
    }
}

/// IngressClasses that were read lately.
#[derive(Debug, Default)]
pub struct ClassMemory(Mutex<HashMap<Option<String>, (Timestamp, IngressClassFound)>>);

impl ClassMemory {
    /// What was found of a class; `None` is the default one. One that was missing is looked for again.
    #[must_use]
    pub fn get(&self, name: Option<&str>) -> Option<IngressClassFound> {
        let memory = self.0.lock();
        let (then, found) = memory.get(&name.map(str::to_owned))?;
        let fresh = clock::now().duration_since(*then) < BELIEVED;
        (fresh && !matches!(found, IngressClassFound::Missing(_))).then(|| found.clone())
    }

    /// Forgets those that no ChatCluster names any more.
    pub fn keep_only(&self, named: &HashSet<Option<String>>) {
        self.0.lock().retain(|name, _| named.contains(name));
    }

    /// Remembers what was found.
    pub fn remember(&self, name: Option<&str>, found: IngressClassFound) {
        self.0.lock().insert(name.map(str::to_owned), (clock::now(), found));
    }
}

/// The status of each ChatCluster as it was written last, by uid: what is watched may be a moment older, and then an event
/// would be told twice.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<String, ChatClusterStatus>>);

impl Told {
    /// The last status; after a restart the one that is stored.
    #[must_use]
    pub fn last(&self, cluster: &ChatCluster) -> ChatClusterStatus {
        let told = cluster.uid().and_then(|uid| self.0.lock().get(&uid).cloned());
        told.or_else(|| cluster.status.clone()).unwrap_or_default()
    }

    /// Remembers what was written.
    pub fn note(&self, cluster: &ChatCluster, status: &ChatClusterStatus) {
        if let Some(uid) = cluster.uid() {
            self.0.lock().insert(uid, status.clone());
        }
    }

    /// Forgets ChatClusters that are gone.
    pub fn keep_only(&self, uids: &HashSet<String>) {
        self.0.lock().retain(|uid, _| uids.contains(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn data(key: &str, bytes: usize) -> Data {
        [(key.to_owned(), vec![7; bytes])].into()
    }

    #[test]
    fn two_chat_clusters_may_name_different_keys_of_one_secret() {
        let memory = SecretMemory::default();
        memory.remember("chat", "s", "1", &keys(&["a"]), &data("a", 1));
        assert_eq!(memory.get("chat", "s", "1", &keys(&["b"])), None, "nobody has asked for it");
        memory.remember("chat", "s", "1", &keys(&["b", "absent"]), &data("b", 2));
        assert_eq!(memory.get("chat", "s", "1", &keys(&["a"])), Some(data("a", 1)));
        assert_eq!(memory.get("chat", "s", "1", &keys(&["b", "absent"])), Some(data("b", 2)));
        assert_eq!(memory.get("chat", "s", "2", &keys(&["a"])), None, "it has changed");
        memory.remember("chat", "s", "2", &keys(&["b"]), &data("b", 3));
        assert_eq!(memory.get("chat", "s", "2", &keys(&["a"])), None, "of the version before");
    }

    #[test]
    fn many_large_secrets_are_not_all_kept() {
        let memory = SecretMemory::default();
        for number in 0..130 {
            memory.remember("chat", &format!("s{number}"), "1", &keys(&["a"]), &data("a", 1 << 20));
        }
        assert_eq!(memory.0.lock().values().map(Kept::bytes).sum::<usize>(), MOST_BYTES);
        memory.remember("chat", "s0", "2", &keys(&["a"]), &data("a", 1 << 20));
        assert_eq!(
            memory.get("chat", "s0", "2", &keys(&["a"])).map(|data| data.len()),
            Some(1),
            "in place of the last"
        );
    }

    #[test]
    fn what_nobody_names_is_forgotten() {
        let (secrets, classes) = (SecretMemory::default(), ClassMemory::default());
        for name in ["kept", "gone", "unnamed"] {
            secrets.remember("chat", name, "1", &keys(&["a"]), &data("a", 1));
            classes.remember(Some(name), IngressClassFound::Forbidden);
        }
        secrets.forget("chat", "gone");
        secrets.keep_only(&[("chat".into(), "kept".into()), ("chat".into(), "gone".into())].into());
        classes.keep_only(&[Some("kept".into())].into());
        let known = ["kept", "gone", "unnamed"].map(|name| secrets.get("chat", name, "1", &keys(&["a"])).is_some());
        assert_eq!(known, [true, false, false]);
        assert_eq!((classes.get(Some("kept")).is_some(), classes.get(Some("unnamed")).is_some()), (true, false));
    }
}
