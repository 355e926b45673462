//! From what was written to what the controller can run with.

use std::net::SocketAddr;
use std::time::Duration;

use super::{
    AgentOverrides, AgentsSettings, ClusterKeySettings, ControllerConfig, ControllerSettings,
    Lifetimes, PinglistSettings, RegistrySettings,
};
use crate::cluster_key::rotation::Spans;
use crate::config::settings::Settings as _;
use crate::config::{ConfigError, store, wiring};
use crate::net::tls::Security;
use crate::pinglist::coverage::{MAX_PATHS, tuples_for};
use crate::pinglist::{MAX_SLOTS, Paths, Policy};

impl ControllerSettings {
    /// Checks every value and reads the files that are named.
    ///
    /// # Errors
    /// [`ConfigError::Value`] that names the key.
    pub fn validate(&self) -> Result<ControllerConfig, ConfigError> {
        self.check()?;
        let security = self.tls.security()?;
        check_exposure(self.listen, &security)?;
        let lifetimes = lifetimes(&self.registry)?;
        Ok(ControllerConfig {
            otlp: self.otlp.validate()?,
            store: store(&self.store)?,
            keys: keys(&self.cluster_key, lifetimes.lease, &security),
            security,
            policy: policy(&self.pinglist)?,
            lifetimes,
            agents: overrides(&self.agents),
            settings: self.clone(),
        })
    }
}

fn check_exposure(listen: SocketAddr, security: &Security) -> Result<(), ConfigError> {
    if security.permits(listen.ip()) {
        return Ok(());
    }
    Err(ConfigError::value(
        "listen",
        format!(
            "{listen} is reachable from elsewhere and TLS is off: set tls.cert, tls.key and tls.ca, listen on a loopback \
             address, or allow it with tls.allow_plaintext"
        ),
    ))
}

fn lifetimes(settings: &RegistrySettings) -> Result<Lifetimes, ConfigError> {
    let (lease, retention) = (settings.lease, settings.retention);
    if retention < lease {
        return Err(ConfigError::value(
            "registry.retention",
            format!("{retention} is shorter than registry.lease, {lease}"),
        ));
    }
    Ok(Lifetimes {
        lease: lease.0,
        retention: retention.0,
    })
}

/// A phase lasts twice the lease at least: agents have registered again by then.
fn keys(settings: &ClusterKeySettings, lease: Duration, security: &Security) -> Option<Spans> {
    let is_handed_out = settings.hand_out && matches!(security, Security::Mutual(_));
    is_handed_out.then_some(Spans {
        settle: lease * 2,
        overlap: settings.overlap.0,
        interval: settings.rotation.0,
    })
}

fn overrides(settings: &AgentsSettings) -> AgentOverrides {
    AgentOverrides {
        probe_timeout: settings.probe_timeout.map(|span| span.0),
        service_probe_interval: settings.service_probe_interval.map(|span| span.0),
        max_probes_per_second: settings.max_probes_per_second,
        upload_interval: settings.upload_interval.map(|span| span.0),
        traffic_class: settings.traffic_class,
        service_level: settings.service_level,
    }
}

impl PinglistSettings {
    /// What pinglists must achieve and may cost.
    ///
    /// # Errors
    /// [`ConfigError`] names the key.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        self.check()?;
        policy(self)
    }
}

fn policy(settings: &PinglistSettings) -> Result<Policy, ConfigError> {
    let (budget, tor_mesh) = (settings.rnic_budget, settings.tor_mesh_rate);
    if budget <= tor_mesh {
        return Err(ConfigError::value(
            "pinglist.rnic_budget",
            format!(
                "{budget} leaves nothing for inter-ToR probes beside pinglist.tor_mesh_rate, {tor_mesh}"
            ),
        ));
    }
    Ok(Policy {
        seed: settings.seed,
        coverage: settings.coverage,
        paths: paths(settings, settings.coverage)?,
        tor_mesh_rate: tor_mesh,
        link_rate: settings.link_rate,
        rnic_budget: budget,
        max_tuples: settings.max_tuples_per_rnic,
        rotation: settings.rotation.0,
        tuple_interval: settings.tuple_interval.0,
        same_rail: settings.same_rail,
    })
}

fn paths(settings: &PinglistSettings, coverage: f64) -> Result<Paths, ConfigError> {
    let otherwise = settings.parallel_paths;
    check_paths("pinglist.parallel_paths", otherwise, coverage)?;
    let Some(file) = &settings.topology else {
        return Ok(Paths::Uniform(otherwise));
    };
    let wiring = wiring("pinglist.topology", file)?;
    // Without links the file says which RNICs are where, and nothing of paths.
    if wiring.links().is_empty() {
        return Ok(Paths::Uniform(otherwise));
    }
    let known = wiring.paths();
    check_paths("pinglist.topology", known.most().max(1), coverage)?;
    Ok(Paths::PerPair { known, otherwise })
}

fn check_paths(key: &'static str, paths: u32, coverage: f64) -> Result<(), ConfigError> {
    if !(1..=MAX_PATHS).contains(&paths) {
        return Err(ConfigError::value(
            key,
            format!("{paths} parallel paths: a number from 1 to {MAX_PATHS} is expected"),
        ));
    }
    let tuples = tuples_for(paths, coverage);
    if tuples > MAX_SLOTS {
        return Err(ConfigError::value(
            key,
            format!(
                "{paths} parallel paths need {tuples} 5-tuples for pinglist.coverage {coverage}, more than the UDP source \
                 ports allow ({MAX_SLOTS}): lower the coverage"
            ),
        ));
    }
    Ok(())
}
