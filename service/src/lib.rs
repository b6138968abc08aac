//! Parley's service: a chat that scales like a stateless Deployment.
//!
//! The modules in reading order, which is the order of their layers: a file names only what stands above it.

// Layer 0: words.
pub mod ids;
pub mod clock;
pub mod entropy;
pub mod message;
// Layer 1: contracts.
pub mod protocol;
pub mod rights;
pub mod delivery;
// Layer 2: the session, and the ports that it and the hub speak to.
pub mod backplane;
pub mod presence;
pub mod directory;
pub mod auth;
