//! Who is where, in Redis or Valkey. Each room has a hash of its users and the instances that hold them; each instance
//! has a lease, and a list of the rooms to look into when the lease has run out. The hash is the truth; hints only hint.
//!
//! A lease belongs to an incarnation: a random name that an instance takes when it starts, and anew whenever it was given
//! up by others or the server was replaced. What the former one held is not moved: it is cleaned up like that of a dead
//! instance once everything was entered again, so that nothing stays that nobody here knows of. Cleaning is `redis/cleaner.rs`.

mod cleaner;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio_util::sync::DropGuard;

use self::cleaner::Cleaner;
use super::{LEASE, Presence, Roster};
use crate::backplane::Unavailable;
use crate::backplane::redis::{RedisBackplane, nonsense, unavailable};
use crate::clock::Moment;
use crate::delivery::EphemeralKind;
use crate::ids::{RoomName, UserId};
use crate::protocol::limits::PRESENCE_EVENTS_MAX_USERS;
use crate::protocol::server_frame::{PresenceChange, presence_event};
use crate::redis::{Function, Link, Reply, bytes, ephemeral, number};

/// Instances that are cleaned up after in one renewal. More are left for the next.
const GIVEN_UP_AT_ONCE: u64 = 16;
/// A lease is renewed before an enter once this much of it is over: what is entered must not be without a lease.
const RENEW_BEFORE_ENTER: Duration = Duration::from_secs(5);
/// What was held under a former name stands this long, so that it can be entered again before it is cleaned up.
const FORMER: Duration = Duration::from_secs(15);
/// Rooms that are listed in one command.
const LISTED_AT_ONCE: usize = 500;
/// What the library answers if the server is not the one that the lease was renewed at.
const ANOTHER_SERVER: i64 = -1;

/// An instance's presence. Dropping it is a crash: what it entered stands until its lease runs out.
pub struct RedisPresence {
    link: Arc<Link>,
    /// One change at a time: the list of rooms is kept in two steps.
    state: Mutex<State>,
    cleaner: Cleaner,
    _guard: Arc<DropGuard>,
}

struct State {
    incarnation: String,
    /// The name before that, and until when its lease stands.
    former: Option<(String, Moment)>,
    /// The name must be changed before anything else is entered.
    rename: bool,
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
            former: None,
            rename: false,
            listed: HashSet::new(),
            renewed: None,
            server: Box::default(),
            lost: false,
        };
        let cleaner = Cleaner::new(Arc::clone(&link));
        Arc::new(Self { link, state: Mutex::new(state), cleaner, _guard: backplane.guard() })
    }

    async fn change(
        &self,
        function: Function,
        change: PresenceChange,
        room: &RoomName,
        user: &UserId,
        holder: &str,
        server: &str,
    ) -> Result<Reply, Unavailable> {
        let names = self.link.keys.room(room);
        let hint = ephemeral(EphemeralKind::Presence, &presence_event(room, change, user));
        let arguments = vec![
            bytes(user.to_string()),
            bytes(holder.to_owned()),
            bytes(names.channel()),
            bytes(hint),
            number(PRESENCE_EVENTS_MAX_USERS as u64),
            bytes(server.to_owned()),
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

    async fn run(
        &self,
        function: Function,
        command: &'static str,
        key: String,
        arguments: Vec<fred::types::Value>,
    ) -> Result<Reply, Unavailable> {
        self.link.run(function, command, key, arguments).await.map_err(|error| unavailable(&error))
    }

    async fn enter_now(&self, room: &RoomName, user: &UserId) -> Result<(), Unavailable> {
        let mut state = self.state.lock().await;
        let now = self.link.clock.now().mono;
        let old = state.renewed.is_none_or(|renewed| now.since(renewed) >= RENEW_BEFORE_ENTER);
        if old || state.rename {
            self.renew_lease(&mut state).await?;
        }
        if self.enter_as(&mut state, room, user).await? {
            return Ok(());
        }
        // The server was replaced since: what is listed there may be gone.
        self.renew_lease(&mut state).await?;
        if self.enter_as(&mut state, room, user).await? { Ok(()) } else { Err(nonsense("enter")) }
    }

    /// `false`: the server is another one than that which has the lease, and took nothing.
    async fn enter_as(&self, state: &mut State, room: &RoomName, user: &UserId) -> Result<bool, Unavailable> {
        // Listed first: a crash in between leaves a room in the list without users, not users without a room in it.
        if !state.listed.contains(room) {
            let list = self.link.keys.rooms_of_instance(&state.incarnation);
            self.run(Function::Add, "SADD", list, vec![bytes(room.to_string())]).await?;
            state.listed.insert(room.clone());
        }
        let (name, server) = (&state.incarnation, &state.server);
        let answer = self.change(Function::Enter, PresenceChange::Join, room, user, name, server).await?;
        Ok(answer.number() != Some(ANOTHER_SERVER))
    }

    async fn leave_now(&self, room: &RoomName, user: &UserId) -> Result<(), Unavailable> {
        let mut state = self.state.lock().await;
        let now = self.link.clock.now().mono;
        state.former.take_if(|(_, until)| *until <= now);
        // Who leaves is gone at once, not when the former name is cleaned up after.
        if let Some((former, _)) = &state.former {
            self.change(Function::Leave, PresenceChange::Leave, room, user, former, &state.server).await?;
        }
        let (name, server) = (&state.incarnation, &state.server);
        let left = self.change(Function::Leave, PresenceChange::Leave, room, user, name, server).await?;
        if left.number() == Some(0) && state.listed.remove(room) {
            let list = self.link.keys.rooms_of_instance(&state.incarnation);
            self.run(Function::Remove, "SREM", list, vec![bytes(room.to_string())]).await?;
            if state.listed.is_empty() {
                state.listed = HashSet::new();
            }
        }
        Ok(())
    }

    /// What a large room costs is bounded by `most`, not by how many users there are.
    async fn roster_now(&self, room: &RoomName, most: usize) -> Result<Roster, Unavailable> {
        let who = self.link.keys.room(room).who();
        let length = self.run(Function::Look, "HLEN", who.clone(), Vec::new()).await?.number();
        let length = length.and_then(|length| usize::try_from(length).ok()).ok_or_else(|| nonsense("HLEN"))?;
        let at_once = number(most.min(length).max(1) as u64);
        // A scan may tell a user twice.
        let (mut users, mut cursor) = (BTreeSet::new(), "0".to_owned());
        loop {
            let arguments = vec![bytes(cursor), bytes("COUNT"), at_once.clone()];
            let answer = self.run(Function::Look, "HSCAN", who.clone(), arguments).await?.into_array();
            let Ok([next, found]) = <[Reply; 2]>::try_from(answer) else { return Err(nonsense("HSCAN")) };
            users.extend(found.into_array().iter().step_by(2).filter_map(user));
            cursor = next.text().ok_or_else(|| nonsense("HSCAN"))?.to_owned();
            if cursor == "0" {
                let count = users.len();
                return Ok(Roster { users: users.into_iter().take(most).collect(), count });
            }
            if length > most && users.len() >= most {
                return Ok(Roster { users: users.into_iter().take(most).collect(), count: length });
            }
        }
    }

    async fn renew_now(&self) -> Result<bool, Unavailable> {
        let mut state = self.state.lock().await;
        let expired = self.renew_lease(&mut state).await?;
        // After a pause of the server, every lease has run out. Whoever lives renews within a lease after messages come
        // through again; only who has not by then is gone.
        let now = self.link.clock.now().mono;
        if self.link.health.steady_for(LEASE, now) {
            self.cleaner.start(expired.into_iter().filter(|other| *other != state.incarnation).collect());
        }
        Ok(!std::mem::take(&mut state.lost))
    }

    /// `begins`: also if the lease does not stand.
    async fn lease(&self, name: &str, length: Duration, most: u64, begins: bool) -> Result<Vec<Reply>, Unavailable> {
        let length = number(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        let arguments = vec![bytes(name.to_owned()), length, number(most), number(u64::from(begins))];
        Ok(self.call(Function::Renew, vec![self.link.keys.leases()], arguments).await?.into_array())
    }

    /// Renews the lease, takes another name if something may be gone, and returns whose leases have run out.
    async fn renew_lease(&self, state: &mut State) -> Result<Vec<String>, Unavailable> {
        let first = state.renewed.is_none();
        let answer = self.lease(&state.incarnation, LEASE, GIVEN_UP_AT_ONCE, first).await?;
        let [server, stood, expired] = answer.as_slice() else { return Err(nonsense("renew")) };
        let server = server.text().ok_or_else(|| nonsense("renew"))?;
        // A server that took over, or came back, may not have all that was entered, and may have what was left.
        let moved = *state.server != *server && !first;
        let given_up = stood.number() != Some(1) && !first;
        state.lost |= moved || given_up;
        // Remembered, because the next renewal does not see it again if the change of name fails.
        state.rename |= moved || given_up;
        state.server = server.into();
        if state.rename {
            self.take_another_name(state).await?;
        }
        state.renewed = Some(self.link.clock.now().mono);
        Ok(expired.clone().into_array().iter().filter_map(|name| name.text().map(str::to_owned)).collect())
    }

    /// Leaves what is held under the old name to whoever cleans up after it, and lets it stand until it was entered again.
    async fn take_another_name(&self, state: &mut State) -> Result<(), Unavailable> {
        // The server may have lost the list; without it nobody would find what it still has.
        let list = self.link.keys.rooms_of_instance(&state.incarnation);
        let rooms: Vec<_> = state.listed.iter().collect();
        for rooms in rooms.chunks(LISTED_AT_ONCE) {
            let rooms = rooms.iter().map(|room| bytes(room.to_string())).collect();
            self.run(Function::Add, "SADD", list.clone(), rooms).await?;
        }
        let name = incarnation(&self.link);
        self.lease(&name, LEASE, 0, true).await?;
        self.lease(&state.incarnation, FORMER, 0, true).await?;
        let until = self.link.clock.now().mono + FORMER;
        state.former = Some((std::mem::replace(&mut state.incarnation, name), until));
        state.listed = HashSet::new();
        state.rename = false;
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
