//! What a server says of itself when a connection stands: whether we can work with it, and what an operator should know.

use super::trouble::Trouble;

/// The oldest major version of Redis and Valkey with functions and sharded channels.
const OLDEST: u64 = 7;

/// From the answer to `INFO`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Server {
    /// Names one life of the server's process.
    pub(crate) run_id: Box<str>,
    /// `redis 7.0.15` or `valkey 8.1.0`.
    pub(crate) version: String,
    /// Why we cannot work with it.
    pub(crate) refusal: Option<Trouble>,
    /// It may drop keys that have not expired.
    pub(crate) evicts: bool,
}

impl Server {
    /// Reads sections `server` and `memory`.
    pub(crate) fn read(info: &str) -> Self {
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default()
        };
        let (name, version) = match field("valkey_version") {
            "" => ("redis", field("redis_version")),
            version => ("valkey", version),
        };
        let major = version.split('.').next().and_then(|major| major.parse::<u64>().ok());
        let refusal = if field("redis_mode") == "cluster" || field("server_mode") == "cluster" {
            Some(Trouble::Cluster)
        } else if major.is_some_and(|major| major < OLDEST) {
            Some(Trouble::Version)
        } else {
            None
        };
        let policy = field("maxmemory_policy");
        let evicts = !matches!(field("maxmemory"), "" | "0") && !matches!(policy, "" | "noeviction");
        Self { run_id: field("run_id").into(), version: format!("{name} {version}"), refusal, evicts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(lines: &[&str]) -> Server {
        Server::read(&format!("# Server\r\nrun_id:abc\r\n{}\r\n", lines.join("\r\n")))
    }

    #[test]
    fn a_good_server_is_taken() {
        let server =
            info(&["redis_version:7.0.15", "redis_mode:standalone", "maxmemory:0", "maxmemory_policy:allkeys-lru"]);
        let expected =
            Server { run_id: "abc".into(), version: "redis 7.0.15".to_owned(), refusal: None, evicts: false };
        assert_eq!(server, expected);
        assert_eq!(info(&["redis_version:7.2.4", "valkey_version:8.1.0"]).version, "valkey 8.1.0");
    }

    #[test]
    fn a_cluster_and_an_old_server_are_refused() {
        assert_eq!(info(&["redis_version:7.0.15", "redis_mode:cluster"]).refusal, Some(Trouble::Cluster));
        assert_eq!(info(&["redis_version:6.2.1", "redis_mode:standalone"]).refusal, Some(Trouble::Version));
    }

    #[test]
    fn a_policy_that_drops_keys_is_seen_where_there_is_a_limit() {
        assert!(info(&["redis_version:7.0.15", "maxmemory:1000", "maxmemory_policy:volatile-ttl"]).evicts);
        assert!(!info(&["redis_version:7.0.15", "maxmemory:1000", "maxmemory_policy:noeviction"]).evicts);
    }
}
