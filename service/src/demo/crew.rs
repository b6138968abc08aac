//! The processes of the demo: Redis if they share one, two instances, the balancer. Started in this order, so that each
//! finds what it needs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::process::{Launch, Process, START_WAIT};
use super::{DemoError, Programs};
use crate::balance;
use crate::config::DemoConfig;

/// Pause between two looks at whether something is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Somebody else may take the port between our looking and Redis's.
const REDIS_ATTEMPTS: usize = 5;
/// The names of the instances.
const NAMES: [&str; 2] = ["server-1", "server-2"];

/// See the module. Dropping it kills them all.
#[derive(Debug)]
pub(super) struct Crew {
    programs: Programs,
    /// Where Redis is, with its password if it has one.
    redis_url: Option<String>,
    /// Where Redis is, for people.
    redis_shown: Option<String>,
    servers: [(Process, SocketAddr); 2],
    balancer: SocketAddr,
    tasks: TaskTracker,
    _others: Vec<Process>,
}

impl Crew {
    /// Starts everything and waits until it is ready.
    pub(super) async fn start(config: &DemoConfig, programs: &Programs) -> Result<Self, DemoError> {
        for port in config.ports {
            free(port).await?;
        }
        let tasks = TaskTracker::new();
        let mut others = Vec::new();
        let (redis_url, redis_shown) = match &config.redis_url {
            _ if config.isolated => (None, None),
            Some(url) => (Some(url.expose().to_owned()), Some("the one of --redis-url".to_owned())),
            None => {
                let program = programs.redis.as_deref().ok_or(DemoError::NoRedis)?;
                let (process, port) = redis(&programs.parley, program, &tasks).await?;
                others.push(process);
                let shown = format!("127.0.0.1:{port}, {} of the demo's own", file_name(program));
                (Some(format!("redis://127.0.0.1:{port}")), Some(shown))
            }
        };
        let [balancer, first, second] = config.ports;
        let first = server(programs, redis_url.as_deref(), NAMES[0], first, &tasks).await?;
        let second = server(programs, redis_url.as_deref(), NAMES[1], second, &tasks).await?;
        let servers = [first, second];
        let args = ["balance".to_owned(), format!("--listen=127.0.0.1:{balancer}"), "--log-format=json".to_owned()];
        let upstreams = servers.iter().map(|(_, address)| format!("--upstream={address}"));
        let launch = Launch {
            name: "the balancer",
            parley: &programs.parley,
            program: &programs.parley,
            args: args.into_iter().chain(upstreams).collect(),
            vars: Vec::new(),
        };
        let (process, balancer) = Process::listening(launch, &tasks).await?;
        others.push(process);
        Ok(Self { programs: programs.clone(), redis_url, redis_shown, servers, balancer, tasks, _others: others })
    }

    pub(super) fn balancer(&self) -> SocketAddr {
        self.balancer
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        NAMES.into_iter().zip(self.servers.iter().map(|(_, address)| *address))
    }

    pub(super) fn redis(&self) -> Option<&str> {
        self.redis_shown.as_deref()
    }

    /// Kills server-2, as a crash does.
    pub(super) async fn kill_second(&mut self) -> io::Result<()> {
        self.servers[1].0.kill().await
    }

    /// Starts server-2 again where it was, if it is gone.
    pub(super) async fn revive(&mut self) -> Result<(), DemoError> {
        if self.servers[1].0.has_ended() {
            let port = self.servers[1].1.port();
            let again = server(&self.programs, self.redis_url.as_deref(), NAMES[1], port, &self.tasks).await?;
            self.servers[1] = again;
        }
        Ok(())
    }
}

async fn server(
    programs: &Programs,
    redis_url: Option<&str>,
    name: &str,
    port: u16,
    tasks: &TaskTracker,
) -> Result<(Process, SocketAddr), DemoError> {
    let args = [
        format!("--server-id={name}"),
        format!("--listen=127.0.0.1:{port}"),
        "--admin-listen=127.0.0.1:0".to_owned(),
        "--log-format=json".to_owned(),
        // Keeps apart what the demo does in somebody's Redis.
        "--redis-prefix=parley-demo".to_owned(),
    ];
    let (parley, program) = (programs.parley.as_path(), programs.parley.as_path());
    // Not as a flag, which everybody on this machine could read.
    let vars = redis_url.map(|url| ("PARLEY_REDIS_URL", url.to_owned())).into_iter().collect();
    let launch = Launch { name, parley, program, args: args.into(), vars };
    let (mut process, address) = Process::listening(launch, tasks).await?;
    let ready = async {
        while !balance::is_ok(address).await {
            if process.has_ended() {
                return false;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        true
    };
    match tokio::time::timeout(START_WAIT, ready).await {
        Ok(true) => Ok((process, address)),
        _ => Err(process.failed().await),
    }
}

/// A server of its own, with nothing on disk.
async fn redis(parley: &Path, program: &Path, tasks: &TaskTracker) -> Result<(Process, u16), DemoError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?.port();
        let args = ["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"];
        let args = args.map(str::to_owned).into();
        let launch = Launch { name: file_name(program), parley, program, args, vars: Vec::new() };
        let mut process = Process::silent(launch, tasks).await?;
        let up = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                if process.has_ended() {
                    return false;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            !process.has_ended()
        };
        match tokio::time::timeout(START_WAIT, up).await {
            Ok(true) => return Ok((process, port)),
            _ if attempts < REDIS_ATTEMPTS => {}
            _ => return Err(process.failed().await),
        }
    }
}

/// That nobody listens there yet. Port 0 is always free.
async fn free(port: u16) -> Result<(), DemoError> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(DemoError::PortTaken(port)),
        Err(error) => Err(error.into()),
    }
}

fn file_name(program: &Path) -> &str {
    program.file_name().and_then(|name| name.to_str()).unwrap_or("redis-server")
}
