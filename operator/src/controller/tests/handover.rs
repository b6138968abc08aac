//! Who says how many instances there are, as the API server keeps account of it.

use std::collections::BTreeMap;
use std::convert::Infallible;

use http_body_util::BodyExt as _;
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;

use super::*;
use crate::names::FIELD_MANAGER;

const AUTOSCALER: &str = "kube-controller-manager";

/// The number of instances in an API server, and who owns it.
#[derive(Default)]
struct Number {
    owners: BTreeMap<String, ()>,
    live: i64,
    /// It fell back to 1, since nobody owned it.
    was_dropped: bool,
}

impl Number {
    /// What applying does to one field; false is a conflict.
    fn apply(&mut self, manager: &str, given: Option<i64>, force: bool) -> bool {
        let others = self.owners.keys().any(|owner| owner != manager);
        match given {
            Some(given) if others && given != self.live && !force => return false,
            Some(given) => {
                if given != self.live {
                    self.owners.clear();
                }
                self.owners.insert(manager.to_owned(), ());
                self.live = given;
            }
            None if self.owners.remove(manager).is_some() && self.owners.is_empty() => {
                (self.live, self.was_dropped) = (1, true);
            }
            None => {}
        }
        true
    }
}

/// Hands on to an API server what does not conflict.
fn accounting(api: &Api, number: &Arc<Mutex<Number>>) -> Client {
    let (client, number) = (api.client(), Arc::clone(number));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, number) = (client.clone(), Arc::clone(&number));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let query = head.uri.query().unwrap_or_default();
            if head.method == Method::PATCH && head.uri.path().ends_with("/deployments/demo") {
                let object: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                let manager = query.split('&').find_map(|part| part.strip_prefix("fieldManager=")).unwrap_or_default();
                let given = object["spec"]["replicas"].as_i64();
                if !number.lock().apply(manager, given, query.contains("force=true")) {
                    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": "conflict with another manager: .spec.replicas", "reason": "Conflict", "code": 409 });
                    let answer = Response::builder().status(409).body(Body::from(status.to_string().into_bytes()));
                    return Ok::<_, Infallible>(answer.expect("a response"));
                }
            }
            let answer = client.send(Request::from_parts(head, Body::from(body.to_vec()))).await;
            Ok(answer.expect("an answer"))
        }
    });
    Client::new(service, "chat")
}

#[tokio::test]
async fn the_number_of_instances_comes_back_from_an_autoscaler_without_a_conflict() {
    let (api, number) = (Api::default(), Arc::default());
    let mut context = Arc::into_inner(context(&api)).expect("nobody else has it");
    context.client = accounting(&api, &number);
    let autoscaler = json!({ "metadata": { "name": "demo", "namespace": "chat", "uid": "h", "labels": { "parley.dev/cluster": "demo" },
        "ownerReferences": [{ "apiVersion": "", "kind": "", "name": "", "uid": "uid-1", "controller": true }] } });
    context.children.autoscalers = children::Stores::with(vec![serde_json::from_value(autoscaler).unwrap()]);

    let scaled = "{ auth: { open: {} }, redis: { managed: {} }, autoscaling: { minReplicas: 3, maxReplicas: 9 } }";
    steps(scaled, &context).await.unwrap();
    assert_eq!(number.lock().live, 3);
    *number.lock() = Number { owners: [(AUTOSCALER.to_owned(), ())].into(), live: 7, was_dropped: false };

    // A pass that ends between the two makes no difference.
    api.trouble(Method::PATCH, "/services/", StatusCode::FORBIDDEN, "forbidden: exceeded quota: small");
    let fixed = "{ auth: { open: {} }, redis: { managed: {} }, replicas: 2 }";
    steps(fixed, &context).await.unwrap_err();
    context.children.autoscalers = children::Stores::default();
    let told = api.asked("POST events");
    steps(fixed, &context).await.unwrap();
    assert_eq!(api.asked("POST events") - told, 1, "that the quota is enough again");

    let number = number.lock();
    assert_eq!((number.live, number.was_dropped), (2, false));
    assert_eq!(
        number.owners.keys().collect::<Vec<_>>(),
        [FIELD_MANAGER],
        "nobody is left whom a later change would meet"
    );
}

#[tokio::test]
async fn a_chat_that_was_stopped_is_started_by_its_autoscaler() {
    let api = Api::default();
    let context = context(&api);
    let path = "/apis/apps/v1/namespaces/chat/deployments/demo";
    steps("{ auth: { open: {} }, redis: { managed: {} }, replicas: 0 }", &context).await.unwrap();
    let mut stopped = api.object(path);
    stopped["metadata"]["managedFields"] = json!([{ "manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:replicas": {} } } }]);
    api.put(path, stopped);
    let number: Arc<Mutex<Number>> = Arc::default();
    let mut context = Arc::into_inner(context).expect("nobody else has it");
    context.client = accounting(&api, &number);
    steps("{ auth: { open: {} }, redis: { managed: {} }, autoscaling: { minReplicas: 3, maxReplicas: 9 } }", &context)
        .await
        .unwrap();
    assert_eq!(number.lock().live, 3, "an autoscaler leaves 0 alone");
}
