//! Test harness, scenarios and load generator of Parley. Scenarios are in the test targets beside it.

pub mod balancer;
pub mod checker;
pub mod client;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod eventually;
pub mod fleet;
pub mod folder;
pub mod frame;
pub mod http;
pub mod journal;
pub mod load;
pub mod node;
pub mod process;
pub mod program;
pub mod proxy;
pub mod redis;
pub mod resumer;
pub mod trial;
