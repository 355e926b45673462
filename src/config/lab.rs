//! Settings of `rpingmesh lab`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, HumanDuration, LogSettings};

/// How long the lab runs by default.
pub const DEFAULT_DURATION: Duration = Duration::from_mins(1);

/// The longest run: the lab keeps ground truth and observations of every path in memory.
pub const LONGEST_DURATION: Duration = Duration::from_hours(24);

/// What can be said of the lab on the command line, in the environment and in its configuration file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct LabSettings {
    /// Spine switches [default: 4]
    #[arg(long, env = "RPINGMESH_SPINES", value_name = "S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spines: Option<u32>,
    /// ToR switches, over all pods [default: 8]
    #[arg(long, env = "RPINGMESH_TORS", value_name = "T")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tors: Option<u32>,
    /// Hosts under each ToR [default: 8]
    #[arg(long, env = "RPINGMESH_HOSTS", value_name = "H")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<u32>,
    /// RNICs of each host [default: 2]
    #[arg(long, env = "RPINGMESH_RNICS", value_name = "R")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rnics: Option<u32>,
    /// Pods with aggregation switches `agg<pod>-<n>` between ToRs and spines; 0 for none [default: 0]
    #[arg(long, env = "RPINGMESH_PODS", value_name = "P")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<u32>,
    /// A fault to inject, such as 'link spine1-tor3 loss=1% at=10s for=60s'; may be repeated [default: none]
    #[arg(
        long = "fault",
        env = "RPINGMESH_FAULT",
        value_name = "SPEC",
        value_delimiter = ';'
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<Vec<String>>,
    /// A TOML file with a fabric and faults; what is given beside it comes first [default: none]
    #[arg(long, env = "RPINGMESH_SCENARIO", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<PathBuf>,
    /// How long to run [default: 1m]
    #[arg(long, env = "RPINGMESH_DURATION", value_name = "D")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<HumanDuration>,
    /// For everything that is random in the fabric [default: 0]
    #[arg(long, env = "RPINGMESH_SEED", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Where the dashboard listens while the lab runs [default: a free port of 127.0.0.1]
    #[arg(long, env = "RPINGMESH_WEB", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<SocketAddr>,
    /// Where the metrics of controller and agents are: /controller/metrics, /agents/HOST/metrics [default: none]
    #[arg(long, env = "RPINGMESH_METRICS", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// Print one JSON object per line, the last being the summary [default: false]
    #[arg(long, env = "RPINGMESH_JSON", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<bool>,
    /// Section `[log]`.
    #[command(flatten)]
    pub log: LogSettings,
}

crate::layer!(LabSettings {
    spines,
    tors,
    hosts,
    rnics,
    pods,
    faults,
    scenario,
    duration,
    seed,
    web,
    metrics,
    json,
    log,
});

impl LabSettings {
    /// The settings of the command line over those of a file.
    ///
    /// # Errors
    /// [`ConfigError::Read`], [`ConfigError::Parse`].
    pub fn load(file: Option<&Path>, command_line: Self) -> Result<Self, ConfigError> {
        super::load(file, command_line)
    }
}
