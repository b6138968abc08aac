//! Parley's service: a chat that scales like a stateless Deployment.
//!
//! The modules in reading order, which is the order of their layers: a file names only what stands above it.

// Layer 0: words.
pub mod clock;
pub mod entropy;
pub mod ids;
pub mod message;
// Layer 1: contracts.
pub mod delivery;
pub mod metrics;
pub mod protocol;
pub mod rights;
// Layer 2: the session, and the ports that it and the hub speak to.
pub mod auth;
pub mod backplane;
pub mod directory;
pub mod presence;
pub mod session;
// Layer 3: local fan-out.
pub mod hub;
