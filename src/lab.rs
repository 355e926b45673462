//! The lab: the whole system on an emulated fabric in one process.
//!
//! - [`check`]: how a comparison with the ground truth came out
//! - `counters`: what the emulated RNICs have counted, for their agents
//! - [`emulated`]: hosts whose RNICs the agents' verbs code drives
//! - [`error`]: why a lab ends early
//! - `exposed`: the metrics of controller and agents, for a Prometheus
//! - [`plan`]: what to run, from settings and a scenario file
//! - [`virtual_time`]: the analysis in virtual time
//! - `hosts`: the agent of each host, while its host has power
//! - `roles`: starts controller, analyzer and agents
//! - [`run`]: the running lab
//! - `watch`: what was measured so far
//! - [`services`]: the connections of services that a scenario names, for the agents to follow
//! - [`lines`]: what is printed of incidents
//! - [`located`]: the analyzer's incidents beside the faults
//! - [`observed`]: what the agents measured, per path and per pair of ToRs
//! - [`truth_table`]: every kind of fault in virtual time, and what the analysis makes of it
//! - [`verdict`]: what each fault really did, beside what was observed on the paths that cross it
//! - [`show`]: lines for people, objects for programs
//! - [`wiring`]: the fabric's cables as a topology

pub mod check;
mod counters;
pub mod emulated;
pub(crate) mod error;
mod exposed;
mod hosts;
pub(crate) mod lines;
pub(crate) mod located;
pub mod observed;
pub mod plan;
mod roles;
pub mod run;
pub(crate) mod services;
pub mod show;
pub mod truth_table;
pub mod verdict;
pub mod virtual_time;
mod watch;
pub(crate) mod wiring;
