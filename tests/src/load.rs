//! The load generator `parley-load`, in reading order: what was asked for, the plan, one session from its pure state to
//! its socket, the threads, the measurements, the report. `tests/LOAD.md` is its manual. It speaks the wire protocol and
//! shares no code with the server, so that a fault in one does not hide itself in the other.

mod clock;
mod entropy;

mod arguments;
mod plan;
mod target;

mod chat;
mod offsets;
mod reply;
mod scanner;
mod seat;
mod tally;
mod world;

mod attend;
mod board;
mod line;
mod upgrade;
mod worker;

mod crew;
mod floor;
mod machine;
mod measure;
mod process;

mod report;
mod table;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use arguments::{FloorJob, Job, Output};
use floor::{Place, Sends};

/// Does what the command line says, and prints results to standard output. Exit code 0: all is well; 1: messages were
/// lost, repeated or out of order, or sessions did not connect; 2: nothing could be measured.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match arguments::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        // Help and version are such "errors", too; clap knows which stream they belong to.
        Err(told) => {
            let code = if told.use_stderr() { 2 } else { 0 };
            let _ = told.print();
            return ExitCode::from(code);
        }
    };
    match arguments::job(&matches).map_err(anyhow::Error::from).and_then(perform) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(fault) => {
            let _ = writeln!(io::stderr(), "parley-load: {fault:#}");
            ExitCode::from(2)
        }
    }
}

fn perform(job: Job) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (outcome, output) = match job {
        Job::Run(run) => {
            let output = run.common.output.clone();
            (runtime.block_on(measure::run(run))?, output)
        }
        Job::Idle(idle) => {
            let output = idle.common.output.clone();
            (runtime.block_on(measure::idle(idle))?, output)
        }
        Job::Floor(job) => return floor_alone(&job),
    };
    print(&outcome.report, &table::of_report(&outcome.report), &output)?;
    Ok(outcome.sound)
}

fn floor_alone(job: &FloorJob) -> anyhow::Result<bool> {
    machine::make_room_for(2 * job.sockets)?;
    if let Some(cpu) = job.pin_cpu {
        machine::pin_to(cpu)?;
    }
    let floor = floor::measure(Sends {
        sockets: job.sockets,
        size: job.size,
        batch: job.batch,
        ahead: job.ahead,
        busy_poll: job.busy_poll,
        duration: job.duration,
        place: job.cpu.map_or(Place::Anywhere, Place::Cpu),
    })?;
    print(&floor, &table::of_floor(&floor), &job.output)?;
    Ok(true)
}

/// The table goes to standard output, the JSON to its file, unless the file is `-`: then the JSON takes the table's place.
fn print(report: &impl Serialize, table: &str, output: &Output) -> anyhow::Result<()> {
    let json = || serde_json::to_string_pretty(report).map(|json| json + "\n");
    match &output.json {
        Some(path) if path.as_os_str() == "-" => io::stdout().write_all(json()?.as_bytes())?,
        Some(path) => {
            fs::write(path, json()?).map_err(|error| anyhow::anyhow!("--json {}: {error}", path.display()))?;
            io::stdout().write_all(table.as_bytes())?;
        }
        None => io::stdout().write_all(table.as_bytes())?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;
