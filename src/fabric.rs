//! An emulated Clos fabric inside one process that carries the real packets of real endpoints.
//!
//! - [`topology`]: switches, hosts, RNICs, links, and the path that ECMP gives a 5-tuple
//! - [`fault`]: what can be wrong, as typed values with a text form
//! - [`engine`]: the core; event-driven, deterministic for a seed, no I/O, time passed in
//! - [`truth`]: what really happened, per link, path and fault
//! - [`scenario`]: a fabric with faults and probing as a file
//!
//! - [`swarm`]: many probe sessions over the core in virtual time, for tests and benchmarks
//! - [`realtime`]: a driver of the core in real time, which serves [`transport::Endpoint`](crate::transport::Endpoint)s

pub(crate) mod engine;
pub mod fault;
mod link;
pub mod realtime;
pub mod scenario;
pub mod swarm;
pub mod topology;
pub mod truth;

pub use engine::{Engine, Profile};
pub use link::LinkProfile;
pub use scenario::{Scenario, ScenarioError};
pub use topology::{Shape, ShapeError, Topology};
