//! The process: arguments, logs, signals, exit codes. Everything else is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use parley_service::balance::{self, Balancer};
use parley_service::config::{
    BalanceConfig, Config, DemoConfig, Invocation, ProcessVars, find_program, process_args, program,
};
use parley_service::demo::{self, Programs};
use parley_service::edge::api;
use parley_service::protocol::reference;
use parley_service::server::Server;
use parley_service::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The settings are wrong.
const EXIT_USAGE: u8 = 2;
/// A second signal ended the drain, or the first one a demo.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let loaded = match Config::load(&ProcessVars, &process_args()) {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match loaded.invocation {
        Invocation::Print(text) => show(&text),
        Invocation::ShowConfig(settings) => show(&settings.to_string()),
        Invocation::Protocol => show(&reference::render()),
        Invocation::OpenApi => show(&api::document()),
        Invocation::Serve(config) => return exit(serve(&config, &loaded.warnings)),
        Invocation::Balance(config) => return exit(balance(&config, loaded.warnings)),
        Invocation::Demo(config) => return tell(&config, &loaded.warnings),
        Invocation::DemoChild(words) => return exit(Err(demo::become_program(&words).into())),
    }
    ExitCode::SUCCESS
}

fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parley: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads this may have seen enough (`parley config | head`): that is no fault.
fn show(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

fn serve(config: &Config, warnings: &[String]) -> anyhow::Result<()> {
    let telemetry = telemetry::init(&config.log, &config.server_id, config.traces.as_ref())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let served = runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = stop_on_signals(stop.clone())?;
        let server = Server::from_config(config).await?;
        let (public, admin) = (server.address()?, server.admin_address()?);
        let listening = || {
            tracing::info!(url = %format_args!("http://{public}/"), admin = %format_args!("http://{admin}/"), "listening");
        };
        tokio::select! {
            () = server.run(stop, listening) => {}
            () = signals => std::process::exit(EXIT_INTERRUPTED.into()),
        }
        tracing::info!("stopped");
        anyhow::Ok(())
    });
    telemetry.shutdown();
    served
}

fn balance(config: &BalanceConfig, mut warnings: Vec<String>) -> anyhow::Result<()> {
    let telemetry = telemetry::init(&config.log, "balance", None)?;
    warnings.extend(balance::allow_descriptors(config));
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let served = runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = stop_on_signals(stop.clone())?;
        let balancer = Balancer::bind(config).await?;
        let address = balancer.address()?;
        let policy = config.policy.as_str();
        let listening = || tracing::info!(url = %format_args!("http://{address}/"), policy, "listening");
        tokio::select! {
            () = balancer.run(stop, listening) => {}
            () = signals => std::process::exit(EXIT_INTERRUPTED.into()),
        }
        tracing::info!("stopped");
        anyhow::Ok(())
    });
    telemetry.shutdown();
    served
}

/// One thread: the processes of the demo are tied to the thread that starts them.
fn tell(config: &DemoConfig, warnings: &[String]) -> ExitCode {
    for warning in warnings {
        eprintln!("parley: {warning}");
    }
    let told = || {
        let redis = ["redis-server", "valkey-server"].iter().find_map(|name| find_program(&ProcessVars, name));
        let programs = Programs { parley: program().context("this program cannot find itself")?, redis };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        runtime.block_on(async {
            let stop = CancellationToken::new();
            let _signals = TaskTracker::new().spawn(stop_on_signals(stop.clone())?);
            let mut out = std::io::stdout();
            let telling = Box::pin(demo::run(config, &programs, &mut out));
            anyhow::Ok(stop.run_until_cancelled(telling).await.transpose()?)
        })
    };
    match told() {
        Ok(Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        // Who stays ends it so, and who does not wait for the end, too.
        Ok(None) if config.stay => ExitCode::SUCCESS,
        Ok(None) => ExitCode::from(EXIT_INTERRUPTED),
        Err(error) => exit(Err(error)),
    }
}

/// The first SIGTERM or SIGINT begins the drain; the returned future ends at the second.
fn stop_on_signals(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
        }
        tracing::warn!("second signal: exiting at once");
    })
}
