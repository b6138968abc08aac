//! Two versions of the library on one server, as in a rolling update: they agree on whose log it is.

use parley_service::backplane::Backplane as _;
use parley_tests::eventually::eventually_fetched;
use parley_tests::redis::{Answer, Redis};

use crate::rig::{DEADLINE, draft, instance, room};

/// Our library, loaded once more under another name, as a later version would be.
async fn load_another(redis: &Redis) -> String {
    let code = redis.library().await;
    let name = code["#!lua name=".len()..].lines().next().unwrap();
    let another = format!("{name}_later");
    let loaded = redis.ask(&["FUNCTION", "LOAD", &code.replace(name, &another)]).await;
    assert_eq!(loaded, Answer::Text(another.clone()));
    another
}

#[tokio::test]
async fn a_later_library_continues_the_epoch_also_after_a_replica_came() {
    let redis = Redis::start().await;
    let (backplane, _instance) = instance(&redis).await;
    let stored = backplane.publish(&room("r"), &draft("x")).await.unwrap().position;
    let replication = async || redis.ask(&["INFO", "replication"]).await.text().to_owned();
    let before = replication().await;
    let _replica = Redis::with(&["--save", "", "--replicaof", &format!("127.0.0.1 {}", redis.port())]).await;
    eventually_fetched(DEADLINE, replication, |text| text.contains("connected_slaves:1")).await;
    let id = |text: &str| text.lines().find(|line| line.starts_with("master_replid:")).unwrap().to_owned();
    assert_ne!(id(&before), id(&replication().await), "the test is about a server that changed this id");

    let another = load_another(&redis).await;
    let (function, meta, log) = (format!("{another}_position"), "parley:{r:r}:meta", "parley:{r:r}:log");
    for _ in 0..2 {
        let told = redis.ask(&["FCALL", &function, "2", meta, log, "00000000000000ff", "5", "1000000", "7"]).await;
        let position = Answer::List(vec![Answer::Text(stored.epoch.to_string()), Answer::Text("1".to_owned())]);
        assert_eq!(told, Answer::List(vec![Answer::Text("7".to_owned()), position]));
        assert_eq!(backplane.positions(&[room("r")]).await.unwrap(), [stored]);
    }
}
