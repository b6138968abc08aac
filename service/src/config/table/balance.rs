//! The settings of `parley balance`: its own, those that mean something else than in an instance, and the shared ones.
//!
//! It reads nothing, as the table above it.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use super::{LOG, LOG_FORMAT, Setting, Spec, Times, parse};
use crate::config::BalancePolicy;

const TRAFFIC: &str = "What goes where";
const BOUNDS: &str = "Bounds";

settings! {
    LOG, LOG_FORMAT;
    LISTEN: SocketAddr = Setting::new(TRAFFIC, "listen", "ADDR", "127.0.0.1:8080", parse::address,
        "Where clients connect. Port 0 takes any free one.");
    UPSTREAM: Vec<String> = Setting::new(TRAFFIC, "upstream", "HOST:PORT", "", parse::upstreams,
        "Public address of an instance; give it once for each, or as a list with commas.").times(Times::Many);
    POLICY: BalancePolicy = Setting::new(TRAFFIC, "policy", "NAME", "round-robin", parse::balance_policy,
        "`round-robin`, `least-connections`, or `cookie`, which brings a client back to where it was.");
    AFFINITY_COOKIE: Option<String> = Setting::new(TRAFFIC, "affinity-cookie", "NAME", "parley-route", parse::cookie_name,
        "The cookie of the policy `cookie`. Give the instances the same name, so that clients know what to drop.");

    MAX_CONNECTIONS: NonZeroUsize = Setting::new(BOUNDS, "max-connections", "N", "20000", parse::number,
        "Client connections at a time; beyond, requests are answered 503 with Retry-After.").within(1, 1_000_000);
    DRAIN_SECONDS: Duration = Setting::new(BOUNDS, "drain-seconds", "N", "30", parse::seconds,
        "After SIGTERM, the time that connections have to end by themselves.").within(0, 3600);
}
