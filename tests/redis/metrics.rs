//! What an instance tells of its link to Redis: `/metrics`, as whoever is paged at night reads it.

use parley_service::backplane::redis::Trouble;
use parley_tests::eventually::eventually_fetched;
use parley_tests::node::Node;
use parley_tests::redis::Redis;

use crate::rig::DEADLINE;

async fn metrics(node: &Node) -> String {
    node.admin_get("/metrics").await.body
}

#[tokio::test]
async fn metrics_tell_whether_redis_is_well_and_what_the_trouble_is() {
    let mut redis = Redis::start().await;
    let node = redis.node("server-1").start().await;
    let well = eventually_fetched(DEADLINE, || metrics(&node), |text| text.contains("parley_redis_healthy 1\n")).await;
    for trouble in Trouble::ALL {
        let series = format!("parley_redis_troubles_total{{trouble=\"{}\"}} ", trouble.as_str());
        assert!(well.contains(&series), "{series} is there before the first trouble:\n{well}");
    }
    assert!(well.contains("parley_redis_connections_total{role=\"subscriptions\"} 1\n"), "{well}");
    assert!(well.contains("parley_redis_troubles_total{trouble=\"unreachable\"} 0\n"), "{well}");

    redis.kill().await;
    let counted = "parley_redis_troubles_total{trouble=\"unreachable\"} 0\n";
    let told = |text: &String| text.contains("parley_redis_healthy 0\n") && !text.contains(counted);
    eventually_fetched(DEADLINE, || metrics(&node), told).await;
}
