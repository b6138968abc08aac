//! What is told while instances or their server are missing, minute by minute, from what Kubernetes writes into its objects.

use std::net::IpAddr;

use serde_json::Value;

use super::super::super::build::settings_checksum;
use super::super::super::validate::ValidatedCluster;
use super::*;

const EXTERNAL: &str = "{ auth: { open: {} }, redis: { external: { secretRef: { name: r } } } }";
/// The settings of a revision that is on its way out.
const FORMER: &str = "former";

/// A chat whose status is told again and again.
struct Chat {
    spec: &'static str,
    validated: ValidatedCluster,
    count: Count,
    last: ChatClusterStatus,
}

impl Chat {
    fn of(spec: &'static str) -> Self {
        let validated = validated(spec, &[("r/url", "redis://host")]);
        Self { spec, validated, count: Count::default(), last: ChatClusterStatus::default() }
    }

    /// An instance with the settings of now.
    fn instance(&self, number: u8, state: Value) -> Value {
        pod(number, &settings_checksum(&self.validated), state)
    }

    /// What is told at this second; the first four conditions.
    fn told(&mut self, second: i64, deployment: Value, pods: Vec<Value>) -> Vec<String> {
        self.told_with(second, deployment, pods, &valkey_set(1))
    }

    fn told_with(&mut self, second: i64, deployment: Value, pods: Vec<Value>, valkey: &Value) -> Vec<String> {
        let pods = pods.into_iter().map(|pod| serde_json::from_value(pod).expect("a pod")).collect();
        let children = Children {
            deployments: Stores::with(vec![serde_json::from_value(deployment).expect("a Deployment")]),
            stateful_sets: Stores::with(vec![serde_json::from_value(valkey.clone()).expect("a StatefulSet")]),
            pods: Stores::with(pods),
            ..Children::default()
        };
        let latest = Latest { settings: Some(settings_checksum(&self.validated)), ..Latest::default() };
        let now = Timestamp::from_second(second).expect("a time");
        let mut observed = observe(&children, "chat", &Names::of("demo"), &latest, now);
        observed.count = self.count.clone();
        let outcome = Outcome::Applied(&self.validated, &Applied { reverts: vec![], notes: vec![] });
        self.last = status(&cluster(self.spec), self.last.clone(), outcome, &observed, now);
        lines(&self.last)[..4].to_vec()
    }

    fn message(&self, type_: &str) -> &str {
        &self.last.conditions.iter().find(|condition| condition.type_ == type_).expect("a condition").message
    }
}

fn at(second: i64) -> String {
    Timestamp::from_second(second).expect("a time").to_string()
}

/// A Deployment that wants so many, of which these are updated and ready; since when some are missing.
fn deployment(wanted: i32, updated: i32, ready: i32, missing_since: Option<i64>, reason: &str) -> Value {
    let available = if missing_since.is_some() { "False" } else { "True" };
    json!({ "metadata": { "name": "demo", "namespace": "chat", "generation": 1 },
        "spec": { "replicas": wanted, "selector": {}, "template": {} },
        "status": { "observedGeneration": 1, "replicas": wanted, "updatedReplicas": updated, "readyReplicas": ready,
            "availableReplicas": ready, "conditions": [
                { "type": "Available", "status": available, "lastTransitionTime": at(missing_since.unwrap_or(0)) },
                { "type": "Progressing", "status": "True", "reason": reason, "lastTransitionTime": at(0) }] } })
}

/// One whose rollout is over, of which so many are ready.
fn complete(wanted: i32, ready: i32, missing_since: Option<i64>) -> Value {
    deployment(wanted, wanted, ready, missing_since, "NewReplicaSetAvailable")
}

/// One of one instance, which its successor is to follow.
fn rolling(reason: &str) -> Value {
    let mut rolling = deployment(1, 1, 1, None, reason);
    rolling["status"]["replicas"] = json!(2);
    rolling
}

fn valkey_set(ready: i32) -> Value {
    json!({ "metadata": { "name": "demo-valkey", "namespace": "chat" }, "spec": { "selector": {}, "serviceName": "", "template": {} },
        "status": { "replicas": 1, "readyReplicas": ready, "updatedReplicas": 1 } })
}

fn pod(number: u8, settings: &str, mut status: Value) -> Value {
    status["podIP"] = json!(address(number));
    json!({ "metadata": { "name": format!("demo-{number}"), "namespace": "chat",
            "labels": { "parley.dev/cluster": "demo", "app.kubernetes.io/component": "chat" },
            "annotations": { "parley.dev/settings-checksum": settings } },
        "status": status })
}

fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

/// Takes sessions.
fn serving() -> Value {
    json!({ "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": at(0) }],
        "containerStatuses": [container(&json!({ "running": { "startedAt": at(0) } }))] })
}

/// Runs, and has taken no sessions since this second.
fn deaf(since: i64) -> Value {
    let mut status = serving();
    status["conditions"] = unready(since);
    status
}

/// Does not run for this reason, since this second.
fn waiting(reason: &str, since: i64) -> Value {
    json!({ "conditions": unready(since), "containerStatuses": [container(&json!({ "waiting": { "reason": reason } }))] })
}

/// No node takes it.
fn unscheduled(message: &str) -> Value {
    let condition = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message });
    json!({ "conditions": [condition] })
}

fn unready(since: i64) -> Value {
    json!([{ "type": "Ready", "status": "False", "lastTransitionTime": at(since) }])
}

fn container(state: &Value) -> Value {
    json!({ "name": "parley", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state })
}

#[test]
fn a_short_absence_is_no_reason_to_look_and_a_long_one_is() {
    let mut chat = Chat::of(MANAGED);
    let (one, two) = (chat.instance(1, serving()), chat.instance(2, waiting("CrashLoopBackOff", 100)));
    let well =
        ["Ready True Ready", "Progressing False Reconciled", "Degraded False AsExpected", "RedisReady True Reachable"];
    assert_eq!(chat.told(90, complete(2, 2, None), vec![one.clone()]), well);
    for second in [100, 130, 219] {
        let told = chat.told(second, complete(2, 1, Some(100)), vec![one.clone(), two.clone()]);
        assert_eq!(told[..3], ["Ready False Starting", "Progressing True RollingOut", "Degraded False AsExpected"]);
        assert!(is_under_way(&chat.last), "it is looked at again");
    }
    let told = chat.told(220, complete(2, 1, Some(100)), vec![one.clone(), two]);
    let expected = [
        "Ready False InstancesUnavailable",
        "Progressing False InstancesUnavailable",
        "Degraded True InstancesUnavailable",
        "RedisReady True Reachable",
    ];
    assert_eq!(told, expected);
    assert!(chat.message("Degraded").ends_with("(CrashLoopBackOff)"), "{}", chat.message("Degraded"));
    assert_eq!(chat.told(300, complete(2, 2, None), vec![one]), well);
}

#[test]
fn a_rollout_has_the_time_that_its_deployment_gives_it() {
    let mut chat = Chat::of(MANAGED);
    let pods = vec![pod(1, FORMER, serving()), chat.instance(2, waiting("ImagePullBackOff", 0))];
    let told = chat.told(500, rolling("ReplicaSetUpdated"), pods.clone());
    assert_eq!(told[..3], ["Ready False Starting", "Progressing True RollingOut", "Degraded False AsExpected"]);
    assert!(chat.message("Ready").ends_with("(ImagePullBackOff)"), "{}", chat.message("Ready"));
    let mut stuck = rolling("ProgressDeadlineExceeded");
    stuck["status"]["conditions"][1]["message"] = json!("too slow");
    let told = chat.told(600, stuck, pods);
    assert_eq!(told[..3], ["Ready False RolloutStuck", "Progressing False RolloutStuck", "Degraded True RolloutStuck"]);
    assert_eq!(chat.message("Degraded"), "too slow (ImagePullBackOff)");
}

#[test]
fn more_instances_are_given_their_time_to_start() {
    let mut chat = Chat::of(MANAGED);
    let pods = |chat: &Chat| vec![chat.instance(1, serving()), chat.instance(2, waiting("ContainerCreating", 1000))];
    let one_more = |chat: &mut Chat, second| chat.told(second, complete(2, 1, Some(1000)), pods(chat))[2].clone();
    assert_eq!(one_more(&mut chat, 1060), "Degraded False AsExpected");
    assert!(!chat.message("Ready").contains("ContainerCreating"), "that is usual");
    assert_eq!(one_more(&mut chat, 1120), "Degraded True InstancesUnavailable");
    assert!(chat.message("Ready").ends_with("(ContainerCreating)"), "{}", chat.message("Ready"));
}

#[test]
fn what_lets_no_instance_come_is_named() {
    let mut chat = Chat::of(MANAGED);
    let mut refused = complete(2, 1, Some(0));
    let quota =
        json!({ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota" });
    refused["status"]["conditions"].as_array_mut().expect("conditions").push(quota);
    // It was never scheduled, so it tells no time of its own.
    let pods = vec![chat.instance(1, serving()), chat.instance(2, unscheduled("0/3 nodes are available"))];
    let pods: Vec<_> = pods
        .into_iter()
        .map(|mut pod| {
            pod["metadata"]["creationTimestamp"] = json!(at(0));
            pod
        })
        .collect();
    chat.told(120, refused, pods);
    let message = chat.message("Degraded");
    assert!(message.ends_with("(FailedCreate: exceeded quota; Unschedulable: 0/3 nodes are available)"), "{message}");
}

#[test]
fn an_external_server_that_goes_is_told_when_its_instances_say_so_or_after_a_while() {
    let mut chat = Chat::of(EXTERNAL);
    let pods = |chat: &Chat| vec![chat.instance(1, deaf(100)), chat.instance(2, deaf(100))];
    let all = vec![chat.instance(1, serving()), chat.instance(2, serving())];
    assert_eq!(chat.told(90, complete(2, 2, None), all)[3], "RedisReady True Reachable");
    let gone = |chat: &mut Chat, second| chat.told(second, complete(2, 0, Some(100)), pods(chat));
    let moment = [
        "Ready False Starting",
        "Progressing True RollingOut",
        "Degraded False AsExpected",
        "RedisReady Unknown Starting",
    ];
    assert_eq!(gone(&mut chat, 110), moment);
    chat.count.troubles = [(address(1), ["unreachable".to_owned()].into())].into();
    let said = [
        "Ready False Unreachable",
        "Progressing True RollingOut",
        "Degraded False AsExpected",
        "RedisReady False Unreachable",
    ];
    assert_eq!(gone(&mut chat, 130), said);
    let message = chat.message("RedisReady");
    assert!(message.contains("they met: unreachable; `kubectl logs deployment/demo -n chat`"), "{message}");
    chat.count = Count::default();
    let lasting = [
        "Ready False Unreachable",
        "Progressing False Unreachable",
        "Degraded True Unreachable",
        "RedisReady False Unreachable",
    ];
    assert_eq!(gone(&mut chat, 220), lasting);
}

#[test]
fn a_server_that_only_instances_of_other_settings_reach_is_not_reached() {
    let mut chat = Chat::of(EXTERNAL);
    let going = || rolling("ReplicaSetUpdated");
    let pods = |chat: &Chat| vec![pod(1, FORMER, serving()), chat.instance(2, deaf(100))];
    let of_both = |chat: &mut Chat, second| chat.told(second, going(), pods(chat));
    assert_eq!(of_both(&mut chat, 110)[3], "RedisReady Unknown Starting");
    // What others met before does not count.
    chat.count.troubles = [(address(1), ["unreachable".to_owned()].into())].into();
    assert_eq!(of_both(&mut chat, 120)[3], "RedisReady Unknown Starting");
    chat.count.troubles.insert(address(2), ["password".to_owned()].into());
    assert_eq!(of_both(&mut chat, 150)[2..], ["Degraded False AsExpected", "RedisReady False Unreachable"]);
    let lasting = [
        "Ready False Unreachable",
        "Progressing False Unreachable",
        "Degraded True Unreachable",
        "RedisReady False Unreachable",
    ];
    assert_eq!(of_both(&mut chat, 220), lasting);
    assert!(chat.message("Degraded").contains("they met: password;"), "{}", chat.message("Degraded"));
    let reached = vec![pod(1, FORMER, serving()), chat.instance(2, serving())];
    assert_eq!(
        chat.told(230, going(), reached)[1..],
        ["Progressing True RollingOut", "Degraded False AsExpected", "RedisReady True Reachable"]
    );
}

#[test]
fn instances_that_do_not_run_say_nothing_about_their_server() {
    let mut chat = Chat::of(EXTERNAL);
    let pods = vec![chat.instance(1, waiting("CrashLoopBackOff", 0))];
    let told = chat.told(900, complete(1, 0, Some(0)), pods);
    assert_eq!(told[2..], ["Degraded True InstancesUnavailable", "RedisReady Unknown Starting"]);
    let mut started = deaf(0);
    started["containerStatuses"][0]["state"]["running"]["startedAt"] = json!(at(890));
    let again = vec![chat.instance(1, started)];
    let told = chat.told(900, complete(1, 0, Some(0)), again);
    assert_eq!(told[3], "RedisReady Unknown Starting", "it has just been started once more");
    assert_eq!(chat.told(900, complete(0, 0, None), vec![])[3], "RedisReady Unknown NoInstances");
}

#[test]
fn a_valkey_that_does_not_come_is_named() {
    let mut chat = Chat::of(MANAGED);
    let valkey = |status: Value| {
        let mut pod = pod(9, "", status);
        pod["metadata"]["name"] = json!("demo-valkey-0");
        pod["metadata"]["labels"]["app.kubernetes.io/component"] = json!("valkey");
        pod["metadata"]["creationTimestamp"] = json!(at(100));
        pod
    };
    let unbound = || valkey(unscheduled("unbound PersistentVolumeClaims"));
    let none = |chat: &mut Chat, second| {
        let rollout = deployment(2, 2, 0, Some(100), "ReplicaSetUpdated");
        chat.told_with(second, rollout, vec![unbound()], &valkey_set(0))
    };
    let early = [
        "Ready False Starting",
        "Progressing True RollingOut",
        "Degraded False AsExpected",
        "RedisReady False Starting",
    ];
    assert_eq!(none(&mut chat, 110), early);
    assert_eq!(none(&mut chat, 229), early);
    let late = none(&mut chat, 230);
    let expected = [
        "Ready False ValkeyUnavailable",
        "Progressing False ValkeyUnavailable",
        "Degraded True ValkeyUnavailable",
        "RedisReady False ValkeyUnavailable",
    ];
    assert_eq!(late, expected);
    let message = chat.message("Degraded");
    assert!(message.ends_with("(Unschedulable: unbound PersistentVolumeClaims)"), "{message}");
    // Another pod in its place has its own time, and so has one that was ready.
    let another = |since: i64| valkey(deaf(since));
    let rollout = || complete(2, 2, None);
    let told = chat.told_with(400, rollout(), vec![another(350)], &valkey_set(0));
    assert_eq!(told[..3], ["Ready False Starting", "Progressing True Starting", "Degraded False AsExpected"]);
    assert_eq!(chat.told(410, rollout(), vec![])[3], "RedisReady True Reachable");
    let told = chat.told_with(1000, rollout(), vec![], &valkey_set(0));
    assert_eq!(told[2], "Degraded False AsExpected", "its pod is being replaced");
    assert!(is_under_way(&chat.last), "it is looked at again");
    assert_eq!(chat.told_with(1120, rollout(), vec![], &valkey_set(0))[2], "Degraded True ValkeyUnavailable");
}

#[test]
fn nobody_misses_instances_that_are_not_wanted() {
    let mut chat = Chat::of(MANAGED);
    let told = chat.told(900, complete(0, 0, None), vec![]);
    assert_eq!(told[..3], ["Ready False NoInstances", "Progressing False Reconciled", "Degraded False AsExpected"]);
    assert!(!is_under_way(&chat.last));
}
