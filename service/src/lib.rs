//! Parley.

pub mod config;
