//! The `parley-faults` program: tries every fault with several seeds and tells what became of messages. What a trial is
//! stands in `trial.rs`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use futures_util::{StreamExt as _, stream};
use parley_tests::folder::Folder;
use parley_tests::redis::program;
use parley_tests::trial::crowded;
use parley_tests::trial::fault::Fault;
use parley_tests::trial::table::{Row, document};
use parley_tests::trial::{judge, run};

fn command() -> Command {
    Command::new("parley-faults")
        .about("Tries what becomes of messages over Redis when something fails; needs redis-server and a built parley")
        .arg(
            Arg::new("fault")
                .long("fault")
                .action(ArgAction::Append)
                .value_parser(Fault::parse)
                .help("Only this one; may be repeated"),
        )
        .arg(
            Arg::new("seeds")
                .long("seeds")
                .default_value("3")
                .value_parser(value_parser!(u64))
                .help("So many for each fault"),
        )
        .arg(
            Arg::new("first-seed")
                .long("first-seed")
                .default_value("1")
                .value_parser(value_parser!(u64))
                .help("The first of them"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .default_value("1.5")
                .value_parser(value_parser!(f64))
                .help("Time before and after the fault"),
        )
        .arg(
            Arg::new("at-once")
                .long("at-once")
                .default_value("10")
                .value_parser(value_parser!(NonZeroUsize))
                .help("Trials at the same time; they mostly wait"),
        )
        .arg(
            Arg::new("keep")
                .long("keep")
                .value_parser(value_parser!(PathBuf))
                .help("Folder for the raw logs; otherwise those of bad trials are kept in a temporary one"),
        )
        .arg(Arg::new("write").long("write").value_parser(value_parser!(PathBuf)).help("File for the table"))
        .arg(
            Arg::new("crowded")
                .long("crowded")
                .value_parser(value_parser!(usize))
                .help("Tries no fault: measures two instances with so many rooms in common"),
        )
        .arg(
            Arg::new("check")
                .long("check")
                .value_parser(value_parser!(PathBuf))
                .help("Runs nothing: judges the raw logs in this folder once more"),
        )
}

#[expect(clippy::disallowed_methods, reason = "a program's own command line; everything below gets parsed options")]
fn main() -> ExitCode {
    let options = command().get_matches_from(std::env::args_os());
    let runtime = tokio::runtime::Runtime::new().expect("the machine has room for a runtime");
    match runtime.block_on(Box::pin(act(&options))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("parley-faults: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn of<T: Clone + Send + Sync + 'static>(options: &ArgMatches, name: &str) -> T {
    options.get_one::<T>(name).cloned().expect("it has a default")
}

async fn act(options: &ArgMatches) -> anyhow::Result<bool> {
    if let Some(folder) = options.get_one::<PathBuf>("check") {
        let report = judge(folder)?;
        println!("{report:#?}");
        return Ok(report.faults.is_empty());
    }
    if let Some(rooms) = options.get_one::<usize>("crowded") {
        println!("{}", Box::pin(crowded::measure(*rooms)).await?);
        return Ok(true);
    }
    let faults: Vec<Fault> = match options.get_many::<Fault>("fault") {
        Some(faults) => faults.copied().collect(),
        None => Fault::ALL.to_vec(),
    };
    let (first, seeds) = (of::<u64>(options, "first-seed"), of::<u64>(options, "seeds"));
    let time = Duration::try_from_secs_f64(of(options, "seconds")).context("--seconds")?;
    let mut folder = Folder::new("faults");
    let kept = options.get_one::<PathBuf>("keep").cloned();
    let place = kept.clone().unwrap_or_else(|| folder.path().to_owned());
    // Seeds outside: long trials of one fault do not all run at the end.
    let trials = (first..first + seeds).flat_map(|seed| faults.iter().map(move |fault| (*fault, seed)));
    let trials = trials.map(|(fault, seed)| {
        let (place, temporary) = (place.join(format!("{}-{seed}", fault.as_str())), kept.is_none());
        async move {
            let row = one(fault, seed, time, &place).await;
            println!("{}", row.line());
            if row.is_good() && temporary {
                drop(std::fs::remove_dir_all(&place));
            }
            row
        }
    });
    let at_once = of::<NonZeroUsize>(options, "at-once").get();
    let mut rows: Vec<Row> = stream::iter(trials).buffer_unordered(at_once).collect().await;
    rows.sort_by_key(|row| (row.fault, row.seed));
    let bad = rows.iter().filter(|row| !row.is_good()).count();
    println!("\n{} trials, {bad} of them bad", rows.len());
    if bad > 0 && kept.is_none() {
        folder.keep();
        println!("raw logs: {}", place.display());
    }
    if let Some(file) = options.get_one::<PathBuf>("write") {
        let command =
            format!("cargo build --bins && target/debug/parley-faults --seeds {seeds} --write {}", file.display());
        std::fs::write(file, document(&rows, &command, &server().await?)).context(file.display().to_string())?;
    }
    Ok(bad == 0)
}

/// A trial on a thread and a runtime of its own, so that one that breaks off is one bad row.
async fn one(fault: Fault, seed: u64, time: Duration, place: &Path) -> Row {
    let mut task = tokio::task::JoinSet::new();
    let folder = place.to_owned();
    task.spawn_blocking(move || {
        std::fs::create_dir_all(&folder)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(Box::pin(run(fault, seed, time, &folder)))?;
        // Its clients end with it.
        drop(runtime);
        judge(&folder)
    });
    let result = match task.join_next().await {
        Some(Ok(result)) => result.map_err(|error| format!("{error:#}")),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("there was no trial".to_owned()),
    };
    Row { fault, seed, result }
}

/// The version of the server, as it says itself.
async fn server() -> anyhow::Result<String> {
    let output = tokio::process::Command::new(program()).arg("--version").output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split(" sha=").next().unwrap_or_default().trim().to_owned())
}
