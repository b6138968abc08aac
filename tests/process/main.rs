//! Tests of the real binary as a process: what it prints, how signals end it, what its exit codes say. What happens
//! inside an instance is tested in `it`.

mod balance;
mod demo;

use parley_tests::client::Connect;
use parley_tests::eventually::eventually;
use parley_tests::http;
use parley_tests::program::{DEADLINE, run, serve};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn it_says_where_it_listens_and_answers_there() {
    let serving = serve(&[]).await;
    let instance = http::get(serving.address, "/instance").await;
    assert_eq!((instance.status, instance.json()), (200, json!({ "server_id": "server-1" })));
    assert_eq!(http::get(serving.admin(), "/readyz").await.status, 200);
    let mut alice = Connect::to(serving.address).user("alice").open().await.ignoring_presence().welcomed().await;
    alice.join("general").await;
    alice.chat("general", "hi").await;
    alice.expect_message("general", 1, "hi").await;
}

#[tokio::test]
async fn sigterm_and_sigint_drain_and_exit_with_0() {
    for signal in ["TERM", "INT"] {
        let mut serving = serve(&["--drain-seconds=60"]).await;
        let mut alice = Connect::to(serving.address).user("alice").open().await.welcomed().await;
        serving.signal(signal).await;
        let reconnect = alice.expect("reconnect").await;
        assert_eq!(reconnect.text("reason"), "drain", "{signal}");
        assert_eq!(http::get(serving.address, "/health").await.status, 503, "{signal}");
        alice.close().await;
        assert_eq!(serving.ended().await.code(), Some(0), "{signal}");
        let mut rest = Vec::new();
        while let Some(line) = serving.lines.next_line().await.expect("it prints UTF-8") {
            rest.push(line);
        }
        assert!(rest.iter().any(|line| line.contains("draining")), "{rest:#?}");
        assert!(rest.last().is_some_and(|line| line.contains("stopped")), "{rest:#?}");
    }
}

#[tokio::test]
async fn a_second_signal_exits_at_once() {
    let mut serving = serve(&["--drain-seconds=3600"]).await;
    let mut alice = Connect::to(serving.address).user("alice").open().await.welcomed().await;
    serving.signal("TERM").await;
    alice.expect("reconnect").await;
    serving.signal("TERM").await;
    assert_eq!(serving.ended().await.code(), Some(130));
}

#[tokio::test]
async fn bad_settings_exit_with_2_and_name_every_fault() {
    let vars = [
        ("PARLEY_PING_SECONDS", "soon"),
        ("PARLEY_MAX_MESSAGE_BYTES", "1"),
        ("PARLEY_AUTH", "token"),
        ("PARLEY_API_KEY", "short-secret"),
    ];
    let output = run(&["--listen=nowhere", "--no-such-flag"], &vars).await;
    assert_eq!((output.status.code(), output.stdout.as_str()), (Some(2), ""));
    for name in ["PING_SECONDS", "MAX_MESSAGE_BYTES", "TOKEN_SECRET", "API_KEY", "listen", "no-such-flag"] {
        assert!(output.stderr.to_lowercase().contains(&name.to_lowercase()), "{name} is not named:\n{}", output.stderr);
    }
    assert!(!output.stderr.contains("short-secret"), "a secret is shown:\n{}", output.stderr);
}

#[tokio::test]
async fn an_address_in_use_is_a_sentence_and_not_0() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = run(&["--listen", &address, "--admin-listen=127.0.0.1:0", "--server-id=x"], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains(&address) && output.stderr.contains("in use"), "{}", output.stderr);
}

#[tokio::test]
async fn config_prints_the_settings_in_force_without_secrets() {
    const SECRETS: [(&str, &str); 2] = [
        ("PARLEY_API_KEY", "key-that-nobody-may-see-1"),
        ("PARLEY_TOKEN_SECRET", "secret-that-nobody-may-see-0123456789"),
    ];
    let vars = [&SECRETS[..], &[("PARLEY_AUTH", "token"), ("PARLEY_PING_SECONDS", "7")]].concat();
    let output = run(&["config"], &vars).await;
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    for (name, secret) in SECRETS {
        assert!(output.stdout.contains(name), "{name} is not mentioned:\n{}", output.stdout);
        assert!(!output.stdout.contains(secret) && !output.stderr.contains(secret), "{name} is shown");
    }
    let ping =
        output.stdout.lines().find(|line| line.contains("PARLEY_PING_SECONDS")).expect("every setting is listed");
    assert!(ping.contains('7'), "{ping}");
}

#[tokio::test]
async fn help_and_version_go_to_standard_output() {
    let help = run(&["--help"], &[]).await;
    assert_eq!((help.status.code(), help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.contains("--listen") && help.stdout.contains("PARLEY_"), "{}", help.stdout);
    let version = run(&["--version"], &[]).await;
    assert!(version.status.success() && version.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", version.stdout);
}

#[tokio::test]
async fn clients_that_vanish_give_their_descriptors_back() {
    const CLIENTS: usize = 100;
    let serving = serve(&[]).await;
    let baseline = serving.descriptors();
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let mut client = Connect::to(serving.address).user(&format!("user-{n}")).open().await;
        client.send(json!({ "type": "join", "room": "general" })).await;
        clients.push(client);
    }
    // A connection of before may have been in the baseline.
    assert!(serving.descriptors() + 2 >= baseline + CLIENTS);
    drop(clients);
    eventually(DEADLINE, || serving.descriptors(), |now| *now <= baseline).await;
}

#[tokio::test]
async fn standard_output_stays_empty_while_it_serves() {
    let mut serving = serve(&[]).await;
    serving.signal("TERM").await;
    assert_eq!(serving.ended().await.code(), Some(0));
    let mut said = String::new();
    serving.child.stdout.take().expect("it is piped").read_to_string(&mut said).await.expect("it prints UTF-8");
    assert_eq!(said, "");
}
