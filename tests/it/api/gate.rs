//! Who gets in: the key, the switch, what is known and what is not.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use super::rig::{self, KEY};

/// Every operation of the document with names filled in: method, path.
fn operations() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&parley_service::edge::api::document()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = format!("/api/v1{}", path.replace("{room}", "general").replace("{user}", "bob"));
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        operations.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    operations
}

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../service/openapi.json");
    let committed = std::fs::read_to_string(committed).unwrap();
    assert!(committed == parley_service::edge::api::document(), "run `tests/run --generate` and commit the result");
}

#[tokio::test]
async fn every_documented_operation_is_there_and_each_path_knows_no_other_method() {
    let instance = rig::start().await;
    let operations = operations();
    assert_eq!(operations.len(), 13);
    for (method, path) in &operations {
        let answer = instance.call(method, path, "").await;
        assert!(![404, 405, 500].contains(&answer.status), "{method} {path}: {answer:?}");
        let refused = instance.call("PATCH", path, "").await;
        refused.problem(405, "method_not_allowed");
        let mut allowed: Vec<&str> = refused.header("allow").unwrap().split(',').filter(|m| *m != "HEAD").collect();
        let documented = operations.iter().filter(|(_, other)| other == path);
        let mut documented: Vec<&str> = documented.map(|(method, _)| method.as_str()).collect();
        allowed.sort_unstable();
        documented.sort_unstable();
        assert_eq!(allowed, documented, "{path}");
    }
}

#[tokio::test]
async fn without_the_right_key_every_path_answers_401_before_the_body_is_read() {
    let instance = rig::start().await;
    let long = format!("Bearer {}", "x".repeat(4_000));
    let wrong = [None, Some("Bearer "), Some(KEY), Some("Bearer the-key-of-the-api-0123456788"), Some("Basic abc")];
    for (method, path) in operations().into_iter().chain([("GET".to_owned(), "/api/v1/nothing".to_owned())]) {
        for authorization in wrong.into_iter().chain([Some(long.as_str())]) {
            // A body is announced and never comes: the answer cannot be waiting for it.
            let mut headers = vec![("Content-Length", "1000"), ("Content-Type", "application/json")];
            headers.extend(authorization.map(|value| ("Authorization", value)));
            let answer = instance.send(&method, &path, &headers, "").await;
            answer.problem(401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"parley\""));
        }
    }
}

#[tokio::test]
async fn the_scheme_of_the_key_may_be_in_any_case() {
    let instance = rig::start().await;
    let authorization = format!("bEARER {KEY}");
    let answer = instance.send("GET", "/api/v1/rooms", &[("Authorization", &authorization)], "").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn without_a_key_in_the_settings_the_api_is_off_and_says_how_to_switch_it_on() {
    let instance = rig::start_with(|config| config.api_key = None).await;
    let others =
        ["/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/openapi.json"].map(|path| ("GET".into(), path.into()));
    for (method, path) in operations().into_iter().chain(others) {
        for authorization in ["Bearer ", "Bearer anything"] {
            let answer = instance.send(&method, &path, &[("Authorization", authorization)], "").await;
            let detail = answer.problem(404, "not_found");
            // The bare prefix is no path of the API.
            if !path.ends_with("/v1") && !path.ends_with('/') {
                assert!(detail.contains("PARLEY_API_KEY"), "{method} {path}: {detail}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_is_served_without_the_key() {
    let instance = rig::start().await;
    let answer = instance.send("GET", "/api/v1/openapi.json", &[], "").await;
    assert_eq!(answer.body, parley_service::edge::api::document());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    instance.send("POST", "/api/v1/openapi.json", &[], "").await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn paths_that_are_none_answer_404() {
    let instance = rig::start().await;
    for path in ["/nothing", "/rooms/", "/rooms//", "/rooms/a/b/messages", "/rooms/a", "/users/a"] {
        instance.get(&format!("/api/v1{path}")).await.problem(404, "not_found");
    }
    instance.get("/api/v2/rooms").await.problem(404, "not_found");
}

#[tokio::test]
async fn requests_are_counted_by_declared_endpoint_never_by_what_the_caller_wrote() {
    let instance = rig::start().await;
    instance.get("/api/v1/rooms/one/messages").await;
    instance.get("/api/v1/rooms/two/messages").await;
    instance.get("/api/v1/rooms/two/messages?limit=0").await;
    instance.get("/api/v1/made-up").await;
    instance.call("BREW", "/api/v1/rooms", "").await;
    let metrics = instance.services.metrics.render();
    for line in [
        r#"parley_api_requests_total{endpoint="/rooms/{room}/messages",method="GET",status="2xx"} 2"#,
        r#"parley_api_requests_total{endpoint="/rooms/{room}/messages",method="GET",status="4xx"} 1"#,
        r#"parley_api_requests_total{endpoint="other",method="GET",status="4xx"} 1"#,
        r#"parley_api_requests_total{endpoint="/rooms",method="other",status="4xx"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains("made-up") && !metrics.contains("BREW"));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_key_is_never_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let instance = rig::start().await;
    let mut bob = instance.connect("bob", &[]).await;
    bob.frame("welcome").await;
    instance.faults().refuse();
    instance.call("POST", "/api/v1/users/bob/disconnect", "").await.problem(503, "unavailable");
    instance.call("POST", "/api/v1/users/bob/disconnect", "").await;
    instance.call("POST", "/api/v1/rooms/general/messages", "[").await;
    instance.send("GET", "/api/v1/rooms", &[("Authorization", &format!("Basic {KEY}"))], "").await;
    bob.closed().await;
    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(log.contains("control order carried out"), "the log was looked at:\n{log}");
    assert!(!log.contains(KEY), "{log}");
}
