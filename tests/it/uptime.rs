//! An instance that has run for longer than a year.

use std::time::Duration;

use parley_tests::node::Node;
use serde_json::json;

#[tokio::test]
async fn after_more_than_a_year_sessions_are_served_as_on_the_first_day() {
    let node = Node::builder().stopped_clock().start().await;
    node.leap(Duration::from_secs(86_400 * 366)).await;
    let mut client = node.client("alice").await;
    client.join("general").await;
    client.chat("general", "still here").await;
    client.expect("message").await;
    for _ in 0..3 {
        node.advance(Duration::from_secs(19)).await;
        client.ask_for("pong", json!({"type": "ping"})).await;
    }
    // Nothing of it is read, so its ping is not answered.
    node.advance(Duration::from_secs(45)).await;
    client.expect_close(4002).await;
}
