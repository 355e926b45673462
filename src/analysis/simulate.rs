//! Made-up observations with a known truth, to measure localisation: fabrics, faults, probing, scores.
//!
//! Losses are drawn per path from the product of its components' pass rates, without carrying packets one by one; the
//! emulated fabric (`fabric`) does that. Everything follows from a seed. [`World`] is one window of a fixed schedule; [`Watched`] is
//! a fabric second by second, where focus may choose the next probes.

mod draw;
mod error;
mod fabric;
pub mod fault;
mod oracle;
mod score;
mod watch;

pub use draw::{Observed, World};
pub use error::PlanError;
pub use fabric::{Fabric, Rails, Shape};
pub use fault::{FaultKind, FaultPlan, Losing, Truth};
pub use oracle::oracle;
pub use score::{Report, Score};
pub use watch::{WatchPlan, Watched};

/// What is simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulationPlan {
    /// The fabric.
    pub shape: Shape,
    /// What fails, all at the same time.
    pub faults: Vec<FaultPlan>,
    /// Loss rate of a healthy link, drawn evenly from 0 to this.
    pub background: f64,
    /// Probes that each host sends in a second; on rails each RNIC.
    pub probes_per_second: f64,
    /// Length of the window in seconds.
    pub window_s: f64,
    /// 5-tuples of each host, on rails of each RNIC: the probes are spread over them.
    pub tuples_per_host: usize,
    /// Whether the probes' paths are known, or only the candidates.
    pub known_paths: bool,
}

impl Default for SimulationPlan {
    /// A k = 8 fat tree at 150 probes/s and host, 20 s, four faulty links.
    fn default() -> Self {
        Self {
            shape: Shape::FatTree { k: 8 },
            faults: vec![FaultPlan::drawn(FaultKind::Link, 4, 0.002..=0.02)],
            background: 1e-4,
            probes_per_second: 150.0,
            window_s: 20.0,
            tuples_per_host: 100,
            known_paths: true,
        }
    }
}

impl SimulationPlan {
    /// Checks that the plan can be carried out.
    ///
    /// # Errors
    /// [`PlanError`] naming the number.
    pub fn check(&self) -> Result<(), PlanError> {
        self.shape.check()?;
        let losses = self
            .faults
            .iter()
            .flat_map(|fault| [("loss", *fault.loss.start()), ("loss", *fault.loss.end())]);
        for (what, value) in losses.chain([("background", self.background)]) {
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
        if self
            .faults
            .iter()
            .any(|fault| fault.loss.start() > fault.loss.end())
        {
            return Err(PlanError::Value {
                what: "loss",
                value: "an empty range".to_owned(),
                why: "expected the smaller rate first",
            });
        }
        if !(1..=1_000_000).contains(&self.tuples_per_host) {
            return Err(PlanError::Value {
                what: "tuples",
                value: self.tuples_per_host.to_string(),
                why: "expected 1 to 1000000",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
