//! Which web pages may open a socket: origins, patterns of origins, and the comparison.
//!
//! It reads no header and refuses no request; the edge does both.

/// Where a web page came from, normalised: lower case, the scheme's default port filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// Reads `scheme://host` or `scheme://host:port`, as browsers send it. `None` for anything else, also for `null`.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let first = scheme.as_bytes().first()?;
        let rest_ok = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !first.is_ascii_alphabetic() || !rest_ok {
            return None;
        }
        let (host, port) = split_authority(authority, &scheme)?;
        Some(Self { scheme, host, port })
    }
}

/// One entry of `PARLEY_ALLOWED_ORIGINS`: an origin, or every subdomain of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern {
    /// For a wildcard the host is what follows `*.`.
    origin: Origin,
    subdomains: bool,
}

impl OriginPattern {
    /// Reads `https://chat.example.com`, `https://*.example.com` (every subdomain, not `example.com` itself) or either
    /// with a port. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once("://*.") {
            Some((scheme, host)) => {
                // `*.com` would let in half the web, which nobody means who did not write `*`.
                let origin = Origin::parse(&format!("{scheme}://{host}"))?;
                origin.host.contains('.').then_some(Self { origin, subdomains: true })
            }
            None => Some(Self { origin: Origin::parse(text)?, subdomains: false }),
        }
    }

    /// Whether a page of this origin may connect.
    pub fn matches(&self, origin: &Origin) -> bool {
        let host_matches = if self.subdomains {
            let parent = origin.host.strip_suffix(&self.origin.host).and_then(|rest| rest.strip_suffix('.'));
            parent.is_some_and(|subdomain| !subdomain.is_empty())
        } else {
            origin.host == self.origin.host
        };
        host_matches && origin.scheme == self.origin.scheme && origin.port == self.origin.port
    }
}

/// The rule for browsers' `Origin` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Only pages that were loaded from the host they now connect to.
    SameOrigin,
    /// Every page; it was asked for with `*`.
    Any,
    /// Pages that match one of these. Never empty.
    List(Vec<OriginPattern>),
}

impl AllowedOrigins {
    /// Whether a page whose browser sent this `Origin` may connect to the host of this `Host` header.
    ///
    /// The scheme is not compared under `SameOrigin`: behind an ingress that ends TLS the service cannot know it.
    pub fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::SameOrigin => Origin::parse(origin).is_some_and(|origin| {
                let own = host.and_then(|host| split_authority(host, &origin.scheme));
                own.is_some_and(|(host, port)| host == origin.host && port == origin.port)
            }),
            Self::List(patterns) => {
                Origin::parse(origin).is_some_and(|origin| patterns.iter().any(|pattern| pattern.matches(&origin)))
            }
        }
    }
}

/// Splits `host[:port]`, lower-cases the host and fills in the scheme's default port.
fn split_authority(authority: &str, scheme: &str) -> Option<(String, Option<u16>)> {
    // The colons of a bracketed IPv6 address do not begin a port.
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[host_end..].find(':') {
        Some(colon) => {
            let digits = &authority[host_end + colon + 1..];
            let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            (&authority[..host_end + colon], Some(digits.parse::<u16>().ok().filter(|_| all_digits)?))
        }
        None => (authority, None),
    };
    let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_ok = match name {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.split('.').all(|label| !label.is_empty())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        }
    };
    let port = port.or(match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    });
    host_ok.then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(patterns: &[&str]) -> AllowedOrigins {
        AllowedOrigins::List(patterns.iter().map(|p| OriginPattern::parse(p).expect("valid pattern")).collect())
    }

    #[test]
    fn a_page_of_the_same_host_may_connect_whatever_its_scheme() {
        let rule = AllowedOrigins::SameOrigin;
        assert!(rule.allow("https://chat.example.com", Some("chat.example.com")));
        assert!(rule.allow("http://127.0.0.1:8080", Some("127.0.0.1:8080")));
        assert!(rule.allow("https://Chat.example.com", Some("chat.EXAMPLE.com:443")));
        assert!(rule.allow("http://[::1]:8080", Some("[::1]:8080")));
    }

    #[test]
    fn a_page_of_another_host_or_port_may_not() {
        let rule = AllowedOrigins::SameOrigin;
        assert!(!rule.allow("https://evil.example", Some("chat.example.com")));
        assert!(!rule.allow("http://127.0.0.1:8081", Some("127.0.0.1:8080")));
        assert!(!rule.allow("null", Some("chat.example.com")));
        assert!(!rule.allow("https://chat.example.com", None));
    }

    #[test]
    fn a_listed_origin_is_compared_whole() {
        let rule = list(&["https://chat.example.com", "http://localhost:5173"]);
        assert!(rule.allow("https://chat.example.com", None));
        assert!(rule.allow("https://chat.example.com:443", None));
        assert!(rule.allow("http://localhost:5173", None));
        assert!(!rule.allow("http://chat.example.com", None));
        assert!(!rule.allow("https://chat.example.com.evil.example", None));
        assert!(!rule.allow("https://xchat.example.com", None));
    }

    #[test]
    fn a_wildcard_means_subdomains_only() {
        let rule = list(&["https://*.example.com"]);
        assert!(rule.allow("https://a.example.com", None));
        assert!(rule.allow("https://a.b.example.com", None));
        assert!(!rule.allow("https://example.com", None));
        assert!(!rule.allow("https://evilexample.com", None));
        assert!(!rule.allow("https://a.example.com:8443", None));
    }

    #[test]
    fn what_is_no_origin_is_no_pattern() {
        for text in [
            "",
            "example.com",
            "https://",
            "https://a/",
            "https://a b",
            "https://*",
            "https://*.com",
            "https://a:b",
            "https://a:",
            "https://a:+1",
            "https://a:70000",
            "https://u@a",
            "://a",
            "https://a..b",
            "https://[::g]",
            "1://a",
        ] {
            assert_eq!(OriginPattern::parse(text), None, "{text}");
        }
    }
}
