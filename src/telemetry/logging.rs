//! Log lines on standard error; standard output belongs to results.

use std::io::IsTerminal as _;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// Events that are logged unless the configuration says otherwise.
pub(crate) const DEFAULT_LEVEL: &str = "info";

/// Says with every program that it cannot read the version of a kernel such as Debian's 7.3; nothing here depends on it.
const NOISE: &str = "aya::util=error";

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What cannot be used as a filter of log lines.
#[derive(Debug, thiserror::Error)]
#[error("`{level}` is not a filter such as info or rpingmesh=debug: {source}")]
pub(crate) struct FilterError {
    level: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Installs the process-wide subscriber; `level` is in the notation of [`EnvFilter`].
///
/// # Errors
/// The level is not a filter.
pub(crate) fn init(format: LogFormat, level: &str) -> Result<(), FilterError> {
    let filter = EnvFilter::try_new(level).map_err(|source| FilterError {
        level: level.to_owned(),
        source,
    })?;
    let filter = match NOISE.parse() {
        Ok(directive) if !level.contains("aya") => filter.add_directive(directive),
        _ => filter,
    };
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    let installed = match format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("a log subscriber was already installed");
    }
    Ok(())
}
