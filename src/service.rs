//! The services' own connections, as queue-pair events show them.
//!
//! Portable and without I/O: the tracer (a Linux leaf of the agent) feeds events in, tests do the same.

pub mod btf;
pub mod flow;
pub mod identity;
pub mod netlink;
pub mod offsets;
pub mod probing;
pub mod proof;
pub mod qp;
pub mod trace;
