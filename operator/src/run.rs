//! Puts everything together: probes, leadership, one controller per scope. It decides nothing about ChatClusters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use kube_lease_manager::LeaseManagerBuilder;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::client;
use crate::controller::build::Surroundings;
use crate::controller::census::Census;
use crate::controller::children::{self, Scope};
use crate::controller::context::{ClassMemory, Context, Entropy, SecretMemory, Told};
use crate::controller::ledger::Ledger;
use crate::controller::watches;
use crate::metrics::Metrics;
use crate::names::REPORTER;
use crate::settings::Settings;

/// Name of the Lease.
const LEASE: &str = "parley-operator";
/// How long a Lease holds, in seconds. Those who stand by look again when it runs out, even if it was released before.
const LEASE_SECONDS: u64 = 15;
/// How long before it runs out it is renewed.
const RENEWAL_SECONDS: u64 = 5;
/// Between two attempts to reach an API server that was not there at the start.
const AGAIN: Duration = Duration::from_secs(2);

/// Looks after ChatClusters until `stop`, in the cluster that a kubeconfig or the pod itself names.
///
/// # Errors
/// The admin address is taken, the connection is not usable, or leadership was lost: another replica acts by now, and the
/// process must end rather than act beside it.
pub async fn run(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(settings.listen).await.with_context(|| format!("cannot listen on {}", settings.listen))?;
    let config = Config::infer().await.context("no kubeconfig, and not inside a cluster")?;
    look_after(settings, config, listener, stop).await
}

async fn look_after(
    settings: Settings,
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    let admin = Admin::new(metrics.clone());
    tracing::info!(address = %settings.listen, "probes and metrics");
    let mut servers = JoinSet::new();
    servers.spawn(admin.clone().serve(listener, stop.clone()));

    let client = client::connect(config, metrics.clone())?;
    if !wait_for_api(&client, &stop).await {
        return Ok(());
    }
    admin.is_ready();
    let lease = LeaseManagerBuilder::new(client.clone(), LEASE)
        .with_namespace(&settings.namespace)
        .with_identity(&settings.identity)
        .with_duration(LEASE_SECONDS)
        .with_grace(RENEWAL_SECONDS)
        .build()
        .await
        .context("the Lease cannot be made")?;
    let (mut leads, lease_task) = lease.watch().await;
    tracing::info!(identity = %settings.identity, "standing by for the Lease");
    let led = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        led = leads.wait_for(|leads| *leads) => led.map(drop).context("the Lease cannot be watched"),
    };
    let mut outcome = led;
    if outcome.is_ok() && !stop.is_cancelled() {
        tracing::info!("leading");
        metrics.leads(true);
        let acting = stop.child_token();
        let controllers = controllers(&client, &settings, &metrics, &acting);
        tokio::pin!(controllers);
        let lost = async { leads.wait_for(|leads| !*leads).await.map(drop) };
        outcome = tokio::select! {
            () = &mut controllers => Ok(()),
            _ = lost => {
                acting.cancel();
                Err(anyhow::anyhow!("the Lease was lost to another replica"))
            }
        };
        metrics.leads(false);
    }
    // Closing the channel releases the Lease, so that one that starts now need not wait for it to run out.
    drop(leads);
    if let Err(error) = lease_task.await {
        tracing::warn!(error = %error, "the Lease was not released");
    }
    stop.cancel();
    while servers.join_next().await.is_some() {}
    outcome
}

/// Until the API server answers; false if `stop` came first.
async fn wait_for_api(client: &Client, stop: &CancellationToken) -> bool {
    loop {
        let answer = tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            answer = client.apiserver_version() => answer,
        };
        match answer {
            Ok(version) => {
                tracing::info!(version = %version.git_version, "the API server answers");
                return true;
            }
            Err(error) => tracing::warn!(error = %error, "the API server does not answer; trying again"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// One controller per scope, until all have ended.
async fn controllers(client: &Client, settings: &Settings, metrics: &Metrics, stop: &CancellationToken) {
    let scopes: Vec<Scope> = if settings.namespaces.is_empty() {
        vec![Scope::Cluster]
    } else {
        settings.namespaces.iter().cloned().map(Scope::Namespace).collect()
    };
    let reporter = Reporter { controller: REPORTER.to_owned(), instance: Some(settings.identity.clone()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let mut running = JoinSet::new();
    for scope in scopes {
        let (children, streams) = children::watch(client, &scope);
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
        let stop = stop.clone();
        running.spawn(async move { watches::run(context, &scope, streams, stop).await });
    }
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests;
