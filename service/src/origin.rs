//! Which web pages may open a socket: the browser's `Origin` header against a policy. It does not sign anybody in,
//! and it restrains browsers only: any other program can write what it likes into the header.

use std::fmt;
use std::net::Ipv6Addr;

/// Whose pages may connect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OriginPolicy {
    /// Only pages of the host that the browser addresses.
    ///
    /// It believes the `Host` header, so it does not stop a page whose own name was pointed at this server (DNS
    /// rebinding); a [`List`](Self::List) does.
    #[default]
    SameOrigin,
    /// Every page, `null` (sandboxed frames, local files) too.
    Any,
    /// Pages whose origin matches one of these. The server's own host is only allowed if it is listed.
    List(Vec<OriginPattern>),
}

impl OriginPolicy {
    /// Reads the setting: nothing is [`SameOrigin`](Self::SameOrigin), `*` is [`Any`](Self::Any), else patterns
    /// separated by commas, each `scheme://host[:port]` or `scheme://*.domain[:port]`. A `*.` stands for one or more
    /// labels and not for the bare domain.
    ///
    /// # Errors
    /// One sentence per bad pattern, joined by `; `, each with the pattern and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => return Ok(Self::SameOrigin),
            "*" => return Ok(Self::Any),
            _ => {}
        }
        let mut patterns = Vec::new();
        let mut faults = Vec::new();
        for entry in text.split(',').map(str::trim) {
            match OriginPattern::parse(entry) {
                Ok(pattern) => patterns.push(pattern),
                Err(fault) => faults.push(format!("{entry:?} {fault}")),
            }
        }
        if faults.is_empty() { Ok(Self::List(patterns)) } else { Err(faults.join("; ")) }
    }

    /// Whether an upgrade with these headers may go on.
    ///
    /// - No `Origin` is not a browser: allowed. A header that is there but is not text must be given as `Some("")`.
    /// - Anything that is not exactly one origin, `null` among it, is refused, unless every origin is allowed.
    /// - The same origin compares host and port without regard to case. The scheme is ignored, because TLS ends at
    ///   the ingress and this side cannot know it; for the same reason 80, 443 and no port are one and the same.
    /// - Nothing else is believed: an ingress that rewrites `Host`, with or without `X-Forwarded-Host`, needs a list.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        match self {
            Self::Any => true,
            Self::SameOrigin => {
                let page = Origin::parse(origin).filter(|page| page.scheme == "https" || page.scheme == "http");
                let here = host.and_then(Authority::parse);
                page.zip(here).is_some_and(|(page, here)| page.authority.without_web_port() == here.without_web_port())
            }
            Self::List(patterns) => {
                Origin::parse(origin).is_some_and(|page| patterns.iter().any(|pattern| pattern.matches(&page)))
            }
        }
    }
}

impl fmt::Display for OriginPolicy {
    /// As in the setting, but `same origin` for nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameOrigin => f.write_str("same origin"),
            Self::Any => f.write_str("*"),
            Self::List(patterns) => patterns.iter().enumerate().try_for_each(|(index, pattern)| {
                let comma = if index == 0 { "" } else { "," };
                write!(f, "{comma}{pattern}")
            }),
        }
    }
}

/// One origin, or all origins below a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern {
    origin: Origin,
    subdomains: bool,
}

impl OriginPattern {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const RIGHT: &str = "is not an origin: right is scheme://host[:port] or scheme://*.domain[:port], \
                             for example https://chat.example.com";
        if text == "*" {
            return Err("allows every page and makes the rest pointless: give it alone or not at all");
        }
        if text == "null" {
            return Err("is the origin of any sandboxed page: only * alone allows it");
        }
        let (scheme, rest) = text.split_once("://").ok_or(RIGHT)?;
        if rest.contains(['/', '?', '#']) {
            return Err("has a path: an origin ends after the host or port, for example https://chat.example.com");
        }
        let (subdomains, authority) = match rest.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, rest),
        };
        let origin = Origin::parse(&format!("{scheme}://{authority}")).ok_or(RIGHT)?;
        if subdomains && origin.authority.is_address() {
            return Err("is an address and has no subdomains: give addresses in full");
        }
        Ok(Self { origin, subdomains })
    }

    fn matches(&self, page: &Origin) -> bool {
        if self.subdomains {
            // No label of a parsed host is empty, so what stands before the dot is at least one whole label.
            let below = page.authority.host.strip_suffix(self.origin.authority.host.as_str());
            below.is_some_and(|labels| labels.ends_with('.'))
                && page.scheme == self.origin.scheme
                && page.effective_port() == self.origin.effective_port()
        } else {
            page.scheme == self.origin.scheme
                && page.authority.host == self.origin.authority.host
                && page.effective_port() == self.origin.effective_port()
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { scheme, authority: Authority { host, port } } = &self.origin;
        write!(f, "{scheme}://{}{host}", if self.subdomains { "*." } else { "" })?;
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// An origin in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    authority: Authority,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(letters);
        if !valid {
            return None;
        }
        Some(Self { scheme: scheme.to_ascii_lowercase(), authority: Authority::parse(rest)? })
    }

    fn effective_port(&self) -> Option<u16> {
        self.authority.port.or(match self.scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })
    }
}

/// `host[:port]` and nothing else: no user, no path. The host is in lower case, an IPv6 address in its shortest form.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (address, rest) = bracketed.split_once(']')?;
                (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), rest)
            }
            None => {
                let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                (name(host)?, rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0') => {
                Some(digits.parse().ok()?)
            }
            None if rest.is_empty() => None,
            _ => return None,
        };
        Some(Self { host, port })
    }

    fn without_web_port(self) -> Self {
        Self { port: self.port.filter(|port| !matches!(port, 80 | 443)), ..self }
    }

    /// Whether it is an IP address: in brackets, or with a last label of digits, as browsers decide.
    fn is_address(&self) -> bool {
        let last = self.host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        self.host.starts_with('[') || last.bytes().all(|b| b.is_ascii_digit())
    }
}

/// A host name in lower case. Browsers send names outside ASCII as punycode. A trailing dot is kept: to a browser
/// it makes another origin.
fn name(host: &str) -> Option<String> {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let valid = labels.split('.').all(|label| !label.is_empty() && label.bytes().all(letters));
    valid.then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
