//! Made-up observations with a known truth, to measure localisation: fabrics, faults, probing, scores.
//!
//! Losses are drawn per path from the product of its components' pass rates, without carrying packets one by one; the
//! emulated fabric (`fabric`) does that. Everything follows from a seed.

mod draw;
mod fabric;
mod score;

pub use draw::{FaultKind, Observed, Truth, World};
pub use fabric::{Fabric, Shape};
pub use score::Score;

use super::localize::Component;

/// What is simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The fabric.
    pub shape: Shape,
    /// Faults at the same time, all of one kind.
    pub faults: usize,
    /// What fails.
    pub kind: FaultKind,
    /// Loss rate of a fault, drawn evenly from this range.
    pub loss: std::ops::RangeInclusive<f64>,
    /// Loss rate of a healthy link, drawn evenly from 0 to this.
    pub background: f64,
    /// Probes that each host sends in a second.
    pub probes_per_second: f64,
    /// Length of the window in seconds.
    pub window_s: f64,
    /// 5-tuples of each host: its probes are spread over them.
    pub tuples_per_host: usize,
    /// Whether the probes' paths are known, or only the candidates.
    pub known_paths: bool,
}

impl Default for Plan {
    /// A k = 8 fat tree at 150 probes/s and host, 20 s, four faulty links.
    fn default() -> Self {
        Self {
            shape: Shape::FatTree { k: 8 },
            faults: 4,
            kind: FaultKind::Link,
            loss: 0.002..=0.02,
            background: 1e-4,
            probes_per_second: 150.0,
            window_s: 20.0,
            tuples_per_host: 100,
            known_paths: true,
        }
    }
}

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A number outside what makes sense.
    #[error("{what} = {value}: {why}")]
    Value {
        /// Which number.
        what: &'static str,
        /// What was asked for.
        value: String,
        /// What is accepted.
        why: &'static str,
    },
    /// More faults than components of that kind.
    #[error("{wanted} faults asked for, the fabric has {have} such components")]
    TooManyFaults {
        /// Faults asked for.
        wanted: usize,
        /// Components that there are.
        have: usize,
    },
}

impl Plan {
    /// Checks that the plan can be carried out.
    ///
    /// # Errors
    /// [`PlanError`] naming the number.
    pub fn check(&self) -> Result<(), PlanError> {
        self.shape.check()?;
        let rates = [
            ("loss", *self.loss.start()),
            ("loss", *self.loss.end()),
            ("background", self.background),
        ];
        for (what, value) in rates {
            if !(0.0..=1.0).contains(&value) {
                return Err(PlanError::Value {
                    what,
                    value: value.to_string(),
                    why: "expected 0 to 1",
                });
            }
        }
        for (what, value) in [("rate", self.probes_per_second), ("window", self.window_s)] {
            if !(value > 0.0 && value <= 1e9) {
                return Err(PlanError::Value {
                    what,
                    value: value.to_string(),
                    why: "expected more than 0, at most 1e9",
                });
            }
        }
        if self.tuples_per_host == 0 {
            return Err(PlanError::Value {
                what: "tuples",
                value: "0".to_owned(),
                why: "expected at least 1",
            });
        }
        Ok(())
    }
}

/// Whether a component named by an answer is a fault of the truth.
///
/// A link at a faulty host or switch counts for it, and so does the host or switch at a faulty host link: what an
/// operator does next is the same.
pub fn matches(truth: &Component, named: &Component) -> bool {
    match (truth, named) {
        (Component::Host { name }, Component::Link { from, to }) => name == from || name == to,
        _ => truth == named,
    }
}

#[cfg(test)]
mod tests;
