//! Connections to upstreams that wait for another request: they are used, and cost nobody a request when they have ended.

use std::time::Duration;

use parley_tests::balancer::Balancer;
use parley_tests::eventually::eventually_fetched;
use parley_tests::http::{self, Answer};
use serde_json::json;

use super::fake::{Fake, Manner};

const DEADLINE: Duration = Duration::from_secs(10);

async fn post(balancer: &Balancer) -> Answer {
    http::request(balancer.address(), "POST", "/", &[], "").await
}

/// Waits until the balancer has noticed that every answer is at its end.
async fn idle(balancer: &Balancer) {
    let busy = async || balancer.of(0, "connections").await;
    eventually_fetched(DEADLINE, busy, |connections| *connections == json!(0)).await;
}

#[tokio::test]
async fn requests_of_several_clients_share_a_connection() {
    let fake = Fake::start(Manner::Answers(u64::MAX)).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    for _ in 0..4 {
        let answer = balancer.get("/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "0"));
        idle(&balancer).await;
    }
}

#[tokio::test]
async fn a_request_that_changes_nothing_is_sent_again_if_its_connection_ends_under_it() {
    let fake = Fake::start(Manner::Answers(1)).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    for n in 0..4 {
        let answer = balancer.get("/").await;
        assert_eq!((answer.status, answer.body), (200, n.to_string()));
        idle(&balancer).await;
    }
    assert_eq!(balancer.of(0, "failures").await, json!(0), "an old connection says nothing about the upstream");
}

#[tokio::test]
async fn one_that_changes_something_meets_no_connection_that_may_be_ending() {
    let fake = Fake::start(Manner::Answers(1)).await;
    let balancer = Balancer::start(&[fake.address()], &[]).await;
    for n in 0..4 {
        let answer = post(&balancer).await;
        assert_eq!((answer.status, answer.body), (200, n.to_string()));
        idle(&balancer).await;
    }
    assert_eq!(fake.heads().len(), 4);
}

#[tokio::test]
async fn connections_that_wait_do_not_delay_the_end() {
    // It would never end one itself.
    let fake = Fake::start(Manner::Answers(u64::MAX)).await;
    let balancer = Balancer::start(&[fake.address()], &["--drain-seconds=3600"]).await;
    assert_eq!(balancer.get("/").await.status, 200);
    idle(&balancer).await;
    balancer.begin_stop();
    balancer.ended().await;
}
