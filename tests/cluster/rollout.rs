//! Instances come and go under traffic, and nobody loses a line.

use parley_tests::checker::check;
use parley_tests::cluster::{Space, ingress, kubectl};
use parley_tests::resumer::Resumer;

/// Talks in one room while something happens to the instances, and then asks the checker.
async fn nothing_is_lost(space: &Space, meanwhile: impl Future<Output = ()>) {
    let host = space.host();
    // Until there is somebody on each instance, whichever of them ends.
    space.spread().await;
    let mut clients = Vec::new();
    for name in ["alice", "bob", "charlie", "dora"] {
        clients.push(Resumer::joined_at(name, &["general"], ingress(), &host).await);
    }
    let talk = async {
        for number in 0_u32.. {
            for client in &clients {
                client.publish("general", number).await;
            }
            clients[0].acked().await;
        }
    };
    tokio::select! {
        () = talk => {}
        () = meanwhile => {}
    }
    for client in &clients {
        client.acked().await;
    }
    // By the acks: the last message may be on its way to everybody still.
    let top = clients.iter().map(|client| client.acked_in("general").2).max().unwrap_or_default();
    for client in &clients {
        client.has("general", top).await;
    }
    let records: Vec<_> = clients.iter().map(Resumer::record).collect();
    let report = check(&records);
    let moves: usize = clients.iter().map(Resumer::moves).sum();
    println!("{} acked, {} received, {moves} moves, {} gaps", report.acked, report.received, report.gaps);
    assert_eq!((report.faults.iter().collect::<Vec<_>>(), report.gaps), (vec![], 0));
    assert!(report.acked > 50 && moves > 0, "there was traffic, and instances handed over: {moves} moves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_traffic_loses_nothing() {
    let space = Space::of("restart").await;
    space.apply(&space.chat("redis: { managed: {} }")).await;
    space.ready().await;
    let before = space.instances().await;
    nothing_is_lost(&space, async {
        space.kubectl(&["rollout", "restart", "deployment/demo"]).await;
        space.kubectl(&["rollout", "status", "deployment/demo", "--timeout=180s"]).await;
        space.settled().await;
    })
    .await;
    assert!(space.instances().await.iter().all(|pod| !before.contains(pod)), "every instance was replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_under_traffic_loses_nothing() {
    let space = Space::of("drained").await;
    space.apply(&space.chat("redis: { managed: {} }")).await;
    space.ready().await;
    let valkey = space.get("pod/demo-valkey-0").await["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    let pods = space.get("pods").await;
    let mut nodes =
        pods["items"].as_array().into_iter().flatten().map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default());
    // Not the one with Valkey: its volume is its node's.
    let node = nodes.find(|node| *node != valkey).expect("instances are on both workers").to_owned();
    let _back = Uncordon(node.clone());
    nothing_is_lost(&space, async {
        let drained = kubectl(&[
            "drain",
            &node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=120s",
            "--pod-selector",
            "parley.dev/cluster",
        ])
        .await;
        drained.expect("the budget lets it be drained");
        space.settled().await;
    })
    .await;
}

/// Lets pods onto a node again, also if the test fails: the others need it.
struct Uncordon(String);

impl Drop for Uncordon {
    fn drop(&mut self) {
        drop(std::process::Command::new("kubectl").args(["uncordon", &self.0]).output());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sticky_client_does_not_come_back_to_an_instance_that_drains() {
    let space = Space::of("sticky").await;
    space
        .apply(&space.chat("redis: { managed: {} }, drain: { seconds: 20 }").replace("drain: { seconds: 4 }, ", ""))
        .await;
    space.ready().await;
    space.spread().await;
    let instance = async |cookie: &str| {
        let url = format!("http://{}/instance", ingress());
        let host = format!("Host: {}", space.host());
        parley_tests::cluster::program("curl", &["-s", "-i", "--max-time", "5", "-H", &host, "-b", cookie, &url])
            .await
            .unwrap_or_default()
    };
    let named = |answer: &str| {
        answer.split("\"server_id\":\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
    };
    let first = instance("").await;
    let cookie =
        first.lines().find_map(|line| line.to_lowercase().starts_with("set-cookie: ").then(|| line[12..].to_owned()));
    let cookie = cookie.expect("the ingress gives a cookie");
    assert!(cookie.starts_with("parley-affinity=") && !cookie.to_lowercase().contains("httponly"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let home = named(&first).expect("an instance answers");
    for _ in 0..5 {
        assert_eq!(named(&instance(&cookie).await), Some(home.clone()), "the cookie holds");
    }
    // Some are on it, and hold up its end.
    let mut sessions = Vec::new();
    for number in 0..6 {
        sessions.push(space.open(&format!("user-{number}")).await);
    }
    space.kubectl(&["delete", "pod", &home, "--wait=false"]).await;
    // While it is still there and drains, its clients are led elsewhere; and until then it answers them itself.
    let mut seen: Vec<String> = Vec::new();
    let led = async {
        while seen.last().and_then(|answer| named(answer)).is_none_or(|name| name == home) {
            seen.push(instance(&cookie).await);
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(20), led).await;
    assert!(in_time.is_ok(), "{:?}", seen.last());
    let bad: Vec<_> = seen.iter().filter(|answer| !answer.starts_with("HTTP/1.1 200")).collect();
    assert!(bad.is_empty(), "of {} answers: {bad:?}", seen.len());
    assert!(space.get("pods").await.to_string().contains(&home), "it drains still");
}
