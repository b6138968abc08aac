//! nginx from the distribution with a committed configuration, in which only addresses and folders are changed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parley_tests::eventually::eventually_fetched;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const DEADLINE: Duration = Duration::from_secs(10);

/// A running one. Dropping it ends it.
pub struct Nginx {
    folder: PathBuf,
    address: SocketAddr,
    process: Child,
}

impl Nginx {
    /// Starts it before these two instances.
    pub async fn start(configuration: &str, instances: [SocketAddr; 2]) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("parley-nginx-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let path = folder.display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let folders: String = kinds.iter().map(|kind| format!("    {kind}_temp_path {path}/{kind};\n")).collect();
        // One process: as the user of this test, and gone at once when it is killed.
        let global = format!("daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/log;\n");
        let mut text = format!("{global}{configuration}");
        for (from, to) in [
            ("http {\n", format!("http {{\n    access_log off;\n{folders}")),
            ("listen 8080;", format!("listen {address};")),
            ("server-1:8080", instances[0].to_string()),
            ("server-2:8080", instances[1].to_string()),
        ] {
            assert_eq!(text.matches(from).count(), 1, "`{from}` is not there once");
            text = text.replace(from, &to);
        }
        let file = folder.join("nginx.conf");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).arg("-e").arg(folder.join("log")).arg("-c").arg(&file);
        let process = command.stdin(Stdio::null()).kill_on_drop(true).spawn().expect("nginx is installed");
        let nginx = Self { folder, address, process };
        eventually_fetched(DEADLINE, async || nginx.looks().await, |(up, _)| *up).await;
        nginx
    }

    /// Whether it listens, and what it has to say.
    async fn looks(&self) -> (bool, String) {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        (TcpStream::connect(self.address).await.is_ok(), log)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself; what is left in the folder is of no use to anybody.
        drop(self.process.start_kill());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
