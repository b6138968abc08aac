//! When an API server that does not answer is worth telling.

use super::*;

#[tokio::test]
async fn one_failure_of_the_api_server_is_not_told_and_several_are() {
    let api = Api::default();
    let context = context(&api);
    let spec = "{ auth: { open: {} }, redis: { managed: {} } }";
    let object = Arc::new(DeserializeGuard(Ok(cluster(spec))));
    steps(spec, &context).await.unwrap();
    let written = api.asked("PATCH status of demo");
    for told in [0, 0, 1] {
        // Or nothing would have to be written.
        context.ledger.keep_only(&std::collections::HashSet::new());
        api.trouble(Method::PATCH, "/configmaps/", StatusCode::INTERNAL_SERVER_ERROR, "etcd is gone");
        let error = steps(spec, &context).await.unwrap_err();
        assert_ne!(error_policy(Arc::clone(&object), &error, Arc::clone(&context)), Action::await_change());
        assert_eq!((api.asked("PATCH status of demo") - written, api.asked("POST events")), (told, told));
    }
}
