//! Configuration: defaults, a TOML file, environment variables and flags, each over what was before.
//!
//! A key is defined once, with [`settings!`](settings::settings): type, default, help, check. What a program runs with is another,
//! validated type made from it.

pub mod agent;
pub mod analyzer;
pub mod controller;
pub(crate) mod defaults;
mod duration;
mod error;
pub mod lab;
pub mod manual;
pub(crate) mod otlp;
pub mod program;
mod security;
pub mod settings;
pub mod share;
pub mod size;

use std::path::{Path, PathBuf};

use settings::{Kind, scalars, settings};

pub use duration::HumanDuration;
pub use error::ConfigError;

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

scalars!(LogFormat: Kind::Text);

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
    /// Mutual TLS: all three files or none, which means plaintext on loopback only. They are read again when they change.
    TlsSettings in "tls" {
        /// PEM file with this program's certificate chain; read again when it changes [default: none, plaintext]
        cert: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/cert.pem");
        /// PEM file with the private key of the certificate; read again when it changes [default: none]
        key: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/key.pem");
        /// PEM file with the CA certificates that peers must be signed by; read again when it changes [default: none]
        ca: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/ca.pem");
        /// Allow gRPC without TLS to and from addresses other than loopback
        allow_plaintext: bool = false;
    }
}

#[cfg(test)]
mod tests;
