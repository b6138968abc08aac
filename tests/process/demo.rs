//! `parley demo` as a process: the half of its story that needs no Redis, what it says when it cannot begin, and that
//! nothing of it is left behind. The other half is in the target `redis`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use parley_tests::eventually::{eventually, eventually_fetched};
use parley_tests::folder::Folder;
use parley_tests::http;
use parley_tests::process::{parley, signal};
use parley_tests::program::{DEADLINE, run};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

/// The processes whose parent is this one: process ids.
fn children(of: u32) -> Vec<u32> {
    let ids = std::fs::read_dir("/proc")
        .expect("this is Linux")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parent = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    ids.filter(|id| parent(id) == Some(of)).collect()
}

/// Whether a process runs: neither gone nor waiting to be buried.
fn runs(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

/// A demo that stays, when its story is told, and where its balancer is.
async fn staying() -> (Child, std::net::SocketAddr) {
    let mut child = parley(&["demo", "--isolated", "--stay", "--ports=0,0,0"], &[]).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut balancer = None;
    let telling = async {
        while let Some(line) = lines.next_line().await.expect("it prints UTF-8") {
            if let Some(rest) = line.trim().strip_prefix("balancer   http://") {
                balancer = rest.split('/').next().and_then(|address| address.parse().ok());
            }
            if line.contains("Ctrl-C ends it all") {
                return;
            }
        }
        unreachable!("it ended before its story was told");
    };
    tokio::time::timeout(DEADLINE, telling).await.expect("the story is told in time");
    (child, balancer.expect("it says where the balancer is"))
}

#[tokio::test]
async fn isolated_instances_do_as_told() {
    let output = run(&["demo", "--isolated", "--ports=0,0,0"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}{}", output.stdout, output.stderr);
    let row = |name: &str| {
        let line =
            output.stdout.lines().find(|line| line.trim().starts_with(&format!("{name} ")) && line.contains("server-"));
        line.unwrap_or_else(|| unreachable!("no row of {name} in\n{}", output.stdout)).to_owned()
    };
    assert!(row("Alice").contains("server-1   yes"), "{}", output.stdout);
    assert!(row("Charlie").contains("server-1   yes"), "{}", output.stdout);
    assert!(row("Bob").contains("server-2   nothing in 2 s, as expected"), "{}", output.stdout);
}

#[tokio::test]
async fn without_a_redis_it_names_the_package_to_install() {
    // The environment is empty, and so is its PATH.
    let output = run(&["demo", "--ports=0,0,0"], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", output.stdout);
    for word in ["apt-get install redis-server", "--redis-url", "--isolated"] {
        assert!(output.stderr.contains(word), "{word} is not in\n{}", output.stderr);
    }
}

#[tokio::test]
async fn a_redis_that_cannot_start_is_reported_with_what_it_said_on_its_standard_output() {
    let folder = Folder::new("demo");
    let program = folder.path().join("redis-server");
    // The shell's own `echo`: the PATH holds nothing else.
    std::fs::write(&program, "#!/bin/sh\necho 'FATAL: no such directive'\nexit 1\n").expect("there is room");
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("it is ours");
    let path = folder.path().to_str().expect("it is UTF-8");
    let output = run(&["demo", "--ports=0,0,0"], &[("PATH", path)]).await;
    assert_eq!(output.status.code(), Some(1), "{}", output.stdout);
    assert!(output.stderr.contains("redis-server did not start"), "{}", output.stderr);
    assert!(output.stderr.contains("  FATAL: no such directive"), "{}", output.stderr);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port();
    let output = run(&["demo", "--isolated", &format!("--ports=0,{port},0")], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", output.stdout);
    assert!(output.stderr.contains(&format!("port {port} is taken")), "{}", output.stderr);
    assert!(output.stderr.contains("--ports"), "{}", output.stderr);
}

#[tokio::test]
async fn who_stays_is_served_until_ctrl_c_and_leaves_nothing_behind() {
    let (mut demo, balancer) = staying().await;
    let id = demo.id().expect("it runs");
    let crew = children(id);
    assert_eq!(crew.len(), 3, "two instances and a balancer");
    assert_eq!(http::get(balancer, "/instance").await.status, 200);
    signal(id, "INT").await;
    let status =
        tokio::time::timeout(DEADLINE, demo.wait()).await.expect("it ends in time").expect("it can be waited for");
    assert_eq!(status.code(), Some(0));
    eventually(Duration::from_secs(5), || crew.iter().filter(|id| runs(**id)).count(), |left| *left == 0).await;
}

#[tokio::test]
async fn a_demo_that_is_killed_leaves_nothing_behind_either() {
    let (mut demo, _) = staying().await;
    let crew = children(demo.id().expect("it runs"));
    assert_eq!(crew.len(), 3, "two instances and a balancer");
    demo.kill().await.expect("it can be killed");
    eventually(Duration::from_secs(5), || crew.iter().filter(|id| runs(**id)).count(), |left| *left == 0).await;
}

#[tokio::test]
async fn ctrl_c_in_the_middle_ends_it_with_130() {
    let mut demo = parley(&["demo", "--isolated", "--ports=0,0,0"], &[]).spawn().expect("it starts");
    let id = demo.id().expect("it runs");
    let crew = eventually_fetched(DEADLINE, async || children(id), |crew| crew.len() == 3).await;
    signal(id, "INT").await;
    let status =
        tokio::time::timeout(DEADLINE, demo.wait()).await.expect("it ends in time").expect("it can be waited for");
    assert_eq!(status.code(), Some(130));
    eventually(Duration::from_secs(5), || crew.iter().filter(|id| runs(**id)).count(), |left| *left == 0).await;
}
