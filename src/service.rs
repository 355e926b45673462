//! The services' own connections: what is learned of them from queue-pair events.
//!
//! Portable and without I/O: the tracer (a Linux leaf of the agent) feeds events in, tests do the same.

pub mod btf;
pub mod flow;
pub mod identity;
pub mod netlink;
pub mod offsets;
pub mod probing;
pub mod qp;
pub mod trace;
