//! `parley demo`: two instances behind a balancer, three people who chat, and what becomes of it without and with a shared
//! backplane. Every part is a process of its own, as in real life; all of them end with the demo, however it ends.

mod crew;
mod person;
mod process;
mod story;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use self::crew::Crew;
pub use self::process::become_program;
use crate::config::DemoConfig;

/// Why the demo could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Somebody else listens there.
    #[error("port {0} is taken: stop what uses it, or choose others, such as --ports 9080,9081,9082")]
    PortTaken(u16),
    /// There is nothing to share rooms with.
    #[error(
        "no redis-server or valkey-server is on the PATH. Install one:\n  \
         Debian, Ubuntu   apt-get install redis-server\n  \
         Fedora           dnf install valkey\n  \
         macOS            brew install redis\n\
         or name yours with --redis-url, or see the first half of the story, which needs none, with --isolated"
    )]
    NoRedis,
    /// A process ended, or did not get ready in time.
    #[error("{name} did not start; its last words:\n{words}")]
    NotStarted {
        /// Which one.
        name: String,
        /// The end of its log.
        words: String,
    },
    /// Somebody could not chat.
    #[error("{name} cannot chat: {why}")]
    Chat {
        /// Who.
        name: &'static str,
        /// Why.
        why: String,
    },
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the demo runs: this program, and a server to share rooms with.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `parley`.
    pub parley: PathBuf,
    /// `redis-server` or `valkey-server`, if one was found.
    pub redis: Option<PathBuf>,
}

/// Tells the story to `out`; whether everything went as told. With `stay` it never returns: drop it to end everything.
///
/// # Errors
/// See [`DemoError`]. Whatever was started has ended then.
pub async fn run(config: &DemoConfig, programs: &Programs, out: &mut impl Write) -> Result<bool, DemoError> {
    let mut crew = Crew::start(config, programs).await?;
    introduce(&crew, config, out)?;
    let (mut as_told, cast) = story::one_message(&crew, config.isolated, out).await?;
    if !config.isolated {
        as_told &= story::a_server_dies(&mut crew, cast, out).await?;
    }
    let verdict = match (as_told, config.isolated) {
        (true, true) => "That is why instances share a backplane: `parley demo` shows it.",
        (true, false) => "Everything went as told.",
        (false, _) => "NOT as told: see above.",
    };
    writeln!(out, "\n{verdict}")?;
    if config.stay {
        crew.revive().await?;
        stay(&crew, out)?;
        out.flush()?;
        std::future::pending::<()>().await;
    }
    out.flush()?;
    Ok(as_told)
}

fn introduce(crew: &Crew, config: &DemoConfig, out: &mut impl Write) -> io::Result<()> {
    let title = if config.isolated { "two instances that share nothing" } else { "two instances that share Redis" };
    writeln!(out, "Parley, {title}\n")?;
    writeln!(out, "  balancer   {}   round-robin", url(crew.balancer()))?;
    for (name, address) in crew.servers() {
        writeln!(out, "  {name}   {}", url(address))?;
    }
    if let Some(redis) = crew.redis() {
        writeln!(out, "  redis      {redis}")?;
    }
    writeln!(out)
}

fn stay(crew: &Crew, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nEverything keeps running. Now it is your turn:\n")?;
    writeln!(out, "  {}   in several windows: they land on the two servers in turn", url(crew.balancer()))?;
    for (name, address) in crew.servers() {
        writeln!(out, "  {}   {name} itself", url(address))?;
    }
    writeln!(out, "  {}balancer/status   who has how many connections", url(crew.balancer()))?;
    writeln!(out, "\nCtrl-C ends it all.")
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

/// As a person would say it.
fn shown(time: Duration) -> String {
    format!("{} ms", time.as_millis().max(1))
}
