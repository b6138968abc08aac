//! The facts about all instances, in Redis or Valkey: bans are keys that expire, what instances say of themselves is a
//! hash with an end for each, and the rooms are an index that is kept by `redis/index.rs`.

mod index;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::{Directory, InstanceRecord, LOOKED_AT, Listed, RECORD_TTL};
use crate::backplane::redis::{RedisBackplane, unavailable};
use crate::backplane::{Backplane as _, Unavailable};
use crate::ids::{LogName, RoomName, ServerId, UserId};
use crate::redis::{Function, Link, Reply, bytes, number};
use crate::rights::RoomSpan;

/// Rooms that one command names.
const ROOMS_AT_ONCE: usize = 500;

/// An instance's view of the directory.
pub struct RedisDirectory {
    link: Arc<Link>,
    backplane: Arc<RedisBackplane>,
}

#[derive(Deserialize)]
struct Record {
    server_id: String,
    sessions: usize,
    draining: bool,
}

impl RedisDirectory {
    /// Over the link of a backplane, whose rooms it indexes for as long as that lasts.
    #[must_use]
    pub fn new(backplane: &Arc<RedisBackplane>) -> Arc<Self> {
        let link = Arc::clone(backplane.link());
        // The task must not keep alive what ends it.
        let keeping = index::keep(Arc::clone(&link), Arc::downgrade(backplane));
        link.tasks.spawn(link.stop.clone().run_until_cancelled_owned(keeping));
        Arc::new(Self { link, backplane: Arc::clone(backplane) })
    }

    /// Looks at the next rooms of the index and removes those that are gone, unless somebody did within the last minute; it
    /// happens by itself every minute. Returns how many it removed.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn sweep(&self) -> Result<usize, Unavailable> {
        index::sweep(&self.link).await
    }

    async fn run(
        &self,
        function: Function,
        command: &'static str,
        key: String,
        arguments: Vec<fred::types::Value>,
    ) -> Result<Reply, Unavailable> {
        self.link.run(function, command, key, arguments).await.map_err(|error| unavailable(&error))
    }

    async fn rooms_now(&self, spans: &[RoomSpan], after: Option<&str>, most: usize) -> Result<Listed, Unavailable> {
        let (mut rooms, mut after) = (Vec::new(), after.map(str::to_owned));
        // Rooms that are gone make room for others, but not for ever: this is what one request may cost.
        for _ in 0..LOOKED_AT {
            let wanted = most - rooms.len();
            // One more than wanted tells whether there is more.
            let mut names = self.names(spans, after.as_deref(), wanted + 1).await?;
            let more = names.len() > wanted;
            names.truncate(wanted);
            after = names.last().cloned().or(after);
            let names: Vec<_> = names.iter().filter_map(|name| RoomName::parse(name).ok()).collect();
            self.tops(names, &mut rooms).await?;
            if !more {
                return Ok(Listed { rooms, next: None });
            }
            if rooms.len() >= most {
                break;
            }
        }
        Ok(Listed { rooms, next: after.and_then(|name| RoomName::parse(&name).ok()) })
    }

    /// The first names of the index that are within the spans and greater than `after`, in order; fewer than `most` are all.
    async fn names(&self, spans: &[RoomSpan], after: Option<&str>, most: usize) -> Result<Vec<String>, Unavailable> {
        let mut names = Vec::new();
        let together = |a: &RoomSpan, b: &RoomSpan| matches!((a, b), (RoomSpan::One(_), RoomSpan::One(_)));
        for run in spans.chunk_by(together) {
            match run {
                [RoomSpan::Beginning(prefix)] => {
                    names.extend(self.names_beginning(prefix, after, most - names.len()).await?);
                }
                ones => names.extend(self.names_indexed(ones, after).await?),
            }
            if names.len() >= most {
                names.truncate(most);
                break;
            }
        }
        Ok(names)
    }

    async fn names_beginning(
        &self,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<String>, Unavailable> {
        let from = match after {
            Some(after) if after.starts_with(prefix) => format!("({after}"),
            Some(after) if after > prefix => return Ok(Vec::new()),
            _ if prefix.is_empty() => "-".to_owned(),
            _ => format!("[{prefix}"),
        };
        // No name has this byte: it is in no UTF-8.
        let to = if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), b"\xff"].concat() };
        let (index, limit) = (self.link.keys.rooms(), number(most as u64));
        let arguments = vec![bytes(from), bytes(to), bytes("BYLEX"), bytes("LIMIT"), number(0), limit];
        let names = self.run(Function::Look, "ZRANGE", index, arguments).await?.into_array();
        Ok(names.iter().filter_map(|name| name.text().map(str::to_owned)).collect())
    }

    /// Those of some names that are in the index: one command for all, where a position would be one for each.
    async fn names_indexed(&self, ones: &[RoomSpan], after: Option<&str>) -> Result<Vec<String>, Unavailable> {
        let names = ones.iter().map(RoomSpan::start);
        let names: Vec<_> = names.filter(|name| after.is_none_or(|after| *name > after)).map(str::to_owned).collect();
        let mut indexed = Vec::new();
        for names in names.chunks(ROOMS_AT_ONCE) {
            let asked = names.iter().cloned().map(bytes).collect();
            let scores = self.run(Function::Look, "ZMSCORE", self.link.keys.rooms(), asked).await?.into_array();
            let scored = names.iter().zip(scores).filter(|(_, score)| *score != Reply::Nil);
            indexed.extend(scored.map(|(name, _)| name.clone()));
        }
        Ok(indexed)
    }

    /// Adds rooms that hold a message; others leave the index.
    async fn tops(&self, names: Vec<RoomName>, rooms: &mut Vec<(RoomName, u64)>) -> Result<(), Unavailable> {
        let logs: Vec<_> = names.iter().cloned().map(LogName::Room).collect();
        let tops = self.backplane.positions(&logs).await?;
        let (held, gone): (Vec<_>, Vec<_>) = names.into_iter().zip(tops).partition(|(_, top)| top.offset > 0);
        rooms.extend(held.into_iter().map(|(room, top)| (room, top.offset)));
        self.remove(gone.into_iter().map(|(room, _)| room).collect()).await;
        Ok(())
    }

    /// Rooms whose logs the server no longer has.
    async fn remove(&self, rooms: Vec<RoomName>) {
        if rooms.is_empty() {
            return;
        }
        let rooms = rooms.iter().map(|room| bytes(room.to_string())).collect();
        // The next listing tries again.
        drop(self.run(Function::Remove, "ZREM", self.link.keys.rooms(), rooms).await);
    }

    async fn ban_now(&self, user: &UserId, lasts: Duration) -> Result<(), Unavailable> {
        let key = self.link.keys.ban(user);
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX).min(MAX_BAN_MS);
        match lasts {
            0 => self.run(Function::Remove, "DEL", key, Vec::new()).await?,
            _ => self.run(Function::Add, "SET", key, vec![bytes("1"), bytes("PX"), number(lasts)]).await?,
        };
        Ok(())
    }

    async fn banned_now(&self, user: &UserId) -> Result<Option<Duration>, Unavailable> {
        let left = self.run(Function::Look, "PTTL", self.link.keys.ban(user), Vec::new()).await?;
        let left = left.number().and_then(|left| u64::try_from(left).ok());
        Ok(left.filter(|left| *left > 0).map(Duration::from_millis))
    }

    async fn announce_now(&self, record: &InstanceRecord) -> Result<(), Unavailable> {
        let text = serde_json::to_vec(record).expect("a record has string keys and nothing that fails to serialise");
        let keys = vec![self.link.keys.records(), self.link.keys.records_until()];
        let stands = number(u64::try_from(RECORD_TTL.as_millis()).unwrap_or(u64::MAX));
        let arguments = vec![bytes(record.server_id.to_string()), bytes(text), stands];
        let announced = self.link.call(Function::Announce, keys, arguments).await;
        announced.map(|_| ()).map_err(|error| unavailable(&error))
    }

    async fn instances_now(&self) -> Result<Vec<InstanceRecord>, Unavailable> {
        let keys = vec![self.link.keys.records(), self.link.keys.records_until()];
        let records = self.link.call(Function::Instances, keys, Vec::new()).await;
        let records = records.map_err(|error| unavailable(&error))?.into_array();
        let mut records: Vec<_> = records.iter().filter_map(record).collect();
        records.sort_unstable_by(|a, b| a.server_id.cmp(&b.server_id));
        Ok(records)
    }
}

/// The longest ban that Redis takes: a hundred years.
const MAX_BAN_MS: u64 = 100 * 365 * 86_400_000;

/// What another version says that we do not understand is left out.
fn record(reply: &Reply) -> Option<InstanceRecord> {
    let Record { server_id, sessions, draining } = serde_json::from_str(reply.text()?).ok()?;
    Some(InstanceRecord { server_id: ServerId::parse(&server_id).ok()?, sessions, draining })
}

impl Directory for RedisDirectory {
    fn rooms<'a>(
        &'a self,
        spans: &'a [RoomSpan],
        after: Option<&'a str>,
        most: usize,
    ) -> BoxFuture<'a, Result<Listed, Unavailable>> {
        Box::pin(self.rooms_now(spans, after, most))
    }

    fn ban<'a>(&'a self, user: &'a UserId, lasts: Duration) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.ban_now(user, lasts))
    }

    fn unban<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.ban_now(user, Duration::ZERO))
    }

    fn banned<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Duration>, Unavailable>> {
        Box::pin(self.banned_now(user))
    }

    fn announce(&self, record: InstanceRecord) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(async move { self.announce_now(&record).await })
    }

    fn instances(&self) -> BoxFuture<'_, Result<Vec<InstanceRecord>, Unavailable>> {
        Box::pin(self.instances_now())
    }
}
