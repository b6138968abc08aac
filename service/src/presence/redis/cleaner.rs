//! Removes what instances held whose lease has run out, and tells the leaves: in a task of its own, so that nobody's lease
//! waits for it. Whether leases may be judged is decided by who starts it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use crate::backplane::Unavailable;
use crate::backplane::redis::{nonsense, unavailable};
use crate::delivery::EphemeralKind;
use crate::ids::{RoomName, UserId};
use crate::protocol::limits::PRESENCE_EVENTS_MAX_USERS;
use crate::protocol::server_frame::{PresenceChange, presence_event};
use crate::redis::{Function, Link, Reply, bytes, ephemeral, number};

/// Rooms of an instance that one call lists.
const LISTED_AT_ONCE: u64 = 500;
/// Rooms that are cleared at the same time.
const ROOMS_AT_ONCE: usize = 32;
/// Users that one call looks at: it keeps the server for about a millisecond.
const USERS_AT_ONCE: u64 = 500;
/// Rooms after which the claim is put off.
const ROOMS_OF_A_CLAIM: usize = 1_000;
/// A cleaner that is silent for this long is replaced.
const CLAIM: Duration = Duration::from_secs(20);
/// The list of rooms outlives the lease: an instance that comes back meanwhile may still add to it.
const LIST_OUTLIVES: Duration = Duration::from_secs(600);

/// One task at most.
pub(super) struct Cleaner {
    link: Arc<Link>,
    busy: Arc<Mutex<()>>,
}

impl Cleaner {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, busy: Arc::default() }
    }

    /// Cleans up after these instances, unless it is at it still: who is left is found again by the next renewal.
    pub(super) fn start(&self, instances: Vec<String>) {
        if instances.is_empty() {
            return;
        }
        let Ok(busy) = Arc::clone(&self.busy).try_lock_owned() else { return };
        let link = Arc::clone(&self.link);
        let clean = async move {
            let _busy = busy;
            for instance in instances {
                match clean_up_after(&link, &instance).await {
                    Ok(true) => tracing::info!(instance, "cleaned up after an instance that is gone"),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(instance, %error, "cleaning up after an instance will be repeated"),
                }
            }
        };
        self.link.tasks.spawn(self.link.stop.clone().run_until_cancelled_owned(clean));
    }
}

/// `false`: another one does it, or the instance came back.
async fn clean_up_after(link: &Link, instance: &str) -> Result<bool, Unavailable> {
    let mut claim = claim_of(link, instance, CLAIM, 0).await?;
    if claim == 0 {
        return Ok(false);
    }
    let list = link.keys.rooms_of_instance(instance);
    let rooms: Vec<_> = rooms_of(link, &list).await?.into_iter().collect();
    for rooms in rooms.chunks(ROOMS_OF_A_CLAIM) {
        let clears: Vec<_> = rooms.iter().map(|room| clear(link, instance, room)).collect();
        let all = futures_util::stream::iter(clears).buffer_unordered(ROOMS_AT_ONCE);
        all.try_collect::<()>().await?;
        claim = claim_of(link, instance, CLAIM, claim).await?;
        if claim == 0 {
            return Ok(false);
        }
    }
    let outlives = vec![number(LIST_OUTLIVES.as_secs())];
    link.run(Function::Remove, "EXPIRE", list, outlives).await.map_err(|error| unavailable(&error))?;
    Ok(claim_of(link, instance, Duration::ZERO, claim).await? != 0)
}

async fn rooms_of(link: &Link, list: &str) -> Result<HashSet<RoomName>, Unavailable> {
    let (mut rooms, mut cursor) = (HashSet::new(), "0".to_owned());
    loop {
        let arguments = vec![bytes(cursor), bytes("COUNT"), number(LISTED_AT_ONCE)];
        let answer = link.run(Function::Look, "SSCAN", list.to_owned(), arguments).await;
        let answer = answer.map_err(|error| unavailable(&error))?.into_array();
        let Ok([next, found]) = <[Reply; 2]>::try_from(answer) else { return Err(nonsense("SSCAN")) };
        rooms.extend(found.into_array().iter().filter_map(|room| RoomName::parse(room.text()?).ok()));
        cursor = next.text().ok_or_else(|| nonsense("SSCAN"))?.to_owned();
        if cursor == "0" {
            return Ok(rooms);
        }
    }
}

/// Claims an instance, puts the claim off, or with no length ends it together with the lease. 0: it may not.
async fn claim_of(link: &Link, instance: &str, length: Duration, claim: u64) -> Result<u64, Unavailable> {
    let length = number(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
    let arguments = vec![bytes(instance.to_owned()), length, number(claim)];
    let answer = link.call(Function::GiveUp, vec![link.keys.leases()], arguments).await;
    let answer = answer.map_err(|error| unavailable(&error))?.number();
    answer.and_then(|claim| u64::try_from(claim).ok()).ok_or_else(|| nonsense("give_up"))
}

async fn clear(link: &Link, instance: &str, room: &RoomName) -> Result<(), Unavailable> {
    let names = link.keys.room(room);
    let head = ephemeral(EphemeralKind::Presence, &head_of_leave(room)?);
    let mut cursor = bytes("0");
    loop {
        let arguments = vec![
            bytes(instance.to_owned()),
            bytes(names.channel()),
            bytes(head.clone()),
            number(PRESENCE_EVENTS_MAX_USERS as u64),
            cursor,
            number(USERS_AT_ONCE),
        ];
        let answer = link.call(Function::Clear, vec![names.who(), names.held()], arguments).await;
        let next = answer.map_err(|error| unavailable(&error))?.into_bytes().ok_or_else(|| nonsense("clear"))?;
        if next == "0" {
            return Ok(());
        }
        cursor = bytes(next);
    }
}

/// A leave of the room up to the user, which comes last and is added by the library.
fn head_of_leave(room: &RoomName) -> Result<Vec<u8>, Unavailable> {
    let somebody = UserId::parse("u").map_err(|_| nonsense("clear"))?;
    let frame = presence_event(room, PresenceChange::Leave, &somebody);
    frame.strip_suffix(b"\"u\"}").map(<[u8]>::to_vec).ok_or_else(|| nonsense("clear"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_leave_and_a_user_make_the_hint() {
        let (room, user) = (RoomName::parse("gen\"eral").unwrap(), UserId::parse("alice").unwrap());
        let mut hint = head_of_leave(&room).unwrap();
        hint.extend_from_slice(b"\"alice\"}");
        assert_eq!(hint, presence_event(&room, PresenceChange::Leave, &user));
    }
}
