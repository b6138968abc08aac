//! The end of a chat: what goes with it and what stays.

use parley_tests::cluster::Space;
use serde_json::Value;

#[tokio::test]
async fn deletion_leaves_nothing_but_the_volume() {
    let space = Space::of("deletion").await;
    space.apply(&space.chat("replicas: 1, redis: { managed: { storage: { size: 64Mi } } }")).await;
    space.ready().await;
    space.kubectl(&["delete", "chat/demo", "--cascade=foreground", "--timeout=120s"]).await;
    for kinds in ["deploy,sts,rs,pods", "svc,ingress,pdb,hpa,networkpolicy", "secrets"] {
        space.until(kinds, Value::is_null).await;
    }
    let maps = space.get("configmaps").await;
    let names: Vec<_> =
        maps["items"].as_array().into_iter().flatten().map(|map| map["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["kube-root-ca.crt"]);
    let claims = space.get("pvc").await;
    assert_eq!(claims["items"].as_array().map(Vec::len), Some(1), "the retention says that it stays");
}
