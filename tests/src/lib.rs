//! Test harness, scenarios and load generator of Parley.

pub mod load;
