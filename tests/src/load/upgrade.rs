//! Opens a connection: TCP, HTTP upgrade, and the check that the server really agreed. Written by hand, because a
//! session must not keep the buffers of an HTTP client.

use std::io;
use std::net::SocketAddr;
use std::str;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use super::clock::unix_seconds;
use super::target::Target;

/// One attempt may take so long, from the look-up of the name to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest answer to an upgrade.
const LONGEST_ANSWER: usize = 16 << 10;
/// Tokens outlive any run.
const TOKEN_SECONDS: u64 = 7 * 24 * 3600;

/// How sessions say who they are.
#[derive(Clone)]
pub(super) enum SignIn {
    /// `?user=NAME`, believed by a server in `open` mode.
    Open,
    /// A token signed with HS256.
    Token { key: Box<EncodingKey>, audience: Option<String>, issuer: Option<String> },
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub(super) enum UpgradeFault {
    #[error("{0}")]
    Io(io::ErrorKind),
    #[error("this machine has no local port left for another connection: see net.ipv4.ip_local_port_range")]
    NoLocalPort,
    #[error("no answer within {} s", PATIENCE.as_secs())]
    TooSlow,
    #[error("http {status}")]
    Refused { status: u16, retry_after: Option<Duration> },
    #[error("answer to the upgrade is not valid")]
    Malformed,
    #[error("token could not be signed")]
    Token,
}

impl UpgradeFault {
    /// Trying again cannot help: the request itself is wrong.
    pub(super) fn permanent(&self) -> bool {
        match self {
            Self::Refused { status, .. } => (400..500).contains(status) && *status != 429,
            Self::NoLocalPort | Self::Malformed | Self::Token => true,
            Self::Io(_) | Self::TooSlow => false,
        }
    }
}

/// An upgraded connection and what came behind the answer.
pub(super) struct Upgraded {
    pub(super) stream: TcpStream,
    pub(super) early: Vec<u8>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

/// Connects and upgrades as `user`. Names with several addresses are spread over by `turn`.
///
/// # Errors
/// See [`UpgradeFault`]; nothing is left open.
pub(super) async fn open(target: &Target, user: &str, sign_in: &SignIn, turn: usize) -> Result<Upgraded, UpgradeFault> {
    timeout(PATIENCE, open_slowly(target, user, sign_in, turn)).await.unwrap_or(Err(UpgradeFault::TooSlow))
}

async fn open_slowly(target: &Target, user: &str, sign_in: &SignIn, turn: usize) -> Result<Upgraded, UpgradeFault> {
    let addresses: Vec<SocketAddr> = lookup_host(target.address()).await.map_err(io_fault)?.collect();
    let address = addresses.get(turn % addresses.len().max(1)).ok_or(UpgradeFault::Io(io::ErrorKind::NotFound))?;
    let mut stream = TcpStream::connect(address).await.map_err(io_fault)?;
    // A chat message is small and must leave at once.
    stream.set_nodelay(true).map_err(io_fault)?;
    let key = generate_key();
    stream.write_all(request(target, user, sign_in, &key)?.as_bytes()).await.map_err(io_fault)?;
    let mut answer = Vec::with_capacity(512);
    let head = loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if answer.len() > LONGEST_ANSWER {
            return Err(UpgradeFault::Malformed);
        }
        if stream.read_buf(&mut answer).await.map_err(io_fault)? == 0 {
            return Err(UpgradeFault::Io(io::ErrorKind::UnexpectedEof));
        }
    };
    check(&answer[..head], &key)?;
    Ok(Upgraded { stream, early: answer.split_off(head) })
}

fn io_fault(error: io::Error) -> UpgradeFault {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => UpgradeFault::NoLocalPort,
        kind => UpgradeFault::Io(kind),
    }
}

fn request(target: &Target, user: &str, sign_in: &SignIn, key: &str) -> Result<String, UpgradeFault> {
    let (path, authorization) = match sign_in {
        SignIn::Open => (target.request_target(Some(&format!("user={user}"))), String::new()),
        SignIn::Token { key, audience, issuer } => {
            let claims = Claims {
                sub: user,
                exp: unix_seconds() + TOKEN_SECONDS,
                aud: audience.as_deref(),
                iss: issuer.as_deref(),
            };
            let token = jsonwebtoken::encode(&Header::default(), &claims, key).map_err(|_| UpgradeFault::Token)?;
            (target.request_target(None), format!("Authorization: Bearer {token}\r\n"))
        }
    };
    Ok(format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\nUser-Agent: parley-load\r\n{authorization}\r\n",
        target.authority(),
    ))
}

fn check(head: &[u8], key: &str) -> Result<(), UpgradeFault> {
    let head = str::from_utf8(head).map_err(|_| UpgradeFault::Malformed)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
    let status: u16 = status.and_then(|digits| digits.parse().ok()).ok_or(UpgradeFault::Malformed)?;
    let header = |name: &str| {
        let mut fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if status != 101 {
        let retry_after = header("retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs);
        return Err(UpgradeFault::Refused { status, retry_after });
    }
    if header("sec-websocket-accept") == Some(derive_accept_key(key.as_bytes()).as_str()) {
        Ok(())
    } else {
        Err(UpgradeFault::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    #[test]
    fn the_answer_of_the_rfc_is_accepted() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
            SEC-WEBSOCKET-ACCEPT: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert!(check(head, KEY).is_ok());
    }

    #[test]
    fn a_wrong_accept_key_is_refused() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
        assert!(matches!(check(head, KEY), Err(UpgradeFault::Malformed)));
    }

    #[test]
    fn a_busy_server_says_when_to_come_back() {
        let fault = check(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n\r\n", KEY).unwrap_err();
        assert!(!fault.permanent());
        assert!(
            matches!(fault, UpgradeFault::Refused { status: 503, retry_after: Some(after) } if after.as_secs() == 2)
        );
    }

    #[test]
    fn a_forbidden_upgrade_is_permanent() {
        assert!(check(b"HTTP/1.1 401 Unauthorized\r\n\r\n", KEY).unwrap_err().permanent());
    }

    #[test]
    fn a_token_carries_the_user_and_goes_into_the_header() {
        let target = Target::parse("ws://localhost:8080/ws").unwrap();
        let sign_in = SignIn::Token {
            key: Box::new(EncodingKey::from_secret(b"a secret of at least thirty-two bytes")),
            audience: Some("chat".into()),
            issuer: None,
        };
        let request = request(&target, "load-1", &sign_in, KEY).unwrap();
        assert!(request.starts_with("GET /ws HTTP/1.1\r\nHost: localhost:8080\r\n"), "{request}");
        assert!(request.contains("\r\nAuthorization: Bearer ey"), "{request}");
        assert!(request.ends_with("\r\n\r\n"));
    }
}
