//! The sending end of an instance's arrivals: bounded, and who finds it full may wait. It knows nothing about logs.

use tokio::sync::mpsc;

use crate::backplane::{Arrival, Arrivals};
use crate::ids::ServerId;

/// How many arrivals an instance may have waiting.
pub(super) const CAPACITY: usize = 512;

/// A place for one arrival, taken before it is known what will arrive.
pub(super) type Place = mpsc::OwnedPermit<Arrival>;

/// Where an instance's arrivals go in.
#[derive(Debug)]
pub(super) struct Outlet {
    server_id: ServerId,
    sender: mpsc::Sender<Arrival>,
}

/// What a look for a place finds.
pub(super) enum Look {
    /// One.
    Found(Place),
    /// None at the moment.
    Full,
    /// None ever again: the instance is gone.
    Closed,
}

impl Outlet {
    /// An outlet and where it leads.
    pub(super) fn open(server_id: ServerId) -> (Self, Arrivals) {
        let (sender, arrivals) = mpsc::channel(CAPACITY);
        (Self { server_id, sender }, arrivals)
    }

    /// Whose it is.
    pub(super) fn server_id(&self) -> &ServerId {
        &self.server_id
    }

    /// The instance is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Looks for a place without waiting.
    pub(super) fn look(&self) -> Look {
        match self.sender.clone().try_reserve_owned() {
            Ok(place) => Look::Found(place),
            Err(mpsc::error::TrySendError::Full(_)) => Look::Full,
            Err(mpsc::error::TrySendError::Closed(_)) => Look::Closed,
        }
    }

    /// Waits for a place, first come first served; `None`: the instance is gone. Cancel-safe: a place is given back.
    pub(super) async fn place(&self) -> Option<Place> {
        self.sender.clone().reserve_owned().await.ok()
    }
}
