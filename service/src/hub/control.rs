//! Orders of the application to sessions on all instances: kick, disconnect, ban. They travel through an internal log
//! like messages, so an instance that was cut off gets them when it is back. Where that log has lost some, what it still
//! has is carried out, and the directory says who is banned. Sessions carry orders out.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::outbox::{Outbox, Taken};
use crate::backplane::{Backplane, CONTROL_MESSAGES, PageLimit, PublishError, Range, Unavailable};
use crate::delivery::{Order, Parcel, Slot};
use crate::directory::Directory;
use crate::ids::{LogName, RoomName, UserId};
use crate::message::Draft;
use crate::protocol::close_code::CloseCode;
use crate::protocol::limits::PAGE_MAX_BYTES;

/// Pause between attempts to follow the control log.
const RETRY: Duration = Duration::from_millis(500);
/// How far the clocks of instances may be apart, milliseconds. Where orders are lost, those that were given this shortly
/// before the last one carried out are carried out again.
const CLOCKS_APART_MS: u64 = 60_000;
/// Users whose ban is asked after at the same time.
const ASKED_AT_ONCE: usize = 64;

/// An order as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlOrder {
    /// Out of a room.
    Kick {
        /// Which room.
        room: String,
        /// Who.
        user: String,
    },
    /// End all sessions of a user.
    Disconnect {
        /// Who.
        user: String,
        /// Whether the clients should come back at once, with fresh credentials.
        reconnect: bool,
    },
    /// End all sessions of a user who has been banned.
    Ban {
        /// Who.
        user: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Logged {
    order: ControlOrder,
    /// When it was given, by the clock of the instance that was asked to.
    #[serde(default)]
    at: u64,
}

/// Sends an order to all instances, this one included.
///
/// # Errors
/// As for any publish.
pub async fn send(backplane: &dyn Backplane, order: &ControlOrder, at: u64) -> Result<(), PublishError> {
    let order = serde_json::to_string(order).expect("an order has string keys and nothing that fails to serialise");
    let draft = Draft {
        head: Bytes::from_static(b"{\"offset\":"),
        tail: Bytes::from(format!(",\"order\":{order},\"at\":{at}}}")),
        key: None,
        at,
        traceparent: None,
    };
    backplane.publish(&LogName::Control, &draft).await.map(|_| ())
}

/// Follows the control log and passes orders on to this instance's sessions, until stopped. `followed` hears when it
/// began: before, no session should be let in, or an order could miss it.
pub async fn follow(
    hub: Arc<Hub>,
    directory: Arc<dyn Directory>,
    followed: oneshot::Sender<()>,
    stop: CancellationToken,
) {
    let follower = Follower { newest: AtomicU64::new(hub.clock.now().wall_ms), lost: watch::Sender::new(None), hub };
    tokio::select! {
        () = stop.cancelled() => {}
        () = follower.pass_all_on(followed) => {}
        () = follower.make_all_good(&*directory) => {}
    }
}

struct Follower {
    hub: Arc<Hub>,
    /// When the newest order was given that was carried out, or else when this began.
    newest: AtomicU64,
    /// Orders may be lost that were given from then on.
    lost: watch::Sender<Option<u64>>,
}

impl Follower {
    async fn pass_all_on(&self, followed: oneshot::Sender<()>) {
        let mut began = Some(followed);
        loop {
            let outbox = self.hub.outbox();
            let following = async {
                let _membership = self.hub.join(&LogName::Control, &outbox, Slot(0), None).await?;
                match began.take() {
                    // Nobody may be waiting any more.
                    Some(began) => drop(began.send(())),
                    None => self.lose(),
                }
                self.pass_on(&outbox).await;
                Ok::<_, Unavailable>(())
            };
            match following.await {
                Ok(()) => tracing::warn!("control orders came faster than they were carried out: reading them again"),
                Err(error) => tracing::debug!(%error, "cannot follow the control log yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Returns when the outbox overflowed.
    async fn pass_on(&self, outbox: &Outbox) {
        let mut parcels = Vec::new();
        while poll_fn(|cx| outbox.poll_take(cx, &mut parcels)).await == Taken::Parcels {
            for parcel in parcels.drain(..) {
                match parcel {
                    Parcel::Run(_, run) => run.payloads().filter_map(parse).for_each(|logged| self.carry_out(logged)),
                    Parcel::Shift(_, shift) if shift.lost => self.lose(),
                    _ => {}
                }
            }
        }
    }

    fn carry_out(&self, logged: Logged) {
        // A clock that is far ahead must not hide orders of the others.
        self.newest.fetch_max(logged.at.min(self.hub.clock.now().wall_ms), Ordering::Relaxed);
        carry_out(&self.hub, logged.order);
    }

    fn lose(&self) {
        let from = self.newest.load(Ordering::Relaxed).saturating_sub(CLOCKS_APART_MS);
        self.lost.send_modify(|lost| *lost = Some(lost.map_or(from, |lost| lost.min(from))));
    }

    /// Makes good what can be, each time that orders are lost.
    async fn make_all_good(&self, directory: &dyn Directory) {
        let mut lost = self.lost.subscribe();
        while lost.wait_for(Option::is_some).await.is_ok() {
            // Taken first: what is lost from now on is lost anew.
            let Some(from) = self.lost.send_replace(None) else { continue };
            // Once for each loss: who came back after a disconnect must not be disconnected again because of a question.
            while let Err(error) = self.carry_out_again(from).await {
                tracing::debug!(%error, "cannot read yet what the control log still has");
                tokio::time::sleep(RETRY).await;
            }
            let banned = loop {
                match self.close_banned(directory).await {
                    Ok(banned) => break banned,
                    Err(error) => tracing::debug!(%error, "cannot ask yet who is banned"),
                }
                tokio::time::sleep(RETRY).await;
            };
            tracing::error!(banned, "the control log lost orders: repeat the last kicks and disconnects");
        }
    }

    /// Carries out what the log still has of the orders that were given from then on; and all of an instance of a former
    /// version, which does not say when.
    async fn carry_out_again(&self, from: u64) -> Result<(), Unavailable> {
        let (mut range, mut kept) = (Range::Newest, Vec::new());
        loop {
            let limit = PageLimit { messages: CONTROL_MESSAGES, bytes: PAGE_MAX_BYTES };
            let page = self.hub.backplane.read(&LogName::Control, range, limit).await?;
            let orders = page.entries.iter().rev().filter_map(|entry| parse(&entry.frame));
            let before = kept.len();
            kept.extend(orders.filter(|logged| logged.at >= from || logged.at == 0));
            match page.entries.first() {
                Some(oldest) if page.more && kept.len() > before => range = Range::Before(oldest.offset),
                _ => break,
            }
        }
        kept.into_iter().rev().for_each(|logged| self.carry_out(logged));
        Ok(())
    }

    /// Closes whoever is banned; returns how many users that are.
    async fn close_banned(&self, directory: &dyn Directory) -> Result<usize, Unavailable> {
        let users = self.hub.registry().users();
        let asked = users.into_iter().map(|user| async move { Ok((directory.banned(&user).await?, user)) });
        let mut asked = futures_util::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        let mut banned = 0;
        while let Some((left, user)) = asked.try_next().await? {
            if left.is_some() {
                self.hub.registry().order_user(&user, &Order::Close(CloseCode::Banned));
                banned += 1;
            }
        }
        Ok(banned)
    }
}

fn parse(payload: impl AsRef<[u8]>) -> Option<Logged> {
    let logged = serde_json::from_slice(payload.as_ref());
    if logged.is_err() {
        tracing::warn!("a control order of an unknown kind was ignored: is another version running beside this one?");
    }
    logged.ok()
}

fn carry_out(hub: &Hub, order: ControlOrder) {
    let (user, order) = match order {
        ControlOrder::Kick { room, user } => match RoomName::parse(&room) {
            Ok(room) => (user, Order::Kick(room)),
            Err(_) => return,
        },
        ControlOrder::Disconnect { user, reconnect: true } => (user, Order::Close(CloseCode::Refresh)),
        ControlOrder::Disconnect { user, reconnect: false } => (user, Order::Close(CloseCode::Disconnected)),
        ControlOrder::Ban { user } => (user, Order::Close(CloseCode::Banned)),
    };
    if let Ok(user) = UserId::parse(&user) {
        let sessions = hub.registry().order_user(&user, &order);
        tracing::info!(user.id = %user, sessions, order = ?order, "control order carried out");
    }
}
