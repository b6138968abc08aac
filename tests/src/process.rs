//! The binary `parley` as a process. What it does inside is none of this file's business.
#![expect(clippy::panic, reason = "a test without its instance fails here")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::eventually::{eventually, eventually_fetched};
use crate::http;

/// How long a process may take to serve or to end.
const DEADLINE: Duration = Duration::from_secs(40);

/// The binary in the target folder of this program: `target/debug/parley` for `target/debug/deps/process-…` and for
/// `target/debug/parley-faults`.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("parley")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no `parley` near {}: `cargo build -p parley-service`", own.display()))
}

/// `parley` with these arguments and this environment alone.
#[must_use]
pub fn parley(args: &[&str], vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).env_clear().envs(vars.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The public and the admin address in the event that tells them. `None`: another event.
#[must_use]
pub fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let event: Value = serde_json::from_str(line).ok().filter(|_| line.contains("listening"))?;
    let find = |name: &str| {
        let url = [&event[name], &event["fields"][name]].into_iter().find_map(Value::as_str)?;
        url.strip_prefix("http://")?.strip_suffix('/')?.parse().ok()
    };
    Some((find("url")?, find("admin")?))
}

/// A serving instance. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    /// Starts it on free ports; its log goes to this file. It need not be ready.
    ///
    /// # Panics
    /// It does not serve.
    pub async fn start(name: &str, args: &[String], log: &Path) -> Self {
        let file = std::fs::File::create(log).expect("the log can be written");
        let named = format!("--server-id={name}");
        let mut all = vec!["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", &named];
        all.extend(args.iter().map(String::as_str));
        let child = parley(&all, &[]).stdout(Stdio::null()).stderr(file).spawn().expect("it starts");
        let read = || std::fs::read_to_string(log).unwrap_or_default();
        let told = || read().lines().find_map(addresses);
        let (address, admin) =
            eventually(DEADLINE, told, Option::is_some).await.unwrap_or_else(|| panic!("{}", read()));
        Self { child, log: log.to_owned(), address, admin }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where probes and metrics are.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The id of the process.
    ///
    /// # Panics
    /// It has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("the instance has ended: {}", self.log()))
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) {
        let readyz = async || http::get(self.admin, "/readyz").await.status;
        eventually_fetched(DEADLINE, readyz, |status| *status == 200).await;
    }

    /// Sends a signal: `TERM`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// It has ended.
    pub async fn signal(&self, name: &str) {
        signal(self.id(), name).await;
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        ended.expect("it ends in time").expect("a child can be waited for")
    }

    /// As `kill -9`.
    ///
    /// # Panics
    /// It cannot be killed.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a child can be killed");
    }
}

/// Sends a signal to a process.
///
/// # Panics
/// It is gone.
pub async fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().await;
    assert!(sent.is_ok_and(|status| status.success()), "the signal {name} cannot be sent to {id}");
}
