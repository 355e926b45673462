//! The lab on RNICs that the agents' verbs code drives.
//!
//! Each host is a program of its own: `rpingmesh-agent run` with a libibverbs that emulates RNICs (`tests/emulated-rnic`), whose
//! hardware clocks drift. What the RNICs send comes to a UDP socket of the lab, passes the emulated fabric with its faults, and
//! goes on to the queue pair that it is for, with the time of its arrival.
//!
//! - `bridge`: between the RNICs' sockets and the fabric
//! - `host`: the program of one host
//! - `programs`: where the agent's program and the library are
//! - `table`: what the library reads of a host's RNICs
//!
//! Paths are not traced: the agents' programs know nothing of the fabric. The analyzer works with candidate paths.

mod bridge;
mod host;
pub mod programs;
mod table;

pub(super) use bridge::Bridge;
pub(super) use host::EmulatedHost;
