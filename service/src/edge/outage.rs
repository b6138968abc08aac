//! Says once that the backplane has begun to fail, and once that it works again, however many requests fail meanwhile.
//! It counts nothing; the metrics do.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub struct Outage {
    failing: AtomicBool,
}

impl Outage {
    /// Takes note of how `what` went.
    pub fn note(&self, what: &'static str, error: Option<&impl Display>) {
        match error {
            Some(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(what, %error, "the backplane fails: clients are told to try again; more are only counted");
            }
            None if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) => {
                tracing::info!(what, "the backplane works again");
            }
            _ => {}
        }
    }
}
