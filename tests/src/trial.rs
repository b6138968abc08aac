//! A trial: instances over a Redis, clients that never stop, a fault at a moment that a seed decides, and raw logs of all
//! of it in a folder, which `checker.rs` then judges without having been there.

mod crowd;
pub mod crowded;
pub mod fault;
mod scene;
mod strike;
pub mod table;

use std::path::Path;
use std::time::Duration;

use self::crowd::Crowd;
use self::fault::Fault;
use self::scene::Scene;
use crate::checker::{self, Report, check_trial};
use crate::journal::{self, Event, Line, Log, Mark};
use crate::redis::pass;

/// How long delivery may take to be whole after the healing, with a new server, its Sentinels and all back-offs.
const WHOLE: Duration = Duration::from_secs(45);
/// How long publishers may take for what they have not got acked, and readers to the end of the logs.
const SETTLE: Duration = Duration::from_secs(30);

/// How long until presence is true: that of a half-open connection (promise 4), and what a leave is held for.
const PRESENT: Duration = Duration::from_secs(50);

/// What a trial is about, in its folder.
const ABOUT: &str = "about";

/// Runs a trial of this many seconds before and after the fault, and writes everything into an empty folder.
///
/// # Errors
/// The fault did not do what it should, or the folder cannot be written.
///
/// # Panics
/// Something did not start or end in time.
pub async fn run(fault: Fault, seed: u64, seconds: Duration, folder: &Path) -> anyhow::Result<()> {
    std::fs::write(folder.join(ABOUT), fault.as_str())?;
    let mut scene = Scene::set(fault, seed, folder).await?;
    let mut crowd = Crowd::gather(&scene).await?;
    pass(seconds + scene.between(0, 1_000)).await;
    scene.mark(Mark::Struck);
    strike::strike(&mut scene, fault).await?;
    scene.mark(Mark::Healed);
    if crowd.is_whole(WHOLE).await {
        scene.mark(Mark::Whole);
    }
    pass(seconds).await;
    let silent = crowd.falls_silent(SETTLE).await;
    scene.mark(Mark::Silent);
    let settled = crowd.settles(&scene, SETTLE).await;
    scene.note_presence(crowd.presence(&scene, PRESENT).await);
    let logs = scene.logs(&crowd.rooms()).await;
    drop(crowd);
    if silent && settled {
        scene.mark(Mark::Settled);
    }
    scene.note_logs(logs.unwrap_or_default());
    Ok(())
}

/// Reads the raw logs in a folder and judges them.
///
/// # Errors
/// They cannot be read.
pub fn judge(folder: &Path) -> anyhow::Result<Report> {
    let fault = Fault::parse(&std::fs::read_to_string(folder.join(ABOUT))?).map_err(anyhow::Error::msg)?;
    let mut records: Vec<(String, Vec<Line>)> = Vec::new();
    let mut logs: Vec<Log> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().filter(|_| path.extension().is_some_and(|kind| kind == "jsonl")) else {
            continue;
        };
        let lines = journal::read(&path)?;
        logs.extend(lines.iter().filter_map(|line| match &line.event {
            Event::Log(log) => Some(log.clone()),
            _ => None,
        }));
        records.push((name.to_string_lossy().into_owned(), lines));
    }
    records.sort_by(|a, b| a.0.cmp(&b.0));
    let mut report = check_trial(&records, &logs, fault.allowed());
    if report.presence == 0 {
        report.faults.insert(checker::Fault::Absent("nobody asked who is there".to_owned()));
    }
    Ok(report)
}
