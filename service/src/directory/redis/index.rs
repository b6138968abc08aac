//! The index of rooms: every instance adds at intervals what it published to, and one of them removes what is gone, a few
//! names a minute. Who lists rooms looks at their logs as well, so the index may be late.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::MissedTickBehavior;

use super::ROOMS_AT_ONCE;
use crate::backplane::Unavailable;
use crate::backplane::redis::{RedisBackplane, nonsense, unavailable};
use crate::ids::RoomName;
use crate::redis::{CallError, Function, Link, bytes, number};

/// How often rooms that were published to are indexed.
const INDEX_EVERY: Duration = Duration::from_secs(2);
/// How often some rooms of the index are looked at, by all instances together.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Rooms that are looked at then.
const SWEPT_AT_ONCE: u64 = 200;
/// Logs that are asked after at the same time.
const ASKED_AT_ONCE: usize = 32;

/// Keeps the index for as long as the backplane lasts.
pub(super) async fn keep(link: Arc<Link>, backplane: Weak<RedisBackplane>) {
    let (mut indexing, mut sweeping) = (tokio::time::interval(INDEX_EVERY), tokio::time::interval(SWEEP_EVERY));
    sweeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = indexing.tick() => {
                let Some(backplane) = backplane.upgrade() else { return };
                index(&link, &backplane).await;
            }
            _ = sweeping.tick() => match sweep(&link).await {
                Ok(0) => {}
                Ok(rooms) => tracing::debug!(rooms, "removed rooms that are gone from the index"),
                Err(error) => tracing::debug!(%error, "the index of rooms will be looked at later"),
            }
        }
    }
}

async fn index(link: &Link, backplane: &RedisBackplane) {
    let rooms: Vec<RoomName> = backplane.take_written().into_iter().collect();
    for part in rooms.chunks(ROOMS_AT_ONCE) {
        if add(link, part).await.is_err() {
            backplane.wrote(part.iter().cloned());
        }
    }
}

async fn add(link: &Link, rooms: &[RoomName]) -> Result<(), CallError> {
    let scored = rooms.iter().flat_map(|room| [number(0), bytes(room.to_string())]).collect();
    link.run(Function::Add, "ZADD", link.keys.rooms(), scored).await.map(|_| ())
}

/// Removes those of the next rooms that have no meta any more; returns how many.
pub(super) async fn sweep(link: &Link) -> Result<usize, Unavailable> {
    let pause = number(u64::try_from(SWEEP_EVERY.as_millis()).unwrap_or(u64::MAX));
    let keys = vec![link.keys.rooms(), link.keys.sweep()];
    let names = link.call(Function::Sweep, keys, vec![pause, number(SWEPT_AT_ONCE)]).await;
    let names = names.map_err(|error| unavailable(&error))?.into_array();
    let names: Vec<_> = names.iter().filter_map(|name| RoomName::parse(name.text()?).ok()).collect();
    let gone = with_meta(link, names, false).await?;
    if gone.is_empty() {
        return Ok(0);
    }
    let removed = gone.iter().map(|room| bytes(room.to_string())).collect();
    let removed = link.run(Function::Remove, "ZREM", link.keys.rooms(), removed).await;
    removed.map_err(|error| unavailable(&error))?;
    // One that was written to meanwhile may have been indexed before it was removed.
    let (count, back) = (gone.len(), with_meta(link, gone, true).await?);
    if !back.is_empty() {
        add(link, &back).await.map_err(|error| unavailable(&error))?;
    }
    Ok(count - back.len())
}

/// Those of the rooms that have a meta, or that have none. Asking for a position would make one.
async fn with_meta(link: &Link, rooms: Vec<RoomName>, wanted: bool) -> Result<Vec<RoomName>, Unavailable> {
    let asked = rooms.into_iter().map(|room| async move {
        let meta = link.keys.room(&room).meta();
        let there = link.run(Function::Look, "EXISTS", meta, Vec::new()).await.map_err(|error| unavailable(&error))?;
        let there = there.number().ok_or_else(|| nonsense("EXISTS"))? == 1;
        Ok((there == wanted).then_some(room))
    });
    let asked = futures_util::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
    let rooms: Vec<Option<RoomName>> = asked.try_collect().await?;
    Ok(rooms.into_iter().flatten().collect())
}
