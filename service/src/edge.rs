//! Where the outside world comes in: HTTP and WebSocket. The only place that knows axum, hyper and the WebSocket engine.
//! It decides nothing about rooms or messages: sessions do.

pub mod accept;
mod actions;
pub mod admin;
pub mod admission;
pub mod api;
mod assets;
pub mod connection;
mod ops;
pub mod outage;
pub mod problem;
pub mod public;
mod scratch;
pub mod services;
pub mod upgrade;
pub mod wire;
