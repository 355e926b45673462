//! From what was written to what the agent can run with.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    AgentSettings, DeviceFilter, DeviceTor, PathTraceConfig, PathTraceSettings, SteeringChoice,
    TracingChoice, TransportChoice,
};
use crate::config::defaults::agent as defaults;
use crate::config::otlp::OtlpSettings;
use crate::config::size::ByteSize;
use crate::config::{ConfigError, HumanDuration, Layer, LogSettings, TlsSettings, wiring};
use crate::id::{AgentId, Gid, HostName, ROCE_V2_UDP_PORT, TorId};
use crate::net::tls::Security;
use crate::net::url::Url;
use crate::telemetry::logging::{DEFAULT_LEVEL, LogFormat};
use crate::telemetry::otlp::OtlpConfig;
use crate::topology::wiring::{Rnic, Rnics, Wiring};
use crate::transport::RnicName;
use crate::wire::{ClusterKey, Keyring};

const MAX_QUEUE_PAIRS: u8 = 64;
const PROBE_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_mins(1);
/// How often a service connection may be probed.
pub const SERVICE_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_mins(1);
const MIN_SPOOL: ByteSize = ByteSize(1 << 20);
/// Probing faster than this is a load test, not monitoring.
const MAX_RATE: f64 = 1_000_000.0;

/// Where a host's RNICs are by a description of the fabric.
fn rnics_in<'a>(wiring: &'a Wiring, file: &Path, host: &str) -> Result<&'a Rnics, ConfigError> {
    let found = wiring.host(&HostName::new(host));
    found.map(|host| &host.rnics).ok_or_else(|| {
        ConfigError::value("topology", format!(
            "{}: lists no host `{host}`: add it there, name this host as it is listed (`host`), or name the ToR switch (`tor`)",
            file.display()
        ))
    })
}

/// The first ToR of each RNIC: a bond, which has several, registers under that one.
fn first_tors(rnics: &[Rnic]) -> impl Iterator<Item = DeviceTor> {
    rnics.iter().filter_map(|rnic| {
        Some(DeviceTor {
            device: DeviceFilter {
                device: rnic.device.clone(),
                port: None,
            },
            tor: rnic.tors.first()?.clone(),
        })
    })
}

/// The cluster's keys from their file: one per line in hexadecimal, empty lines and those that begin with `#` aside.
fn cluster_keys(path: &Path) -> Result<Keyring, ConfigError> {
    let fail =
        |why: String| ConfigError::value("cluster_key_file", format!("{}: {why}", path.display()));
    let text =
        std::fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let secret = hexadecimal(line).ok_or_else(|| {
            fail(format!(
                "line {} is not a key in hexadecimal, two digits for each byte",
                index + 1
            ))
        })?;
        let key = ClusterKey::new(&secret)
            .map_err(|error| fail(format!("line {}: {error}", index + 1)))?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(fail("it has no key, one per line is expected".to_owned()));
    }
    Ok(Keyring::new(keys))
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

/// Which ToR an RNIC port is cabled to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tors {
    host: Option<TorId>,
    devices: Vec<DeviceTor>,
}

impl Tors {
    /// All RNICs under one ToR.
    pub fn all(tor: TorId) -> Self {
        Self {
            host: Some(tor),
            devices: Vec::new(),
        }
    }

    /// The ToR of this RNIC port, if it was configured; an entry for one port goes before one for its device.
    pub fn of(&self, name: &RnicName) -> Option<&TorId> {
        let matching = || {
            self.devices
                .iter()
                .filter(|entry| entry.device.matches(name))
        };
        matching()
            .find(|entry| entry.device.port.is_some())
            .or_else(|| matching().next())
            .map(|entry| &entry.tor)
            .or(self.host.as_ref())
    }

    /// Whether nothing at all is known.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.devices.is_empty()
    }
}

/// A validated configuration of the agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// What carries the probes.
    pub transport: TransportChoice,
    /// Whether the services' own connections are followed.
    pub tracing: TracingChoice,
    /// The controller.
    pub controller: Url,
    /// The analyzer.
    pub analyzer: Url,
    /// Where the RNICs are cabled to.
    pub tors: Tors,
    /// This host's name.
    pub host: HostName,
    /// The agent's name.
    pub agent_id: AgentId,
    /// RNIC ports to use; empty for all.
    pub devices: Vec<DeviceFilter>,
    /// Index into the GID tables.
    pub gid_index: Option<u32>,
    /// GIDs to use; empty for a choice.
    pub gids: Vec<Gid>,
    /// Queue pairs per endpoint where only they decide the source port.
    pub queue_pairs: u8,
    /// What decides the source port.
    pub steering: SteeringChoice,
    /// Addresses of the userspace transport; empty for all.
    pub userspace_addresses: Vec<IpAddr>,
    /// UDP port of the userspace transport, here and at its peers.
    pub userspace_port: u16,
    /// How long a probe waits for its ACKs.
    pub probe_timeout: Duration,
    /// Between two probes of one service connection.
    pub service_probe_interval: Duration,
    /// DSCP and ECN bits.
    pub traffic_class: u8,
    /// Per RNIC, over all kinds.
    pub max_probes_per_second: f64,
    /// For what outlives the agent.
    pub state_dir: PathBuf,
    /// For results that wait.
    pub spool_dir: PathBuf,
    /// Bytes that results may take there.
    pub spool_limit: u64,
    /// Address of the metrics, if wanted.
    pub metrics: Option<SocketAddr>,
    /// How paths are traced.
    pub path_trace: PathTraceConfig,
    /// Where metrics are pushed to, if wanted.
    pub otlp: Option<OtlpConfig>,
    /// For authentication of probes.
    pub cluster_keys: Keyring,
    /// Protection of gRPC.
    pub security: Security,
}

impl AgentConfig {
    /// Whether an RNIC port is to be used.
    pub fn allows(&self, name: &RnicName) -> bool {
        self.devices.is_empty() || self.devices.iter().any(|filter| filter.matches(name))
    }

    /// `run` cannot register RNICs whose place in the fabric is unknown.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for `tor`.
    pub fn require_tor(&self) -> Result<(), ConfigError> {
        if self.tors.is_empty() {
            return Err(ConfigError::value(
                "tor",
                "is missing: name the ToR switch that this host is cabled to (`tor`, a `topology` file, or `device_tors` for each device)",
            ));
        }
        Ok(())
    }
}

impl AgentSettings {
    /// Fills what is open with the defaults: what `print-config` prints and the agent runs with.
    #[must_use]
    pub fn with_defaults(self) -> Self {
        let host = self.host.clone().unwrap_or_else(system_host_name);
        let agent_id = self.agent_id.clone().unwrap_or_else(|| host.clone());
        let state_dir = self
            .state_dir
            .clone()
            .unwrap_or_else(|| defaults::STATE_DIR.into());
        self.or(Self {
            transport: Some(TransportChoice::Auto),
            tracing: Some(TracingChoice::Auto),
            controller: Some(defaults::CONTROLLER.to_owned()),
            analyzer: Some(defaults::ANALYZER.to_owned()),
            host: Some(host),
            agent_id: Some(agent_id),
            queue_pairs: Some(defaults::QUEUE_PAIRS),
            steering: Some(SteeringChoice::Auto),
            userspace_port: Some(ROCE_V2_UDP_PORT),
            probe_timeout: Some(HumanDuration(defaults::PROBE_TIMEOUT)),
            service_probe_interval: Some(HumanDuration(defaults::SERVICE_PROBE_INTERVAL)),
            traffic_class: Some(defaults::TRAFFIC_CLASS),
            max_probes_per_second: Some(defaults::MAX_PROBES_PER_SECOND),
            spool_dir: Some(state_dir.clone()),
            state_dir: Some(state_dir),
            spool_limit: Some(ByteSize(defaults::SPOOL_LIMIT)),
            path_trace: PathTraceSettings::defaults(),
            otlp: OtlpSettings::defaults(),
            log: LogSettings {
                format: Some(LogFormat::Text),
                level: Some(DEFAULT_LEVEL.to_owned()),
            },
            tls: TlsSettings {
                allow_plaintext: Some(false),
                ..TlsSettings::default()
            },
            ..Self::default()
        })
    }

    /// Checks everything that can be checked without touching a device.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the key that cannot be used.
    pub fn validate(&self) -> Result<AgentConfig, ConfigError> {
        let settings = self.clone().with_defaults();
        if settings.gid_index.is_some() && settings.gids.is_some() {
            return Err(ConfigError::value(
                "gid_index",
                "contradicts `gids`: give one of the two",
            ));
        }
        let security = settings.tls.security()?;
        let controller = server(
            "controller",
            settings.controller.as_deref().unwrap_or_default(),
        )?;
        let analyzer = server("analyzer", settings.analyzer.as_deref().unwrap_or_default())?;
        let cluster_keys = match &settings.cluster_key_file {
            Some(path) => cluster_keys(path)?,
            None => Keyring::unkeyed(),
        };
        Ok(AgentConfig {
            transport: settings.transport.unwrap_or(TransportChoice::Auto),
            tracing: settings.tracing.unwrap_or(TracingChoice::Auto),
            tors: settings.tors()?,
            host: HostName::new(name("host", settings.host.as_deref())?),
            agent_id: AgentId::new(name("agent_id", settings.agent_id.as_deref())?),
            gid_index: settings.gid_index,
            queue_pairs: settings.queue_pairs()?,
            steering: settings.steering.unwrap_or(SteeringChoice::Auto),
            userspace_addresses: settings.userspace_addresses()?,
            userspace_port: settings.userspace_port.unwrap_or(ROCE_V2_UDP_PORT),
            probe_timeout: settings.probe_timeout()?,
            service_probe_interval: settings.service_probe_interval()?,
            traffic_class: settings.traffic_class.unwrap_or(defaults::TRAFFIC_CLASS),
            max_probes_per_second: settings.rate()?,
            spool_limit: settings.spool_limit()?,
            metrics: settings.metrics,
            path_trace: settings.path_trace.validate()?,
            otlp: settings.otlp.validate()?,
            devices: settings.devices.unwrap_or_default(),
            gids: settings.gids.unwrap_or_default(),
            state_dir: settings.state_dir.unwrap_or_default(),
            spool_dir: settings.spool_dir.unwrap_or_default(),
            controller,
            analyzer,
            cluster_keys,
            security,
        })
    }

    fn tors(&self) -> Result<Tors, ConfigError> {
        if self.tor.as_deref().is_some_and(str::is_empty) {
            return Err(ConfigError::value("tor", "is empty: name the ToR switch"));
        }
        // The file is checked even where `tor` goes before it.
        let file = self.topology.as_deref();
        let wiring = file.map(|file| wiring("topology", file)).transpose()?;
        let mut devices = self.device_tors.clone().unwrap_or_default();
        let host = match (&self.tor, &wiring, file) {
            (Some(tor), _, _) => Some(TorId::from(tor.as_str())),
            (None, Some(wiring), Some(file)) => {
                match rnics_in(wiring, file, self.host.as_deref().unwrap_or_default())? {
                    Rnics::All(tor) => Some(tor.clone()),
                    Rnics::Each(rnics) => {
                        // What the configuration says of a device goes before what the file says.
                        devices.extend(first_tors(rnics));
                        None
                    }
                }
            }
            (None, _, _) => None,
        };
        Ok(Tors { host, devices })
    }

    fn queue_pairs(&self) -> Result<u8, ConfigError> {
        let count = self.queue_pairs.unwrap_or(defaults::QUEUE_PAIRS);
        if !(1..=MAX_QUEUE_PAIRS).contains(&count) {
            return Err(ConfigError::value(
                "queue_pairs",
                format!("{count} is not possible: use 1 to {MAX_QUEUE_PAIRS}"),
            ));
        }
        Ok(count)
    }

    fn userspace_addresses(&self) -> Result<Vec<IpAddr>, ConfigError> {
        let addresses = self.userspace_addresses.clone().unwrap_or_default();
        for address in &addresses {
            if address.is_unspecified() || address.is_multicast() {
                return Err(ConfigError::value(
                    "userspace_addresses",
                    format!(
                        "{address} is not an address of one interface: peers must be able to answer to it"
                    ),
                ));
            }
        }
        Ok(addresses)
    }

    fn probe_timeout(&self) -> Result<Duration, ConfigError> {
        let timeout = self
            .probe_timeout
            .map_or(defaults::PROBE_TIMEOUT, |span| span.0);
        if !PROBE_TIMEOUTS.contains(&timeout) {
            return Err(ConfigError::value(
                "probe_timeout",
                format!("{} is not possible: use 1ms to 60s", HumanDuration(timeout)),
            ));
        }
        Ok(timeout)
    }

    fn service_probe_interval(&self) -> Result<Duration, ConfigError> {
        let interval = self
            .service_probe_interval
            .map_or(defaults::SERVICE_PROBE_INTERVAL, |span| span.0);
        if !SERVICE_INTERVALS.contains(&interval) {
            return Err(ConfigError::value(
                "service_probe_interval",
                format!(
                    "{} is not possible: use 1ms to 60s",
                    HumanDuration(interval)
                ),
            ));
        }
        Ok(interval)
    }

    fn rate(&self) -> Result<f64, ConfigError> {
        let rate = self
            .max_probes_per_second
            .unwrap_or(defaults::MAX_PROBES_PER_SECOND);
        // Written so that NaN is refused too.
        if !(rate > 0.0 && rate <= MAX_RATE) {
            return Err(ConfigError::value(
                "max_probes_per_second",
                format!("{rate} is not possible: use a rate above 0 and up to {MAX_RATE}"),
            ));
        }
        Ok(rate)
    }

    fn spool_limit(&self) -> Result<u64, ConfigError> {
        let limit = self.spool_limit.unwrap_or(ByteSize(defaults::SPOOL_LIMIT));
        if limit < MIN_SPOOL {
            return Err(ConfigError::value(
                "spool_limit",
                format!("{limit} is too small: use {MIN_SPOOL} or more"),
            ));
        }
        Ok(limit.0)
    }
}

fn server(key: &'static str, text: &str) -> Result<Url, ConfigError> {
    Url::server(text).map_err(|error| ConfigError::value(key, error.to_string()))
}

fn name(key: &'static str, text: Option<&str>) -> Result<String, ConfigError> {
    let text = text.unwrap_or_default().trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(ConfigError::value(
            key,
            format!(
                "`{}` is not a name: give one without control characters",
                text.escape_debug()
            ),
        ));
    }
    Ok(text.to_owned())
}

/// The host's name as the operating system has it.
fn system_host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
