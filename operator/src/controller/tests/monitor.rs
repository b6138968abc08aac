//! The ServiceMonitor.

use super::*;

#[tokio::test]
async fn a_changed_label_of_the_service_monitor_is_applied() {
    let api = Api::default();
    let group = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "monitoring.coreos.com/v1",
        "resources": [{ "name": "servicemonitors", "singularName": "", "namespaced": true, "kind": "ServiceMonitor", "verbs": [] }] });
    api.put("/apis/monitoring.coreos.com/v1", group);
    let mut context = Arc::into_inner(context(&api)).expect("nobody else has it");
    let labelled = |release: &str| {
        format!(
            "{{ auth: {{ open: {{}} }}, monitoring: {{ serviceMonitor: {{ labels: {{ release: {release} }} }} }} }}"
        )
    };
    for (release, written) in [("one", 1), ("one", 1), ("two", 2)] {
        steps(&labelled(release), &context).await.unwrap();
        assert_eq!(api.asked("PATCH demo of servicemonitors"), written, "{release}");
        let monitor = api.object("/apis/monitoring.coreos.com/v1/namespaces/chat/servicemonitors/demo");
        context.children.service_monitors = children::Monitors::with(serde_json::from_value(monitor).unwrap());
    }
}
