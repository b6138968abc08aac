//! The whole load generator against a small server of its own, which can be told to misbehave: what it counts must be
//! what was done to it.

mod fake;

use serde_json::Value;

use super::arguments::{Job, command, job};
use super::measure::{self, MeasureFault, Outcome};
use fake::{Fake, Mischief};

async fn perform(fake: &Fake, arguments: &str) -> Result<Outcome, MeasureFault> {
    let line = format!("parley-load {arguments} --url {}", fake.url());
    match job(&command().try_get_matches_from(line.split_whitespace()).unwrap()).unwrap() {
        Job::Run(job) => measure::run(job).await,
        Job::Idle(job) => measure::idle(job).await,
        Job::Floor(_) => panic!("a floor needs no server"),
    }
}

async fn run_against(mischief: Mischief, more: &str) -> Outcome {
    let fake = Fake::start(mischief).await;
    let arguments = format!("run --sessions 10 --rooms 2 --rate 200 --warmup 0.1 --duration 0.4 --grace 0.3 {more}");
    perform(&fake, &arguments).await.unwrap()
}

#[tokio::test]
async fn a_healthy_server_delivers_everything_to_everyone() {
    let outcome = run_against(Mischief::default(), "--grace 10").await;
    let report = &outcome.report;
    assert!(outcome.sound, "{:?}", report.integrity);
    assert_eq!(report.connections.acked, report.connections.published);
    assert_eq!(report.integrity.delivered, report.connections.published * 5);
    assert!(report.connections.published > 20, "{:?}", report.connections);
    assert!((report.traffic.as_ref().unwrap().frame_bytes - 204.0).abs() < 4.0, "{:?}", report.traffic);
    assert!(report.latency_ms.samples > 0 && report.latency_ms.p50 > 0.0);
    assert_eq!(report.connect.by_server["fake"], 10);
}

#[tokio::test]
async fn publishers_that_saturate_publish_in_bursts() {
    let outcome = run_against(Mischief::default(), "--rate 0 --burst 8 --grace 10 --threads 2").await;
    let report = &outcome.report;
    assert!(outcome.sound, "{:?}", report.integrity);
    assert_eq!(report.connections.published % 8, 0);
    assert_eq!(report.integrity.delivered, report.connections.published * 5);
}

#[tokio::test]
async fn a_message_that_is_not_delivered_is_missing() {
    let outcome = run_against(Mischief { swallow: Some(3), ..Mischief::default() }, "").await;
    // One of the five members of each of the two rooms never got its message 3.
    assert_eq!(outcome.report.integrity.missing, 2);
    assert_eq!(outcome.report.integrity.duplicated + outcome.report.integrity.out_of_order, 0);
    assert!(!outcome.sound);
}

#[tokio::test]
async fn a_message_that_is_delivered_twice_is_a_duplicate() {
    let outcome = run_against(Mischief { repeat: Some(3), ..Mischief::default() }, "").await;
    assert_eq!(outcome.report.integrity.duplicated, 2);
    assert_eq!(outcome.report.integrity.missing + outcome.report.integrity.out_of_order, 0);
    assert!(!outcome.sound);
}

#[tokio::test]
async fn messages_that_change_places_are_out_of_order() {
    let outcome = run_against(Mischief { swap: Some(3), ..Mischief::default() }, "").await;
    assert_eq!(outcome.report.integrity.out_of_order, 2);
    assert_eq!(outcome.report.integrity.missing + outcome.report.integrity.duplicated, 0);
    assert!(!outcome.sound);
}

#[tokio::test]
async fn cut_connections_resume_without_loss_and_repeat_what_was_not_acked() {
    let outcome = run_against(Mischief { cut: Some(5), ..Mischief::default() }, "--grace 10").await;
    let report = &outcome.report;
    assert!(outcome.sound, "{:?} {:?}", report.integrity, report.connections);
    assert!(report.connections.lost > 0 && report.connections.reconnected > 0, "{:?}", report.connections);
    assert!(report.connections.repeated > 0, "{:?}", report.connections);
    assert_eq!(report.connections.rooms_not_recovered, 0);
    assert_eq!(report.integrity.delivered, report.connections.published * 5);
}

#[tokio::test]
async fn a_reconnect_frame_moves_the_session_without_losing_the_connection() {
    let outcome = run_against(Mischief { send_away: Some(5), ..Mischief::default() }, "--grace 10").await;
    let report = &outcome.report;
    assert!(outcome.sound, "{:?} {:?}", report.integrity, report.connections);
    assert!(report.connections.told_to_reconnect > 0, "{:?}", report.connections);
    assert_eq!(report.connections.reconnected, report.connections.told_to_reconnect);
    assert_eq!(report.connections.lost, 0);
}

#[tokio::test]
async fn a_gap_that_is_told_is_not_missing() {
    let outcome = run_against(Mischief { gap: Some(3), ..Mischief::default() }, "").await;
    assert!(outcome.sound, "{:?}", outcome.report.integrity);
    assert_eq!((outcome.report.integrity.gaps_told, outcome.report.integrity.told_lost), (2, 2));
}

#[tokio::test]
async fn refused_publishes_are_counted_by_code_and_explained() {
    let outcome = run_against(Mischief { refuse: Some(4), ..Mischief::default() }, "").await;
    let report = &outcome.report;
    assert!(outcome.sound, "{:?}", report.integrity);
    assert!(report.connections.refused > 0);
    assert_eq!(report.connections.errors_by_code["rate_limited"], report.connections.refused);
    assert!(report.remarks.iter().any(|remark| remark.contains("PARLEY_MESSAGES_PER_SECOND")), "{:?}", report.remarks);
}

#[tokio::test]
async fn a_server_that_refuses_everyone_ends_the_run_with_its_reason() {
    let fake = Fake::start(Mischief { forbid: true, ..Mischief::default() }).await;
    let Err(fault) = perform(&fake, "run --sessions 3").await else { panic!("nobody could connect") };
    assert!(fault.to_string().contains("http 401"), "{fault}");
}

#[tokio::test]
async fn idle_sessions_exchange_one_message_and_all_get_the_broadcast() {
    let fake = Fake::start(Mischief::default()).await;
    let arguments = "idle --sessions 10 --rooms 2 --idle 0.1 --after-burst 7";
    let outcome = perform(&fake, arguments).await.unwrap();
    let broadcast = outcome.report.broadcast.as_ref().unwrap();
    assert!(outcome.sound);
    assert_eq!((broadcast.expected, broadcast.received), (10, 10));
    assert_eq!(broadcast.burst_received, 70);
    assert_eq!(outcome.report.idle.as_ref().unwrap().exchanged, 10);
}

#[tokio::test]
async fn idle_sessions_can_exchange_a_ping() {
    let fake = Fake::start(Mischief::default()).await;
    let outcome = perform(&fake, "idle --sessions 4 --idle 0 --exchange ping").await.unwrap();
    assert!(outcome.sound);
    assert_eq!(outcome.report.idle.as_ref().unwrap().exchanged, 4);
}

#[tokio::test]
async fn the_json_has_the_documented_shape() {
    let pid = std::process::id();
    let outcome =
        run_against(Mischief::default(), &format!("--grace 10 --floor --floor-seconds 0.02 --busy-poll --pid {pid}"))
            .await;
    let json: Value = serde_json::to_value(&outcome.report).unwrap();
    for path in [
        "/mode",
        "/settings/sessions",
        "/settings/burst",
        "/settings/busy_poll",
        "/connect/per_second",
        "/connect/latency_ms/p99",
        "/connect/server_cpu_us_per_connect",
        "/traffic/delivered_per_second",
        "/traffic/messages_per_read",
        "/traffic/server_cpu_us_per_delivery",
        "/latency_ms/p50",
        "/latency_ms/p90",
        "/latency_ms/p99",
        "/latency_ms/max",
        "/integrity/missing",
        "/integrity/duplicated",
        "/integrity/out_of_order",
        "/integrity/gaps_told",
        "/connections/closes_by_code",
        "/connections/errors_by_code",
        "/connections/reconnected",
        "/servers/memory/0/anonymous",
        "/servers/memory/0/bytes_per_session",
        "/floor/before/us_per_send",
        "/floor/ratio",
        "/remarks",
    ] {
        assert!(json.pointer(path).is_some_and(|value| !value.is_null()), "{path} is not in {json:#}");
    }
    assert!(super::table::of_report(&outcome.report).contains("× the bare send"));
}
