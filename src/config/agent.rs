//! The agent's configuration: [`AgentSettings`] as people write them, [`AgentConfig`] as the agent runs with them.

mod path_trace;
mod validate;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::otlp::OtlpSettings;
use super::size::ByteSize;
use super::{HumanDuration, LogSettings, TlsSettings};
use crate::id::{DeviceName, Gid, TorId};
use crate::transport::RnicName;

pub use path_trace::{PathTraceConfig, PathTraceSettings};
pub use validate::{AgentConfig, SERVICE_INTERVALS, Tors};

/// What carries the probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TransportChoice {
    /// RDMA devices if one is usable; without RDMA in the operating system user space, else none
    Auto,
    /// RDMA devices through libibverbs (Linux)
    Verbs,
    /// RoCE v2 over ordinary UDP sockets; takes port 4791
    Userspace,
    /// No probing: registration, configuration and health only
    None,
}

/// Whether the services' own connections are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TracingChoice {
    /// If it is possible here
    Auto,
    /// Refuse to start without it
    On,
    /// Never
    Off,
}

/// What decides the UDP source port of a device's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SteeringChoice {
    /// What is known of the device's driver
    Auto,
    /// The address handle's flow label
    FlowLabel,
    /// The sending queue pair, by soft-RoCE's rule
    QueuePair,
    /// The driver, in a way that is not known
    Driver,
}

/// RNIC ports by name: `mlx5_0` means all ports of the device, `mlx5_0/1` one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceFilter {
    /// The device.
    pub device: DeviceName,
    /// One port of it, from 1; all where absent.
    pub port: Option<u8>,
}

impl DeviceFilter {
    /// Whether it means this RNIC port.
    pub fn matches(&self, name: &RnicName) -> bool {
        self.device == name.device && self.port.is_none_or(|port| port == name.port)
    }
}

impl FromStr for DeviceFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail =
            || format!("`{text}` is not a device such as mlx5_0 or mlx5_0/1 (ports count from 1)");
        let (device, port) = match text.split_once('/') {
            None => (text, None),
            Some((device, port)) => match port.parse::<u8>() {
                Ok(port) if port > 0 => (device, Some(port)),
                _ => return Err(fail()),
            },
        };
        if device.is_empty() {
            return Err(fail());
        }
        Ok(Self {
            device: device.into(),
            port,
        })
    }
}

impl std::fmt::Display for DeviceFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            None => self.device.fmt(f),
            Some(port) => write!(f, "{}/{port}", self.device),
        }
    }
}

/// The ToR that a device is cabled to: `mlx5_0=tor3` or `mlx5_0/1=tor3`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceTor {
    /// Which RNIC ports.
    pub device: DeviceFilter,
    /// Their ToR.
    pub tor: TorId,
}

impl FromStr for DeviceTor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((device, tor)) if !tor.is_empty() => Ok(Self {
                device: device.parse()?,
                tor: tor.into(),
            }),
            _ => Err(format!(
                "`{text}` is not DEVICE=TOR, such as mlx5_0=tor3 or mlx5_0/1=tor3"
            )),
        }
    }
}

impl std::fmt::Display for DeviceTor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.device, self.tor)
    }
}

macro_rules! text_forms {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

text_forms!(DeviceFilter, DeviceTor);

/// The agent's settings; each is a TOML key, a flag and a variable.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Configuration")]
pub struct AgentSettings {
    /// What carries the probes [default: auto]
    #[arg(long, env = "RPINGMESH_TRANSPORT", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportChoice>,
    /// Whether the services' own connections are followed and probed [default: auto]
    #[arg(long, env = "RPINGMESH_TRACING", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TracingChoice>,
    /// The controller [default: http://127.0.0.1:7470]
    #[arg(long, env = "RPINGMESH_CONTROLLER", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// The analyzer [default: http://127.0.0.1:7471]
    #[arg(long, env = "RPINGMESH_ANALYZER", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analyzer: Option<String>,
    /// The ToR switch that this host is cabled to; `run` needs it unless topology or device_tors has it [default: none]
    #[arg(long, env = "RPINGMESH_TOR", value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tor: Option<String>,
    /// A description of the fabric, as the controller and the analyzer have it: names this host's ToR where `tor` does not
    /// [default: none]
    #[arg(long, env = "RPINGMESH_TOPOLOGY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<PathBuf>,
    /// ToR switches of single devices, over `tor`: mlx5_0=tor3, mlx5_0/1=tor3 [default: none]
    #[arg(
        long = "device-tors",
        env = "RPINGMESH_DEVICE_TORS",
        value_name = "DEVICE=ID",
        value_delimiter = ','
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_tors: Option<Vec<DeviceTor>>,
    /// This host's name in results [default: the system's]
    #[arg(long, env = "RPINGMESH_HOST", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Name under which the agent registers, the same after each restart [default: the host's name]
    #[arg(long, env = "RPINGMESH_AGENT_ID", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Devices to use: mlx5_0, mlx5_0/1 [default: all that are usable]
    #[arg(
        long,
        env = "RPINGMESH_DEVICES",
        value_name = "DEVICE",
        value_delimiter = ','
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DeviceFilter>>,
    /// Index in the GID table of each device; it must be a RoCE v2 entry [default: chosen, IPv4 first]
    #[arg(long, env = "RPINGMESH_GID_INDEX", value_name = "INDEX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid_index: Option<u32>,
    /// GIDs to use, one for each device, instead of gid_index [default: chosen, IPv4 first]
    #[arg(
        long,
        env = "RPINGMESH_GIDS",
        value_name = "GID",
        value_delimiter = ','
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gids: Option<Vec<Gid>>,
    /// Queue pairs of an endpoint whose driver lets only them decide the UDP source port, 1 to 64 [default: 8]
    #[arg(long, env = "RPINGMESH_QUEUE_PAIRS", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_pairs: Option<u8>,
    /// What decides the UDP source port of the devices' packets [default: auto]
    #[arg(long, env = "RPINGMESH_STEERING", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steering: Option<SteeringChoice>,
    /// Addresses of this host that the userspace transport answers on [default: all but loopback and link-local]
    #[arg(
        long,
        env = "RPINGMESH_USERSPACE_ADDRESSES",
        value_name = "IP",
        value_delimiter = ','
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userspace_addresses: Option<Vec<IpAddr>>,
    /// UDP port of the userspace transport, here and at all its peers; only 4791 is RoCE v2 [default: 4791]
    #[arg(long, env = "RPINGMESH_USERSPACE_PORT", value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userspace_port: Option<u16>,
    /// How long a probe waits for its ACKs, 1ms to 60s [default: 500ms]
    #[arg(long, env = "RPINGMESH_PROBE_TIMEOUT", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_timeout: Option<HumanDuration>,
    /// Between two probes of one service connection, 1ms to 60s; longer where max_probes_per_second leaves less
    /// [default: 10ms]
    #[arg(
        long,
        env = "RPINGMESH_SERVICE_PROBE_INTERVAL",
        value_name = "DURATION"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_probe_interval: Option<HumanDuration>,
    /// DSCP and ECN bits of probes and ACKs, 0 to 255 [default: 0]
    #[arg(long, env = "RPINGMESH_TRAFFIC_CLASS", value_name = "BYTE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_class: Option<u8>,
    /// Upper bound of probes per second and RNIC, over all kinds [default: 150]
    #[arg(long, env = "RPINGMESH_MAX_PROBES_PER_SECOND", value_name = "RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_probes_per_second: Option<f64>,
    /// Folder for what outlives the agent: cached pinglist, spool [default: /var/lib/rpingmesh-agent]
    #[arg(long, env = "RPINGMESH_STATE_DIR", value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Folder for results that wait for the analyzer [default: state_dir]
    #[arg(long, env = "RPINGMESH_SPOOL_DIR", value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool_dir: Option<PathBuf>,
    /// How much results may take there before the oldest are dropped, at least 1MiB [default: 256MiB]
    #[arg(long, env = "RPINGMESH_SPOOL_LIMIT", value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool_limit: Option<ByteSize>,
    /// File with the cluster's keys, one per line in hexadecimal (16 bytes or more); the first signs, all are accepted
    /// [default: none, probes are not authenticated]
    #[arg(long, env = "RPINGMESH_CLUSTER_KEY_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_key_file: Option<PathBuf>,
    /// Address of GET /metrics, without TLS [default: none, no metrics]
    #[arg(long, env = "RPINGMESH_METRICS", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// Section `[path_trace]`.
    #[command(flatten)]
    pub path_trace: PathTraceSettings,
    /// Section `[otlp]`.
    #[command(flatten)]
    pub otlp: OtlpSettings,
    /// Section `[log]`.
    #[command(flatten)]
    pub log: LogSettings,
    /// Section `[tls]`.
    #[command(flatten)]
    pub tls: TlsSettings,
}

crate::layer!(AgentSettings {
    transport,
    tracing,
    controller,
    analyzer,
    tor,
    topology,
    device_tors,
    host,
    agent_id,
    devices,
    gid_index,
    gids,
    queue_pairs,
    steering,
    userspace_addresses,
    userspace_port,
    probe_timeout,
    service_probe_interval,
    traffic_class,
    max_probes_per_second,
    state_dir,
    spool_dir,
    spool_limit,
    cluster_key_file,
    metrics,
    path_trace,
    otlp,
    log,
    tls,
});

#[cfg(test)]
mod tests;
