//! From what was written to what the controller can run with.

use std::net::SocketAddr;
use std::time::Duration;

use super::{
    AgentOverrides, AgentsSettings, ControllerConfig, ControllerSettings, Lifetimes,
    PinglistSettings, RegistrySettings,
};
use crate::config::defaults::controller as defaults;
use crate::config::otlp::OtlpSettings;
use crate::config::{ConfigError, HumanDuration, Layer, LogSettings, TlsSettings, wiring};
use crate::net::tls::Security;
use crate::pinglist::coverage::{MAX_PATHS, tuples_for};
use crate::pinglist::{MAX_SLOTS, Paths, Policy};
use crate::store::sqlite::Location;
use crate::telemetry::logging::{DEFAULT_LEVEL, LogFormat};

const SPANS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_hours(24);
const LEASES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(1);
const RETENTIONS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(24 * 30);
const ROTATIONS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24 * 30);
/// Probing faster than this is a load test, not monitoring.
const MAX_RATE: f64 = 1_000_000.0;

impl ControllerSettings {
    /// The same with every open value that has a default filled in.
    #[must_use]
    pub fn with_defaults(self) -> Self {
        self.or(Self {
            listen: defaults::LISTEN.parse().ok(),
            metrics: None,
            store: Some(defaults::STORE.to_owned()),
            registry: RegistrySettings {
                lease: Some(HumanDuration(defaults::LEASE)),
                retention: Some(HumanDuration(defaults::RETENTION)),
            },
            pinglist: PinglistSettings {
                seed: Some(0),
                coverage: Some(defaults::COVERAGE),
                topology: None,
                parallel_paths: Some(defaults::PARALLEL_PATHS),
                tor_mesh_rate: Some(defaults::TOR_MESH_RATE),
                link_rate: Some(defaults::LINK_RATE),
                rnic_budget: Some(defaults::RNIC_BUDGET),
                max_tuples_per_rnic: Some(defaults::MAX_TUPLES_PER_RNIC),
                rotation: Some(HumanDuration(defaults::ROTATION)),
            },
            agents: AgentsSettings::default(),
            otlp: OtlpSettings::defaults(),
            tls: TlsSettings {
                allow_plaintext: Some(false),
                ..TlsSettings::default()
            },
            log: LogSettings {
                format: Some(LogFormat::Text),
                level: Some(DEFAULT_LEVEL.to_owned()),
            },
        })
    }

    /// Checks every value and reads the files that are named.
    ///
    /// # Errors
    /// [`ConfigError::Value`] that names the key.
    pub fn validate(&self) -> Result<ControllerConfig, ConfigError> {
        let full = self.clone().with_defaults();
        let security = full.tls.security()?;
        let listen = full
            .listen
            .ok_or_else(|| ConfigError::value("listen", "is missing"))?;
        check_exposure(listen, &security)?;
        Ok(ControllerConfig {
            listen,
            metrics: full.metrics,
            otlp: full.otlp.validate()?,
            store: location(full.store.as_deref().unwrap_or(defaults::STORE))?,
            security,
            policy: policy(&full.pinglist)?,
            lifetimes: lifetimes(&full.registry)?,
            agents: overrides(&full.agents)?,
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

fn location(text: &str) -> Result<Location, ConfigError> {
    match text.strip_prefix("sqlite:") {
        Some(":memory:") => Ok(Location::Memory),
        Some(path) if !path.is_empty() => Ok(Location::File(path.into())),
        _ => Err(ConfigError::value(
            "store",
            format!("`{text}` is not a store: expected sqlite:PATH"),
        )),
    }
}

fn lifetimes(settings: &RegistrySettings) -> Result<Lifetimes, ConfigError> {
    let lease = span("registry.lease", settings.lease, &LEASES)?.unwrap_or(defaults::LEASE);
    let retention =
        span("registry.retention", settings.retention, &RETENTIONS)?.unwrap_or(defaults::RETENTION);
    if retention < lease {
        return Err(ConfigError::value(
            "registry.retention",
            format!(
                "{} is shorter than registry.lease, {}",
                HumanDuration(retention),
                HumanDuration(lease)
            ),
        ));
    }
    Ok(Lifetimes { lease, retention })
}

fn overrides(settings: &AgentsSettings) -> Result<AgentOverrides, ConfigError> {
    Ok(AgentOverrides {
        probe_timeout: span("agents.probe_timeout", settings.probe_timeout, &SPANS)?,
        service_probe_interval: span(
            "agents.service_probe_interval",
            settings.service_probe_interval,
            &SPANS,
        )?,
        max_probes_per_second: settings
            .max_probes_per_second
            .map(|rate| positive("agents.max_probes_per_second", rate))
            .transpose()?,
        upload_interval: span("agents.upload_interval", settings.upload_interval, &SPANS)?,
    })
}

impl PinglistSettings {
    /// What pinglists must achieve and may cost.
    ///
    /// # Errors
    /// [`ConfigError`] names the key.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        policy(self)
    }
}

fn policy(settings: &PinglistSettings) -> Result<Policy, ConfigError> {
    let coverage = settings.coverage.unwrap_or(defaults::COVERAGE);
    if !(0.5..=0.999_999).contains(&coverage) {
        return Err(ConfigError::value(
            "pinglist.coverage",
            format!("{coverage} is not a probability from 0.5 to 0.999999"),
        ));
    }
    let tor_mesh_rate = positive(
        "pinglist.tor_mesh_rate",
        settings.tor_mesh_rate.unwrap_or(defaults::TOR_MESH_RATE),
    )?;
    let rnic_budget = positive(
        "pinglist.rnic_budget",
        settings.rnic_budget.unwrap_or(defaults::RNIC_BUDGET),
    )?;
    if rnic_budget <= tor_mesh_rate {
        return Err(ConfigError::value(
            "pinglist.rnic_budget",
            format!(
                "{rnic_budget} leaves nothing for inter-ToR probes beside pinglist.tor_mesh_rate, {tor_mesh_rate}"
            ),
        ));
    }
    let max_tuples = settings
        .max_tuples_per_rnic
        .unwrap_or(defaults::MAX_TUPLES_PER_RNIC);
    if max_tuples == 0 {
        return Err(ConfigError::value(
            "pinglist.max_tuples_per_rnic",
            "0 would leave the links above the ToRs unprobed",
        ));
    }
    Ok(Policy {
        seed: settings.seed.unwrap_or(0),
        coverage,
        paths: paths(settings, coverage)?,
        tor_mesh_rate,
        link_rate: positive(
            "pinglist.link_rate",
            settings.link_rate.unwrap_or(defaults::LINK_RATE),
        )?,
        rnic_budget,
        max_tuples,
        rotation: span("pinglist.rotation", settings.rotation, &ROTATIONS)?
            .unwrap_or(defaults::ROTATION),
        ..Policy::default()
    })
}

fn paths(settings: &PinglistSettings, coverage: f64) -> Result<Paths, ConfigError> {
    let otherwise = settings.parallel_paths.unwrap_or(defaults::PARALLEL_PATHS);
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

fn positive(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    if value.is_finite() && value > 0.0 && value <= MAX_RATE {
        return Ok(value);
    }
    Err(ConfigError::value(
        key,
        format!("{value} is not a rate above 0 and at most {MAX_RATE} per second"),
    ))
}

fn span(
    key: &'static str,
    value: Option<HumanDuration>,
    range: &std::ops::RangeInclusive<Duration>,
) -> Result<Option<Duration>, ConfigError> {
    match value {
        Some(span) if !range.contains(&span.0) => Err(ConfigError::value(
            key,
            format!(
                "{span} is not between {} and {}",
                HumanDuration(*range.start()),
                HumanDuration(*range.end())
            ),
        )),
        other => Ok(other.map(|span| span.0)),
    }
}
