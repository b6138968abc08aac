//! Parley's service: a chat that scales like a stateless Deployment.
//!
//! The modules in reading order, which is the order of their layers: a file names only what stands above it. What each
//! one does is its first line; `ARCHITECTURE.md` tells the whole.

// Words.
pub mod ids;

pub mod clock;

pub mod entropy;

pub mod message;

// Contracts: the wire, the settings, the counters.
pub mod protocol;

pub mod rights;

pub mod delivery;

pub mod origin;

pub mod config;

pub mod metrics;

pub mod tracing_context;

pub mod drain;

// The ports, each with its implementations below it; and the link that those on Redis share.
pub mod backplane;

pub mod redis;

pub mod presence;

pub mod directory;

pub mod auth;

// One client's session, pure.
pub mod session;

// Local fan-out.
pub mod hub;

// The rim: sockets, HTTP, logs.
pub mod edge;

pub mod telemetry;

// What stands before instances instead of being one.
pub mod balance;

// Where everything is put together.
pub mod server;

// Several processes that show what it is all for.
pub mod demo;
