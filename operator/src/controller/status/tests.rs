//! Every condition in every state, as one line of type, status and reason each.

use super::super::apply::Applied;
use super::super::census::Count;
use super::super::fixtures::{cluster, try_validated, validated};
use super::*;

const MANAGED: &str = "{ auth: { open: {} }, redis: { managed: {} } }";

fn done(instances: i32) -> Observed {
    Observed {
        rollout: Rollout::Done,
        wanted: instances,
        instances,
        ready: instances,
        valkey_ready: true,
        ..Observed::default()
    }
}

fn lines(status: &ChatClusterStatus) -> Vec<String> {
    status
        .conditions
        .iter()
        .map(|condition| format!("{} {:?} {}", condition.type_, condition.status, condition.reason))
        .collect()
}

fn told(spec: &str, outcome: Outcome<'_>, observed: &Observed) -> ChatClusterStatus {
    status(&cluster(spec), ChatClusterStatus::default(), Facts { outcome, observed }, Timestamp::UNIX_EPOCH)
}

fn applied(spec: &str, observed: &Observed) -> Vec<String> {
    let validated = validated(spec, &[("r/url", "redis://host")]);
    let outcome = Outcome::Applied(&validated, &Applied::default());
    lines(&told(spec, outcome, observed))
}

#[test]
fn all_is_well() {
    let expected = [
        "Ready True Ready",
        "Progressing False Reconciled",
        "Degraded False AsExpected",
        "RedisReady True Reachable",
        "ExposureReady True NotRequested",
        "AutoscalingReady True NotRequested",
    ];
    assert_eq!(applied(MANAGED, &done(2)), expected);
}

#[test]
fn a_rollout_is_progress_and_not_ready() {
    let observed = Observed { rollout: Rollout::Going { updated: 1, ready: 2 }, ..done(2) };
    assert_eq!(
        applied(MANAGED, &observed)[..3],
        ["Ready False Starting", "Progressing True RollingOut", "Degraded False AsExpected"]
    );
    let unseen = Observed { rollout: Rollout::Unseen, ..done(2) };
    assert_eq!(applied(MANAGED, &unseen)[0], "Ready False Starting", "what was just applied is not true yet");
}

#[test]
fn a_drain_is_progress_and_ready() {
    let observed = Observed { draining: 1, ..done(2) };
    assert_eq!(applied(MANAGED, &observed)[..2], ["Ready True Ready", "Progressing True Draining"]);
}

#[test]
fn a_rollout_that_stands_still_is_degraded() {
    let observed = Observed { rollout: Rollout::Stuck("too slow".into()), ..done(2) };
    let expected = ["Ready False RolloutStuck", "Progressing False RolloutStuck", "Degraded True RolloutStuck"];
    assert_eq!(applied(MANAGED, &observed)[..3], expected);
}

#[test]
fn nobody_can_connect_to_no_instance() {
    assert_eq!(applied("{ auth: { open: {} }, replicas: 0 }", &done(0))[0], "Ready False NoInstances");
}

#[test]
fn isolated_instances_are_ready_and_degraded() {
    let lines = applied("auth: { open: {} }", &done(2));
    assert_eq!(
        [&lines[0], &lines[2], &lines[3]],
        ["Ready True Ready", "Degraded True IsolatedReplicas", "RedisReady True NotRequested"]
    );
}

#[test]
fn an_external_server_is_judged_by_the_instances() {
    let spec = "{ auth: { open: {} }, redis: { external: { secretRef: { name: r } } } }";
    assert_eq!(applied(spec, &done(2))[3], "RedisReady True Reachable");
    assert_eq!(applied(spec, &Observed { ready: 0, ..done(2) })[3], "RedisReady False Unreachable");
    assert_eq!(applied(spec, &done(0))[3], "RedisReady Unknown NoInstances");
    let troubles = ["password".to_owned()].into();
    let refused = Observed { ready: 0, count: Count { sessions: Some(0), troubles }, ..done(2) };
    let validated = validated(spec, &[("r/url", "redis://host")]);
    let status = told(spec, Outcome::Applied(&validated, &Applied::default()), &refused);
    assert!(status.conditions[3].message.contains("they met: password;"), "{}", status.conditions[3].message);
    let starting = Observed { valkey_ready: false, ..done(2) };
    assert_eq!(applied(MANAGED, &starting)[3], "RedisReady False Starting");
}

#[test]
fn the_autoscaler_tells_of_its_metric() {
    let spec = "{ auth: { open: {} }, redis: { managed: {} }, autoscaling: { maxReplicas: 3 } }";
    let with = |autoscaler| applied(spec, &Observed { autoscaler, ..done(2) })[5].clone();
    assert_eq!(with(None), "AutoscalingReady Unknown Starting");
    assert_eq!(with(Some(Ok(()))), "AutoscalingReady True Active");
    assert_eq!(with(Some(Err("no metrics".into()))), "AutoscalingReady False MetricUnavailable");
}

#[test]
fn a_refused_spec_says_why_and_keeps_what_runs_in_view() {
    let spec = "auth: { token: { secretRef: { name: t } } }";
    let invalid = try_validated(spec, &[]).unwrap_err();
    let status = told(spec, Outcome::Refused(&invalid), &done(2));
    assert_eq!(
        lines(&status)[..3],
        ["Ready False SecretMissing", "Progressing False SecretMissing", "Degraded True SecretMissing"]
    );
    assert_eq!((status.replicas, status.observed_generation), (2, Some(3)));
}

#[test]
fn times_change_with_the_status_only() {
    let validated = validated(MANAGED, &[]);
    let outcome = Outcome::Applied(&validated, &Applied::default());
    let at = |second, last: &ChatClusterStatus, observed: &Observed| {
        let now = Timestamp::from_second(second).unwrap();
        status(&cluster(MANAGED), last.clone(), Facts { outcome, observed }, now)
    };
    let first = at(10, &ChatClusterStatus::default(), &done(2));
    assert_eq!(at(20, &first, &done(2)), first, "nothing changed");
    let starting = Observed { rollout: Rollout::Unseen, ..done(2) };
    let second = at(30, &first, &starting);
    let times = [0, 2].map(|index: usize| second.conditions[index].last_transition_time.0.as_second());
    assert_eq!(times, [30, 10], "Ready changed, Degraded did not");
}

#[test]
fn the_rest_of_the_status() {
    let spec = "{ auth: { open: {} }, redis: { managed: {} }, exposure: { ingress: { host: a.b } } }";
    let validated = validated(spec, &[]);
    let outcome = Outcome::Applied(&validated, &Applied::default());
    let observed = Observed { draining: 1, count: Count { sessions: Some(120), ..Count::default() }, ..done(3) };
    let status = told(spec, outcome, &observed);
    let rest = ChatClusterStatus { conditions: vec![], ..status };
    let expected = ChatClusterStatus {
        observed_generation: Some(3),
        replicas: 3,
        ready_replicas: 3,
        draining_replicas: 1,
        connections: Some(120),
        selector: Some("app.kubernetes.io/component=chat,parley.dev/cluster=demo".into()),
        url: Some("http://a.b".into()),
        redis: Some(RedisStatus { mode: "managed".into() }),
        conditions: vec![],
    };
    assert_eq!(rest, expected);
}
