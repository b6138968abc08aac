//! The topologies of `manifests/compose` without containers: the real nginx with the committed configuration, a real Redis,
//! and instances with the environment that the manifests give them. Only addresses differ. The target is built only where
//! nginx and Redis are: `tests/run --only compose`.
#![expect(clippy::unwrap_used, reason = "what helps tests fails where it unwraps, too")]

mod manifest;
mod nginx;

use std::net::SocketAddr;

use manifest::Manifest;
use nginx::Nginx;
use parley_tests::balancer::welcomed;
use parley_tests::client::{Client, Connect};
use parley_tests::program::{Serving, listening_as_text};
use parley_tests::redis::Redis;
use serde_json::json;

/// Both instances of a manifest, with what they log.
async fn instances(manifest: &Manifest, redis: Option<&Redis>) -> [Serving; 2] {
    let mut started = Vec::new();
    for name in ["server-1", "server-2"] {
        let mut vars = manifest.environment(name);
        for (name, value) in &mut vars {
            match name.as_str() {
                "PARLEY_LISTEN" => *value = "127.0.0.1:0".to_owned(),
                "PARLEY_REDIS_URL" => {
                    assert_eq!(value, "redis://valkey:6379", "instances use the server of the manifest");
                    *value = format!("redis://127.0.0.1:{}", redis.expect("a server is running").port());
                }
                _ => {}
            }
        }
        assert_eq!(redis.is_some(), vars.iter().any(|(name, _)| name == "PARLEY_REDIS_URL"));
        vars.push(("PARLEY_ADMIN_LISTEN".to_owned(), "127.0.0.1:0".to_owned()));
        let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (serving, line) = listening_as_text(&vars).await;
        assert!(line.starts_with(&format!("[{name}] ")), "{line}");
        started.push(serving);
    }
    <[Serving; 2]>::try_from(started).ok().unwrap()
}

fn addresses(instances: &[Serving; 2]) -> [SocketAddr; 2] {
    [instances[0].address, instances[1].address]
}

/// A client behind nginx, and the instance that welcomed it.
async fn arrive(nginx: &Nginx, user: &str) -> (Client, String) {
    welcomed(Connect::to(nginx.address()).user(user)).await
}

#[tokio::test]
async fn isolated_instances_behind_round_robin_do_not_hear_each_other() {
    let manifest = Manifest::read("isolated.yaml");
    let instances = instances(&manifest, None).await;
    let nginx = Nginx::start(&manifest.nginx_configuration(), addresses(&instances)).await;
    let (mut alice, first) = arrive(&nginx, "Alice").await;
    let (mut bob, second) = arrive(&nginx, "Bob").await;
    let (mut charlie, third) = arrive(&nginx, "Charlie").await;
    assert_ne!(first, second);
    assert_eq!(first, third);
    for person in [&mut alice, &mut bob, &mut charlie] {
        person.join("general").await;
    }
    alice.chat("general", "hi").await;
    charlie.expect_message("general", 1, "hi").await;
    // Bob's room is another one: the first message there is his own.
    bob.chat("general", "anybody here?").await;
    bob.expect_message("general", 1, "anybody here?").await;
}

#[tokio::test]
async fn shared_instances_behind_ip_hash_are_one_chat() {
    let redis = Redis::start().await;
    let manifest = Manifest::read("shared.yaml");
    let mut instances = instances(&manifest, Some(&redis)).await;
    let nginx = Nginx::start(&manifest.nginx_configuration(), addresses(&instances)).await;
    let (mut alice, home) = arrive(&nginx, "Alice").await;
    for _ in 0..4 {
        assert_eq!(arrive(&nginx, "Alice").await.1, home, "one address has one instance");
    }
    let away = usize::from(home == "server-1");
    let (mut bob, at_bob) = welcomed(Connect::to(instances[away].address).user("Bob")).await;
    assert_ne!(at_bob, home);
    let epoch = alice.join("general").await.epoch().to_owned();
    bob.join("general").await;
    alice.chat("general", "hi").await;
    bob.expect_message("general", 1, "hi").await;
    alice.expect_message("general", 1, "hi").await;

    // Her instance dies: nginx brings her to the other one, and she has missed nothing.
    let since = json!({ "epoch": epoch, "offset": 1 });
    instances[1 - away].signal("KILL").await;
    instances[1 - away].ended().await;
    bob.chat("general", "still there?").await;
    let (mut alice, after) = arrive(&nginx, "Alice").await;
    assert_ne!(after, home);
    let joined = alice.resume("general", &since).await;
    assert_eq!((joined.is("recovered"), joined.offsets()), (true, vec![2]));
}
