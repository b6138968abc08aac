//! Tests of whole instances in this process, on the memory backplane and loopback alone, and of the repository itself.
//! They always run. What needs Redis or a cluster is in targets of its own.
#![expect(clippy::unwrap_used, reason = "what helps tests fails where it unwraps, too")]

mod admission;
mod around;
mod audit;
mod auth;
mod backpressure;
mod bad_input;
mod balance;
mod crash;
mod direct;
mod drain;
mod fanout;
mod faults;
mod join;
mod limits;
mod neighbours;
mod page;
mod presence;
mod resume;
mod seam;
mod signal;
mod uptime;

#[cfg(test)]
mod api;
mod footprint;
mod rfc6455;
mod tidy;
