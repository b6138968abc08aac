//! The binary of the image, linked statically, on a root folder that holds nothing but itself and the two files that every
//! container is given: without loader, libraries, `nsswitch.conf`, `/dev` and `/proc`, as the image's user, it serves and
//! finds Redis by name. The target is built only for root, beside a static binary: `tests/run --only static`.

mod dns;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use dns::Dns;
use parley_tests::balancer::welcomed;
use parley_tests::client::Connect;
use parley_tests::eventually::eventually_fetched;
use parley_tests::folder::Folder;
use parley_tests::http;
use parley_tests::program::{Serving, serving};
use parley_tests::redis::Redis;
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(20);
/// As the Dockerfile has it.
const USER: &str = "65532:65532";

/// The newest static binary: `target/x86_64-…/debug/parley` for `target/debug/deps/static-…`.
fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let target = own.ancestors().nth(3).expect("it lies in the target folder");
    let folders = std::fs::read_dir(target).expect("the target folder can be read").flatten();
    let found = folders.map(|folder| folder.path().join("debug/parley")).filter(|path| path.is_file());
    let found = found.max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
    found.expect("there is one: `cargo build --config .cargo/static.toml -p parley-service --bin parley`")
}

/// An instance on a root folder of its own that is told to find Redis as `redis`.
async fn instance(redis: &Redis, resolv: &str, hosts: &str) -> (Serving, Folder) {
    let root = Folder::new("root");
    std::fs::copy(binary(), root.path().join("parley")).expect("it can be copied");
    std::fs::create_dir(root.path().join("etc")).expect("the folder is ours");
    std::fs::write(root.path().join("etc/resolv.conf"), resolv).expect("the folder is ours");
    std::fs::write(root.path().join("etc/hosts"), hosts).expect("the folder is ours");
    let mut command = Command::new("chroot");
    command.arg(format!("--userspec={USER}")).arg(root.path()).arg("/parley");
    command.args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--server-id=server-1"]);
    // The only variable besides is where `chroot` is.
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .env("PARLEY_REDIS_URL", format!("redis://redis:{}", redis.port()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    (serving(command).await, root)
}

/// Waits until it has found Redis, and chats.
async fn chats(instance: &Serving) {
    let health = async || http::get(instance.address, "/health").await.status;
    eventually_fetched(DEADLINE, health, |status| *status == 200).await;
    let (mut alice, _) = welcomed(Connect::to(instance.address).user("alice")).await;
    alice.join("general").await;
    alice.chat("general", "hi").await;
    alice.expect_message("general", 1, "hi").await;
}

#[tokio::test]
async fn it_finds_redis_by_a_short_name_as_a_pod_does() {
    const NAME: &str = "redis.chat.svc.cluster.local";
    let (redis, dns) = (Redis::start().await, Dns::start(NAME).await);
    // As Kubernetes writes it.
    let resolv = format!(
        "search chat.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:5\n",
        dns.address()
    );
    let (instance, _root) = instance(&redis, &resolv, "127.0.0.1 localhost\n").await;
    chats(&instance).await;
    assert!(dns.asked().iter().any(|name| name == NAME), "{:?}", dns.asked());
}

#[tokio::test]
async fn it_finds_redis_by_a_name_in_the_hosts_file() {
    let redis = Redis::start().await;
    let (instance, _root) = instance(&redis, "", "127.0.0.1 localhost redis\n").await;
    chats(&instance).await;
}
