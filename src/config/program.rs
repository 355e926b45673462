//! What every program does alike at its edges: exit status, error text, stopping on a signal.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::ConfigError;

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

/// An error with all its causes in one line: `cannot read x: permission denied`.
pub fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.ends_with(&next_text) {
            let _ = write!(text, ": {next_text}");
        }
        cause = next.source();
    }
    text
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
