//! Puts everything together: probes, leadership, one controller per scope. It decides nothing about ChatClusters.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::client;
use crate::controller::build::Surroundings;
use crate::controller::census::Census;
use crate::controller::children::{self, Scope, Watchers};
use crate::controller::context::{ClassMemory, Context, Entropy, SecretMemory, Told};
use crate::controller::ledger::Ledger;
use crate::controller::watches;
use crate::health::Health;
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::names::REPORTER;
use crate::settings::Settings;
use crate::term::Term;

/// How long reconciles that run may go on after `stop`; a pod is killed 30 s after it was told to end.
const LAST_RECONCILES: Duration = Duration::from_secs(20);

/// Looks after ChatClusters until `stop`, in the cluster that a kubeconfig or the pod itself names.
///
/// # Errors
/// The admin address is taken, the connection is not usable, or leadership was lost: another replica may act by now, and
/// the process must end rather than act beside it.
pub async fn run(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = listen(settings.listen).await.with_context(|| format!("cannot listen on {}", settings.listen))?;
    let config = Config::infer().await.context("no kubeconfig, and not inside a cluster")?;
    look_after(settings, config, listener, stop).await
}

/// `[::]` is every address of both families; on a kernel that has only one of them, it is `0.0.0.0`.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() != ErrorKind::AddrInUse && address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

async fn look_after(
    settings: Settings,
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (metrics, health, term) = (Metrics::new(), Health::default(), Term::default());
    tracing::info!(address = %settings.listen, "probes and metrics");
    let mut servers = JoinSet::new();
    servers.spawn(Admin::new(metrics.clone(), health.clone()).serve(listener, stop.clone()));

    let client = client::connect(config.clone(), metrics.clone(), term.clone())?;
    let lease = client::connect_for_lease(config, metrics.clone())?;
    let mut lease = Lease::new(lease, &settings.namespace, &settings.lease, &settings.identity, term, health.clone());
    tracing::info!(identity = %settings.identity, "standing by for the Lease");
    let leads = tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = lease.acquire() => true,
    };
    let mut outcome = Ok(());
    if leads {
        tracing::info!("leading");
        metrics.leads(true);
        // What is lost is dropped at once, with all that it was about to do.
        outcome = tokio::select! {
            biased;
            lost = lease.keep() => Err(lost.into()),
            () = Box::pin(controllers(&client, &settings, &metrics, &health, &stop)) => Ok(()),
            () = long_enough(&health, &stop) => Ok(()),
        };
        metrics.leads(false);
    }
    // So that one that starts now need not wait for it to run out.
    lease.release().await;
    stop.cancel();
    while servers.join_next().await.is_some() {}
    outcome
}

/// After `stop`, until nothing is waited for any more. A controller that does not know everything yet has begun nothing, and
/// would never end: nobody tells it the rest.
async fn long_enough(health: &Health, stop: &CancellationToken) {
    stop.cancelled().await;
    if health.ready().is_ok() {
        tokio::time::sleep(LAST_RECONCILES).await;
    }
}

/// One controller per scope, until all have ended.
async fn controllers(
    client: &Client,
    settings: &Settings,
    metrics: &Metrics,
    health: &Health,
    stop: &CancellationToken,
) {
    let scopes: Vec<Scope> = if settings.namespaces.is_empty() {
        vec![Scope::Cluster]
    } else {
        settings.namespaces.iter().cloned().map(Scope::Namespace).collect()
    };
    let reporter = Reporter { controller: REPORTER.to_owned(), instance: Some(settings.identity.clone()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let watchers = Watchers { metrics: metrics.clone(), health: health.clone() };
    let mut running = JoinSet::new();
    for scope in scopes {
        let (children, streams) = children::watch(client, &scope, &watchers);
        let context = Arc::new(Context {
            client: client.clone(),
            children,
            entropy: Entropy::default(),
            ledger: Ledger::default(),
            secrets: SecretMemory::default(),
            ingress_classes: ClassMemory::default(),
            service_monitors: parking_lot::Mutex::default(),
            census: Census::default(),
            told: Told::default(),
            failures: parking_lot::Mutex::new(HashMap::new()),
            recorder: recorder.clone(),
            metrics: metrics.clone(),
            usual_image: settings.image.clone(),
            surroundings: Surroundings { operator_namespace: settings.namespace.clone() },
        });
        let (watchers, stop) = (watchers.clone(), stop.clone());
        running.spawn(async move { watches::run(context, &scope, streams, watchers, stop).await });
    }
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests;
