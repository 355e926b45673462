//! The analyzer's configuration: [`AnalyzerSettings`] as people write them, [`AnalyzerConfig`] as it runs with them.

mod alerts;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderName;
use serde::{Deserialize, Serialize};

use super::defaults::analyzer as default;
use super::otlp::OtlpSettings;
use super::size::ByteSize;
use super::{ConfigError, HumanDuration, LogSettings, TlsSettings, wiring};
use crate::analysis::windows::Limits;
use crate::net::tls::Security;
use crate::store::sqlite::Location;
use crate::telemetry::otlp::OtlpConfig;
use crate::topology::wiring::Wiring;

pub use alerts::{AlertConfig, AlertSettings, Secret};

/// The analyzer's settings; each is a TOML key, a flag and a variable.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Configuration")]
pub struct AnalyzerSettings {
    /// Where agents upload to (gRPC); port 0 lets the system choose [default: 127.0.0.1:7471]
    #[arg(long, env = "RPINGMESH_LISTEN", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Where the dashboard, the JSON API and /metrics are served (HTTP); port 0 lets the system choose [default: 127.0.0.1:7472]
    #[arg(long, env = "RPINGMESH_WEB", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<String>,
    /// Allow the web address to be other than loopback without TLS [default: false]
    #[arg(
        long = "web-allow-remote", env = "RPINGMESH_WEB_ALLOW_REMOTE",
        num_args = 0..=1, default_missing_value = "true", value_name = "BOOL"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_allow_remote: Option<bool>,
    /// Serve the web address over TLS with the three files under tls, to those alone who have a certificate of its CA [default: false]
    #[arg(
        long = "web-tls", env = "RPINGMESH_WEB_TLS",
        num_args = 0..=1, default_missing_value = "true", value_name = "BOOL"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_tls: Option<bool>,
    /// A header that web requests must have, set by a reverse proxy that has authenticated the user [default: none]
    #[arg(long, env = "RPINGMESH_WEB_AUTH_HEADER", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_auth_header: Option<String>,
    /// Where acknowledged batches are kept [default: sqlite:/var/lib/rpingmesh-analyzer/analyzer.db]
    #[arg(long, env = "RPINGMESH_STORE", value_name = "sqlite:PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// How late a batch may come and still be counted into the longest window, at most 1h [default: 60s]
    #[arg(long, env = "RPINGMESH_LATENESS", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lateness: Option<HumanDuration>,
    /// How far an agent's clock may be ahead before its batches are not counted, at most 1h [default: 5s]
    #[arg(long, env = "RPINGMESH_CLOCK_TOLERANCE", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_tolerance: Option<HumanDuration>,
    /// The most paths kept in the windows; beyond, the one silent for longest goes [default: 500000]
    #[arg(long, env = "RPINGMESH_MAX_PATHS", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_paths: Option<usize>,
    /// The most memory that the windows may take, at least 1MiB [default: 1GiB]
    #[arg(long, env = "RPINGMESH_MEMORY_LIMIT", value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<ByteSize>,
    /// The fabric's cables, as a JSON file of links and hosts; without it paths are known by traces alone [default: none]
    #[arg(long, env = "RPINGMESH_TOPOLOGY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<PathBuf>,
    /// How often the analyzer judges, 200ms to 1m; it takes longer breaks when judging takes long [default: 1s]
    #[arg(long, env = "RPINGMESH_JUDGE_INTERVAL", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge_interval: Option<HumanDuration>,
    /// How long closed incidents are kept [default: 28days]
    #[arg(long, env = "RPINGMESH_INCIDENT_RETENTION", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident_retention: Option<HumanDuration>,
    /// Section `[otlp]`.
    #[command(flatten)]
    pub otlp: OtlpSettings,
    /// Section `[alerts]`.
    #[command(flatten)]
    pub alerts: AlertSettings,
    /// How long the dashboard's past is kept, one matrix per minute [default: 1day]
    #[arg(long, env = "RPINGMESH_HISTORY_RETENTION", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_retention: Option<HumanDuration>,
    /// Section `[log]`.
    #[command(flatten)]
    pub log: LogSettings,
    /// Section `[tls]`.
    #[command(flatten)]
    pub tls: TlsSettings,
}

crate::layer!(AnalyzerSettings {
    listen,
    web,
    web_allow_remote,
    web_tls,
    web_auth_header,
    store,
    lateness,
    clock_tolerance,
    max_paths,
    memory_limit,
    topology,
    judge_interval,
    incident_retention,
    otlp,
    alerts,
    history_retention,
    log,
    tls,
});

/// What the analyzer runs with.
#[derive(Debug, Clone)]
pub struct AnalyzerConfig {
    /// Where agents upload to.
    pub listen: SocketAddr,
    /// Where the dashboard, the JSON API and metrics are served.
    pub web: SocketAddr,
    /// How it is protected.
    pub web_security: Security,
    /// A header that web requests must have.
    pub web_auth_header: Option<HeaderName>,
    /// Where acknowledged batches are kept.
    pub store: Location,
    /// How much the windows keep.
    pub limits: Limits,
    /// How uploads are protected.
    pub security: Security,
    /// The fabric's cables.
    pub topology: Option<Wiring>,
    /// How often is judged.
    pub judge_interval: Duration,
    /// How long closed incidents are kept.
    pub incident_retention: Duration,
    /// Where metrics are pushed to, if wanted.
    pub otlp: Option<OtlpConfig>,
    /// Who is told of incidents.
    pub alerts: AlertConfig,
    /// How long pictures of the matrix are kept.
    pub history_retention: Duration,
}

impl AnalyzerSettings {
    /// The settings with every default filled in; what has none stays open.
    #[must_use]
    pub fn with_defaults(self) -> Self {
        Self {
            listen: Some(self.listen.unwrap_or_else(|| default::LISTEN.to_owned())),
            web: Some(self.web.unwrap_or_else(|| default::WEB.to_owned())),
            web_allow_remote: Some(self.web_allow_remote.unwrap_or(false)),
            web_tls: Some(self.web_tls.unwrap_or(false)),
            web_auth_header: self.web_auth_header,
            store: Some(self.store.unwrap_or_else(|| default::STORE.to_owned())),
            lateness: Some(self.lateness.unwrap_or(HumanDuration(default::LATENESS))),
            clock_tolerance: Some(
                self.clock_tolerance
                    .unwrap_or(HumanDuration(default::CLOCK_TOLERANCE)),
            ),
            max_paths: Some(self.max_paths.unwrap_or(default::MAX_PATHS)),
            memory_limit: Some(self.memory_limit.unwrap_or(ByteSize(default::MEMORY_LIMIT))),
            topology: self.topology,
            judge_interval: Some(
                self.judge_interval
                    .unwrap_or(HumanDuration(default::JUDGE_INTERVAL)),
            ),
            incident_retention: Some(
                self.incident_retention
                    .unwrap_or(HumanDuration(default::INCIDENT_RETENTION)),
            ),
            otlp: OtlpSettings {
                interval: self.otlp.interval.or(OtlpSettings::defaults().interval),
                ..self.otlp
            },
            alerts: self.alerts.with_defaults(),
            history_retention: Some(
                self.history_retention
                    .unwrap_or(HumanDuration(default::HISTORY_RETENTION)),
            ),
            log: self.log,
            tls: self.tls,
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`ConfigError::Value`] that names the key.
    pub fn validate(&self) -> Result<AnalyzerConfig, ConfigError> {
        let listen = address("listen", self.listen.as_deref().unwrap_or(default::LISTEN))?;
        let web = address("web", self.web.as_deref().unwrap_or(default::WEB))?;
        let security = self.tls.security()?;
        if !security.permits(listen.ip()) {
            return Err(ConfigError::value(
                "listen",
                format!(
                    "`{listen}` is not loopback and there is no TLS: set tls.cert, tls.key and tls.ca, or allow it \
                     with tls.allow_plaintext"
                ),
            ));
        }
        let web_security = self.web_security(web, &security)?;
        let judge_interval = self
            .judge_interval
            .map_or(default::JUDGE_INTERVAL, |span| span.0);
        if !(FASTEST..=SLOWEST).contains(&judge_interval) {
            return Err(ConfigError::value(
                "judge_interval",
                "must be from 200ms to 1m",
            ));
        }
        Ok(AnalyzerConfig {
            topology: self
                .topology
                .as_deref()
                .map(|file| wiring("topology", file))
                .transpose()?,
            judge_interval,
            incident_retention: self
                .incident_retention
                .map_or(default::INCIDENT_RETENTION, |span| span.0),
            history_retention: self
                .history_retention
                .map_or(default::HISTORY_RETENTION, |span| span.0),
            listen,
            web,
            web_security,
            web_auth_header: self.web_auth_header.as_deref().map(header).transpose()?,
            store: store(self.store.as_deref().unwrap_or(default::STORE))?,
            limits: self.limits()?,
            otlp: self.otlp.validate()?,
            alerts: self.alerts.validate()?,
            security,
        })
    }

    /// How the web address is protected.
    fn web_security(&self, web: SocketAddr, grpc: &Security) -> Result<Security, ConfigError> {
        if self.web_tls.unwrap_or(false) {
            return match grpc {
                Security::Mutual(_) => Ok(grpc.clone()),
                Security::Plaintext { .. } => Err(ConfigError::value(
                    "web_tls",
                    "needs tls.cert, tls.key and tls.ca",
                )),
            };
        }
        let security = Security::Plaintext {
            beyond_loopback: self.web_allow_remote.unwrap_or(false),
        };
        if !security.permits(web.ip()) {
            return Err(ConfigError::value(
                "web",
                format!(
                    "`{web}` is not loopback, and the web server has neither TLS nor passwords: set web_tls, put a proxy \
                     in front of a loopback address, or allow it with web_allow_remote"
                ),
            ));
        }
        Ok(security)
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        let lateness = self.lateness.map_or(default::LATENESS, |span| span.0);
        let clock_tolerance = self
            .clock_tolerance
            .map_or(default::CLOCK_TOLERANCE, |span| span.0);
        let paths = self.max_paths.unwrap_or(default::MAX_PATHS);
        let memory = self
            .memory_limit
            .map_or(default::MEMORY_LIMIT, |size| size.0);
        for (key, span) in [("lateness", lateness), ("clock_tolerance", clock_tolerance)] {
            if span > LONGEST {
                return Err(ConfigError::value(key, "must be at most 1h"));
            }
        }
        if paths == 0 {
            return Err(ConfigError::value("max_paths", "must be at least 1"));
        }
        if memory < 1 << 20 {
            return Err(ConfigError::value("memory_limit", "must be at least 1MiB"));
        }
        Ok(Limits {
            lateness,
            clock_tolerance,
            paths,
            bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        })
    }
}

const FASTEST: Duration = Duration::from_millis(200);
const SLOWEST: Duration = Duration::from_mins(1);

const LONGEST: Duration = Duration::from_hours(1);

fn address(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        ConfigError::value(
            key,
            format!("`{text}` is not an address with a port, such as 127.0.0.1:7471 or [::1]:7471"),
        )
    })
}

fn header(name: &str) -> Result<HeaderName, ConfigError> {
    name.parse().map_err(|_| {
        ConfigError::value(
            "web_auth_header",
            format!("`{name}` is not a header's name, such as X-Forwarded-User"),
        )
    })
}

fn store(text: &str) -> Result<Location, ConfigError> {
    match text.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() => Ok(Location::File(PathBuf::from(path))),
        _ => Err(ConfigError::value(
            "store",
            format!("`{text}` is not a store: expected sqlite:PATH"),
        )),
    }
}

#[cfg(test)]
mod tests;
