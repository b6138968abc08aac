//! Who is where, in Redis or Valkey. Each room has a hash of its users and the instances that hold them; each instance
//! has a lease, and a list of the rooms to look into when the lease has run out. The hash is the truth; hints only hint.
//!
//! A lease belongs to an incarnation: a random name that an instance takes when it starts, and anew whenever it was given
//! up by others, so that cleaning up after the old one can never hit what the new one enters.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio_util::sync::DropGuard;

use super::{LEASE, Presence, Roster};
use crate::backplane::Unavailable;
use crate::backplane::redis::{RedisBackplane, nonsense, unavailable};
use crate::clock::Moment;
use crate::delivery::EphemeralKind;
use crate::ids::{RoomName, UserId};
use crate::protocol::limits::PRESENCE_EVENTS_MAX_USERS;
use crate::protocol::server_frame::{PresenceChange, presence_event};
use crate::redis::{CallError, Function, Link, Reply, bytes, ephemeral, number};

/// Instances that are cleaned up after in one renewal. More are left for the next.
const GIVEN_UP_AT_ONCE: u64 = 16;
/// A lease is renewed before an enter once this much of it is over: what is entered must not be without a lease.
const RENEW_BEFORE_ENTER: Duration = Duration::from_secs(5);

/// An instance's presence. Dropping it is a crash: what it entered stands until its lease runs out.
pub struct RedisPresence {
    link: Arc<Link>,
    /// One change at a time: the list of rooms is kept in two steps.
    state: Mutex<State>,
    _guard: Arc<DropGuard>,
}

struct State {
    incarnation: String,
    /// In the instance's list of rooms on the server.
    listed: HashSet<RoomName>,
    /// When the lease was last renewed; `None`: never.
    renewed: Option<Moment>,
    /// The server that did it.
    server: Box<str>,
    /// Something that was entered may be gone, and [`Presence::renew`] has not said so yet.
    lost: bool,
}

impl RedisPresence {
    /// Over the link of a backplane.
    #[must_use]
    pub fn new(backplane: &RedisBackplane) -> Arc<Self> {
        let link = Arc::clone(backplane.link());
        let state = State {
            incarnation: incarnation(&link),
            listed: HashSet::new(),
            renewed: None,
            server: Box::default(),
            lost: false,
        };
        Arc::new(Self { link, state: Mutex::new(state), _guard: backplane.guard() })
    }

    async fn change(
        &self,
        function: Function,
        change: PresenceChange,
        room: &RoomName,
        user: &UserId,
        holder: &str,
    ) -> Result<Reply, Unavailable> {
        let names = self.link.keys.room(room);
        let hint = ephemeral(EphemeralKind::Presence, &presence_event(room, change, user));
        let arguments = vec![
            bytes(user.to_string()),
            bytes(holder.to_owned()),
            bytes(names.channel()),
            bytes(hint),
            number(PRESENCE_EVENTS_MAX_USERS as u64),
        ];
        self.call(function, vec![names.who(), names.held()], arguments).await
    }

    async fn call(
        &self,
        function: Function,
        keys: Vec<String>,
        arguments: Vec<fred::types::Value>,
    ) -> Result<Reply, Unavailable> {
        self.link.call(function, keys, arguments).await.map_err(|error| unavailable(&error))
    }

    async fn command(&self, name: &'static str, arguments: Vec<fred::types::Value>) -> Result<Reply, Unavailable> {
        self.link.command(name, arguments).await.map_err(|error: CallError| unavailable(&error))
    }

    async fn enter_now(&self, room: &RoomName, user: &UserId) -> Result<(), Unavailable> {
        let mut state = self.state.lock().await;
        let now = self.link.clock.now().mono;
        if state.renewed.is_none_or(|renewed| now.since(renewed) >= RENEW_BEFORE_ENTER) {
            self.renew_lease(&mut state).await?;
        }
        // Listed first: a crash in between leaves a room in the list without users, not users without a room in it.
        if !state.listed.contains(room) {
            let list = self.link.keys.rooms_of_instance(&state.incarnation);
            self.command("SADD", vec![bytes(list), bytes(room.to_string())]).await?;
            state.listed.insert(room.clone());
        }
        self.change(Function::Enter, PresenceChange::Join, room, user, &state.incarnation).await.map(|_| ())
    }

    async fn leave_now(&self, room: &RoomName, user: &UserId) -> Result<(), Unavailable> {
        let mut state = self.state.lock().await;
        let left = self.change(Function::Leave, PresenceChange::Leave, room, user, &state.incarnation).await?;
        if left.number() == Some(0) && state.listed.remove(room) {
            let list = self.link.keys.rooms_of_instance(&state.incarnation);
            self.command("SREM", vec![bytes(list), bytes(room.to_string())]).await?;
            if state.listed.is_empty() {
                state.listed = HashSet::new();
            }
        }
        Ok(())
    }

    /// What a large room costs is bounded by `most`, not by how many users there are.
    async fn roster_now(&self, room: &RoomName, most: usize) -> Result<Roster, Unavailable> {
        let who = self.link.keys.room(room).who();
        let count = self.command("HLEN", vec![bytes(who.clone())]).await?.number();
        let count = count.and_then(|count| usize::try_from(count).ok()).ok_or_else(|| nonsense("HLEN"))?;
        if count <= most {
            let users = self.command("HKEYS", vec![bytes(who)]).await?.into_array();
            let mut users: Vec<UserId> = users.iter().filter_map(user).collect();
            users.sort_unstable();
            let count = users.len();
            users.truncate(most);
            return Ok(Roster { users, count });
        }
        // A scan may tell a user twice.
        let (mut users, mut cursor) = (BTreeSet::new(), "0".to_owned());
        while users.len() < most {
            let arguments = vec![bytes(who.clone()), bytes(cursor), bytes("COUNT"), number(most as u64)];
            let mut answer = self.command("HSCAN", arguments).await?.into_array().into_iter();
            let (Some(next), Some(found)) = (answer.next(), answer.next()) else { return Err(nonsense("HSCAN")) };
            users.extend(found.into_array().iter().step_by(2).filter_map(user));
            cursor = next.text().ok_or_else(|| nonsense("HSCAN"))?.to_owned();
            if cursor == "0" {
                break;
            }
        }
        Ok(Roster { users: users.into_iter().take(most).collect(), count })
    }

    async fn renew_now(&self) -> Result<bool, Unavailable> {
        let mut state = self.state.lock().await;
        let expired = self.renew_lease(&mut state).await?;
        // After a pause of the server, every lease has run out. Whoever lives renews within a lease after messages come
        // through again; only who has not by then is gone.
        let now = self.link.clock.now().mono;
        if self.link.health.steady_for(LEASE, now) {
            for other in expired.iter().filter(|other| **other != state.incarnation) {
                self.clean_up_after(other).await?;
            }
        }
        Ok(!std::mem::take(&mut state.lost))
    }

    /// Renews the lease, under another name if it was given up, and returns whose leases have run out.
    async fn renew_lease(&self, state: &mut State) -> Result<Vec<String>, Unavailable> {
        let arguments = vec![
            bytes(state.incarnation.clone()),
            number(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX)),
            number(GIVEN_UP_AT_ONCE),
        ];
        let answer = self.call(Function::Renew, vec![self.link.keys.leases()], arguments).await?.into_array();
        let [server, stood, expired] = answer.as_slice() else { return Err(nonsense("renew")) };
        let server = server.text().ok_or_else(|| nonsense("renew"))?;
        let first = state.renewed.is_none();
        // A server that took over, or came back, may not have all that was entered.
        let moved = *state.server != *server && !first;
        let given_up = stood.number() != Some(1) && !first;
        state.lost |= moved || given_up;
        state.server = server.into();
        if given_up {
            self.take_another_name(state).await?;
        }
        state.renewed = Some(self.link.clock.now().mono);
        Ok(expired.clone().into_array().iter().filter_map(|name| name.text().map(str::to_owned)).collect())
    }

    /// Moves what is left under the old name to a new one, so that whoever cleans up after the old one does not hit it.
    async fn take_another_name(&self, state: &mut State) -> Result<(), Unavailable> {
        let old = std::mem::replace(&mut state.incarnation, incarnation(&self.link));
        let mut rooms = self.rooms_of(&old).await?;
        rooms.extend(state.listed.drain());
        let length = number(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX));
        let arguments = vec![bytes(state.incarnation.clone()), length, number(0)];
        self.call(Function::Renew, vec![self.link.keys.leases()], arguments).await?;
        for room in rooms {
            for user in self.held_by(&old, &room).await? {
                if !state.listed.contains(&room) {
                    let list = self.link.keys.rooms_of_instance(&state.incarnation);
                    self.command("SADD", vec![bytes(list), bytes(room.to_string())]).await?;
                    state.listed.insert(room.clone());
                }
                self.change(Function::Enter, PresenceChange::Join, &room, &user, &state.incarnation).await?;
                self.change(Function::Leave, PresenceChange::Leave, &room, &user, &old).await?;
            }
        }
        self.forget(&old).await
    }

    /// Removes what an instance held whose lease has run out, and tells the leaves. Several may do so at once, and one that
    /// does not finish leaves the rest to the next.
    async fn clean_up_after(&self, other: &str) -> Result<(), Unavailable> {
        let arguments = vec![bytes(other.to_owned())];
        if self.call(Function::GiveUp, vec![self.link.keys.leases()], arguments).await?.number() != Some(1) {
            return Ok(());
        }
        for room in self.rooms_of(other).await? {
            for user in self.held_by(other, &room).await? {
                self.change(Function::Leave, PresenceChange::Leave, &room, &user, other).await?;
            }
        }
        self.forget(other).await?;
        tracing::info!(instance = other, "cleaned up after an instance that is gone");
        Ok(())
    }

    async fn rooms_of(&self, instance: &str) -> Result<HashSet<RoomName>, Unavailable> {
        let rooms = self.command("SMEMBERS", vec![bytes(self.link.keys.rooms_of_instance(instance))]).await?;
        Ok(rooms.into_array().iter().filter_map(|room| RoomName::parse(room.text()?).ok()).collect())
    }

    async fn held_by(&self, instance: &str, room: &RoomName) -> Result<Vec<UserId>, Unavailable> {
        let who = vec![self.link.keys.room(room).who()];
        let users = self.call(Function::Held, who, vec![bytes(instance.to_owned())]).await?;
        Ok(users.into_array().iter().filter_map(user).collect())
    }

    async fn forget(&self, instance: &str) -> Result<(), Unavailable> {
        self.command("DEL", vec![bytes(self.link.keys.rooms_of_instance(instance))]).await?;
        self.command("ZREM", vec![bytes(self.link.keys.leases()), bytes(instance.to_owned())]).await?;
        Ok(())
    }
}

fn incarnation(link: &Link) -> String {
    format!("{:016x}", link.entropy.bits())
}

fn user(reply: &Reply) -> Option<UserId> {
    UserId::parse(reply.text()?).ok()
}

impl Presence for RedisPresence {
    fn enter<'a>(&'a self, room: &'a RoomName, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.enter_now(room, user))
    }

    fn leave<'a>(&'a self, room: &'a RoomName, user: &'a UserId) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(self.leave_now(room, user))
    }

    fn roster<'a>(&'a self, room: &'a RoomName, most: usize) -> BoxFuture<'a, Result<Roster, Unavailable>> {
        Box::pin(self.roster_now(room, most))
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, Unavailable>> {
        Box::pin(self.renew_now())
    }
}
