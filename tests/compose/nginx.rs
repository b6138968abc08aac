//! nginx from the distribution with a committed configuration, in which only addresses and folders are changed.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use parley_tests::eventually::eventually_fetched;
use parley_tests::folder::Folder;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const DEADLINE: Duration = Duration::from_secs(10);

/// A running one. Dropping it ends it.
pub struct Nginx {
    folder: Folder,
    address: SocketAddr,
    process: Child,
}

impl Nginx {
    /// Starts it before these two instances.
    pub async fn start(configuration: &str, instances: [SocketAddr; 2]) -> Self {
        let folder = Folder::new("nginx");
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let path = folder.path().display();
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
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-e").arg(folder.path().join("log")).arg("-c").arg(&file);
        let process = command.stdin(Stdio::null()).kill_on_drop(true).spawn().expect("nginx is installed");
        let nginx = Self { folder, address, process };
        eventually_fetched(DEADLINE, async || nginx.looks().await, |(up, _)| *up).await;
        nginx
    }

    /// Whether it listens, and what it has to say.
    async fn looks(&self) -> (bool, String) {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        (TcpStream::connect(self.address).await.is_ok(), log)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.start_kill());
    }
}
