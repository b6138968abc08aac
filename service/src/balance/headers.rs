//! What changes in a request and in an answer on their way through: headers that are only for the next hop (RFC 9110,
//! section 7.6.1) go, `X-Forwarded-*` are written anew. Pure; bodies are not its business.

use std::net::IpAddr;

use hyper::Request;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::Version;
use hyper::http::uri::Authority;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The protocol that a message asks to change to, if it does.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = words(headers).any(|word| word.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| asks).cloned()
}

/// Why a request may not be passed on.
pub(super) fn fault<B>(request: &Request<B>) -> Option<&'static str> {
    let has_host = has_one_host(request.headers(), request.version() == Version::HTTP_11);
    let in_target = request.uri().authority();
    if !has_host || in_target.is_some_and(|authority| !is_host(authority.as_str())) {
        return Some("a request has one Host header, with a host and perhaps a port (RFC 9112, section 3.2)");
    }
    if words(request.headers()).any(is_for_upstream) {
        return Some("Connection names a header that is not for this connection only (RFC 9110, section 7.6.1)");
    }
    None
}

/// Whether `Connection` may not declare a header of this name to be for this hop only. What it declares has to go, and what
/// the instance decides by may not go: so the request is refused. Senders must not name such headers. Envoy refuses
/// `X-Forwarded-*` there too; Traefik goes on as if it had not been named, which hides the fault from who made it.
fn is_for_upstream(name: &str) -> bool {
    const NAMES: [HeaderName; 6] = [AUTHORIZATION, CACHE_CONTROL, COOKIE, FORWARDED, HOST, ORIGIN];
    const PREFIXES: [&str; 3] = ["content-", "sec-", "x-forwarded-"];
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|other| other.as_str() == name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Two proxies that go by different ones of two hosts are a way around the first of them.
fn has_one_host(headers: &HeaderMap, needed: bool) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => !needed,
        // Empty is right for a target without a host.
        (Some(host), None) => host.to_str().is_ok_and(|host| host.is_empty() || is_host(host)),
        (Some(_), Some(_)) => false,
    }
}

fn is_host(text: &str) -> bool {
    // An authority may have a user's name too.
    !text.contains('@') && text.parse::<Authority>().is_ok()
}

/// Makes a client's headers those of a request to an upstream.
pub(super) fn to_upstream(headers: &mut HeaderMap, peer: IpAddr, upgrade: Option<HeaderValue>) {
    strip(headers);
    // It has been answered here.
    headers.remove(EXPECT);
    headers.remove(PROXY_AUTHORIZATION);
    // Anybody can write them. A proxy before us is not believed either: we cannot tell it from a client, and an instance
    // goes by none of them.
    let said = |name: &&HeaderName| name.as_str().starts_with("x-forwarded-") || [FORWARDED, REAL_IP].contains(name);
    let said: Vec<HeaderName> = headers.keys().filter(said).cloned().collect();
    for name in said {
        headers.remove(name);
    }
    if let Ok(value) = HeaderValue::from_str(&peer.to_canonical().to_string()) {
        headers.insert(FORWARDED_FOR, value);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
    // HTTP/1.0 needs none, what we send is HTTP/1.1.
    headers.entry(HOST).or_insert(HeaderValue::from_static(""));
    ask(headers, upgrade);
}

/// Makes an upstream's headers those of an answer to a client.
pub(super) fn to_client(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    strip(headers);
    headers.remove(PROXY_AUTHENTICATE);
    ask(headers, upgrade);
}

fn ask(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

fn words(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Removes what is only for this hop, also what `Connection` declares to be so.
fn strip(headers: &mut HeaderMap) {
    let declared: Vec<HeaderName> = words(headers).filter_map(|word| word.parse().ok()).collect();
    let known = [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    for name in declared.iter().chain(&known) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_is_for_this_hop_only_goes_no_further() {
        let mut all = headers(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ]);
        assert_eq!(upgrade(&all), None);
        to_upstream(&mut all, PEER, None);
        let mut left: Vec<&str> = all.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host", "x-forwarded-for", "x-forwarded-proto"]);
    }

    #[test]
    fn an_upgrade_is_asked_for_again() {
        let mut all = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        let protocol = upgrade(&all);
        assert_eq!(protocol.as_ref().map(HeaderValue::as_bytes), Some(&b"websocket"[..]));
        to_upstream(&mut all, PEER, protocol);
        assert_eq!((all[CONNECTION].as_bytes(), all[UPGRADE].as_bytes()), (&b"upgrade"[..], &b"websocket"[..]));
    }

    #[test]
    fn who_asks_is_told_as_seen_here_and_not_as_said_before() {
        let mut all = headers(&[
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "443"),
            ("forwarded", "for=198.51.100.1"),
            ("x-real-ip", "198.51.100.1"),
            ("host", "chat.example.com"),
        ]);
        to_upstream(&mut all, PEER, None);
        assert_eq!(all[&FORWARDED_FOR].as_bytes(), b"192.0.2.7");
        assert_eq!(all[&FORWARDED_PROTO].as_bytes(), b"http");
        assert_eq!(all[&FORWARDED_HOST].as_bytes(), b"chat.example.com");
        assert_eq!(all[HOST].as_bytes(), b"chat.example.com");
        assert_eq!(all.len(), 4, "{all:?}");
    }
}
