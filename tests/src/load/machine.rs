//! What this process needs of the machine before a run: enough file descriptors, and a processor of its own if asked.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

/// Descriptors that are not sessions: runtime, standard streams, files in `/proc`.
const SPARE: u64 = 64;
/// How often one that rests looks whether it should go on.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Why the machine cannot carry the run.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum MachineFault {
    #[error(
        "{wanted} file descriptors are needed and the limit is {limit}: raise it (ulimit -n {wanted}) or use fewer sessions"
    )]
    Descriptors { wanted: u64, limit: u64 },
    #[error("processor {cpu} cannot be used by this process: {reason}")]
    Processor { cpu: usize, reason: String },
}

/// Raises the soft limit of descriptors to what `sockets` take, and the hard limit if it is allowed.
pub(super) fn make_room_for(sockets: usize) -> Result<(), MachineFault> {
    let wanted = u64::try_from(sockets).unwrap_or(u64::MAX).saturating_add(SPARE);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = maximum.map(|maximum| maximum.max(wanted));
    // Only a privileged process may raise the hard limit; the rest stops at what it has.
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).map_err(|_| MachineFault::Descriptors {
        wanted,
        limit: current.max(getrlimit(Resource::Nofile).maximum).unwrap_or(0),
    })
}

/// Keeps the calling thread, and threads it starts later, on one processor.
#[cfg(target_os = "linux")]
pub(super) fn pin_to(cpu: usize) -> Result<(), MachineFault> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let fault = |reason: String| MachineFault::Processor { cpu, reason };
    if cpu >= CpuSet::MAX_CPU {
        return Err(fault("there are not so many".into()));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|error| fault(error.to_string()))
}

/// Keeps the calling thread on the processors that process `pid` may use, so that both are measured on the same ones.
/// Best effort: a floor on other processors is still a floor.
#[cfg(target_os = "linux")]
pub(super) fn pin_like(pid: u32) {
    use rustix::process::Pid;
    use rustix::thread::{sched_getaffinity, sched_setaffinity};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(set) = pid.and_then(|pid| sched_getaffinity(Some(pid)).ok()) {
        // See above: a refusal changes where the floor is measured, not what it is.
        let _ = sched_setaffinity(None, &set);
    }
}

/// Keeps the runtime that runs it asking for what arrived, without ever sleeping: a reader on the sender's own machine
/// makes the sender pay for waking it, which no reader elsewhere does. While it `rests` it leaves the processor to others.
/// Never ends; drop it.
pub(super) async fn busy_poll(rests: impl Fn() -> bool) {
    loop {
        match rests() {
            true => tokio::time::sleep(LOOK_AGAIN).await,
            false => tokio::task::yield_now().await,
        }
    }
}

/// Only Linux lets a program choose its processor.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin_to(cpu: usize) -> Result<(), MachineFault> {
    Err(MachineFault::Processor { cpu, reason: "pinning needs Linux".into() })
}

/// Only Linux lets a program choose its processor.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin_like(_pid: u32) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_sessions_than_descriptors_is_told_with_both_numbers() {
        let fault = make_room_for(usize::MAX).unwrap_err();
        assert!(matches!(fault, MachineFault::Descriptors { wanted: u64::MAX, .. }), "{fault}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_processor_that_does_not_exist_is_told() {
        assert!(matches!(pin_to(1_000_000), Err(MachineFault::Processor { cpu: 1_000_000, .. })));
    }
}
