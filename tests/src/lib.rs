//! Test harness of Parley: instances in this process, fleets of them, clients, and a client that comes back. Scenarios
//! are in the test targets beside it.

pub mod checker;
pub mod client;
pub mod eventually;
pub mod fleet;
pub mod frame;
pub mod http;
pub mod node;
pub mod resumer;
