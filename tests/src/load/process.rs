//! What the kernel says of a server process: processor time and resident memory, from `/proc/PID`. Linux only; it reads
//! and never attaches, so measuring does not change what is measured.

use std::fs;
use std::io;

use serde::Serialize;
use thiserror::Error;

/// Why a process cannot be measured.
#[derive(Debug, Error)]
pub(super) enum ProcessFault {
    #[error("--pid {pid}: cannot read /proc/{pid}/{file}: {source}")]
    Read { pid: u32, file: &'static str, source: io::Error },
    #[error("--pid {pid}: /proc/{pid}/{file} does not look as expected")]
    Shape { pid: u32, file: &'static str },
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// Private memory: heap and stacks (`RssAnon`). What a session costs shows here.
    pub(super) anonymous: u64,
    /// All resident memory, the binary itself included (`VmRSS`).
    pub(super) resident: u64,
}

/// Processor time of a process so far, user and system, in seconds; its resolution is a clock tick (10 ms).
pub(super) fn cpu_seconds(pid: u32) -> Result<f64, ProcessFault> {
    let text = read(pid, "stat")?;
    let ticks = ticks(&text).ok_or(ProcessFault::Shape { pid, file: "stat" })?;
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    Ok(f64::from(ticks) / f64::from(per_second))
}

/// Resident memory of a process now.
pub(super) fn memory(pid: u32) -> Result<Memory, ProcessFault> {
    let text = read(pid, "status")?;
    let field = |name: &str| kibibytes(&text, name).ok_or(ProcessFault::Shape { pid, file: "status" });
    Ok(Memory { anonymous: field("RssAnon:")?, resident: field("VmRSS:")? })
}

fn read(pid: u32, file: &'static str) -> Result<String, ProcessFault> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|source| ProcessFault::Read { pid, file, source })
}

/// `utime` + `stime`, fields 14 and 15. The name in field 2 may hold blanks and brackets, so counting begins behind it.
fn ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_an_awkward_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194304 100 0 0 0 150 27 0 0 20 0 2 0 100 1000000 500";
        assert_eq!(ticks(stat), Some(177));
        assert_eq!(ticks("nonsense"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\n";
        assert_eq!(kibibytes(status, "RssAnon:"), Some(1 << 20));
        assert_eq!(kibibytes(status, "VmRSS:"), Some(2 << 20));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_very_process_can_be_measured() {
        let pid = std::process::id();
        assert!(memory(pid).unwrap().anonymous > 0);
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
    }

    #[test]
    fn a_process_that_is_not_there_is_told_with_its_number() {
        let text = memory(u32::MAX).unwrap_err().to_string();
        assert!(text.contains("--pid 4294967295"), "{text}");
    }
}
