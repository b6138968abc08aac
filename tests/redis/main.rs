//! Tests of the backplane on Redis, each against a server of its own that it starts itself. The target is built only
//! where there is one: `tests/run --only redis`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what helps tests fails where it unwraps, too")]

mod answers;
mod chat;
mod commands;
mod conformance;
mod control;
mod demo;
mod failing;
mod metrics;
mod refusing;
mod rig;
mod sentinel;
mod tls;
mod tracing;
mod versions;
