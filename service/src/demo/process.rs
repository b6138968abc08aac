//! One process of the demo: started, heard, killed. It dies with the demo, also when that is killed: a process asks the
//! kernel for that itself, before it becomes the program that it is to be.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::DemoError;

/// How long a process may take to get ready.
pub(super) const START_WAIT: Duration = Duration::from_secs(15);
/// How long to wait for what an ended process has said.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Lines that are kept of what a process says.
const LINES_KEPT: usize = 12;

/// A running one. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    words: Arc<Mutex<VecDeque<String>>>,
    /// Reads its words to their end.
    reader: Option<JoinHandle<()>>,
}

/// What to start.
pub(super) struct Launch<'a> {
    pub(super) name: &'a str,
    /// This program, which becomes the other.
    pub(super) parley: &'a Path,
    pub(super) program: &'a Path,
    pub(super) args: Vec<String>,
    /// The whole environment: settings of whoever runs the demo are not those of its processes.
    pub(super) vars: Vec<(&'static str, String)>,
}

impl Process {
    /// Starts it. What it says is kept for the case that it fails, after `first` has had the lines that it wants.
    async fn start<T>(
        launch: Launch<'_>,
        tasks: &TaskTracker,
        first: impl AsyncFnOnce(&mut Heard) -> Option<T>,
    ) -> Result<(Self, T), DemoError> {
        let mut command = Command::new(launch.parley);
        command.arg("demo-child").arg(std::process::id().to_string()).arg(launch.program).args(&launch.args);
        command.env_clear().envs(launch.vars).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C is for the demo, which then ends them all.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let words = Arc::new(Mutex::new(VecDeque::new()));
        let stderr = child.stderr.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let mut heard = Heard { lines: BufReader::new(stderr).lines(), words: Arc::clone(&words) };
        let begun = tokio::time::timeout(START_WAIT, first(&mut heard)).await.ok().flatten();
        let mut process = Self { name: launch.name.to_owned(), child, words, reader: None };
        let Some(begun) = begun else { return Err(process.failed().await) };
        process.reader = Some(tasks.spawn(async move { while heard.next().await.is_some() {} }));
        Ok((process, begun))
    }

    /// Starts `parley`, which says where it listens.
    pub(super) async fn listening(launch: Launch<'_>, tasks: &TaskTracker) -> Result<(Self, SocketAddr), DemoError> {
        let listens = async |heard: &mut Heard| loop {
            if let Some(address) = heard.next().await?.as_deref().and_then(listening) {
                return Some(address);
            }
        };
        Self::start(launch, tasks, listens).await
    }

    /// Starts a program of which nothing is heard.
    pub(super) async fn silent(launch: Launch<'_>, tasks: &TaskTracker) -> Result<Self, DemoError> {
        Ok(Self::start(launch, tasks, async |_| Some(())).await?.0)
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// As `kill -9`, and waits for it.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// That it did not start, with the end of what it said.
    pub(super) async fn failed(&mut self) -> DemoError {
        if self.has_ended()
            && let Some(reader) = self.reader.take()
        {
            // Its last words may still be in the pipe. Should a child of its own hold that open, so be it.
            drop(tokio::time::timeout(LAST_WORDS, reader).await);
        }
        let words: Vec<String> = self.words.lock().iter().map(|line| format!("  {line}")).collect();
        let words = if words.is_empty() { "  (none)".to_owned() } else { words.join("\n") };
        DemoError::NotStarted { name: self.name.clone(), words }
    }
}

/// What a process says.
struct Heard {
    lines: Lines<BufReader<ChildStderr>>,
    words: Arc<Mutex<VecDeque<String>>>,
}

impl Heard {
    /// The next line, `None` inside for one that is no text; `None` when it has ended.
    async fn next(&mut self) -> Option<Option<String>> {
        match self.lines.next_line().await {
            Ok(Some(line)) => {
                let mut words = self.words.lock();
                if words.len() == LINES_KEPT {
                    words.pop_front();
                }
                words.push_back(line.clone());
                Some(Some(line))
            }
            Ok(None) => None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(None),
            Err(_) => None,
        }
    }
}

/// Where a line of the log says that it listens.
fn listening(line: &str) -> Option<SocketAddr> {
    let event: Value = serde_json::from_str(line).ok()?;
    let field = |name: &str| event[name].as_str().or_else(|| event["fields"][name].as_str()).map(str::to_owned);
    field("message").filter(|message| message == "listening")?;
    field("url")?.strip_prefix("http://")?.strip_suffix('/')?.parse().ok()
}

/// Ties this process to the demo and becomes the program: `parley demo-child PARENT PROGRAM ARGUMENT…`. Returns only if
/// that is not possible, with the reason.
#[must_use]
pub fn become_program(words: &[OsString]) -> io::Error {
    let [parent, program, args @ ..] = words else {
        return io::Error::other("this command is for `parley demo` alone");
    };
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        return error.into();
    }
    // It may have ended before it was tied to: then nobody would end this one.
    let is_parent = rustix::process::getppid().is_some_and(|id| id.as_raw_pid().to_string().as_str() == parent);
    if !is_parent {
        return io::Error::other("this command is for `parley demo` alone, and that has ended");
    }
    // Redis says on its standard output why it ends.
    std::process::Command::new(program).args(args).stdout(io::stderr()).exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_that_says_so_tells_where_it_listens() {
        let flat = r#"{"message":"listening","url":"http://127.0.0.1:8081/"}"#;
        let nested = r#"{"fields":{"message":"listening","url":"http://127.0.0.1:8081/"}}"#;
        let address = Some("127.0.0.1:8081".parse().unwrap());
        assert_eq!((listening(flat), listening(nested)), (address, address));
        assert_eq!(listening(r#"{"message":"draining","url":"http://127.0.0.1:8081/"}"#), None);
        assert_eq!(listening("not listening on http://127.0.0.1:8081/"), None);
    }
}
