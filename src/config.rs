//! Configuration: a TOML file, environment variables and flags, merged in that order of increasing weight.
//!
//! A settings type is a struct of `Option`s that derives [`clap::Args`], `serde::Deserialize` (with
//! `deny_unknown_fields`) and `serde::Serialize`, and implements [`Layer`] by [`layer!`](crate::layer). So a key
//! exists once and is a TOML key, a flag and a `RPINGMESH_…` variable alike. What a program runs with is another,
//! validated type made from it.

pub mod agent;
pub mod analyzer;
pub mod controller;
pub mod defaults;
pub mod lab;
pub mod manual;
pub mod otlp;
pub mod program;
mod security;
pub mod size;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::telemetry::logging::LogFormat;
use crate::topology::wiring::Wiring;

/// Why a configuration cannot be used. Programs exit with status 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key, or a value of the wrong type.
    #[error("configuration file {path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column, key and reason.
        message: String,
    },
    /// A value that cannot be used.
    #[error("{key}: {why}")]
    Value {
        /// The key as written in TOML (`tls.cert`).
        key: &'static str,
        /// What is wrong and what to do.
        why: String,
    },
}

impl ConfigError {
    /// A value that cannot be used.
    pub fn value(key: &'static str, why: impl Into<String>) -> Self {
        Self::Value {
            key,
            why: why.into(),
        }
    }
}

/// Settings of which one layer can fill what another leaves open.
pub trait Layer: Sized {
    /// Keeps what `self` has and takes the rest from `lower`.
    #[must_use]
    fn or(self, lower: Self) -> Self;
}

impl<T> Layer for Option<T> {
    fn or(self, lower: Self) -> Self {
        Option::or(self, lower)
    }
}

/// Implements [`Layer`] field by field: `layer!(TlsSettings { cert, key, ca });`
#[macro_export]
macro_rules! layer {
    ($name:ty { $($field:ident),* $(,)? }) => {
        impl $crate::config::Layer for $name {
            fn or(self, lower: Self) -> Self {
                Self { $($field: $crate::config::Layer::or(self.$field, lower.$field),)* }
            }
        }
    };
}

/// Merges the settings from the command line and environment over those of a file, if one is named.
///
/// # Errors
/// [`ConfigError::Read`], [`ConfigError::Parse`].
pub fn load<S: Layer + DeserializeOwned>(
    file: Option<&Path>,
    command_line: S,
) -> Result<S, ConfigError> {
    let Some(path) = file else {
        return Ok(command_line);
    };
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let from_file = toml::from_str::<S>(&text).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        message: with_nearest_key(error.to_string()),
    })?;
    Ok(command_line.or(from_file))
}

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

/// Adds to the message about an unknown key the key that looks most like it, if one does.
fn with_nearest_key(message: String) -> String {
    let nearest = message
        .split_once("unknown field `")
        .and_then(|(_, rest)| rest.split_once('`'))
        .and_then(|(unknown, expected)| {
            let limit = (unknown.len() / 3).max(1);
            // Between the backticks are the keys that may be there.
            let keys = expected.split('`').skip(1).step_by(2);
            keys.map(|key| (strsim::damerau_levenshtein(unknown, key), key))
                .filter(|(distance, _)| *distance <= limit)
                .min()
        });
    match nearest {
        Some((_, key)) => format!("{}\ndid you mean `{key}`?", message.trim_end()),
        None => message,
    }
}

/// A duration in the notation people write: `500ms`, `10s`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration(pub Duration);

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|error| format!("`{text}` is not a duration such as 500ms or 10s: {error}"))
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HumanDuration> for String {
    fn from(span: HumanDuration) -> Self {
        span.to_string()
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// Section `[log]`, in every program.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// How log lines are written to standard error [default: text]
    #[arg(
        long = "log-format",
        env = "RPINGMESH_LOG_FORMAT",
        value_enum,
        id = "log_format",
        global = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// Which events are logged, in the notation of tracing's `EnvFilter` [default: info]
    #[arg(
        long = "log-level",
        env = "RPINGMESH_LOG_LEVEL",
        id = "log_level",
        global = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

crate::layer!(LogSettings { format, level });

/// Section `[tls]`, in every program that speaks gRPC.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// PEM file with this program's certificate chain; read again when it changes [default: none, plaintext]
    #[arg(
        long = "tls-cert",
        env = "RPINGMESH_TLS_CERT",
        id = "tls_cert",
        value_name = "FILE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate; read again when it changes [default: none]
    #[arg(
        long = "tls-key",
        env = "RPINGMESH_TLS_KEY",
        id = "tls_key",
        value_name = "FILE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// PEM file with the CA certificates that peers must be signed by; read again when it changes [default: none]
    #[arg(
        long = "tls-ca",
        env = "RPINGMESH_TLS_CA",
        id = "tls_ca",
        value_name = "FILE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Allow gRPC without TLS to and from addresses other than loopback [default: false]
    #[arg(
        long = "tls-allow-plaintext", env = "RPINGMESH_TLS_ALLOW_PLAINTEXT", id = "tls_allow_plaintext",
        num_args = 0..=1, default_missing_value = "true", value_name = "BOOL"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_plaintext: Option<bool>,
}

crate::layer!(TlsSettings {
    cert,
    key,
    ca,
    allow_plaintext,
});

#[cfg(test)]
mod tests;
