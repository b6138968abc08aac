//! What wakes a reconcile: the ChatCluster itself, its children, its pods, and the Secrets that it names.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::Config;
use kube::runtime::predicates;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, Predicate as _, WatchStreamExt as _, watcher};
use kube::{Api, Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use super::build::service_monitor_resource;
use super::children::{Scope, Streams, Watchers};
use super::context::Context;
use super::dereference::{class_name, secret_keys};
use super::{error_policy, reconcile};
use crate::crd::ChatCluster;
use crate::names::{CLUSTER_LABEL, Names};

/// Reconciles at a time.
const CONCURRENCY: u16 = 8;
/// Events that come together are one reason to reconcile.
const TOGETHER: Duration = Duration::from_millis(50);

type Guarded = DeserializeGuard<ChatCluster>;

/// Reconciles until `stop`; those that run are finished.
pub async fn run(context: Arc<Context>, scope: &Scope, streams: Streams, watchers: Watchers, stop: CancellationToken) {
    let Streams {
        service_accounts,
        config_maps,
        secrets,
        services,
        network_policies,
        disruption_budgets,
        ingresses,
        stateful_sets,
        deployments,
        autoscalers,
        pods,
        service_monitors,
        relisted,
    } = streams;
    let (reader, writer) = reflector::store::<Guarded>();
    let clusters = watcher(guarded(scope, &context), watcher::Config::default()).default_backoff().reflect(writer);
    // Not before all children are known: each that is not would be looked up by itself. The stores are waited for here, in
    // one place, because each wakes only the last of those who wait for it.
    let (children, of_clusters, scope) = (context.children.clone(), watchers.clone(), scope.clone());
    let clusters = async move {
        children.ready().await;
        of_clusters
            .of(&ChatCluster::kind(&()), &scope, clusters)
            .touched_objects()
            // Not our own writes of the status; but annotations, by which people ask for another look.
            .predicate_filter(predicates::generation.combine(predicates::annotations), Default::default())
    }
    .flatten_stream();
    let naming = reader.clone();
    let results = Controller::for_stream(clusters, reader.clone())
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(TOGETHER))
        .owns_stream(service_accounts)
        .owns_stream(config_maps)
        .owns_stream(services)
        .owns_stream(network_policies)
        .owns_stream(disruption_budgets)
        .owns_stream(ingresses)
        .owns_stream(stateful_sets)
        .owns_stream(deployments)
        .owns_stream(autoscalers)
        .owns_stream_with(service_monitors, service_monitor_resource())
        .watches_stream(pods, |pod: Pod| cluster_of(&pod))
        .watches_stream(secrets, move |secret| naming_secret(&naming, &secret))
        .reconcile_all_on(relisted)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(
            move |object, context| {
                let reconciling = watchers.health.reconciling();
                async move {
                    let done = reconcile(object, context).await;
                    drop(reconciling);
                    done
                }
            },
            error_policy,
            Arc::clone(&context),
        );
    // Errors of reconciles were told by the policy, those of watches where they are watched.
    results
        .for_each(|_| {
            forget_the_dead(&reader, &context);
            std::future::ready(())
        })
        .await;
}

/// As in the scope, but so that one object that cannot be read does not hide the others.
fn guarded(scope: &Scope, context: &Context) -> Api<Guarded> {
    scope.api(&context.client)
}

/// A pod's owner is a ReplicaSet, so its label tells.
fn cluster_of(pod: &Pod) -> Option<ObjectRef<Guarded>> {
    let name = pod.labels().get(CLUSTER_LABEL)?;
    Some(ObjectRef::new(name).within(pod.namespace()?.as_str()))
}

/// The ChatClusters that name a Secret.
fn naming_secret(clusters: &Store<Guarded>, secret: &PartialObjectMeta<Secret>) -> Vec<ObjectRef<Guarded>> {
    let (namespace, name) = (secret.namespace(), secret.name_any());
    let names_it = |cluster: &ChatCluster| cluster.namespace() == namespace && secrets_of(cluster).contains_key(&name);
    clusters
        .state()
        .iter()
        .filter(|object| object.0.as_ref().is_ok_and(names_it))
        .map(|object| ObjectRef::from_obj(object.as_ref()))
        .collect()
}

fn secrets_of(cluster: &ChatCluster) -> BTreeMap<String, BTreeSet<String>> {
    secret_keys(&cluster.spec, &Names::of(&cluster.name_any()))
}

fn forget_the_dead(clusters: &Store<Guarded>, context: &Context) {
    let clusters = clusters.state();
    let alive: HashSet<String> = clusters.iter().filter_map(|cluster| cluster.uid()).collect();
    context.ledger.keep_only(&alive);
    context.told.keep_only(&alive);
    context.census.keep_only(&alive);
    context.failures.lock().retain(|uid, _| alive.contains(uid));
    let readable = || clusters.iter().filter_map(|cluster| cluster.0.as_ref().ok());
    let secrets = |cluster: &ChatCluster| {
        let namespace = cluster.namespace().unwrap_or_default();
        secrets_of(cluster).into_keys().map(move |name| (namespace.clone(), name))
    };
    context.secrets.keep_only(&readable().flat_map(secrets).collect());
    context.ingress_classes.keep_only(&readable().filter_map(|cluster| class_name(&cluster.spec)).collect());
}
