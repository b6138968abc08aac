//! The password of the managed Valkey: once given it stays, because Valkey forgets its rooms when it starts anew.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const SPEC: &str = "{ auth: { open: {} }, redis: { managed: {} } }";
const PATH: &str = "/api/v1/namespaces/chat/secrets/demo-valkey";

/// Never the same password twice.
fn several_passwords(api: &Api) -> Context {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut context = Arc::into_inner(context(api)).expect("nobody else has it");
    context.entropy = Entropy(|| format!("password{:08}", COUNT.fetch_add(1, Ordering::Relaxed)));
    context
}

fn given(context: &Context) -> Option<String> {
    context.ledger.password(&ledger::Key::new("uid-1", "Secret", "demo-valkey".to_owned()))
}

/// The Secret as a user left it.
fn edited(password: &str) -> serde_json::Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "data": { "password": password },
        "metadata": { "name": "demo-valkey", "namespace": "chat", "resourceVersion": "9",
            "ownerReferences": [{ "apiVersion": "", "kind": "", "name": "", "uid": "uid-1", "controller": true }] } })
}

#[tokio::test]
async fn a_password_that_cannot_be_used_is_set_back_and_nothing_else_waits() {
    let api = Api::default();
    let context = several_passwords(&api);
    steps(SPEC, &context).await.unwrap();
    let first = given(&context).expect("it was given one");
    // "short", and what would break a URL.
    for bad in ["c2hvcnQ=", "d291bGQ6YnJlYWsvYUB1cmw="] {
        api.put(PATH, edited(bad));
        // What is there cannot be created.
        api.trouble(Method::POST, "/secrets", StatusCode::CONFLICT, "secrets \"demo-valkey\" already exists");
        let before = api.asked("PATCH demo-valkey of secrets");
        steps(SPEC, &context).await.unwrap();
        assert_eq!(api.asked("PATCH demo-valkey of secrets") - before, 1);
        assert_eq!(given(&context), Some(first.clone()));
    }
}

#[tokio::test]
async fn a_password_that_cannot_be_used_is_replaced_by_an_operator_that_does_not_know_it() {
    let api = Api::default();
    let context = several_passwords(&api);
    api.put(PATH, edited("c2hvcnQ="));
    api.trouble(Method::POST, "/secrets", StatusCode::CONFLICT, "secrets \"demo-valkey\" already exists");
    steps(SPEC, &context).await.unwrap();
    assert!(given(&context).is_some());
}

#[tokio::test]
async fn a_deleted_secret_comes_back_with_its_password() {
    let api = Api::default();
    let context = several_passwords(&api);
    steps(SPEC, &context).await.unwrap();
    let first = given(&context);
    let elsewhere = Api::default();
    let context = Context { client: elsewhere.client(), ..context };
    steps(SPEC, &context).await.unwrap();
    assert_eq!(elsewhere.asked("POST secrets of chat"), 1, "it was gone");
    assert_eq!(given(&context), first);
}
