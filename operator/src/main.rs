//! The process: subcommands, logs, signals, exit codes. Everything else is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use parley_operator::settings::{self, Invocation, Settings};
use parley_operator::{crd, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The arguments are wrong.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let done = match settings::of_process() {
        Ok(Invocation::Crd) => print_crd(),
        Ok(Invocation::Run(settings)) => serve(*settings),
        Err(error) => {
            // Help goes to standard output and is no fault.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parley-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_crd() -> anyhow::Result<()> {
    let text = serde_saphyr::to_string(&crd::definition()).context("the definition cannot be written")?;
    // Whoever reads it may have seen enough: that is no fault.
    drop(std::io::stdout().write_all(format!("# Written by `parley-operator crd`.\n{text}").as_bytes()));
    Ok(())
}

fn serve(settings: Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log).context("--log cannot be read")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let running = run::run(settings, stop.clone());
        tokio::pin!(running);
        loop {
            tokio::select! {
                done = &mut running => return done,
                _ = terminate.recv() => stop.cancel(),
                _ = interrupt.recv() => stop.cancel(),
            }
        }
    })
}
