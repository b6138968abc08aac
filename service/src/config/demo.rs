//! Everything that `parley demo` runs with, read from its own settings.
//!
//! It looks for no program and no free port: the demo does, when it starts.

use super::{Secret, reader::Reader, table, table::demo};

/// Everything that `parley demo` runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoConfig {
    /// Whether the two instances share nothing.
    pub isolated: bool,
    /// Whether everything is kept running after the story.
    pub stay: bool,
    /// Ports on loopback of the balancer and of the two instances; 0 means any free port.
    pub ports: [u16; 3],
    /// A Redis or Valkey to use instead of one of the demo's own; never given with `isolated`.
    pub redis_url: Option<Secret>,
}

/// Reads everything; `None` when there are faults, which the reader then has.
pub(super) fn config(r: &mut Reader<'_>) -> Option<DemoConfig> {
    let isolated = r.get(&demo::ISOLATED);
    let stay = r.get(&demo::STAY);
    let ports = r.get(&demo::PORTS);
    let redis_url = r.get(&table::REDIS_URL);
    if isolated == Some(true) && matches!(redis_url, Some(Some(_))) {
        r.refuse(&table::REDIS_URL.spec, "leave it out, or leave --isolated out: isolated instances use no Redis");
    }
    Some(DemoConfig { isolated: isolated?, stay: stay?, ports: ports?, redis_url: redis_url? })
}
