//! What every program does alike at its edges: exit status, error text, stopping on a signal.

use std::error::Error;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ConfigError, LogSettings};
use crate::error::describe;
use crate::telemetry::logging;

/// Why a program ends without having done its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Wrong usage or configuration: exit status 2.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Anything else: exit status 1.
    #[error(transparent)]
    Run(Box<dyn Error + Send + Sync>),
}

impl Failure {
    /// A failure with status 1.
    pub fn run(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Run(error.into())
    }
}

/// Starts to write log lines as section `[log]` says.
///
/// # Errors
/// [`ConfigError::Value`] when the level is not a filter.
pub fn start_logging(settings: &LogSettings) -> Result<(), ConfigError> {
    logging::init(settings.format, &settings.level)
        .map_err(|error| ConfigError::value("log.level", error.to_string()))
}

/// Prints a failure to standard error and gives the exit status: 0 done, 1 failed, 2 usage or configuration.
pub fn finish(result: Result<(), Failure>) -> ExitCode {
    let (status, text) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Config(error)) => (2, describe(&error)),
        Err(Failure::Run(error)) => (1, describe(error.as_ref())),
    };
    eprintln!("error: {text}");
    ExitCode::from(status)
}

/// A token that SIGTERM and SIGINT cancel. Call it inside a tokio runtime.
///
/// # Errors
/// Those of installing the signal handlers.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        stop.cancel();
    });
    Ok(token)
}
