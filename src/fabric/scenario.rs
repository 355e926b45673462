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
//! # rails = 8: RNIC i of each host under a leaf of rail i mod 8, of which each has `tors` leaves
//! # planes = 2: two disjoint halves of the spines; bonds = true: each RNIC has two leaves
//! # pods, aggs: a third tier; one_hash = true: all switches hash alike
//!
//! [[service]]    # a connection of a service; the lab's agents follow it, in virtual time its path is probed
//! name = "train"
//! from = "host0/0"
//! to = "host9/1"
//! flow_label = 0x1234
//!
//! [[outage]]     # a server that is away; only for runs in virtual time, see tests/it/outages.rs
//! server = "controller"  # or "analyzer"
//! at = "5s"      # whole seconds, as in the next line
//! for = "8s"
//!
//! [probing]      # of each RNIC; only for runs in virtual time without outages, where no controller makes pinglists
//! tor_mesh = 10  # probes per second
//! inter_tor = 20
//! targets = 8    # 5-tuples to other ToRs
//! # across_planes = true: also to those that no path leads to, and the analysis has no wiring: nobody knows of the planes
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::topology::{Flow, RnicId, Shape, ShapeError, Topology};
use crate::config::HumanDuration;
use crate::fault::{Fault, FaultError};
use crate::id::{FlowLabel, ServiceName};

/// The longest name of a service.
const LONGEST_NAME: usize = 64;

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

/// A server that agents need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// Where agents register and get pinglists.
    Controller,
    /// Where they upload to.
    Analyzer,
}

/// A server that is stopped and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Which.
    pub server: Server,
    /// When it stops, since the start; whole seconds.
    pub at: HumanDuration,
    /// How long it is away; whole seconds.
    #[serde(rename = "for")]
    pub lasts: HumanDuration,
}

impl Outage {
    /// When it is back, since the start.
    pub fn end(&self) -> Duration {
        self.at.0.saturating_add(self.lasts.0)
    }

    fn check(&self, duration: Duration) -> Result<(), ScenarioError> {
        let refuse = |key, why| Err(ScenarioError::Value { key, why });
        for (key, HumanDuration(span)) in [("outage.at", self.at), ("outage.for", self.lasts)] {
            if span.is_zero() || span.subsec_nanos() != 0 {
                let why = format!(
                    "{} is impossible, expected whole seconds from 1s on",
                    HumanDuration(span)
                );
                return refuse(key, why);
            }
        }
        if self.end() >= duration {
            let why = format!(
                "it ends after {}, which the scenario does not reach: it lasts {}",
                HumanDuration(self.end()),
                HumanDuration(duration)
            );
            return refuse("outage.for", why);
        }
        Ok(())
    }
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
    /// Whether these are also RNICs to which no path leads.
    pub across_planes: bool,
}

impl Default for Probing {
    /// The paper's ToR-mesh rate, and twice that to other ToRs.
    fn default() -> Self {
        Self {
            tor_mesh: 10.0,
            inter_tor: 20.0,
            targets: 8,
            across_planes: false,
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

/// A connection of a service between two RNICs, there for the whole run: what agents learn of it is what their kernel
/// would tell them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConnection {
    /// The service that it belongs to; several connections may. Results name it `NAME.service`, as they do a systemd
    /// unit. Letters, digits, `.`, `_` and `-`.
    pub name: ServiceName,
    /// The RNIC where it begins: `host0/1`.
    pub from: String,
    /// The RNIC where it ends.
    pub to: String,
    /// Decides its UDP source port, and so its path.
    pub flow_label: FlowLabel,
}

impl ServiceConnection {
    /// Its place in the fabric.
    ///
    /// # Errors
    /// [`ScenarioError::Value`]: there is no RNIC of that name, or both are the same.
    pub fn flow(&self, topology: &Topology) -> Result<Flow, ScenarioError> {
        let name = self.name.as_str();
        let is_plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
            let why = format!(
                "`{}` is not a name: use up to {LONGEST_NAME} letters, digits, `.`, `_` and `-`",
                name.escape_debug()
            );
            return Err(ScenarioError::Value {
                key: "service.name",
                why,
            });
        }
        let flow = Flow {
            source: rnic(topology, "service.from", &self.from)?,
            target: rnic(topology, "service.to", &self.to)?,
            port: self.flow_label.source_port(),
        };
        if flow.source == flow.target {
            let why = format!("{} is where the connection begins, too", self.to);
            return Err(ScenarioError::Value {
                key: "service.to",
                why,
            });
        }
        Ok(flow)
    }
}

fn rnic(topology: &Topology, key: &'static str, name: &str) -> Result<RnicId, ScenarioError> {
    let found = topology
        .rnic_ids()
        .find(|id| topology.node_name(topology.rnic_node(*id)) == name);
    found.ok_or_else(|| ScenarioError::Value {
        key,
        why: format!(
            "no RNIC is named `{name}`: name one as host and number, such as {}",
            topology.node_name(topology.rnic_node(RnicId(0)))
        ),
    })
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
    pub duration: HumanDuration,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Servers that are away for a while.
    #[serde(default, rename = "outage", skip_serializing_if = "Vec::is_empty")]
    pub outages: Vec<Outage>,
    /// The services' connections.
    #[serde(default, rename = "service")]
    pub services: Vec<ServiceConnection>,
    /// The fabric.
    #[serde(default)]
    pub fabric: Shape,
    /// How it is probed.
    #[serde(default)]
    pub probing: Probing,
}

fn default_duration() -> HumanDuration {
    HumanDuration(Duration::from_secs(30))
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
        self.check_outages()?;
        self.topology().map(|_| ())
    }

    fn check_outages(&self) -> Result<(), ScenarioError> {
        let mut sorted = self.outages.clone();
        sorted.sort_by_key(|outage| (outage.server, outage.at.0));
        for outage in &sorted {
            outage.check(self.duration.0)?;
        }
        for pair in sorted.windows(2) {
            if pair[0].server == pair[1].server && pair[1].at.0 <= pair[0].end() {
                let why = format!(
                    "at {} the server is not back from its last outage",
                    pair[1].at
                );
                return Err(ScenarioError::Value {
                    key: "outage.at",
                    why,
                });
            }
        }
        Ok(())
    }

    /// The fabric, on which all faults and services have their places.
    ///
    /// # Errors
    /// [`ScenarioError::Shape`], [`ScenarioError::Fault`], [`ScenarioError::Value`].
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
        for service in &self.services {
            service.flow(&topology)?;
        }
        Ok(topology)
    }
}

#[cfg(test)]
mod tests;
