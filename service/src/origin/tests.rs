//! What the origin check lets through, and the look-alikes that it must not.

use proptest::prelude::*;

use super::*;

fn list(text: &str) -> OriginPolicy {
    OriginPolicy::parse(text).unwrap()
}

fn same(origin: &str, host: &str) -> bool {
    OriginPolicy::SameOrigin.allows(Some(origin), Some(host))
}

#[test]
fn a_client_that_is_no_browser_is_allowed_by_every_policy() {
    for policy in [OriginPolicy::SameOrigin, OriginPolicy::Any, list("https://example.com")] {
        assert!(policy.allows(None, Some("chat.example.com")));
        assert!(policy.allows(None, None));
    }
}

#[test]
fn null_and_garbage_pass_only_where_everything_does() {
    for origin in ["null", "", "https://", "https://a https://b", "https://a, https://b", "ümlaut"] {
        assert!(OriginPolicy::Any.allows(Some(origin), Some("example.com")));
        assert!(!OriginPolicy::SameOrigin.allows(Some(origin), Some("example.com")));
        assert!(!OriginPolicy::SameOrigin.allows(Some(origin), Some(origin)), "{origin}");
        assert!(!list("https://example.com").allows(Some(origin), Some("example.com")));
    }
}

#[test]
fn the_same_host_is_the_same_origin_whatever_the_case() {
    assert!(same("https://chat.example.com", "chat.example.com"));
    assert!(same("https://Chat.Example.com", "CHAT.example.COM"));
    assert!(same("http://127.0.0.1:8080", "127.0.0.1:8080"));
    assert!(same("http://[::1]:8080", "[0:0:0:0:0:0:0:1]:8080"));
}

#[test]
fn tls_that_ends_at_the_ingress_does_not_make_another_origin() {
    assert!(same("https://example.com", "example.com:80"));
    assert!(same("http://example.com:80", "example.com"));
    assert!(same("https://example.com:443", "example.com"));
    assert!(!same("https://example.com:8443", "example.com"));
}

#[test]
fn another_host_or_port_is_another_origin() {
    assert!(!same("http://localhost:3000", "localhost:8080"));
    assert!(!same("http://localhost", "localhost:8080"));
    assert!(!same("https://evil.org", "example.com"));
    assert!(!same("https://sub.example.com", "example.com"));
    assert!(!same("https://example.com.", "example.com"), "a trailing dot is another origin to a browser");
    assert!(!same("http://[::1]:8080", "[::2]:8080"));
    assert!(!same("ftp://example.com", "example.com"));
    assert!(!OriginPolicy::SameOrigin.allows(Some("https://example.com"), None));
}

#[test]
fn look_alikes_of_a_listed_origin_are_refused() {
    let policy = list("https://example.com, https://*.example.com");
    for origin in [
        "https://example.com.evil.org",
        "https://evil-example.com",
        "https://evilexample.com",
        "https://example.com@evil.org",
        "https://evil.org@example.com",
        "https://evil.org#example.com",
        "https://evil.org/example.com",
        "https://evil.org?.example.com",
        "https://evil.org\\.example.com",
        "https://evil.org%00.example.com",
        "https://evil.org .example.com",
        "https://.example.com",
        "https://..example.com",
        "https://*.example.com",
        "https://example.com.",
        "https://sub.example.com.",
        "https://example.com:444",
        "https://example.com:",
        "https://example.com:+443",
        "https://example.com:65979",
        "https://example.com:443:443",
        "https://[example.com]",
        "https://example.com/",
        "https:example.com",
        "https:///example.com",
        "http://example.com",
        "wss://example.com",
        " https://example.com",
        "https://exampl\u{435}.com",
    ] {
        assert!(!policy.allows(Some(origin), Some("example.com")), "{origin}");
    }
}

#[test]
fn a_listed_origin_is_matched_without_case_and_with_its_default_port() {
    let policy = list("HTTPS://Example.com,http://localhost:3000,http://[::1]:80");
    for origin in ["https://example.com", "https://EXAMPLE.com:443", "http://localhost:3000", "http://[0::1]"] {
        assert!(policy.allows(Some(origin), None), "{origin}");
    }
    assert!(!policy.allows(Some("http://localhost"), Some("localhost")), "a list replaces the same origin");
}

#[test]
fn a_star_stands_for_one_or_more_labels_and_not_for_none() {
    let policy = list("https://*.example.com:8443");
    assert!(policy.allows(Some("https://a.example.com:8443"), None));
    assert!(policy.allows(Some("https://b.a.Example.com:8443"), None));
    assert!(!policy.allows(Some("https://example.com:8443"), None));
    assert!(!policy.allows(Some("https://a.example.com"), None));
    assert!(!policy.allows(Some("http://a.example.com:8443"), None));
}

#[test]
fn schemes_of_apps_can_be_listed() {
    let policy = list("capacitor://localhost,chrome-extension://abcdefgh");
    assert!(policy.allows(Some("capacitor://localhost"), Some("chat.example.com")));
    assert!(policy.allows(Some("chrome-extension://abcdefgh"), Some("chat.example.com")));
    assert!(!OriginPolicy::SameOrigin.allows(Some("capacitor://localhost"), Some("localhost")));
}

#[test]
fn the_setting_is_read_and_shown() {
    assert_eq!(OriginPolicy::parse(" "), Ok(OriginPolicy::SameOrigin));
    assert_eq!(OriginPolicy::parse(" * "), Ok(OriginPolicy::Any));
    assert_eq!(list(" HTTPS://*.A.example:8443 , http://b ").to_string(), "https://*.a.example:8443,http://b");
    assert_eq!(OriginPolicy::default().to_string(), "same origin");
}

#[test]
fn every_bad_pattern_gets_its_sentence() {
    let faults = OriginPolicy::parse("https://ok.example,example.com,https://a/,null,*,https://*.0.0.1,").unwrap_err();
    let faults: Vec<_> = faults.split("; ").collect();
    assert_eq!(faults.len(), 6, "{faults:?}");
    assert!(faults[0].starts_with("\"example.com\" is not an origin: right is scheme://host[:port]"));
    assert!(faults[1].starts_with("\"https://a/\" has a path"));
    assert!(faults[2].starts_with("\"null\" is the origin of any sandboxed page"));
    assert!(faults[3].starts_with("\"*\" allows every page"));
    assert!(faults[4].starts_with("\"https://*.0.0.1\" is an address"));
    assert!(faults[5].starts_with("\"\" is not an origin"));
    for bad in ["https://*", "https://*.", "https://a*.b", "https://*.*.b", "https://a b", "://a", "https://*.[::1]"] {
        assert!(OriginPolicy::parse(bad).is_err(), "{bad}");
    }
}

/// Texts that look like headers: random ones would never get past the first check.
fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "(https?|null|)(://)?(\\*\\.)?[\\[\\]a-c.:0-9@%/é]{0,12}(:[0-9+]{0,6})?",
        "https?://[a-c]{1,3}(\\.[a-c]{1,2}){0,2}(:[0-9]{1,5})?",
    ]
}

proptest! {
    #[test]
    fn no_header_and_no_setting_panics(origin in header(), host in header(), setting in header()) {
        let policy = OriginPolicy::parse(&setting).unwrap_or_default();
        let _any = policy.allows(Some(&origin), Some(&host));
        let _any = OriginPolicy::SameOrigin.allows(Some(&origin), Some(&host));
    }

    #[test]
    fn a_shown_policy_reads_back_as_itself(setting in header()) {
        if let Ok(policy @ OriginPolicy::List(_)) = OriginPolicy::parse(&setting) {
            prop_assert_eq!(OriginPolicy::parse(&policy.to_string()), Ok(policy));
        }
    }

    #[test]
    fn a_listed_origin_admits_exactly_its_own_host(setting in "https://[a-c]{1,3}(\\.[a-c]{1,2}){0,2}", origin in header()) {
        let admitted = list(&setting).allows(Some(&origin), None);
        let own = origin.strip_suffix(":443").unwrap_or(&origin);
        prop_assert_eq!(admitted, own == setting, "{} by {}", origin, setting);
    }
}
