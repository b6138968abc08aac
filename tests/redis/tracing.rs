//! The trace of a message, across the hop: what a collector would show.

use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use parley_tests::eventually::eventually;
use parley_tests::redis::Redis;
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::rig::DEADLINE;

const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn named<'a>(spans: &'a [SpanData], name: &str) -> Vec<&'a SpanData> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[tokio::test]
async fn one_trace_shows_publish_redis_and_the_delivery_on_both_instances() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    // Of this thread; the instances that it starts take it over.
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let redis = Redis::start().await;
    let (one, other) = (redis.node("server-1").start().await, redis.node("server-2").start().await);
    let (mut alice, mut bob) = (one.client("alice").await, other.client("bob").await);
    alice.join("general").await;
    bob.join("general").await;
    // Whoever comes first to a span decides whether it is of interest, and that may have been another test, without a
    // collector. By now somebody was everywhere; then it is decided anew.
    alice.chat("general", "first").await;
    bob.expect_message("general", 1, "first").await;
    tracing::callsite::rebuild_interest_cache();
    alice.send(json!({ "type": "chat", "id": 1, "room": "general", "msg": "hi", "traceparent": CLIENT })).await;
    bob.expect_message("general", 2, "hi").await;

    let mine = || -> Vec<SpanData> {
        let spans = exporter.get_finished_spans().unwrap();
        let publish = spans.iter().find(|span| span.name == "publish" && span.links.iter().next().is_some());
        let trace = publish.map(|span| span.span_context.trace_id());
        spans.into_iter().filter(|span| Some(span.span_context.trace_id()) == trace).collect()
    };
    // The answer to the publish may come after the message itself.
    let all = |spans: &Vec<SpanData>| named(spans, "deliver").len() == 2 && !named(spans, "store").is_empty();
    let spans = eventually(DEADLINE, mine, all).await;

    let publish = named(&spans, "publish")[0];
    assert_eq!(publish.parent_span_id, SpanId::INVALID, "whoever connects does not decide what is sampled");
    let links: Vec<_> = publish.links.iter().map(|link| link.span_context.trace_id().to_string()).collect();
    assert_eq!(links, [&CLIENT[3..35]]);
    let children: Vec<_> = spans.iter().filter(|span| span.name != "publish").collect();
    assert_eq!(children.len(), 3, "{spans:?}");
    for child in children {
        assert_eq!(child.parent_span_id, publish.span_context.span_id(), "{child:?}");
    }
    assert_eq!(named(&spans, "store").len(), 1);
}
