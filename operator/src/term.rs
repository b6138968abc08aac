//! Until when this replica may act. The Lease prolongs it, the client asks it before each write: whatever is stuck, asleep
//! or late elsewhere, nothing is written after the term.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock;

/// See the module. Clones are the same term; at first there is none.
#[derive(Debug, Clone, Default)]
pub struct Term(Arc<Mutex<Option<Instant>>>);

impl Term {
    /// Whether this replica may act now.
    #[must_use]
    pub fn holds(&self) -> bool {
        clock::instant() < self.until()
    }

    /// When it ends; now if there is none.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.0.lock().unwrap_or_else(clock::instant)
    }

    /// Lets it end then.
    pub fn prolong(&self, until: Instant) {
        *self.0.lock() = Some(until);
    }

    /// Ends it.
    pub fn end(&self) {
        *self.0.lock() = None;
    }
}
