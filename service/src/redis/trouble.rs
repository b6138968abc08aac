//! The ways in which Redis can fail us: each counted, and told in the log with what to do; then not again before a minute
//! has passed in which every probe came through. It decides nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::metrics::Label;

/// A kind of trouble. The names are those of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No connection can be made, or it ended.
    Unreachable,
    /// Answers do not come in time.
    Slow,
    /// The password is wrong or missing.
    Password,
    /// The user may not do what we need.
    Permission,
    /// The server is reading its data.
    Loading,
    /// A replica answers.
    ReadOnly,
    /// The memory is full.
    OutOfMemory,
    /// The server cannot write to its disk, or has too few replicas to take writes.
    NotWriting,
    /// Somebody's script keeps the server busy.
    Busy,
    /// It is a Redis Cluster.
    Cluster,
    /// The server is too old.
    Version,
    /// It may drop our keys.
    Eviction,
    /// The two connections lead to two servers, or nothing comes through.
    Deaf,
    /// Messages came faster than they were taken.
    Lag,
    /// A connection gave the answer to another question.
    Shifted,
    /// Something not listed here.
    Other,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Unreachable,
        Self::Slow,
        Self::Password,
        Self::Permission,
        Self::Loading,
        Self::ReadOnly,
        Self::OutOfMemory,
        Self::NotWriting,
        Self::Busy,
        Self::Cluster,
        Self::Version,
        Self::Eviction,
        Self::Deaf,
        Self::Lag,
        Self::Shifted,
        Self::Other,
    ];

    /// The label in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Slow => "slow",
            Self::Password => "password",
            Self::Permission => "permission",
            Self::Loading => "loading",
            Self::ReadOnly => "read_only",
            Self::OutOfMemory => "out_of_memory",
            Self::NotWriting => "not_writing",
            Self::Busy => "busy",
            Self::Cluster => "cluster",
            Self::Version => "version",
            Self::Eviction => "eviction",
            Self::Deaf => "deaf",
            Self::Lag => "lag",
            Self::Shifted => "shifted",
            Self::Other => "other",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => "check that the server runs and PARLEY_REDIS_URL leads to it; trying on",
            Self::Slow => "check the server's load and the network; trying on",
            Self::Password => "check user and password in PARLEY_REDIS_URL; trying on",
            Self::Permission => {
                "give the user resetchannels ~PREFIX:* &PREFIX:* +@read +@write +@connection +spublish +ssubscribe \
                 +sunsubscribe +fcall +function|load +info +time"
            }
            Self::Loading => "wait: the server reads its data",
            Self::ReadOnly => "a replica answered: use a Sentinel URL, or the primary's address; reconnecting",
            Self::OutOfMemory => "raise the server's maxmemory or shorten PARLEY_HISTORY_MESSAGES",
            Self::NotWriting => "check the server's disk, and its min-replicas-to-write",
            Self::Busy => "end the script that keeps the server busy: SCRIPT KILL or FUNCTION KILL",
            Self::Cluster => "Redis Cluster is not supported: give one server or Sentinels",
            Self::Version => "Redis or Valkey 7 or later is needed",
            Self::Eviction => {
                "set maxmemory-policy noeviction: evicted rooms lose their history, and clients are told of a gap"
            }
            Self::Deaf => "what is published does not come back: reconnecting",
            Self::Lag => "this instance is too slow for its rooms: what was dropped is read again",
            Self::Shifted => "an answer was to another question, nobody got it: reconnecting; please report this",
            Self::Other => "see the text",
        }
    }

    /// What an error of the server or of the connection means.
    #[must_use]
    pub fn of(text: &str) -> Self {
        match text.split_whitespace().next().unwrap_or_default() {
            "NOAUTH" | "WRONGPASS" => Self::Password,
            "NOPERM" => Self::Permission,
            "LOADING" => Self::Loading,
            "READONLY" | "MASTERDOWN" => Self::ReadOnly,
            "OOM" => Self::OutOfMemory,
            "MISCONF" | "NOREPLICAS" => Self::NotWriting,
            "BUSY" => Self::Busy,
            "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" | "TRYAGAIN" => Self::Cluster,
            "NOPROTO" => Self::Version,
            "ERR" if text.contains("unknown command") => Self::Version,
            "ERR" if text.contains("invalid password") => Self::Password,
            _ => Self::Other,
        }
    }
}

impl Trouble {
    /// What it means that a connection ended or could not be made.
    pub(crate) fn of_connection(text: &str) -> Self {
        match Self::of(text) {
            Self::Other => Self::Unreachable,
            known => known,
        }
    }
}

/// How often there was which trouble, and whether it was told.
#[derive(Debug)]
pub(crate) struct Troubles {
    counts: [Counter; Trouble::ALL.len()],
    told: [AtomicBool; Trouble::ALL.len()],
}

impl Troubles {
    /// Counts in this family, which has a series for each kind from now on.
    pub(crate) fn new(counts: &Family<Label, Counter>) -> Self {
        let count = |trouble: Trouble| counts.get_or_create_owned(&[("trouble", trouble.as_str())]);
        Self { counts: Trouble::ALL.map(count), told: Default::default() }
    }

    /// Counts it, and tells it unless it is known.
    pub(crate) fn note(&self, trouble: Trouble, text: &str) {
        self.counts[trouble as usize].inc();
        if !self.told[trouble as usize].swap(true, Ordering::Relaxed) {
            tracing::warn!(trouble = trouble.as_str(), error = text, "redis: {}", trouble.advice());
        }
    }

    /// All is well: what comes next is news again. What only an operator can change is not.
    pub(crate) fn over(&self) {
        for trouble in Trouble::ALL {
            if trouble != Trouble::Eviction {
                self.told[trouble as usize].store(false, Ordering::Relaxed);
            }
        }
    }

    /// How often since the start.
    pub(crate) fn count(&self, trouble: Trouble) -> u64 {
        self.counts[trouble as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_server_are_told_apart() {
        let cases = [
            ("LOADING Redis is loading the dataset in memory", Trouble::Loading),
            ("READONLY You can't write against a read only replica.", Trouble::ReadOnly),
            ("OOM command not allowed when used memory > 'maxmemory'.", Trouble::OutOfMemory),
            ("NOAUTH Authentication required.", Trouble::Password),
            ("WRONGPASS invalid username-password pair or user is disabled.", Trouble::Password),
            ("NOPERM this user has no permissions to run the 'fcall' command", Trouble::Permission),
            ("MOVED 3999 127.0.0.1:6381", Trouble::Cluster),
            ("MISCONF Redis is configured to save RDB snapshots", Trouble::NotWriting),
            ("BUSY Redis is busy running a script.", Trouble::Busy),
            ("ERR unknown command 'FCALL', with args beginning with:", Trouble::Version),
            ("ERR something else", Trouble::Other),
            ("", Trouble::Other),
        ];
        for (text, trouble) in cases {
            assert_eq!(Trouble::of(text), trouble, "{text}");
        }
    }

    #[test]
    fn every_trouble_is_counted_for_itself() {
        let troubles = Troubles::new(&Family::default());
        for (times, trouble) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!(trouble as usize, times, "{trouble:?} is not at its place in the list");
            for _ in 0..times {
                troubles.note(trouble, "");
            }
        }
        for (times, trouble) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!(troubles.count(trouble), times as u64);
        }
        troubles.over();
        assert_eq!(troubles.count(Trouble::Lag), Trouble::Lag as u64);
    }
}
