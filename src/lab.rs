//! The lab: the whole system on an emulated fabric in one process.
//!
//! - `counters`: what the emulated RNICs have counted, for their agents
//! - `exposed`: the metrics of controller and agents, for a Prometheus
//! - [`plan`]: what to run, from settings and a scenario file
//! - [`virtual_time`]: the analysis in virtual time
//! - [`run`]: the running parts
//! - [`services`]: the connections of services that a scenario names, for the agents to follow
//! - [`located`]: the analyzer's incidents beside the faults
//! - [`observed`]: what the agents measured, per path and per pair of ToRs
//! - [`truth_table`]: every kind of fault in virtual time, and what the analysis makes of it
//! - [`verdict`]: what each fault really did, beside what was observed on the paths that cross it
//! - [`show`]: lines for people, objects for programs
//! - [`wiring`]: the fabric's cables as a topology

mod counters;
mod exposed;
pub mod located;
pub mod observed;
pub mod plan;
pub mod run;
pub mod services;
pub mod show;
pub mod truth_table;
pub mod verdict;
pub mod virtual_time;
pub mod wiring;
