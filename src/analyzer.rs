//! The analyzer: takes agents' results and says what was measured where.
//!
//! Tasks and channels, in the order in which their [`Supervisor`] stops them:
//! 1. *serving*
//!    - the gRPC server with one task per upload stream ([`upload`]): decodes, waits for its acknowledgements, at most
//!      [`upload::IN_FLIGHT`] batches ahead of them. Submits to the intake;
//!    - the web server ([`web`]) with the pages for people ([`dashboard`]) and what runs for them: one task that tells open
//!      pages of news, one that keeps a picture per minute;
//!    - the task that judges ([`judging`]): asks the state thread for what it judges, once a second; owns the incidents.
//! 2. *storing*
//!    - the intake ([`intake`]), through a queue of [`intake::DEPTH`] that holds back all streams when the disk is slow:
//!      stores what is new in groups, then passes it on and acknowledges it. It owns the journal and the watermarks. When
//!      the last stream is gone it stores what is queued and ends;
//!    - the state thread ([`state`]) behind a queue of [`state::DEPTH`], which holds back the intake: it owns the windows,
//!      the table of agents and the metrics of what was measured, and answers the readers. It ends after its last sender;
//!    - one task per receiver of alerts ([`alerts`]), which the judging task feeds;
//!    - the push of metrics.
//!
//! A task that panics or ends too early stops the analyzer with an error that names it: what it owns is read back from the
//! store at the next start. Started again instead: the receivers of alerts and the push of metrics. Cancelling at any
//! point is safe: what was not acknowledged is sent again, what was stored is not counted twice.

mod agents;
mod alerts;
mod api;
mod dashboard;
mod intake;
mod judging;
mod metrics;
mod state;
mod tasks;
mod upload;
mod web;

#[cfg(test)]
pub(crate) use metrics::tests::every as every_metric;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::analyzer::AnalyzerConfig;
use crate::events::Publisher;
use crate::net::server::ServerError;
use crate::store::StoreError;
use crate::supervisor::{Supervisor, TaskError};
use crate::time::Clock;

/// How long open uploads and requests may take to end after a stop.
const GRACE: Duration = Duration::from_secs(2);
/// How long what is queued may take to be stored after that, at least.
const DRAIN: Duration = Duration::from_secs(2);
const _: () =
    assert!(GRACE.as_millis() + DRAIN.as_millis() < crate::supervisor::STOP_LIMIT.as_millis());

/// Why the analyzer cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzerError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on, or gRPC cannot be served.
    #[error(transparent)]
    Grpc(#[from] ServerError),
    /// HTTP cannot be served.
    #[error("cannot serve HTTP on {address}")]
    Web {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// One of its tasks panicked or ended.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// An analyzer that has its addresses and its stored state. Its tasks run; [`Analyzer::run`] watches over them.
pub struct Analyzer {
    grpc: SocketAddr,
    web: SocketAddr,
    supervisor: Supervisor<AnalyzerError>,
}

impl Analyzer {
    /// Opens the store, replays what it holds, and serves. Stored batches and changed incidents are published as `events`.
    ///
    /// # Errors
    /// The store cannot be used or an address cannot be listened on. Nothing is left running then.
    pub async fn start(
        config: AnalyzerConfig,
        clock: Arc<dyn Clock>,
        events: Publisher,
    ) -> Result<Self, AnalyzerError> {
        tasks::start(config, clock, events).await
    }

    /// Where agents upload to, with the port that was chosen.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// Where the API is, with the port that was chosen.
    pub fn web_address(&self) -> SocketAddr {
        self.web
    }

    /// Runs until `stop` is cancelled or a task fails, and until all tasks have ended. Dropping this aborts them.
    ///
    /// # Errors
    /// The first failure.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AnalyzerError> {
        self.supervisor.run(stop).await
    }
}
