//! Localisation: which links, switches, hosts and RNICs explain the losses that were observed on paths.
//!
//! # Model
//! Every component `c` (directed link, switch, host, RNIC) of a fabric passes a packet with probability `exp(-r_c)`. A path
//! passes it with the product, so the hazards add up: `R_p = Σ r_c`. Of `n` probes on a path `l` are lost with the
//! binomial likelihood `l·ln(1 − e^{−R}) − (n − l)·R`. A healthy link has a small background hazard, common to all
//! links and estimated along; a faulty component has one of its own. Successes count as much as failures: they are the
//! term that is linear in `R`.
//!
//! # Search
//! Maximum a posteriori by greedy search: add the component that gains most, re-fit all hazards, go on a few steps
//! past the best set found, then try to take members out. The prior on a set of `k` suspects among `m` components pays
//! `ln C(m, k)` for naming them, a constant for saying that anything is wrong at all, one for each suspect, and more for
//! a suspect that is much milder than its company: beside strong faults a weak suspect is more often spilt evidence of
//! theirs than a fault. Observations whose path is not known count with the share of their candidate paths that cross
//! a component.
//!
//! Late packets are located by the same machinery: [`Signal::Slow`] counts late answers among all answers instead of lost
//! probes among those sent.
//!
//! # Use
//! A [`Problem`] per window takes [`PathObservation`]s (the traced path, or [`files::Topology::candidates`]);
//! [`localize`] answers for one window; [`explain`] says why; [`Posterior`] has what is still possible. [`persistence`] is a
//! simple rule of when a suspect is worth an incident, for benchmarks; the analyzer has [`incident`](super::incident).
//!
//! Voting methods ([`vote`]) are there to compare with and to explain.

pub mod answer;
mod component;
mod crossing;
mod diagnosis;
mod error;
mod evidence;
pub(crate) mod explain;
pub mod files;
mod hazards;
pub(crate) mod interval;
mod likelihood;
mod mixture;
mod passed;
pub mod persistence;
mod posterior;
mod problem;
mod search;
pub mod vote;

pub use component::{Component, ComponentId};
pub use crossing::Crossing;
pub use diagnosis::{localize, localize_with_posterior};
pub use error::ProblemError;
pub(crate) use passed::PassedPath;
pub use passed::PassedSums;
pub use posterior::{Alternatives, Possible, Posterior};
pub(crate) use problem::DOUBT;
pub use problem::{PathObservation, Problem, Signal};
pub use search::{Diagnosis, Settings, Suspect, Symptom, Trials};

#[cfg(test)]
mod tests;
