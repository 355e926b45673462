//! The services' own connections, as queue-pair events show them.
//!
//! Portable and without I/O: the tracer (a Linux leaf of the agent) feeds events in, tests do the same.

pub mod btf;
pub mod flow;
pub mod identity;
pub mod naming;
pub mod netlink;
pub mod offsets;
pub mod pods;
pub mod probing;
pub mod proof;
pub mod qp;
pub mod rules;
pub mod trace;
mod unseen;
