//! What a connection needs of its instance, in one place that is shared by all of them. It holds, it does not act.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::outage::Outage;
use crate::auth::Auth;
use crate::backplane::Backplane;
use crate::clock::SystemClock;
use crate::directory::Directory;
use crate::drain::Drain;
use crate::entropy::Entropy;
use crate::hub::Hub;
use crate::hub::attendance::Attendance;
use crate::ids::ServerId;
use crate::metrics::Metrics;
use crate::origin::OriginPolicy;
use crate::presence::Presence;
use crate::session::SessionRules;

/// See the module.
pub struct Services {
    /// This instance's name.
    pub server_id: ServerId,
    /// For all sessions.
    pub rules: Arc<SessionRules>,
    /// Local fan-out.
    pub hub: Arc<Hub>,
    /// Where logs live.
    pub backplane: Arc<dyn Backplane>,
    /// Who is where.
    pub presence: Arc<dyn Presence>,
    /// Who is here.
    pub attendance: Arc<Attendance>,
    /// Rooms, instances, bans.
    pub directory: Arc<dyn Directory>,
    /// Who is who.
    pub auth: Arc<dyn Auth>,
    /// Which pages may connect.
    pub origins: OriginPolicy,
    /// How many may connect.
    pub admission: Admission,
    /// How many pages may be fetched for sessions at the same time.
    pub reading: Semaphore,
    /// How many lists of users or rooms: apart, because they take longer and no join should wait for them.
    pub listing: Semaphore,
    /// Whether the instance is on its way out.
    pub drain: Drain,
    /// The key of the server API; without one it is off.
    pub api_key: Option<Box<str>>,
    /// Time.
    pub clock: Arc<SystemClock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Whether the backplane fails, told once.
    pub outage: Outage,
    /// Counters.
    pub metrics: Metrics,
    /// Where connections run.
    pub connections: TaskTracker,
}
