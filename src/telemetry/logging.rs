//! Log lines on standard error; standard output belongs to results.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::config::{ConfigError, LogFormat, LogSettings};

/// Events that are logged unless the configuration says otherwise.
pub const DEFAULT_LEVEL: &str = "info";

/// Says with every program that it cannot read the version of a kernel such as Debian's 7.3; nothing here depends on it.
const NOISE: &str = "aya::util=error";

/// Installs the process-wide subscriber.
///
/// # Errors
/// [`ConfigError::Value`] when the level is not a filter.
pub fn init(settings: &LogSettings) -> Result<(), ConfigError> {
    let level = settings.level.as_deref().unwrap_or(DEFAULT_LEVEL);
    let filter = EnvFilter::try_new(level).map_err(|error| {
        ConfigError::value(
            "log.level",
            format!("`{level}` is not a filter such as info or rpingmesh=debug: {error}"),
        )
    })?;
    let filter = match NOISE.parse() {
        Ok(directive) if !level.contains("aya") => filter.add_directive(directive),
        _ => filter,
    };
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    let installed = match settings.format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("a log subscriber was already installed");
    }
    Ok(())
}
