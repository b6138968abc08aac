//! From the text of one setting to its type, or to the sentence that says what would be right.
//!
//! Each function sees one value only; relations between settings are in `check`. Errors never repeat the value.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use hyper::http::uri::Authority;
use tracing_subscriber::EnvFilter;

use super::{BalancePolicy, LogFormat, Secret, table::Spec};
use crate::origin::OriginPolicy;

/// Schemes of `PARLEY_REDIS_URL`.
const REDIS_SCHEMES: [&str; 8] = [
    "redis",
    "rediss",
    "redis-sentinel",
    "rediss-sentinel",
    "valkey",
    "valkeys",
    "valkey-sentinel",
    "valkeys-sentinel",
];

/// Shortest HS256 secret: RFC 7518 asks for as many bits as the hash has.
const TOKEN_SECRET_BYTES: usize = 32;

/// Most instances behind a balancer: its table is looked through for each connection.
const BALANCE_UPSTREAMS: usize = 64;

/// Shortest API key.
const API_KEY_BYTES: usize = 16;

pub(super) fn address(_: &Spec, text: &str) -> Result<SocketAddr, String> {
    let localhost = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let address = localhost.map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let remedy = || "give an IP address and a port, such as 127.0.0.1:8080 or [::]:8080".to_owned();
    address.or_else(|| text.parse().ok()).ok_or_else(remedy)
}

pub(super) fn server_id(_: &Spec, text: &str) -> Result<Option<String>, String> {
    let ok = text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let remedy = "use 1 to 128 letters, digits, dots, dashes and underscores";
    if ok { Ok(some(text).map(str::to_owned)) } else { Err(remedy.to_owned()) }
}

pub(super) fn boolean(_: &Spec, text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("give true or false".to_owned()),
    }
}

pub(super) fn auth(_: &Spec, text: &str) -> Result<String, String> {
    one_of(text, &["open", "token"])
}

/// Empty when it is to follow from the presence of a URL.
pub(super) fn backplane(_: &Spec, text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { one_of(text, &["memory", "redis"]) }
}

pub(super) fn log_format(_: &Spec, text: &str) -> Result<Option<LogFormat>, String> {
    match text {
        "" => Ok(None),
        "text" => Ok(Some(LogFormat::Text)),
        "json" => Ok(Some(LogFormat::Json)),
        _ => Err("give text or json".to_owned()),
    }
}

pub(super) fn log_filter(_: &Spec, text: &str) -> Result<String, String> {
    let remedy =
        |error| format!("give a level or module=level pairs, such as info,parley_service::hub=debug ({error})");
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(remedy)
}

pub(super) fn text(_: &Spec, text: &str) -> Result<Option<String>, String> {
    Ok(some(text).map(str::to_owned))
}

pub(super) fn path(_: &Spec, text: &str) -> Result<Option<PathBuf>, String> {
    Ok(some(text).map(PathBuf::from))
}

pub(super) fn cookie_name(_: &Spec, text: &str) -> Result<Option<String>, String> {
    // RFC 6265: a cookie name is a token of RFC 9110.
    let ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if ok && text.len() <= 128 {
        Ok(some(text).map(str::to_owned))
    } else {
        Err("give the name of a cookie".to_owned())
    }
}

pub(super) fn redis_prefix(_: &Spec, text: &str) -> Result<String, String> {
    // Braces would move the hash tag, and with it the slot of every key.
    let ok = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    if ok {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 64 letters, digits, dots, dashes, underscores, colons".to_owned())
    }
}

pub(super) fn redis_url(_: &Spec, text: &str) -> Result<Option<Secret>, String> {
    let Some(text) = some(text) else { return Ok(None) };
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    if scheme.ends_with("-cluster") {
        return Err("Redis Cluster is not supported; give one server or Sentinels".to_owned());
    }
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host).split(['/', '?']).next().unwrap_or_default();
    if !REDIS_SCHEMES.contains(&scheme) || host.is_empty() || host.starts_with(':') {
        return Err("give a URL such as redis://host:6379, rediss://… (TLS) or redis-sentinel://…".to_owned());
    }
    Ok(Some(Secret::new(text)))
}

/// `host:port` of each; the caller decides whether none is enough.
pub(super) fn upstreams(_: &Spec, text: &str) -> Result<Vec<String>, String> {
    let mut upstreams = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let place = part.strip_prefix("http://").map_or(part, |rest| rest.strip_suffix('/').unwrap_or(rest));
        let authority: Option<Authority> = place.parse().ok();
        let plain = authority.filter(|a| !a.host().is_empty() && a.port_u16().is_some_and(|port| port > 0));
        let Some(authority) = plain.filter(|_| !place.contains('@')) else {
            return Err("give host and port, such as 127.0.0.1:8081 (without TLS and without a path)".to_owned());
        };
        if upstreams.contains(&authority.as_str().to_owned()) {
            return Err(format!("name each instance once: {authority} is there twice"));
        }
        upstreams.push(authority.as_str().to_owned());
    }
    if upstreams.len() > BALANCE_UPSTREAMS {
        return Err(format!("name at most {BALANCE_UPSTREAMS} instances"));
    }
    Ok(upstreams)
}

pub(super) fn balance_policy(_: &Spec, text: &str) -> Result<BalancePolicy, String> {
    let policies = [BalancePolicy::RoundRobin, BalancePolicy::LeastConnections, BalancePolicy::Cookie];
    let policy = policies.into_iter().find(|policy| policy.as_str() == text);
    policy.ok_or_else(|| "give round-robin, least-connections or cookie".to_owned())
}

pub(super) fn demo_ports(_: &Spec, text: &str) -> Result<[u16; 3], String> {
    let ports: Option<Vec<u16>> = text.split(',').map(|port| port.trim().parse().ok()).collect();
    let ports = ports.and_then(|ports| <[u16; 3]>::try_from(ports).ok());
    let two_alike = |[a, b, c]: [u16; 3]| (a == b || a == c) && a != 0 || b == c && b != 0;
    ports.filter(|ports| !two_alike(*ports)).ok_or_else(|| {
        "give three different ports with commas, such as 8080,8081,8082: balancer, server-1, server-2".to_owned()
    })
}

pub(super) fn token_secret(_: &Spec, text: &str) -> Result<Option<Secret>, String> {
    match some(text) {
        Some(text) if text.len() < TOKEN_SECRET_BYTES => {
            Err(format!("give at least {TOKEN_SECRET_BYTES} bytes, as HS256 asks for"))
        }
        text => Ok(text.map(Secret::new)),
    }
}

pub(super) fn api_key(_: &Spec, text: &str) -> Result<Option<Secret>, String> {
    let Some(text) = some(text) else { return Ok(None) };
    // It travels in an HTTP header after `Bearer `, where anything else would never match.
    if text.len() < API_KEY_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("give at least {API_KEY_BYTES} letters, digits or signs, without spaces"));
    }
    Ok(Some(Secret::new(text)))
}

pub(super) fn origins(_: &Spec, text: &str) -> Result<OriginPolicy, String> {
    OriginPolicy::parse(text).map_err(|faults| {
        format!("give origins such as https://chat.example.com,https://*.example.com, or * alone: {faults}")
    })
}

pub(super) fn seconds(spec: &Spec, text: &str) -> Result<Duration, String> {
    in_bounds(spec, text).map(Duration::from_secs)
}

/// A number within the bounds of its setting.
pub(super) fn number<T: Number>(spec: &Spec, text: &str) -> Result<T, String> {
    let number = in_bounds(spec, text)?;
    T::checked(number).ok_or_else(|| remedy_for_number(spec))
}

/// A number within the bounds of its setting, or none for `0`.
pub(super) fn cap<T: Number>(spec: &Spec, text: &str) -> Result<Option<T>, String> {
    if text == "0" { Ok(None) } else { number(spec, text).map(Some) }
}

/// The types that a number may become.
pub(super) trait Number: Sized {
    /// `None` when the type cannot hold it.
    fn checked(number: u64) -> Option<Self>;
}

impl Number for usize {
    fn checked(number: u64) -> Option<Self> {
        number.try_into().ok()
    }
}

impl Number for NonZeroUsize {
    fn checked(number: u64) -> Option<Self> {
        Self::new(number.try_into().ok()?)
    }
}

impl Number for NonZeroU32 {
    fn checked(number: u64) -> Option<Self> {
        Self::new(number.try_into().ok()?)
    }
}

/// A number of bytes as one would write it: `512KiB`, `256MiB`, `300`.
pub(super) fn bytes_words(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, shift)| bytes >= 1 << shift && bytes.trailing_zeros() >= *shift);
    unit.map_or_else(|| bytes.to_string(), |(name, shift)| format!("{}{name}", bytes >> shift))
}

fn in_bounds(spec: &Spec, text: &str) -> Result<u64, String> {
    let (min, max) = spec.bounds.unwrap_or((0, u64::MAX));
    let number = if spec.bytes { bytes(text) } else { digits(text) };
    number.filter(|n| (min..=max).contains(n)).ok_or_else(|| remedy_for_number(spec))
}

fn remedy_for_number(spec: &Spec) -> String {
    let kind = if spec.bytes { "bytes, plain or with KiB, MiB or GiB" } else { "a whole number" };
    format!("give {kind}: {}", spec.bounds_words().unwrap_or_default())
}

fn bytes(text: &str) -> Option<u64> {
    let units = [("gib", 30), ("mib", 20), ("kib", 10)];
    let lower = text.to_ascii_lowercase();
    let unit = units.iter().find_map(|(unit, shift)| Some((lower.strip_suffix(unit)?, shift)));
    let (number, shift) = unit.unwrap_or((&lower, &0));
    digits(number.trim_end())?.checked_mul(1 << shift)
}

/// Digits and nothing else: `u64::from_str` would also take a plus sign.
fn digits(text: &str) -> Option<u64> {
    u64::from_str(text).ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

fn one_of(text: &str, choices: &[&str]) -> Result<String, String> {
    let choice = choices.iter().find(|choice| **choice == text);
    choice.map(|choice| (*choice).to_owned()).ok_or_else(|| format!("give {}", choices.join(" or ")))
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
