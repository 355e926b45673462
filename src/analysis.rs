//! What probe results say about the fabric. Pure: the time is passed in, nothing here does I/O.
//!
//! - [`paths`]: the newest trace of each path, its age, and how it changed.
//! - [`report`]: results of one path in one interval, as agents collect them and the analyzer takes them.
//! - [`admission`]: which batch of an agent is new, which came before, which are missing.
//! - [`alerts`]: what a receiver of alerts has to be told, and when.
//! - [`certify`]: whether every link loses less than a bound, and the fabric is cabled as planned.
//! - [`clocks`]: how far the clocks of agents are off.
//! - [`filter`]: which results say nothing about the network, because a host caused them.
//! - [`fleet`]: hosts and RNICs that were there and are missing.
//! - [`focus`]: which 5-tuples to probe more, by what the observations leave possible.
//! - [`hardware`]: what the RNICs' own counters say, as evidence.
//! - [`health`]: whether the monitoring itself can see.
//! - [`incident`]: findings that last, with a beginning, an end and an impact.
//! - [`judge`]: from windows to findings: what is wrong, where, and why that is believed.
//! - [`localize`]: which links, switches and hosts explain the observed losses.
//! - [`map`]: hosts, RNICs, switches and links as the topology file, reports and traces know them together.
//! - [`rnic`]: RNICs that lose probes, from all pairs under and across ToRs.
//! - [`routes`]: which links and switches lie between two ToRs, by traces and by the fabric's wiring.
//! - [`shards`]: which analyzer takes the results of which agents, where several work together.
//! - [`simulate`]: made-up observations with a known truth, to measure localisation.
//! - [`sizing`]: how many paths the windows keep, by what the agents probe.
//! - [`sketch`]: distributions of delays that can be merged.
//! - [`stall`]: whether losses are rather a host's that stood still.
//! - [`windows`]: the last minutes per path, read over 5, 20 or 120 s.

pub mod admission;
pub mod alerts;
pub mod certify;
pub(crate) mod clocks;
pub mod filter;
pub mod fleet;
pub mod focus;
pub(crate) mod hardware;
pub(crate) mod health;
pub mod incident;
pub mod judge;
pub mod localize;
pub mod map;
pub(crate) mod paths;
pub mod report;
pub(crate) mod rnic;
pub mod routes;
pub mod shards;
pub mod simulate;
pub(crate) mod sizing;
pub mod sketch;
pub(crate) mod stall;
pub mod trend;
pub mod windows;
