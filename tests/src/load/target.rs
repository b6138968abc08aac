//! A server's address as the user writes it, `ws://host:port/path?query`, and what an upgrade needs of it.

use std::fmt;

use thiserror::Error;

/// One `--url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
    path: String,
}

/// Why a `--url` cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum TargetFault {
    #[error(
        "wss:// is not supported: TLS would be measured instead of the chat; point at the service behind the ingress"
    )]
    Tls,
    #[error("must start with ws://, like ws://127.0.0.1:8080/ws")]
    Scheme,
    #[error("has no host")]
    NoHost,
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
}

impl Target {
    /// Port 80 and path `/ws` when left out.
    pub(super) fn parse(url: &str) -> Result<Self, TargetFault> {
        if url.starts_with("wss://") {
            return Err(TargetFault::Tls);
        }
        let rest = url.strip_prefix("ws://").ok_or(TargetFault::Scheme)?;
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of a bracketed IPv6 address without a port is inside the brackets.
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port != 0).ok_or(TargetFault::Port)?;
                (host, port)
            }
            _ => (authority, 80),
        };
        if host.is_empty() {
            return Err(TargetFault::NoHost);
        }
        let path = match path {
            "" | "/" => "/ws".to_owned(),
            query if query.starts_with('?') => format!("/ws{query}"),
            path => path.to_owned(),
        };
        Ok(Self { host: host.to_owned(), port, path })
    }

    /// What the resolver wants: the host without brackets, and the port.
    pub(super) fn address(&self) -> (&str, u16) {
        (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
    }

    /// Value of the `Host` header.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Request target with one more query parameter, if any. The parameter must be safe in a URL as it is.
    pub(super) fn request_target(&self, parameter: Option<&str>) -> String {
        let path = &self.path;
        match parameter {
            None => path.clone(),
            Some(parameter) if path.contains('?') => format!("{path}&{parameter}"),
            Some(parameter) => format!("{path}?{parameter}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_url_is_taken_apart() {
        let target = Target::parse("ws://chat.example:8080/ws?x=1").unwrap();
        assert_eq!(target.address(), ("chat.example", 8080));
        assert_eq!(target.authority(), "chat.example:8080");
        assert_eq!(target.request_target(Some("user=a")), "/ws?x=1&user=a");
        assert_eq!(target.request_target(None), "/ws?x=1");
    }

    #[test]
    fn path_and_port_have_defaults() {
        let target = Target::parse("ws://[::1]").unwrap();
        assert_eq!(target.address(), ("::1", 80));
        assert_eq!(target.authority(), "[::1]:80");
        assert_eq!(target.request_target(Some("user=a")), "/ws?user=a");
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        assert_eq!(Target::parse("wss://a/ws"), Err(TargetFault::Tls));
        assert_eq!(Target::parse("http://a/ws"), Err(TargetFault::Scheme));
        assert_eq!(Target::parse("ws://:80/ws"), Err(TargetFault::NoHost));
        assert_eq!(Target::parse("ws://a:eighty/ws"), Err(TargetFault::Port));
        assert_eq!(Target::parse("ws://a:0/ws"), Err(TargetFault::Port));
    }
}
