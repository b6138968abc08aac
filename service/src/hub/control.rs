//! Orders of the application to sessions on all instances: kick, disconnect, ban. They travel through an internal log
//! like messages, so an instance that was cut off gets them when it is back. Sessions carry them out.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::outbox::{Outbox, Taken};
use crate::backplane::{Backplane, PublishError, Unavailable};
use crate::delivery::{Order, Parcel, Slot};
use crate::ids::{LogName, RoomName, UserId};
use crate::message::Draft;
use crate::protocol::close_code::CloseCode;

/// Pause between attempts to follow the control log.
const RETRY: Duration = Duration::from_millis(500);

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
pub async fn follow(hub: Arc<Hub>, followed: oneshot::Sender<()>, stop: CancellationToken) {
    let mut began = Some(followed);
    while !stop.is_cancelled() {
        let outbox = hub.outbox();
        let following = async {
            let _membership = hub.join(&LogName::Control, &outbox, Slot(0), None).await?;
            // Nobody may be waiting any more.
            let _ = began.take().map(|began| began.send(()));
            pass_on(&hub, &outbox).await;
            Ok::<_, Unavailable>(())
        };
        tokio::select! {
            () = stop.cancelled() => return,
            result = following => match result {
                Ok(()) => tracing::error!("control orders came faster than they were carried out: repeat the last ones"),
                Err(error) => tracing::debug!(%error, "cannot follow the control log yet"),
            },
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Returns when the outbox overflowed.
async fn pass_on(hub: &Hub, outbox: &Outbox) {
    let mut parcels = Vec::new();
    while poll_fn(|cx| outbox.poll_take(cx, &mut parcels)).await == Taken::Parcels {
        for parcel in parcels.drain(..) {
            match parcel {
                Parcel::Run(_, run) => run.payloads().for_each(|payload| carry_out(hub, payload)),
                Parcel::Shift(_, shift) if shift.lost => {
                    tracing::error!("the control log lost orders: repeat the last kicks and disconnects");
                }
                _ => {}
            }
        }
    }
}

fn carry_out(hub: &Hub, payload: &[u8]) {
    let Ok(Logged { order }) = serde_json::from_slice(payload) else {
        tracing::warn!("a control order of an unknown kind was ignored: is another version running beside this one?");
        return;
    };
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
