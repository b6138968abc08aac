//! Every condition in every state, as one line of type, status and reason each.

use kube::core::Status;
use serde_json::json;

use super::super::apply::{Applied, ApplyError};
use super::super::census::Count;
use super::super::children::{Children, Stores};
use super::super::dereference::IngressClassFound;
use super::super::fixtures::{IMAGE, cluster, references, try_validated, validated};
use super::super::validate::validate;
use super::*;

mod outage;

const MANAGED: &str = "{ auth: { open: {} }, redis: { managed: {} } }";

fn done(instances: i32) -> Observed {
    Observed {
        rollout: Rollout::Done,
        wanted: instances,
        instances,
        ready: instances,
        current: instances,
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
    status(&cluster(spec), ChatClusterStatus::default(), outcome, observed, Timestamp::UNIX_EPOCH)
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
fn without_its_valkey_a_chat_is_not_ready() {
    let restarting = Observed { valkey_ready: false, ..done(2) };
    let expected = ["Ready False Starting", "Progressing True Starting", "Degraded False AsExpected"];
    assert_eq!(applied(MANAGED, &restarting)[..3], expected);
    assert_eq!(applied("{ auth: { open: {} }, replicas: 1 }", &restarting)[0], "Ready True Ready", "it has none");
}

#[test]
fn without_its_way_in_a_chat_is_not_ready() {
    let spec = "{ auth: { open: {} }, redis: { managed: {} }, exposure: { ingress: { host: a.b } } }";
    let mut references = references(&[]);
    references.ingress_class = IngressClassFound::Missing("traefik".into());
    let missing = validate(&cluster(spec), &references, IMAGE).unwrap();
    let lines = lines(&told(spec, Outcome::Applied(&missing, &Applied::default()), &done(2)));
    assert_eq!([&lines[0], &lines[4]], ["Ready False IngressClassMissing", "ExposureReady False IngressClassMissing"]);
    assert_eq!(applied(spec, &done(2))[0], "Ready True Ready");
    references.ingress_class = IngressClassFound::Missing(String::new());
    let unnamed = validate(&cluster(spec), &references, IMAGE).unwrap();
    let lines = self::lines(&told(spec, Outcome::Applied(&unnamed, &Applied::default()), &done(2)));
    assert_eq!([&lines[0], &lines[4]], ["Ready True Ready", "ExposureReady True AffinityNotConfigured"]);
}

#[test]
fn the_address_of_an_ingress_is_told_and_not_judged() {
    let spec = "{ auth: { open: {} }, redis: { managed: {} }, exposure: { ingress: { host: a.b } } }";
    let validated = validated(spec, &[]);
    let message = |ingress_address: Option<&str>| {
        let observed = Observed { ingress_address: ingress_address.map(str::to_owned), ..done(2) };
        let status = told(spec, Outcome::Applied(&validated, &Applied::default()), &observed);
        assert_eq!(lines(&status)[4], "ExposureReady True Configured");
        status.conditions[4].message.clone()
    };
    assert!(message(Some("10.0.0.1")).ends_with("its controller gave it the address 10.0.0.1"));
    assert!(message(None).contains("no controller has given it an address"));
}

#[test]
fn what_fails_later_does_not_make_a_chat_that_serves_unready() {
    let validated = validated(MANAGED, &[]);
    let reference = |kind: &str| ChildRef::new("v1", kind, "chat", "demo");
    let cause = || Box::new(kube::Error::Api(Box::new(Status { message: "etcd is gone".into(), ..Status::default() })));
    let unavailable = || ApplyError::Api { child: reference("Deployment"), cause: cause() };
    let contested = |kind: &str| ApplyError::Contested { child: reference(kind), conflict: String::new() };
    let after = |last: &ChatClusterStatus, generation: i64, error: ApplyError, observed: &Observed| {
        let mut cluster = cluster(MANAGED);
        cluster.metadata.generation = Some(generation);
        let failure = Failure { error, reverts: vec![] };
        status(&cluster, last.clone(), Outcome::Failed(&validated, &failure), observed, Timestamp::UNIX_EPOCH)
    };
    let good = told(MANAGED, Outcome::Applied(&validated, &Applied::default()), &done(2));
    let once = after(&good, 3, unavailable(), &done(2));
    let expected = ["Ready True Ready", "Progressing False ApiUnavailable", "Degraded True ApiUnavailable"];
    assert_eq!(lines(&once)[..3], expected);
    let going = Observed { rollout: Rollout::Going { updated: 1, ready: 1 }, ..done(2) };
    assert_eq!(lines(&after(&once, 3, unavailable(), &going))[0], "Ready False Starting", "what is seen counts");
    assert_eq!(lines(&after(&once, 3, unavailable(), &done(2)))[0], "Ready True Ready", "again and again");
    assert_eq!(lines(&after(&good, 3, contested("ServiceAccount"), &done(2)))[0], "Ready True Ready");
    assert_eq!(lines(&after(&good, 3, contested("Deployment"), &done(2)))[0], "Ready False FieldConflict");
    let new = after(&good, 4, unavailable(), &done(2));
    assert_eq!(lines(&new)[0], "Ready False ApiUnavailable", "the new spec is nowhere yet");
    assert_eq!(lines(&after(&new, 4, unavailable(), &done(2)))[0], "Ready False ApiUnavailable", "nor at the next try");
}

#[test]
fn a_valkey_whose_old_pod_is_ready_still_is_not() {
    let ready = |generation: i64, observed: i64, updated: i32| {
        let set = json!({ "metadata": { "name": "demo-valkey", "namespace": "chat", "generation": generation }, "spec": {
            "selector": {}, "serviceName": "", "template": {} },
            "status": { "replicas": 1, "observedGeneration": observed, "readyReplicas": 1, "updatedReplicas": updated } });
        let stateful_sets = Stores::with(vec![serde_json::from_value(set).unwrap()]);
        let children = Children { stateful_sets, ..Children::default() };
        let latest = Latest { stateful_set: Some(2), ..Latest::default() };
        observe(&children, "chat", &Names::of("demo"), &latest, Timestamp::UNIX_EPOCH).valkey_ready
    };
    assert!(ready(2, 2, 1));
    assert!(!ready(2, 1, 1), "the change was not looked at");
    assert!(!ready(1, 1, 1), "the change was not even seen");
    assert!(!ready(2, 2, 0), "its pod is about to go");
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
        status(&cluster(MANAGED), last.clone(), outcome, observed, now)
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
