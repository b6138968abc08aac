//! Any command of the binary, run to its end or heard while it serves. Instances whose log goes to a file are `process.rs`.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::process::{parley, signal};

/// How long anything may take.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What a process that has ended left.
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
}

/// Runs it to its end.
///
/// # Panics
/// It does not end in time.
pub async fn run(args: &[&str], vars: &[(&str, &str)]) -> Output {
    let output = tokio::time::timeout(DEADLINE, parley(args, vars).output()).await.expect("it ends in time");
    let output = output.expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    Output { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A serving process. Dropping it kills it.
pub struct Serving {
    /// The process.
    pub child: Child,
    /// What it logs from now on.
    pub lines: Lines<BufReader<ChildStderr>>,
    /// Where it listens.
    pub address: SocketAddr,
    event: serde_json::Value,
}

/// Starts an instance on free ports and reads from its first lines where it listens.
///
/// # Panics
/// It does not start.
pub async fn serve(more: &[&str]) -> Serving {
    let mut args = vec!["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--server-id=server-1"];
    args.extend(more);
    listening(&args, &[]).await
}

/// Starts anything that says where it listens, as JSON.
///
/// # Panics
/// It does not start.
pub async fn listening(args: &[&str], vars: &[(&str, &str)]) -> Serving {
    serving(parley(args, vars)).await
}

/// The same for a command that becomes `parley`; its standard error must be piped.
///
/// # Panics
/// It does not start.
pub async fn serving(mut command: Command) -> Serving {
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let listening = async {
        loop {
            let line = lines.next_line().await.expect("it prints UTF-8").expect("it serves before it ends");
            let event: serde_json::Value = serde_json::from_str(&line).expect("without a terminal, lines are JSON");
            if event.to_string().contains("listening") {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(DEADLINE, listening).await.expect("it listens in time");
    Serving { address: address(&event, "url"), event, child, lines }
}

/// Starts an instance whose settings are all in its environment and that logs text; with the line that says where it
/// listens.
///
/// # Panics
/// It does not start.
pub async fn listening_as_text(vars: &[(&str, &str)]) -> (Serving, String) {
    let mut child = parley(&[], vars).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let listening = async {
        loop {
            let line = lines.next_line().await.expect("it prints UTF-8").expect("it serves before it ends");
            if line.contains("listening") {
                return line;
            }
        }
    };
    let line = tokio::time::timeout(DEADLINE, listening).await.expect("it listens in time");
    let url = |name: &str| line.split(' ').find_map(|part| part.strip_prefix(name)).map(str::to_owned);
    let event = serde_json::json!({ "url": url("url="), "admin": url("admin=") });
    (Serving { address: address(&event, "url"), event, child, lines }, line)
}

fn address(event: &serde_json::Value, name: &str) -> SocketAddr {
    let url = [&event[name], &event["fields"][name]].into_iter().find_map(|value| value.as_str());
    let url = url.unwrap_or_else(|| unreachable!("no `{name}` in {event}"));
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix('/')).expect("it is a URL");
    address.parse().expect("it has an address")
}

impl Serving {
    /// Where an instance has its probes.
    ///
    /// # Panics
    /// It is no instance.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        address(&self.event, "admin")
    }

    /// Sends a signal: `TERM`, `INT`, `KILL`.
    ///
    /// # Panics
    /// It has ended.
    pub async fn signal(&self, name: &str) {
        signal(self.child.id().expect("it runs"), name).await;
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it ends in time").expect("it can be waited for")
    }

    /// How many descriptors it has open.
    ///
    /// # Panics
    /// It has ended.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let pid = self.child.id().expect("it runs");
        std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
    }
}
