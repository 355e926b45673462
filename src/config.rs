//! Configuration: defaults, a TOML file, environment variables and flags, each over what was before.
//!
//! A key is defined once, with [`settings!`](settings::settings): type, default, help, check. What a program runs with is another,
//! validated type made from it.

pub mod agent;
pub mod analyzer;
pub mod controller;
pub(crate) mod defaults;
mod error;
pub mod lab;
pub mod manual;
pub(crate) mod otlp;
pub(crate) mod prefix;
pub mod program;
mod security;
pub mod settings;
pub mod share;
pub mod size;
mod text;
pub mod weak;

use std::path::{Path, PathBuf};

use settings::{Kind, scalars, settings};

pub use error::ConfigError;

pub use crate::time::HumanDuration;

use crate::net::tls::IdentityRule;
use crate::store::{Location, LocationError};
use crate::telemetry::logging::{self, LogFormat};
use crate::topology::wiring::Wiring;

/// Reads and checks the topology file that a key names.
///
/// # Errors
/// [`ConfigError::Value`] with the key, the file, and what is wrong where.
pub fn wiring(key: &'static str, file: &Path) -> Result<Wiring, ConfigError> {
    let fail = |why: String| ConfigError::value(key, format!("{}: {why}", file.display()));
    let text =
        std::fs::read_to_string(file).map_err(|error| fail(format!("cannot be read: {error}")))?;
    Wiring::parse(&text).map_err(|error| fail(format!("is not a topology: {error}")))
}

/// The store that key `store` names.
///
/// # Errors
/// [`ConfigError::Value`]: there is no such engine, or this build lacks it.
fn store(text: &str) -> Result<Location, ConfigError> {
    text.parse()
        .map_err(|error: LocationError| ConfigError::value("store", error.to_string()))
}

scalars!(LogFormat: Kind::Text, IdentityRule: Kind::Text);

settings! {
    /// Log lines.
    LogSettings in "log" {
        /// How log lines are written to standard error
        format: LogFormat = LogFormat::Text;
        /// Which events are logged, in the notation of tracing's `EnvFilter`
        ///
        /// Such as info, debug, rpingmesh=debug.
        level: String = logging::DEFAULT_LEVEL.to_owned();
    }
}

settings! {
    /// Mutual TLS: cert, key and ca, or none of them, which means plaintext on loopback only. Files are read again when they change.
    TlsSettings in "tls" {
        /// PEM file with this program's certificate chain; read again when it changes [default: none, plaintext]
        cert: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/cert.pem");
        /// PEM file with the private key of the certificate; read again when it changes [default: none]
        key: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/key.pem");
        /// PEM file with the CA certificates that peers must be signed by; read again when it changes [default: none]
        ca: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/ca.pem");
        /// PEM file with lists of revoked certificates, one of each CA; read again when it changes [default: none]
        crl: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/crl.pem");
        /// What a client's certificate must say: san, the host that it registers or uploads as
        ///
        /// The host is named by a DNS name or SPIFFE id among the certificate's subject alternative names: docs/security.md. With
        /// any, whoever has a certificate of the CA may register and upload as every host. Servers enforce it; an agent warns
        /// at its start that its certificate names another host.
        identity: IdentityRule = IdentityRule::San;
        /// Allow gRPC without TLS to and from addresses other than loopback
        allow_plaintext: bool = false;
    }
}

#[cfg(test)]
mod tests;
