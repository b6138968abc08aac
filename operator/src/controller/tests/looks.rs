//! When a ChatCluster is looked at again without an event.

use k8s_openapi::api::apps::v1::Deployment;

use super::*;
use crate::controller::children::Stores;

const NONE: &str = "{ auth: { open: {} }, replicas: 0 }";

fn rolled_out(replicas: i32) -> Stores<Deployment> {
    let deployment = json!({ "metadata": { "name": "demo", "namespace": "chat" }, "spec": { "replicas": 0, "selector": {}, "template": {} },
        "status": { "replicas": replicas, "observedGeneration": 1 } });
    Stores::with(vec![serde_json::from_value(deployment).expect("a Deployment")])
}

#[tokio::test]
async fn what_is_on_its_way_is_looked_at_again_soon_and_what_rests_is_not() {
    let api = Api::default();
    let mut context = Arc::into_inner(context(&api)).expect("nobody else has it");
    assert_eq!(steps(NONE, &context).await.unwrap(), Action::requeue(census::INTERVAL), "nothing is seen yet");
    context.children.deployments = rolled_out(1);
    assert_eq!(steps(NONE, &context).await.unwrap(), Action::requeue(census::INTERVAL), "one is there still");
    context.children.deployments = rolled_out(0);
    assert_eq!(steps(NONE, &context).await.unwrap(), Action::requeue(SLOWLY));
    let valkey = "{ auth: { open: {} }, replicas: 0, redis: { managed: {} } }";
    assert_eq!(steps(valkey, &context).await.unwrap(), Action::requeue(census::INTERVAL), "its Valkey is not there");
}
