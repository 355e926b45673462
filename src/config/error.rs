//! Why a configuration cannot be used.

use std::borrow::Cow;
use std::path::PathBuf;

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
        key: Cow<'static, str>,
        /// What is wrong and what to do.
        why: String,
    },
}

impl ConfigError {
    /// A value that cannot be used.
    pub fn value(key: impl Into<Cow<'static, str>>, why: impl Into<String>) -> Self {
        Self::Value {
            key: key.into(),
            why: why.into(),
        }
    }
}
