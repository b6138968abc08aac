//! Parley.

pub mod config;
pub mod telemetry;
pub mod tracing_context;
