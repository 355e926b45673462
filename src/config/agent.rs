//! The agent's configuration: [`AgentSettings`] as people write them, [`AgentConfig`] as the agent runs with them.

mod path_trace;
mod services;
mod validate;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::otlp::OtlpSettings;
use super::settings::{
    Check, Kind, at_least, between, millis, rate_up_to, scalars, secs, settings, that,
};
use super::size::ByteSize;
use super::text::text_forms;
use super::{HumanDuration, LogSettings, TlsSettings};
use crate::id::{DeviceName, Gid, ROCE_V2_UDP_PORT, TorId, check_name, shown};
use crate::probe::focus::MOST_SHARE;
use crate::transport::{Class, RnicName};

pub use path_trace::PathTraceSettings;
pub use services::{Kubernetes, ServicesSettings};
pub use validate::{AgentConfig, Tors};

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

text_forms!(DeviceFilter, DeviceTor);

scalars! {
    TransportChoice: Kind::Text,
    TracingChoice: Kind::Text,
    SteeringChoice: Kind::Text,
    DeviceFilter: Kind::Text,
    DeviceTor: Kind::Text,
    Gid: Kind::Text,
}

/// Probing faster than this is a load test, not monitoring.
const MAX_RATE: f64 = 1_000_000.0;

settings! {
    /// What the agent can be told.
    AgentSettings {
        /// What carries the probes
        transport: TransportChoice = TransportChoice::Auto;
        /// Whether the services' own connections are followed and probed
        tracing: TracingChoice = TracingChoice::Auto;
        /// The controller; of several on one database, all of them with commas between
        ///
        /// The agent registers with one of them, chosen at random, and with the next one when that one fails.
        controller: String = "http://127.0.0.1:7470".to_owned(), value("URL");
        /// The analyzer
        analyzer: String = "http://127.0.0.1:7471".to_owned(), value("URL");
        /// The ToR switch that this host is cabled to; `run` needs it unless topology, device_tors or lldp has it
        /// [default: none]
        tor: Option<String>, value("ID"), needed("tor0"), check(not_empty());
        /// A description of the fabric, as the controller and the analyzer have it: names this host's ToR where `tor` does not
        /// [default: none]
        ///
        /// All hosts can have the same file: it names the ToR of each RNIC, too.
        topology: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/topology.json");
        /// ToR switches of single devices, over `tor`: mlx5_0=tor3, mlx5_0/1=tor3 [default: none]
        device_tors: Vec<DeviceTor>, value("DEVICE=ID"), example(vec!["mlx5_0=tor0", "mlx5_1/1=tor1"]);
        /// A file with what `lldpcli -f json0 show neighbors` prints: an RNIC that no other key places is under the switch at its
        /// network interface [default: none]
        ///
        /// It is read whenever RNICs are looked for; an RNIC keeps the ToR that it had first.
        lldp: Option<PathBuf>, value("FILE"), example("/run/rpingmesh/lldp.json");
        /// This host's name in results [default: the system's]
        host: String = system_host_name(), value("NAME"), example("host-a"), check(name());
        /// Name under which the agent registers, the same after each restart [default: the host's name]
        agent_id: Option<String>, value("NAME"), example("host-a"), check(name());
        /// Devices to use: mlx5_0, mlx5_0/1 [default: all that are usable]
        devices: Vec<DeviceFilter>, value("DEVICE"), example(vec!["mlx5_0", "mlx5_1/1"]);
        /// Index in the GID table of each device; it must be a RoCE v2 entry [default: chosen, IPv4 first]
        gid_index: Option<u32>, value("INDEX"), example(3);
        /// GIDs to use, one for each device, instead of gid_index [default: chosen, IPv4 first]
        gids: Vec<Gid>, value("GID"), example(vec!["10.0.0.1", "fd00::1"]);
        /// Queue pairs of an endpoint whose driver lets only them decide the UDP source port, 1 to 64
        queue_pairs: u8 = 8, value("COUNT"), check(between(1, 64));
        /// What decides the UDP source port of the devices' packets
        steering: SteeringChoice = SteeringChoice::Auto;
        /// Addresses of this host that the userspace transport answers on [default: all but loopback and link-local]
        userspace_addresses: Vec<IpAddr>, value("IP"), example(vec!["192.0.2.1"]), check(of_one_interface());
        /// UDP port of the userspace transport, here and at all its peers; only 4791 is RoCE v2
        userspace_port: u16 = ROCE_V2_UDP_PORT, value("PORT");
        /// How long a probe waits for its ACKs, 1ms to 60s
        ///
        /// The default is that of R-Pingmesh, section 4.
        probe_timeout: HumanDuration = millis(500), value("DURATION"), check(between(millis(1), secs(60)));
        /// Between two probes of one service connection, 1ms to 60s; longer where max_probes_per_second leaves less
        ///
        /// The default is that of R-Pingmesh, section 4.
        service_probe_interval: HumanDuration = millis(10), value("DURATION"),
            check(between(HumanDuration(*SERVICE_INTERVALS.start()), HumanDuration(*SERVICE_INTERVALS.end())));
        /// DSCP and ECN bits of probes and ACKs, 0 to 255
        ///
        /// Probes of a service's connection have the connection's own.
        traffic_class: u8 = 0, value("BYTE");
        /// Service level of probes and ACKs, 0 to 7: what an RNIC maps to a priority of its own and to the PCP of VLAN tags
        service_level: u8 = 0, value("LEVEL"), check(between(*Class::LEVELS.start(), *Class::LEVELS.end()));
        /// Upper bound of probes per second and RNIC, over all kinds
        max_probes_per_second: f64 = 150.0, value("RATE"), check(rate_up_to(MAX_RATE));
        /// Share of the inter-ToR probes that may move to the 5-tuples which tell most about a suspected fault, 0 to 0.75; 0 for none
        ///
        /// The controller says which ones (its key focus.analyzers). The agent never sends more probes in all.
        focus_share: f64 = 0.5, value("RATIO"), check(between(0.0, MOST_SHARE));
        /// Folder for what outlives the agent: cached pinglist, spool
        state_dir: PathBuf = "/var/lib/rpingmesh-agent".into(), value("FOLDER");
        /// Folder for results that wait for the analyzer [default: state_dir]
        spool_dir: Option<PathBuf>, value("FOLDER"), example("/var/lib/rpingmesh-agent");
        /// How much results may take there before the oldest are dropped, at least 1MiB
        spool_limit: ByteSize = ByteSize(256 << 20), value("SIZE"), check(at_least(ByteSize(1 << 20)));
        /// File with the cluster's keys, one per line in hexadecimal (16 bytes or more); the first signs, all are accepted
        /// [default: none, probes are not authenticated]
        cluster_key_file: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/cluster.keys");
        /// Address of GET /metrics, without TLS [default: none, no metrics]
        metrics: Option<SocketAddr>, value("ADDR"), example("127.0.0.1:9471");
        [path_trace]: PathTraceSettings;
        [services]: ServicesSettings;
        [otlp]: OtlpSettings;
        [log]: LogSettings;
        [tls]: TlsSettings;
    }
}

/// How often a service connection may be probed.
pub const SERVICE_INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_mins(1);

fn not_empty() -> Check<String> {
    that(|text: &String| {
        if text.is_empty() {
            Err("is empty: name the ToR switch".to_owned())
        } else {
            Ok(())
        }
    })
}

/// A name that can stand in results.
fn name() -> Check<String> {
    that(|text: &String| {
        let why = match check_name(text) {
            _ if text.trim().is_empty() => "it is empty".to_owned(),
            Ok(()) => return Ok(()),
            Err(error) => format!("it {error}"),
        };
        Err(format!("`{}` is not a name: {why}", shown(text.trim())))
    })
}

/// An address that peers can answer to.
fn of_one_interface() -> Check<IpAddr> {
    that(|address: &IpAddr| {
        if address.is_unspecified() || address.is_multicast() {
            return Err(format!(
                "{address} is not an address of one interface: peers must be able to answer to it"
            ));
        }
        Ok(())
    })
}

/// The host's name as the operating system has it.
fn system_host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

impl AgentSettings {
    /// The agent's name.
    pub fn agent_id(&self) -> &str {
        self.agent_id.as_ref().unwrap_or(&self.host).trim()
    }

    /// Folder for results that wait.
    pub fn spool_dir(&self) -> &Path {
        self.spool_dir.as_ref().unwrap_or(&self.state_dir)
    }

    /// With the defaults that depend on other keys: what `print-config` prints.
    #[must_use]
    pub fn complete(self) -> Self {
        Self {
            agent_id: Some(self.agent_id().to_owned()),
            spool_dir: Some(self.spool_dir().to_owned()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
