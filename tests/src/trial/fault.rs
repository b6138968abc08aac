//! The faults that a trial can be about: what they are called, what they do to the log, and on what they strike. How they
//! strike is in `strike.rs`.

use crate::checker::{Allowed, Loss};

/// Of the publishes outside a fault's window, so many per mille must be acked at the first attempt.
const ACKED_PER_MILLE: usize = 990;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing happens.
    None,
    /// `kill -9` of an instance, then a new one.
    InstanceKilled,
    /// SIGTERM to one of three instances, with many sessions.
    InstanceDrained,
    /// `kill -9` of Redis, and a restart with all its data.
    RestartedWhole,
    /// The same, with the data of some time before.
    RestartedOld,
    /// The same, without data.
    RestartedEmpty,
    /// Sentinels promote a replica that has everything.
    Failover,
    /// Sentinels promote a replica that lags.
    FailoverLagging,
    /// A primary that is stopped, replaced, and comes back believing it is still one.
    StalePrimary,
    /// `CLIENT KILL` of the connections that listen.
    SubscriberKilled,
    /// `CLIENT KILL` of the connections that publish.
    CommandsKilled,
    /// Redis gives up a connection that listens and does not read.
    Overflow,
    /// SIGSTOP of Redis, and SIGCONT.
    Paused,
    /// `FLUSHALL`.
    Flushed,
    /// All that one instance and Redis say to each other is lost; its connections stay black for ever.
    BlackHole,
    /// What one instance says to Redis is lost.
    BlackHoleUp,
    /// What Redis says to one instance is lost.
    BlackHoleDown,
    /// What one instance and Redis say to each other comes late: when the fault is over.
    Held,
    /// The connections of one instance are cut, several times.
    Cut,
    /// The same, and it gets no new ones for a while.
    Refused,
    /// One instance's link has a delay, with jitter.
    Delayed,
    /// One instance's link carries a few kilobytes a second.
    Throttled,
    /// Several of those that lose nothing, one after the other.
    Storm,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::None,
        Self::InstanceKilled,
        Self::InstanceDrained,
        Self::RestartedWhole,
        Self::RestartedOld,
        Self::RestartedEmpty,
        Self::Failover,
        Self::FailoverLagging,
        Self::StalePrimary,
        Self::SubscriberKilled,
        Self::CommandsKilled,
        Self::Overflow,
        Self::Paused,
        Self::Flushed,
        Self::BlackHole,
        Self::BlackHoleUp,
        Self::BlackHoleDown,
        Self::Held,
        Self::Cut,
        Self::Refused,
        Self::Delayed,
        Self::Throttled,
        Self::Storm,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::InstanceKilled => "instance-killed",
            Self::InstanceDrained => "instance-drained",
            Self::RestartedWhole => "redis-restarted-whole",
            Self::RestartedOld => "redis-restarted-old",
            Self::RestartedEmpty => "redis-restarted-empty",
            Self::Failover => "failover",
            Self::FailoverLagging => "failover-lagging",
            Self::StalePrimary => "stale-primary",
            Self::SubscriberKilled => "subscriber-killed",
            Self::CommandsKilled => "commands-killed",
            Self::Overflow => "overflow",
            Self::Paused => "redis-paused",
            Self::Flushed => "flushed",
            Self::BlackHole => "black-hole",
            Self::BlackHoleUp => "black-hole-up",
            Self::BlackHoleDown => "black-hole-down",
            Self::Held => "held",
            Self::Cut => "cut",
            Self::Refused => "refused",
            Self::Delayed => "delayed",
            Self::Throttled => "throttled",
            Self::Storm => "storm",
        }
    }

    /// The fault with this name.
    ///
    /// # Errors
    /// There is none; the error lists them.
    pub fn parse(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL.into_iter().find(|fault| fault.as_str() == name).ok_or_else(|| format!("one of: {}", names()))
    }

    /// What is done, for readers of the table.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::None => "nothing: the baseline",
            Self::InstanceKilled => "`kill -9` of an instance; a new one 0.3 to 1.5 s later",
            Self::InstanceDrained => "SIGTERM to one of three instances that hold 252 sessions",
            Self::RestartedWhole => "`kill -9` of Redis, restart with its data (AOF, `appendfsync always`)",
            Self::RestartedOld => "`kill -9` of Redis, restart with a snapshot from 0.7 s before",
            Self::RestartedEmpty => "`kill -9` of Redis, restart without data",
            Self::Failover => "three Sentinels promote a replica that has everything",
            Self::FailoverLagging => "three Sentinels promote a replica that was cut off 0.7 s before",
            Self::StalePrimary => "SIGSTOP of the primary, failover, SIGCONT: a stale primary for a while",
            Self::SubscriberKilled => "`CLIENT KILL TYPE pubsub`, three times",
            Self::CommandsKilled => "`CLIENT KILL TYPE normal`, three times",
            Self::Overflow => {
                "an instance stops reading until Redis drops its subscriber (`client-output-buffer-limit`)"
            }
            Self::Paused => "SIGSTOP of Redis for 1 to 10 s",
            Self::Flushed => "`FLUSHALL`",
            Self::BlackHole => "one instance's link swallows everything for 2 to 8 s; its connections stay black",
            Self::BlackHoleUp => "one instance's link swallows what it says for 2 to 8 s",
            Self::BlackHoleDown => "one instance's link swallows what it should hear for 2 to 8 s",
            Self::Held => "one instance's link holds everything back for 1 to 10 s",
            Self::Cut => "one instance's connections are cut three times",
            Self::Refused => "one instance's connections are cut, new ones refused for 1 to 4 s",
            Self::Delayed => "one instance's link delays by 30 to 90 ms each way for 3 to 5 s",
            Self::Throttled => "one instance's connections carry 6 KB/s for 3 to 5 s",
            Self::Storm => "three of those that lose nothing, one after the other, over three instances",
        }
    }

    /// What the checker is to allow.
    #[must_use]
    pub const fn allowed(self) -> Allowed {
        let loss = match self {
            Self::RestartedOld | Self::RestartedEmpty | Self::FailoverLagging | Self::Flushed => Loss::Must,
            // What the stale primary accepts before it is told better is lost; it may accept nothing.
            Self::StalePrimary => Loss::May,
            _ => Loss::None,
        };
        Allowed { loss, acked_per_mille: ACKED_PER_MILLE }
    }

    /// Whether a replica and Sentinels are needed.
    #[must_use]
    pub const fn needs_sentinels(self) -> bool {
        matches!(self, Self::Failover | Self::FailoverLagging | Self::StalePrimary)
    }

    /// Instances.
    #[must_use]
    pub const fn instances(self) -> usize {
        match self {
            Self::InstanceKilled | Self::InstanceDrained | Self::Storm => 3,
            _ => 2,
        }
    }

    /// Sessions that only listen to a quiet room, besides those of every trial.
    #[must_use]
    pub const fn idlers(self) -> usize {
        match self {
            Self::InstanceDrained => 240,
            _ => 0,
        }
    }

    /// Settings of the server.
    #[must_use]
    pub const fn settings(self) -> &'static [&'static str] {
        match self {
            Self::RestartedWhole | Self::Storm => &["--save", "", "--appendonly", "yes", "--appendfsync", "always"],
            Self::Overflow => &["--save", "", "--client-output-buffer-limit", "pubsub 256kb 128kb 5"],
            _ => &["--save", ""],
        }
    }
}
