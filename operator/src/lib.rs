//! The operator of Parley: it turns a `ChatCluster` into a running chat on Kubernetes. Modules in reading order, which is
//! also the order of their layers; the operator and the service share no code, only settings and probes.

pub mod checksum;
pub mod clock;
pub mod entropy;
pub mod names;

pub mod crd;
pub mod health;
pub mod metrics;
pub mod settings;
pub mod term;

pub mod profiles;

pub mod controller;

pub mod admin;
pub mod client;
pub mod lease;

pub mod run;

/// The other end of the client, for tests.
#[cfg(test)]
mod fake_api;
