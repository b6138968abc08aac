//! A failover that Sentinel decides: the instance finds the new primary by itself, and what was replicated is not lost.

use std::time::Duration;

use parley_service::backplane::{Arrival, Backplane as _, PublishError};
use parley_service::message::Position;
use parley_tests::eventually::eventually_fetched;
use parley_tests::redis::{Answer, Redis, config};

use crate::rig::{DEADLINE, draft, fill, keeping, offsets, open, room, since};

/// Longer than the 30 s for which a Sentinel does nothing (TILT) after the machine has stood still for 2 s.
const FAILED_OVER: Duration = Duration::from_secs(75);

#[tokio::test]
async fn a_failover_without_lag_starts_an_epoch_and_loses_nothing() {
    let mut primary = Redis::start().await;
    let replica = Redis::replica_of(&primary).await;
    let sentinel = Redis::sentinel_of(&primary).await;
    let knows = async || sentinel.ask(&["SENTINEL", "REPLICAS", "main"]).await;
    eventually_fetched(DEADLINE, knows, |replicas| matches!(replicas, Answer::List(list) if list.len() == 1)).await;

    let url = format!("redis-sentinel://127.0.0.1:{}/0?sentinelServiceName=main", sentinel.port());
    let (backplane, mut arrivals) = open(&config(&url, "parley"), keeping()).await;
    backplane.subscribe(&room("r")).await.unwrap();
    let before = fill(&backplane, &room("r"), 5).await;
    let followed = async || replica.ask(&["HGET", "parley:{r:r}:meta", "o"]).await;
    eventually_fetched(DEADLINE, followed, |offset| offset.text() == "5").await;
    primary.kill().await;

    let mut unknown = 0;
    let publish = async || {
        let answer = backplane.publish(&room("r"), &draft("after")).await;
        unknown += usize::from(matches!(answer, Err(PublishError::OutcomeUnknown(_))));
        answer
    };
    let after = eventually_fetched(FAILED_OVER, publish, Result::is_ok).await.unwrap().position;
    assert_ne!(after.epoch, before.epoch);
    assert!((6..=6 + unknown as u64).contains(&after.offset), "{after:?} after {unknown} of unknown outcome");
    let page = since(&backplane, &room("r"), Position { offset: 3, ..before }).await;
    assert!(!page.lost, "all that was said had reached the replica");
    assert_eq!(offsets(&page)[..3], [4, 5, 6]);
    let arrived = async || {
        let published = backplane.publish(&room("r"), &draft("next")).await;
        let mut heard = false;
        while let Ok(arrival) = arrivals.try_recv() {
            heard |= matches!((arrival, &published), (Arrival::Message { position: at, .. }, Ok(published))
                if at.epoch == published.position.epoch);
        }
        heard
    };
    eventually_fetched(DEADLINE, arrived, |heard| *heard).await;
}
