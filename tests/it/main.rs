//! Tests of whole instances in this process, on the memory backplane and loopback alone, and of the repository itself.
//! They always run. What needs Redis or a cluster is in targets of its own.

#[cfg(test)]
mod api;
mod footprint;
mod rfc6455;
mod tidy;
