//! The wire contract, version 1: what clients and instances say to each other. The only place where frames are read
//! and written. It decides nothing about sessions; see `session.rs`.

pub mod client_frame;
pub mod close_code;
pub mod error_code;
pub mod framing;
pub mod json;
pub mod limits;
pub mod reference;
#[cfg(test)]
mod samples;
pub mod server_frame;

/// The version told in `welcome`.
pub const PROTOCOL_VERSION: u32 = 1;
