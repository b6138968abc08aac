//! The balancer in front of instances, and in front of upstreams that behave as no instance would.

mod bounds;
mod choice;
mod fake;
mod kept;
mod passage;
