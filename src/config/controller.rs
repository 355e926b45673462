//! The controller's configuration: [`ControllerSettings`] as people write them, [`ControllerConfig`] as it runs.

mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::otlp::OtlpSettings;
use super::{HumanDuration, LogSettings, TlsSettings};
use crate::net::tls::Security;
use crate::pinglist::Policy;
use crate::store::sqlite::Location;
use crate::telemetry::otlp::OtlpConfig;

/// Everything that can be said of the controller on the command line, in the environment and in its file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct ControllerSettings {
    /// Address of the gRPC service; port 0 lets the system choose [default: 127.0.0.1:7470]
    #[arg(long, env = "RPINGMESH_LISTEN", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Address of GET /metrics, without TLS [default: none, no metrics]
    #[arg(long, env = "RPINGMESH_METRICS", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// Where the registry is kept: sqlite:PATH, made if missing, or sqlite::memory: for none that lasts [default:
    /// sqlite:/var/lib/rpingmesh-controller/registry.db]
    #[arg(long, env = "RPINGMESH_STORE", value_name = "STORE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// How long registrations last.
    #[command(flatten)]
    pub registry: RegistrySettings,
    /// How pinglists are made.
    #[command(flatten)]
    pub pinglist: PinglistSettings,
    /// What the controller sets for all agents.
    #[command(flatten)]
    pub agents: AgentsSettings,
    /// Metrics pushed to a collector.
    #[command(flatten)]
    pub otlp: OtlpSettings,
    /// Protection of the gRPC service.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// Log lines.
    #[command(flatten)]
    pub log: LogSettings,
}

crate::layer!(ControllerSettings {
    listen,
    metrics,
    store,
    registry,
    pinglist,
    agents,
    otlp,
    tls,
    log,
});

/// Section `[registry]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySettings {
    /// Silence after which an agent counts as stale; it is told to send a heartbeat three times as often [default: 30s]
    #[arg(
        long = "registry-lease",
        env = "RPINGMESH_REGISTRY_LEASE",
        value_name = "D"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<HumanDuration>,
    /// Silence after which an agent is forgotten and leaves the pinglists [default: 10m]
    #[arg(
        long = "registry-retention",
        env = "RPINGMESH_REGISTRY_RETENTION",
        value_name = "D"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<HumanDuration>,
}

crate::layer!(RegistrySettings { lease, retention });

/// Section `[pinglist]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct PinglistSettings {
    /// Decides which UDP source ports are drawn; the same in all controllers of one fabric [default: 0]
    #[arg(
        long = "pinglist-seed",
        env = "RPINGMESH_PINGLIST_SEED",
        value_name = "N"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Probability that the 5-tuples between two ToRs touch all parallel paths, P of Eq. (1) [default: 0.99]
    #[arg(
        long = "pinglist-coverage",
        env = "RPINGMESH_PINGLIST_COVERAGE",
        value_name = "P"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// JSON file that describes the fabric's links and hosts, as `rpingmesh localize` reads it; gives the number of
    /// parallel paths of each pair of ToRs [default: none]
    #[arg(
        long = "pinglist-topology",
        env = "RPINGMESH_PINGLIST_TOPOLOGY",
        value_name = "FILE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<PathBuf>,
    /// Parallel paths between two ToRs, N of Eq. (1), where the topology does not say it [default: 16]
    #[arg(
        long = "pinglist-parallel-paths",
        env = "RPINGMESH_PINGLIST_PARALLEL_PATHS",
        value_name = "N"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_paths: Option<u32>,
    /// ToR-mesh probes per second of each RNIC [default: 10]
    #[arg(
        long = "pinglist-tor-mesh-rate",
        env = "RPINGMESH_PINGLIST_TOR_MESH_RATE",
        value_name = "R"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tor_mesh_rate: Option<f64>,
    /// Inter-ToR probes per second that each link above a ToR gets per direction [default: 10]
    #[arg(
        long = "pinglist-link-rate",
        env = "RPINGMESH_PINGLIST_LINK_RATE",
        value_name = "R"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_rate: Option<f64>,
    /// Probes per second that all lists together may ask of one RNIC; what it cuts off is reported [default: 100]
    #[arg(
        long = "pinglist-rnic-budget",
        env = "RPINGMESH_PINGLIST_RNIC_BUDGET",
        value_name = "R"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rnic_budget: Option<f64>,
    /// Inter-ToR 5-tuples of one RNIC; what it cuts off is reported [default: 8192]
    #[arg(
        long = "pinglist-max-tuples-per-rnic",
        env = "RPINGMESH_PINGLIST_MAX_TUPLES_PER_RNIC",
        value_name = "N"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tuples_per_rnic: Option<u32>,
    /// How often a fifth of the inter-ToR 5-tuples changes [default: 1h]
    #[arg(
        long = "pinglist-rotation",
        env = "RPINGMESH_PINGLIST_ROTATION",
        value_name = "D"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<HumanDuration>,
}

crate::layer!(PinglistSettings {
    seed,
    coverage,
    topology,
    parallel_paths,
    tor_mesh_rate,
    link_rate,
    rnic_budget,
    max_tuples_per_rnic,
    rotation,
});

/// Section `[agents]`: what is left out stays the agent's own setting.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct AgentsSettings {
    /// After how long every agent counts a probe as lost [default: the agent's own]
    #[arg(
        long = "agents-probe-timeout",
        env = "RPINGMESH_AGENTS_PROBE_TIMEOUT",
        value_name = "D"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_timeout: Option<HumanDuration>,
    /// How often every agent probes a traced connection [default: the agent's own]
    #[arg(
        long = "agents-service-probe-interval",
        env = "RPINGMESH_AGENTS_SERVICE_PROBE_INTERVAL",
        value_name = "D"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_probe_interval: Option<HumanDuration>,
    /// Upper bound over all kinds of probes, per RNIC of every agent [default: the agent's own]
    #[arg(
        long = "agents-max-probes-per-second",
        env = "RPINGMESH_AGENTS_MAX_PROBES_PER_SECOND",
        value_name = "R"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_probes_per_second: Option<f64>,
    /// How often every agent puts its results into a batch [default: the agent's own]
    #[arg(
        long = "agents-upload-interval",
        env = "RPINGMESH_AGENTS_UPLOAD_INTERVAL",
        value_name = "D"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_interval: Option<HumanDuration>,
}

crate::layer!(AgentsSettings {
    probe_timeout,
    service_probe_interval,
    max_probes_per_second,
    upload_interval,
});

/// What the controller sets for all agents; `None` leaves the agent's own setting.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentOverrides {
    /// After how long a probe counts as lost.
    pub probe_timeout: Option<Duration>,
    /// How often a traced connection is probed.
    pub service_probe_interval: Option<Duration>,
    /// Probes per second and RNIC over all kinds.
    pub max_probes_per_second: Option<f64>,
    /// How often results are uploaded.
    pub upload_interval: Option<Duration>,
}

/// How long an agent may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Until it counts as stale.
    pub lease: Duration,
    /// Until it is forgotten.
    pub retention: Duration,
}

/// A configuration that the controller can run with.
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// Address of the gRPC service.
    pub listen: SocketAddr,
    /// Address of the metrics, if wanted.
    pub metrics: Option<SocketAddr>,
    /// Where metrics are pushed to, if wanted.
    pub otlp: Option<OtlpConfig>,
    /// Where the registry is kept.
    pub store: Location,
    /// Protection of the gRPC service.
    pub security: Security,
    /// How pinglists are made.
    pub policy: Policy,
    /// Lease and retention of registrations.
    pub lifetimes: Lifetimes,
    /// What agents are told.
    pub agents: AgentOverrides,
}

#[cfg(test)]
mod tests;
