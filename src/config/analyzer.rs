//! The analyzer's configuration: [`AnalyzerSettings`] as people write them, [`AnalyzerConfig`] as it runs with them.
#![expect(clippy::doc_link_with_quotes, reason = "help texts quote JSON")]

mod alerts;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use axum::http::HeaderName;

use super::otlp::OtlpSettings;
use super::settings::{
    Check, Settings as _, at_least, between, hours, millis, mins, secs, settings, that,
};
use super::share::Share;
use super::size::ByteSize;
use super::{ConfigError, HumanDuration, LogSettings, TlsSettings, store, wiring};
use crate::analysis::sizing::LEAST_PATHS;
use crate::analysis::windows::Limits;
use crate::net::hosts::AllowedHosts;
use crate::net::tls::Security;
use crate::net::url::{Servers, Url};
use crate::store::analyzers::Endpoints;
use crate::store::{Location, Server};
use crate::telemetry::otlp::OtlpConfig;
use crate::topology::wiring::Wiring;

pub use alerts::{AlertConfig, AlertSettings, Secret};

settings! {
    /// What the analyzer can be told.
    AnalyzerSettings {
        /// Where agents upload to (gRPC); port 0 lets the system choose
        listen: String = "127.0.0.1:7471".to_owned(), value("ADDR");
        /// Where the dashboard, the JSON API and /metrics are served (HTTP); port 0 lets the system choose
        web: String = "127.0.0.1:7472".to_owned(), value("ADDR");
        /// Allow the web address to be other than loopback without TLS
        ///
        /// By itself the web server has neither TLS nor passwords.
        web_allow_remote: bool = false;
        /// Serve the web address over TLS with the three files under tls, to those alone who have a certificate of its CA
        web_tls: bool = false;
        /// A header that web requests must have, set by a reverse proxy that has authenticated the user [default: none]
        web_auth_header: Option<String>, value("NAME"), example("X-Forwarded-User");
        /// Names that web requests may have in their Host header, beside loopback names and this server's own addresses; * for any
        /// [default: none]
        ///
        /// Requests for other names are refused (421), so that pages of other sites cannot read the API by making their names
        /// resolve to this address. The host of alerts.external_url is allowed, too.
        web_hosts: Vec<String>, value("NAME"), example(vec!["rpingmesh.example"]), check(host_name());
        /// Where incidents, history and acknowledged batches are kept: sqlite:PATH, made if missing, or
        /// postgres://USER@HOST/DATABASE?fleet=NAME
        ///
        /// Batches are kept until no window needs them. One process owns the file, or one at a time the database. docs/deployment.md
        /// has the parameters.
        store: String = "sqlite:/var/lib/rpingmesh-analyzer/analyzer.db".to_owned(), value("STORE");
        /// Where agents and other analyzers reach this one (gRPC): shares the fleet with other analyzers that have the same database as
        /// store [default: none, this analyzer has the fleet for itself]
        ///
        /// Needs a store in PostgreSQL. With TLS, the analyzer's certificate must name this host. The controllers must have the same
        /// database: they tell each agent its analyzer. docs/deployment.md has more.
        advertise: Option<String>, value("URL"), example("https://analyzer1.example.net:7471");
        /// Where people and programs reach this one (HTTP), for analyzers that are asked and do not judge; needed with advertise
        /// [default: none]
        advertise_web: Option<String>, value("URL"), example("https://analyzer1.example.net:7472");
        /// How late a batch may come and still be counted into the longest window, at most 1h
        ///
        /// The longest window is 120 s.
        lateness: HumanDuration = mins(1), value("DURATION"), check(between(millis(0), hours(1)));
        /// How far an agent's clock may be ahead before its batches are not counted, at most 1h
        clock_tolerance: HumanDuration = secs(5), value("DURATION"), check(between(millis(0), hours(1)));
        /// The most paths kept in the windows; beyond, the one silent for longest goes [default: twice the 5-tuples that the agents'
        /// pinglists have, 500000 at least, as far as memory_limit allows]
        max_paths: Option<usize>, value("COUNT"), example(1_000_000), check(at_least(1));
        /// The most memory that the windows may take, at least 1MiB
        memory_limit: ByteSize = ByteSize(1 << 30), value("SIZE"), check(at_least(ByteSize(1 << 20)));
        /// The fabric's cables, as a JSON file of links and hosts; without it paths are known by traces alone [default: none]
        ///
        /// {"links":[{"a":"spine0","b":"tor3"}],"hosts":[{"name":"h0","tor":"tor0"}],
        /// "switches":[{"name":"spine0","addresses":["10.2.0.2"]}]}; `switches` says by which addresses switches answer traces.
        /// Without the file, what lies between ToRs that nobody has traced is one cloud, `fabric`.
        topology: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/topology.json");
        /// How often the analyzer judges, 200ms to 1m; it takes longer breaks when judging takes long
        judge_interval: HumanDuration = secs(1), value("DURATION"), check(between(millis(200), mins(1)));
        /// Links, switches and RNICs that lose a smaller share of their packets are not reported
        least_loss: Share = Share(0.0), value("RATE");
        /// The controller that is told which 5-tuples would tell most about suspected faults, so that agents probe them more
        /// [default: none, focus is off]
        ///
        /// The controller must name this analyzer (its key focus.analyzers). Of several controllers on one database, all of them with
        /// commas between: each passes it on to the agents that it serves.
        focus_controller: Option<String>, value("URL"), example("https://controller.example.net:7470");
        /// How long closed incidents are kept
        incident_retention: HumanDuration = hours(28 * 24), value("DURATION");
        /// How long a host or an RNIC that is missing is reported, before it is forgotten
        withdrawn_retention: HumanDuration = hours(7 * 24), value("DURATION");
        /// How long the dashboard's past is kept, one matrix per minute
        ///
        /// A matrix takes about 70 KB at most.
        history_retention: HumanDuration = hours(24), value("DURATION");
        /// How long loss and round trips of pairs of ToRs, RNICs, links and services are kept: by the hour for so long, by ten minutes
        /// for two days and by the minute for six hours at most; 1h to 400d
        ///
        /// A week earlier is compared with only while it is kept.
        trend_retention: HumanDuration = hours(8 * 24), value("DURATION"), check(between(hours(1), hours(400 * 24)));
        [otlp]: OtlpSettings;
        [alerts]: AlertSettings;
        [log]: LogSettings;
        [tls]: TlsSettings;
    }
}

/// What the analyzer runs with.
#[derive(Debug, Clone)]
pub struct AnalyzerConfig {
    /// Every key, checked. What was made of keys follows; those keys are not read any more.
    pub settings: AnalyzerSettings,
    /// Where agents upload to.
    pub listen: SocketAddr,
    /// Where the dashboard, the JSON API and metrics are served.
    pub web: SocketAddr,
    /// How it is protected.
    pub web_security: Security,
    /// A header that web requests must have.
    pub web_auth_header: Option<HeaderName>,
    /// By which names web requests may ask for this server.
    pub web_hosts: AllowedHosts,
    /// Where acknowledged batches are kept.
    pub store: Location,
    /// How much the windows keep.
    pub limits: Limits,
    /// How uploads are protected.
    pub security: Security,
    /// The fabric's cables.
    pub topology: Option<Wiring>,
    /// Where metrics are pushed to, if wanted.
    pub otlp: Option<OtlpConfig>,
    /// Who is told of incidents.
    pub alerts: AlertConfig,
    /// The controllers that are told what to probe more.
    pub focus_controller: Option<Servers>,
    /// With whom the fleet is shared; `None` where this analyzer has it for itself.
    pub shared: Option<SharedConfig>,
}

/// How an analyzer shares the fleet with others.
#[derive(Debug, Clone)]
pub struct SharedConfig {
    /// The database that they have in common.
    pub server: Server,
    /// Where this one is reached.
    pub endpoints: Endpoints,
}

impl AnalyzerSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// [`ConfigError::Value`] that names the key.
    pub fn validate(&self) -> Result<AnalyzerConfig, ConfigError> {
        self.check()?;
        let listen = address("listen", &self.listen)?;
        let web = address("web", &self.web)?;
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
        let topology = self
            .topology
            .as_deref()
            .map(|file| wiring("topology", file));
        Ok(AnalyzerConfig {
            listen,
            web,
            web_security: self.web_security(web, &security)?,
            web_auth_header: self.web_auth_header.as_deref().map(header).transpose()?,
            web_hosts: self.web_hosts(),
            store: store(&self.store)?,
            limits: Limits {
                lateness: self.lateness.0,
                clock_tolerance: self.clock_tolerance.0,
                paths: self.max_paths.unwrap_or(LEAST_PATHS),
                bytes: usize::try_from(self.memory_limit.0).unwrap_or(usize::MAX),
            },
            topology: topology.transpose()?,
            otlp: self.otlp.validate()?,
            alerts: self.alerts.validate()?,
            focus_controller: self
                .focus_controller
                .as_deref()
                .map(Servers::parse)
                .transpose()
                .map_err(|error| ConfigError::value("focus_controller", error.to_string()))?,
            shared: self.shared(&security)?,
            security,
            settings: self.clone(),
        })
    }

    fn shared(&self, security: &Security) -> Result<Option<SharedConfig>, ConfigError> {
        let Some(advertise) = &self.advertise else {
            return match &self.advertise_web {
                Some(_) => Err(ConfigError::value("advertise_web", "needs advertise")),
                None => Ok(None),
            };
        };
        let refuse = |why: &str| ConfigError::value("advertise", why);
        let grpc = Url::server(advertise).map_err(|error| refuse(&error.to_string()))?;
        if grpc.is_tls() != matches!(security, Security::Mutual(_)) {
            return Err(refuse(
                "begins with https:// where tls.cert, tls.key and tls.ca are set, and with http:// where they are not",
            ));
        }
        let Some(web) = &self.advertise_web else {
            return Err(ConfigError::value(
                "advertise_web",
                "is needed with advertise",
            ));
        };
        let web = Url::parse(web)
            .map_err(|error| ConfigError::value("advertise_web", error.to_string()))?;
        match store(&self.store)? {
            Location::Postgres(server) => Ok(Some(SharedConfig {
                server: *server,
                endpoints: Endpoints { grpc, web },
            })),
            Location::File(_) | Location::Memory => Err(refuse(
                "needs a store that several analyzers can share: store = \"postgres://USER@HOST/DATABASE?fleet=NAME\"",
            )),
        }
    }

    /// The configured names, and that of the links in alerts.
    fn web_hosts(&self) -> AllowedHosts {
        let external = self.alerts.external_url.as_deref();
        let external = external.and_then(|url| Url::parse(url).ok());
        let names = self.web_hosts.iter().map(String::as_str);
        AllowedHosts::new(names.chain(external.as_ref().map(Url::host)))
    }

    /// How the web address is protected.
    fn web_security(&self, web: SocketAddr, grpc: &Security) -> Result<Security, ConfigError> {
        if self.web_tls {
            return match grpc {
                Security::Mutual(_) => Ok(grpc.clone()),
                Security::Plaintext { .. } => Err(ConfigError::value(
                    "web_tls",
                    "needs tls.cert, tls.key and tls.ca",
                )),
            };
        }
        let security = Security::Plaintext {
            beyond_loopback: self.web_allow_remote,
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
}

/// A name or address alone, as a Host header has it without its port.
fn host_name() -> Check<String> {
    that(|name: &String| {
        let is_name =
            !name.is_empty() && !name.contains(|c: char| c == '/' || c == '@' || c.is_whitespace());
        let has_port = name.parse::<Ipv6Addr>().is_err() && name.contains(':');
        if is_name && !has_port {
            Ok(())
        } else {
            Err(format!(
                "`{name}` is not a host's name or address without a port, such as rpingmesh.example"
            ))
        }
    })
}

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

#[cfg(test)]
mod tests;
