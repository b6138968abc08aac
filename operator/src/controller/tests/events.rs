//! What events say of edits that are taken back.

use super::*;

const SHARED: &str = "{ auth: { open: {} }, redis: { managed: {} } }";

#[tokio::test]
async fn edits_of_two_children_are_two_events() {
    let api = Api::default();
    api.trouble(Method::PATCH, "/configmaps/", StatusCode::CONFLICT, "conflict with \"kubectl-edit\": .data");
    api.trouble(
        Method::PATCH,
        "/deployments/",
        StatusCode::CONFLICT,
        "conflict with \"kubectl-patch\": .spec.replicas",
    );
    steps(SHARED, &context(&api)).await.unwrap();
    let joined = api.asked(" of events");
    assert_eq!((api.asked("POST events"), joined), (2, 0), "each has a note of its own");
}

#[tokio::test]
async fn edits_of_two_versions_of_a_child_are_two_events() {
    let api = Api::default();
    let mut context = Arc::into_inner(context(&api)).expect("nobody else has it");
    for version in ["7", "8"] {
        let meta = json!({ "metadata": { "name": "demo-settings", "namespace": "chat", "resourceVersion": version,
            "ownerReferences": [{ "apiVersion": "", "kind": "", "name": "", "uid": "uid-1", "controller": true }] } });
        context.children.config_maps = children::Stores::with(vec![serde_json::from_value(meta).unwrap()]);
        api.trouble(Method::PATCH, "/configmaps/", StatusCode::CONFLICT, "conflict with \"kubectl-edit\": .data");
        steps(SHARED, &context).await.unwrap();
    }
    assert_eq!(api.asked("POST events"), 2);
}

#[tokio::test]
async fn an_edit_is_told_even_if_a_later_child_fails() {
    let api = Api::default();
    api.trouble(Method::PATCH, "/configmaps/", StatusCode::CONFLICT, "conflict with \"kubectl-edit\": .data");
    api.trouble(Method::PATCH, "/services/", StatusCode::FORBIDDEN, "forbidden: exceeded quota: small");
    steps(SHARED, &context(&api)).await.unwrap_err();
    assert_eq!(api.asked("POST events"), 2, "the edit, and QuotaExceeded");
}

#[tokio::test]
async fn troubles_with_two_children_are_two_events() {
    let api = Api::default();
    let context = context(&api);
    for path in ["/serviceaccounts/", "/services/"] {
        api.trouble(Method::PATCH, path, StatusCode::FORBIDDEN, "forbidden: exceeded quota: small");
        steps(SHARED, &context).await.unwrap_err();
        steps(SHARED, &context).await.unwrap();
    }
    let joined = api.asked(" of events");
    // Degraded, and that it is over, which is about no child.
    assert_eq!((api.asked("POST events"), joined), (3, 1));
}
