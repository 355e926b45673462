//! Log lines on standard error; standard output belongs to results.

use std::io::IsTerminal as _;

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::escaping::{Escaping, Notation};

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

/// Writes events as lines, in which values cannot begin lines or steer a terminal.
pub fn lines<S, W>(format: LogFormat, writer: W, colours: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let notation = match format {
        LogFormat::Text if colours => Notation::Coloured,
        LogFormat::Text => Notation::Plain,
        LogFormat::Json => Notation::Json,
    };
    let lines = fmt::layer()
        .with_writer(Escaping::new(writer, notation))
        .with_ansi(colours);
    match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
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
    let colours = std::io::stderr().is_terminal();
    let installed = tracing_subscriber::registry()
        .with(filter)
        .with(lines(format, std::io::stderr, colours))
        .try_init();
    if installed.is_err() {
        tracing::debug!("a log subscriber was already installed");
    }
    Ok(())
}
