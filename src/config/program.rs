//! What every program does alike at its edges: exit status, error text, stopping on a signal.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::weak::{self, WeakFile};
use super::{ConfigError, LogSettings};
use crate::error::describe;
use crate::net::descriptors;
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

/// What a program that runs for long does first: it raises the number of files that it may open, and warns of weakly protected
/// files.
pub fn prepare(files: &[WeakFile]) {
    let found = descriptors::raise();
    let shown =
        |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    tracing::info!(
        limit = shown(found.limit),
        started_with = shown(found.started_with),
        "open files and connections"
    );
    weak::warn(files);
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

/// How long a program may take to end after SIGTERM or SIGINT. The contract is 5 s.
const END_LIMIT: Duration = Duration::from_millis(4_900);

/// How long threads that still block (a name look-up, a call into a driver) may hold up the end of a program.
const LAST_BLOCKING: Duration = Duration::from_millis(200);

/// A token that SIGTERM and SIGINT cancel.
///
/// A thread of its own waits for the signals, so that they arrive whatever the other threads do. When the program has not
/// ended [`END_LIMIT`] after a signal, because a call into a driver or the system does not return, the thread ends it with
/// status 1. Everything that is stored stays whole: it was written in transactions.
///
/// # Errors
/// Those of installing the signal handlers.
pub fn stop_on_signal() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let stop = token.clone();
    let (installed, outcome) = std::sync::mpsc::sync_channel(1);
    let waiting = move || {
        let signals = match Signals::install() {
            Ok(signals) => signals,
            // The caller waits for this.
            Err(error) => return drop(installed.send(Err(error))),
        };
        drop(installed.send(Ok(())));
        let name = signals.wait();
        tracing::info!(signal = name, "stopping");
        stop.cancel();
        std::thread::sleep(END_LIMIT);
        tracing::error!("{END_LIMIT:?} after the signal some call still blocks: ended without it");
        std::process::exit(1);
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(waiting)?;
    outcome
        .recv()
        .map_err(|_| io::Error::other("the thread that waits for signals has ended"))??;
    Ok(token)
}

/// The handlers of SIGTERM and SIGINT, and the runtime that they belong to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    runtime: Runtime,
}

impl Signals {
    fn install() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let inside = runtime.enter();
        let (terminate, interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        drop(inside);
        Ok(Self {
            terminate,
            interrupt,
            runtime,
        })
    }

    /// Blocks until one of them comes; gives its name.
    fn wait(mut self) -> &'static str {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            }
        })
    }
}

/// Runs a program's future to its end, and then the runtime. Threads that still block then, in a name look-up or a
/// driver's call, are left to the end of the process.
pub fn run_to_end<T>(runtime: Runtime, future: impl Future<Output = T>) -> T {
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(LAST_BLOCKING);
    result
}
