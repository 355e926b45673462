//! Scenarios: a fabric, its faults and how it is probed, as a TOML file.
//!
//! ```toml
//! title = "a link that loses one packet in a hundred"
//! duration = "30s"
//! seed = 7
//! faults = ["link spine1-tor3 loss=1% at=10s"]
//!
//! [fabric]
//! spines = 4
//! tors = 8
//! hosts = 8      # under each ToR
//! rnics = 2      # of each host
//!
//! [probing]      # of each RNIC; only for runs in virtual time
//! tor_mesh = 10  # probes per second
//! inter_tor = 20
//! targets = 8    # 5-tuples to other ToRs
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::{Fault, FaultError};
use super::topology::{Shape, ShapeError, Topology};
use crate::config::Span;

/// The longest run in virtual time.
const LONGEST: Duration = Duration::from_hours(24);

/// A scenario that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read the scenario file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type; faults are named with what is wrong with them.
    #[error("scenario: {0}")]
    Parse(String),
    /// A fabric that cannot be built.
    #[error("scenario: fabric")]
    Shape(#[from] ShapeError),
    /// A fault that the fabric cannot have.
    #[error("scenario: fault `{fault}`")]
    Fault {
        /// The fault.
        fault: String,
        /// The cause.
        #[source]
        source: FaultError,
    },
    /// A number out of its range.
    #[error("scenario: {key}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// How each RNIC probes in a run in virtual time, where no controller makes pinglists.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probing {
    /// Probes per second to the other RNICs under the ToR.
    pub tor_mesh: f64,
    /// Probes per second to RNICs under other ToRs.
    pub inter_tor: f64,
    /// How many 5-tuples to RNICs under other ToRs take turns.
    pub targets: usize,
}

impl Default for Probing {
    /// The paper's ToR-mesh rate, and twice that to other ToRs.
    fn default() -> Self {
        Self {
            tor_mesh: 10.0,
            inter_tor: 20.0,
            targets: 8,
        }
    }
}

/// The most probes per second of one RNIC.
const MOST_PROBES: f64 = 100_000.0;

impl Probing {
    fn check(&self) -> Result<(), ScenarioError> {
        for (key, rate) in [
            ("probing.tor_mesh", self.tor_mesh),
            ("probing.inter_tor", self.inter_tor),
        ] {
            if !(0.0..=MOST_PROBES).contains(&rate) {
                let why = format!("{rate} probes/s are impossible, expected 0 to {MOST_PROBES}");
                return Err(ScenarioError::Value { key, why });
            }
        }
        if self.targets > 10_000 {
            return Err(ScenarioError::Value {
                key: "probing.targets",
                why: format!("{} are too many, expected at most 10000", self.targets),
            });
        }
        Ok(())
    }
}

/// A scenario that can be run: every name was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in one line.
    #[serde(default)]
    pub title: String,
    /// For everything that is random.
    #[serde(default)]
    pub seed: u64,
    /// How long it runs.
    #[serde(default = "default_duration")]
    pub duration: Span,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// The fabric.
    #[serde(default)]
    pub fabric: Shape,
    /// How it is probed.
    #[serde(default)]
    pub probing: Probing,
}

fn default_duration() -> Span {
    Span(Duration::from_secs(30))
}

impl Scenario {
    /// Reads a scenario and checks everything in it.
    ///
    /// # Errors
    /// All of [`ScenarioError`] but reading.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self =
            toml::from_str(text).map_err(|error| ScenarioError::Parse(error.to_string()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// All of [`ScenarioError`].
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Whether it can be run.
    ///
    /// # Errors
    /// All of [`ScenarioError`] but reading.
    pub fn check(&self) -> Result<(), ScenarioError> {
        if self.duration.0.is_zero() || self.duration.0 > LONGEST {
            let why = format!("{} is impossible, expected up to 24h", self.duration);
            return Err(ScenarioError::Value {
                key: "duration",
                why,
            });
        }
        self.probing.check()?;
        self.topology().map(|_| ())
    }

    /// The fabric, on which all faults have their places.
    ///
    /// # Errors
    /// [`ScenarioError::Shape`], [`ScenarioError::Fault`].
    pub fn topology(&self) -> Result<Topology, ScenarioError> {
        let topology = Topology::new(self.fabric, self.seed)?;
        for fault in &self.faults {
            fault
                .resolve(&topology)
                .map_err(|source| ScenarioError::Fault {
                    fault: fault.to_string(),
                    source,
                })?;
        }
        Ok(topology)
    }
}

#[cfg(test)]
mod tests;
