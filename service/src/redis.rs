//! The link to Redis or Valkey: two connections, the names of keys, the functions that run inside the server, and how
//! faults are told. What is stored there is said by the ports: `backplane/redis.rs`, `presence/redis.rs`,
//! `directory/redis.rs`. Nothing else names `fred`.

mod client;
mod examine;
mod health;
mod keys;
mod library;
mod link;
mod payload;
mod reply;
mod trouble;

pub use self::client::SetUpError;
pub(crate) use self::client::{Address, Message, Role};
pub use self::health::Health;
pub(crate) use self::library::Function;
pub(crate) use self::link::{CallError, Link, bytes, number};
pub(crate) use self::payload::{Payload, ephemeral, parse};
pub(crate) use self::reply::Reply;
pub use self::trouble::Trouble;
