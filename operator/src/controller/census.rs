//! Asks each instance for its metrics, at most every 30 seconds per ChatCluster: how many sessions are open, and what
//! trouble it has with Redis. Instances that do not answer are left out. It never asks the API server.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// Between two counts of one ChatCluster.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// For one instance.
const DEADLINE: Duration = Duration::from_secs(2);
/// Longest page of metrics that is read.
const MOST_BYTES: usize = 1 << 20;
/// The admin port of an instance.
const PORT: u16 = 8090;
/// The gauge with the open sessions.
const SESSIONS: &str = "parley_sessions ";
/// The counters of trouble with Redis.
const TROUBLES: &str = "parley_redis_troubles_total{trouble=\"";

/// See the module.
pub struct Census {
    http: Client<HttpConnector, Empty<Bytes>>,
    last: Mutex<HashMap<String, (Timestamp, Count)>>,
}

/// What the instances of a ChatCluster told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Count {
    /// Open sessions, to two digits; nothing if no instance answered.
    pub sessions: Option<i64>,
    /// The kinds of trouble with Redis that each had since it started.
    pub troubles: BTreeMap<IpAddr, BTreeSet<String>>,
}

impl Default for Census {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(DEADLINE));
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { http, last: Mutex::default() }
    }
}

impl Census {
    /// What the instances of the ChatCluster `uid` tell.
    pub async fn count(&self, uid: &str, instances: &[IpAddr], now: Timestamp) -> Count {
        if instances.is_empty() {
            self.last.lock().remove(uid);
            return Count::default();
        }
        let interval = SignedDuration::try_from(INTERVAL).unwrap_or(SignedDuration::MAX);
        if let Some((then, count)) = self.last.lock().get(uid)
            && now.duration_since(*then) < interval
        {
            return count.clone();
        }
        let asking = instances.iter().map(async |address| (*address, self.ask(*address).await));
        let mut asked: FuturesUnordered<_> = asking.collect();
        let mut count = Count::default();
        while let Some((address, answer)) = asked.next().await {
            let Some(metrics) = answer else { continue };
            count.sessions = sessions(&metrics).map(|more| count.sessions.unwrap_or(0) + more).or(count.sessions);
            count.troubles.insert(address, troubles(&metrics).collect());
        }
        count.sessions = count.sessions.map(two_digits);
        self.last.lock().insert(uid.to_owned(), (now, count.clone()));
        count
    }

    /// Forgets ChatClusters that are gone.
    pub fn keep_only(&self, uids: &HashSet<String>) {
        self.last.lock().retain(|uid, _| uids.contains(uid));
    }

    async fn ask(&self, address: IpAddr) -> Option<String> {
        let host = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let uri: Uri = format!("http://{host}:{PORT}/metrics").parse().ok()?;
        let answer = async {
            let response = self.http.get(uri).await.ok()?;
            let body = Limited::new(response.into_body(), MOST_BYTES).collect().await.ok()?.to_bytes();
            String::from_utf8(body.into()).ok()
        };
        tokio::time::timeout(DEADLINE, answer).await.ok().flatten()
    }
}

fn sessions(metrics: &str) -> Option<i64> {
    metrics.lines().find_map(|line| line.strip_prefix(SESSIONS))?.trim().parse().ok()
}

fn troubles(metrics: &str) -> impl Iterator<Item = String> {
    metrics.lines().filter_map(|line| {
        let (kind, count) = line.strip_prefix(TROUBLES)?.split_once("\"}")?;
        (count.trim() != "0").then(|| kind.to_owned())
    })
}

/// Rounded down, so that the status does not change with every client: 7, 42, 120, 3500.
fn two_digits(count: i64) -> i64 {
    let mut unit = 1;
    while count / unit >= 100 {
        unit *= 10;
    }
    count / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_keeps_two_digits() {
        assert_eq!([0, 7, 99, 100, 129, 3_599, 1_234_567].map(two_digits), [0, 7, 99, 100, 120, 3_500, 1_200_000]);
    }

    #[test]
    fn the_gauge_is_found_among_others() {
        let metrics = "# TYPE parley_sessions gauge\nparley_sessions_x 9\nparley_sessions 12\nparley_rooms 3\n";
        assert_eq!(sessions(metrics), Some(12));
        assert_eq!(sessions("parley_rooms 3\n"), None);
    }

    #[tokio::test]
    async fn those_that_are_gone_are_forgotten() {
        let census = Census::default();
        // Nobody listens there: a count of nothing is remembered as well.
        let nobody = [IpAddr::from([127, 0, 0, 1])];
        for uid in ["here", "gone"] {
            census.count(uid, &nobody, Timestamp::UNIX_EPOCH).await;
        }
        census.keep_only(&HashSet::from(["here".to_owned()]));
        assert_eq!(census.last.lock().keys().collect::<Vec<_>>(), ["here"]);
    }

    #[test]
    fn only_troubles_that_happened_are_told() {
        let line = |kind: &str, count: u32| format!("parley_redis_troubles_total{{trouble=\"{kind}\"}} {count}\n");
        let metrics = line("slow", 0) + &line("password", 3) + &line("unreachable", 12);
        assert_eq!(troubles(&metrics).collect::<Vec<_>>(), ["password", "unreachable"]);
    }
}
