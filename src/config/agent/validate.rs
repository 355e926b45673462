//! From what was written to what the agent can run with.

use std::path::Path;

use super::{AgentSettings, DeviceFilter, DeviceTor, Kubernetes, path_trace, services};
use crate::config::settings::Settings as _;
use crate::config::{ConfigError, wiring};
use crate::id::{AgentId, HostName, TorId};
use crate::net::tls::{IdentityRule, PeerIdentity, Security};
use crate::net::url::{Servers, Url};
use crate::probe::trace::schedule;
use crate::telemetry::otlp::OtlpConfig;
use crate::topology::wiring::{Rnic, Rnics, Wiring};
use crate::transport::RnicName;
use crate::wire::{ClusterKey, Keyring};

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
    /// Every key, checked. What was made of keys follows; those keys are not read any more.
    pub settings: AgentSettings,
    /// The controllers, of which each serves the agent alike.
    pub controller: Servers,
    /// The analyzer.
    pub analyzer: Url,
    /// Where the RNICs are cabled to.
    pub tors: Tors,
    /// This host's name.
    pub host: HostName,
    /// The agent's name.
    pub agent_id: AgentId,
    /// When paths are traced.
    pub path_schedule: schedule::Config,
    /// Where pods get their names, if that is wanted.
    pub kubernetes: Option<Kubernetes>,
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
        let devices = &self.settings.devices;
        devices.is_empty() || devices.iter().any(|filter| filter.matches(name))
    }

    /// Why controller and analyzer will refuse this agent, where its certificate names another host.
    pub fn misnamed(&self) -> Option<String> {
        let Security::Mutual(identity) = &self.security else {
            return None;
        };
        let own = match identity.rule() {
            IdentityRule::San => PeerIdentity::Names(identity.names()),
            IdentityRule::Any => PeerIdentity::Anybody,
        };
        let error = own.permit(&self.host, &self.agent_id).err()?;
        let cert = identity.files().cert.display();
        Some(format!("{cert} (tls.cert) is not this agent's: {error}"))
    }

    /// `run` cannot register RNICs whose place in the fabric is unknown.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for `tor`.
    pub fn require_tor(&self) -> Result<(), ConfigError> {
        if self.tors.is_empty() && self.settings.lldp.is_none() {
            return Err(ConfigError::value(
                "tor",
                "is missing: name the ToR switch that this host is cabled to (`tor`, a `topology` file, `device_tors` for each device, or a file with \
                 lldpd's neighbours, `lldp`)",
            ));
        }
        Ok(())
    }
}

impl AgentSettings {
    /// Checks everything that can be checked without touching a device.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the key that cannot be used.
    pub fn validate(&self) -> Result<AgentConfig, ConfigError> {
        self.check()?;
        if self.gid_index.is_some() && !self.gids.is_empty() {
            return Err(ConfigError::value(
                "gid_index",
                "contradicts `gids`: give one of the two",
            ));
        }
        let cluster_keys = self.cluster_key_file.as_deref().map(cluster_keys);
        Ok(AgentConfig {
            security: self.tls.security()?,
            controller: Servers::parse(&self.controller)
                .map_err(|error| ConfigError::value("controller", error.to_string()))?,
            analyzer: server("analyzer", &self.analyzer)?,
            cluster_keys: cluster_keys.unwrap_or_else(|| Ok(Keyring::unkeyed()))?,
            tors: self.tors()?,
            host: HostName::new(self.host.trim()),
            agent_id: AgentId::new(self.agent_id()),
            path_schedule: path_trace::schedule(&self.path_trace)?,
            kubernetes: services::kubernetes(&self.services)?,
            otlp: self.otlp.validate()?,
            settings: self.clone(),
        })
    }

    fn tors(&self) -> Result<Tors, ConfigError> {
        // The file is checked even where `tor` goes before it.
        let file = self.topology.as_deref();
        let wiring = file.map(|file| wiring("topology", file)).transpose()?;
        let mut devices = self.device_tors.clone();
        let host = match (&self.tor, &wiring, file) {
            (Some(tor), _, _) => Some(TorId::from(tor.as_str())),
            (None, Some(wiring), Some(file)) => {
                match rnics_in(wiring, file, &self.host)? {
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
}

fn server(key: &'static str, text: &str) -> Result<Url, ConfigError> {
    Url::server(text).map_err(|error| ConfigError::value(key, error.to_string()))
}
