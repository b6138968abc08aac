//! What a reconcile works with: the client, what is known of the cluster, and small memories. Made once by `run`.

use std::collections::{BTreeMap, HashMap, HashSet};

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

type Data = BTreeMap<String, Vec<u8>>;

/// Secrets that were read, as long as they do not change. Only those that some ChatCluster names.
#[derive(Debug, Default)]
pub struct SecretMemory(Mutex<HashMap<(String, String), (String, Data)>>);

impl SecretMemory {
    /// What was read of this version.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str, version: &str) -> Option<Data> {
        let memory = self.0.lock();
        let (known, data) = memory.get(&(namespace.to_owned(), name.to_owned()))?;
        (known == version).then(|| data.clone())
    }

    /// Remembers a version in place of the last one.
    pub fn remember(&self, namespace: &str, name: &str, version: Option<String>, data: &Data) {
        if let Some(version) = version {
            self.0.lock().insert((namespace.to_owned(), name.to_owned()), (version, data.clone()));
        }
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
