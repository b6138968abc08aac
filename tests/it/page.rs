//! The web client as an instance serves it: that it is there, whole, guarded and cached. What it does is tested in
//! browsers, in `service/web/browser`.

use parley_tests::http::{self, Answer};
use parley_tests::node::Node;

/// What guards every file, whatever it is.
fn assert_guarded(answer: &Answer) {
    let policy = answer.header("content-security-policy").unwrap_or_default();
    let rules: Vec<&str> = policy.split(';').map(str::trim).collect();
    for rule in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(rules.contains(&rule), "{rule} is not in {policy:?}");
    }
    for what in ["script-src", "style-src"] {
        let sources = rules.iter().find_map(|rule| rule.strip_prefix(what)).unwrap_or_default();
        assert!(sources.starts_with(" 'sha256-") && sources.split_whitespace().count() == 1, "{policy:?}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
}

#[tokio::test]
async fn the_page_and_all_that_it_loads_is_served_with_its_guards() {
    let node = Node::start().await;
    let page = http::get(node.address(), "/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert_guarded(&page);
    let loaded: Vec<&str> = page.body.split('"').filter_map(|text| text.strip_prefix("./")).collect();
    assert_eq!(loaded, ["icon.svg"], "the next request may reach an instance of another version");
    let icon = http::get(node.address(), "/icon.svg").await;
    assert_eq!((icon.status, icon.header("content-type")), (200, Some("image/svg+xml")));
    assert_eq!(icon.header("cache-control"), Some("no-cache"));
    assert_guarded(&icon);
}

#[tokio::test]
async fn a_page_that_a_browser_has_is_not_sent_again() {
    let node = Node::start().await;
    let page = http::get(node.address(), "/").await;
    let tag = page.header("etag").unwrap();
    let again = http::request(node.address(), "GET", "/", &[("If-None-Match", tag)], "").await;
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(tag)));
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let node = Node::start().await;
    let (get, head) = (http::get(node.address(), "/").await, http::request(node.address(), "HEAD", "/", &[], "").await);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
}

#[tokio::test]
async fn what_is_not_there_is_a_404_and_nothing_else_is_reachable() {
    let node = Node::start().await;
    for path in ["/assets/none.js", "/icon.svg/", "/../index.html", "/%2e%2e%2findex.html", "/index.html", "/x"] {
        let answer = http::get(node.address(), path).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/problem+json")), "{path}");
    }
    assert_eq!(http::request(node.address(), "POST", "/", &[], "").await.status, 405);
}
