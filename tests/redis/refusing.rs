//! Servers that cannot be used, or not now: each is named, nothing is stored, and the instance is not ready.

use std::time::Duration;

use parley_service::backplane::redis::Trouble;
use parley_service::backplane::{Backplane as _, PublishError};
use parley_service::message::Position;
use parley_tests::eventually::eventually;
use parley_tests::redis::{Answer, Redis, config, pass};
use tokio::net::TcpListener;

use crate::rig::{DEADLINE, connect, draft, fill, instance, keeping, offsets, ready, room, since};

/// Connects to such a server: the trouble is counted, and a publish is refused as certainly not stored.
async fn refuses(url: &str, trouble: Trouble) {
    let (backplane, _arrivals) = connect(&config(url, "parley"), keeping());
    eventually(DEADLINE, || backplane.troubles(trouble), |count| *count > 0).await;
    let answer = backplane.publish(&room("r"), &draft("x")).await;
    assert!(matches!(answer, Err(PublishError::Unavailable(_))), "{trouble:?}: {answer:?}");
    assert!(!backplane.health().is_ready(), "{trouble:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://127.0.0.1:{}", listener.local_addr().unwrap().port());
    drop(listener);
    refuses(&url, Trouble::Unreachable).await;

    let mut redis = Redis::start().await;
    redis.kill().await;
    let (backplane, _arrivals) = connect(&redis.config("parley"), keeping());
    eventually(DEADLINE, || backplane.troubles(Trouble::Unreachable), |count| *count > 0).await;
    redis.restart().await;
    ready(&backplane, true).await;
    backplane.publish(&room("r"), &draft("x")).await.unwrap();
}

#[tokio::test]
async fn a_missing_and_a_wrong_password_are_named() {
    let redis = Redis::with(&["--save", "", "--requirepass", "right"]).await;
    refuses(&format!("redis://127.0.0.1:{}", redis.port()), Trouble::Password).await;
    refuses(&format!("redis://:wrong@127.0.0.1:{}", redis.port()), Trouble::Password).await;
    let right = config(&format!("redis://:right@127.0.0.1:{}", redis.port()), "parley");
    let (backplane, _arrivals) = connect(&right, keeping());
    ready(&backplane, true).await;
}

#[tokio::test]
async fn a_user_without_rights_is_named() {
    let redis = Redis::start().await;
    let rights = ["on", ">secret", "~parley:*", "&parley:*", "-@all", "+@connection", "+info"];
    redis.ask(&[&["ACL", "SETUSER", "chat"], &rights[..]].concat()).await;
    refuses(&format!("redis://chat:secret@127.0.0.1:{}", redis.port()), Trouble::Permission).await;
}

#[tokio::test]
async fn a_replica_is_named() {
    let redis = Redis::with(&["--save", "", "--replicaof", "127.0.0.1 1"]).await;
    refuses(&format!("redis://127.0.0.1:{}", redis.port()), Trouble::ReadOnly).await;
}

#[tokio::test]
async fn a_cluster_is_named() {
    let redis = Redis::with(&["--save", "", "--cluster-enabled", "yes"]).await;
    refuses(&format!("redis://127.0.0.1:{}", redis.port()), Trouble::Cluster).await;
}

/// Settings under which the server takes no writes, and those that end it.
const NO_WRITES: [[&str; 3]; 2] = [["maxmemory", "1", "0"], ["min-replicas-to-write", "1", "0"]];

#[tokio::test]
async fn a_server_that_takes_no_writes_is_still_read_and_listened_to() {
    for [name, value, well] in NO_WRITES {
        let redis = Redis::start().await;
        let (backplane, _instance) = instance(&redis).await;
        let last = fill(&backplane, &room("r"), 3).await;
        let listener = async || redis.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).await.text().to_owned();
        let id = |clients: &str| clients.split_whitespace().next().unwrap_or_default().to_owned();
        let before = id(&listener().await);
        redis.ask(&["CONFIG", "SET", name, value]).await;

        let refused = backplane.publish(&room("r"), &draft("x")).await;
        assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{name}: {refused:?}");
        let beginning = Position { offset: 0, ..last };
        assert_eq!(offsets(&since(&backplane, &room("r"), beginning).await), [1, 2, 3], "{name}");
        assert_eq!(backplane.positions(&[room("r")]).await.unwrap(), [last], "{name}");
        // Longer than it takes until connections through which nothing comes are replaced.
        pass(Duration::from_secs(7)).await;
        assert!(backplane.health().is_ready(), "{name}");
        assert_eq!(id(&listener().await), before, "{name}: the connection was replaced");

        redis.ask(&["CONFIG", "SET", name, well]).await;
        assert_eq!(backplane.publish(&room("r"), &draft("x")).await.unwrap().position.offset, 4, "{name}");
    }
}

#[tokio::test]
async fn a_full_memory_is_named() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let answer = backplane.publish(&room("r"), &draft("x")).await;
    assert!(matches!(answer, Err(PublishError::Unavailable(_))), "{answer:?}");
    assert!(backplane.troubles(Trouble::OutOfMemory) > 0);
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(backplane.publish(&room("r"), &draft("x")).await.unwrap().position.offset, 1);
}

#[tokio::test]
async fn a_busy_server_is_named() {
    let redis = Redis::with(&["--save", "", "--lua-time-limit", "50"]).await;
    let (backplane, _instance) = instance(&redis).await;
    let mut wire = redis.wire().await;
    let endless = wire.ask(&["EVAL", "while true do end", "0"]);
    let meanwhile = async {
        let mut answer = Ok(());
        eventually(DEADLINE, || backplane.troubles(Trouble::Busy), |count| *count > 0).await;
        if let Err(error) = backplane.publish(&room("r"), &draft("x")).await {
            answer = Err(error);
        }
        assert!(matches!(answer, Err(PublishError::Unavailable(_))), "{answer:?}");
        redis.ask(&["SCRIPT", "KILL"]).await;
    };
    let (ended, ()) = tokio::join!(endless, meanwhile);
    assert!(matches!(ended, Some(Answer::Error(_))), "{ended:?}");
    assert_eq!(backplane.publish(&room("r"), &draft("x")).await.unwrap().position.offset, 1);
}

#[tokio::test]
async fn a_policy_that_drops_keys_is_named_but_no_obstacle() {
    let redis = Redis::with(&["--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let (backplane, _instance) = instance(&redis).await;
    eventually(DEADLINE, || backplane.troubles(Trouble::Eviction), |count| *count == 1).await;
    backplane.publish(&room("r"), &draft("x")).await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_is_refused() {
    let redis = Redis::with(&["--save", "", "--cluster-enabled", "yes"]).await;
    let (backplane, _arrivals) = connect(&redis.config("parley"), keeping());
    eventually(DEADLINE, || backplane.troubles(Trouble::Cluster), |count| *count > 0).await;
    let began = tokio::time::timeout(Duration::from_secs(1), backplane.positions(&[room("r")])).await;
    assert!(began.expect("it is refused at once").is_err());
}
