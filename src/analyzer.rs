//! The analyzer: takes agents' results and says what was measured where.
//!
//! Tasks and channels, in the order in which their [`Supervisor`] stops them:
//! 1. *serving*
//!    - the gRPC server with one task per upload stream ([`upload`]): decodes, waits for its acknowledgements, at most
//!      [`upload::IN_FLIGHT`] batches ahead of them. Submits to the intake;
//!    - the web server ([`web`]) with the pages for people ([`dashboard`]) and what runs for them: one task that tells open
//!      pages of news, one that keeps a picture per minute;
//!    - the task that judges ([`judging`]): asks the state thread for what it judges, once a second; owns the incidents;
//!    - the task that tells the controller what to probe more ([`focusing`]), if one is configured.
//! 2. *storing*
//!    - the intake ([`intake`]), through a queue of [`intake::DEPTH`] that holds back all streams when the disk is slow:
//!      stores what is new in groups, then passes it on and acknowledges it. It owns the journal and the watermarks. When
//!      the last stream is gone it stores what is queued and ends;
//!    - the state thread ([`state`]) behind a queue of [`state::DEPTH`], which holds back the intake: it owns the windows,
//!      the table of agents and the metrics of what was measured, and answers the readers. It ends after its last sender;
//!    - one task per receiver of alerts ([`alerts`]), which the judging task feeds;
//!    - the push of metrics.
//!
//! Where several analyzers share the fleet, each runs the tasks of [`shared`], and one of them all others, too.
//!
//! A task that panics or ends too early stops the analyzer with an error that names it: what it owns is read back from the
//! store at the next start. Started again instead: the receivers of alerts and the push of metrics. Cancelling at any
//! point is safe: what was not acknowledged is sent again, what was stored is not counted twice.

mod agents;
mod alerts;
mod api;
mod dashboard;
mod error;
mod focusing;
mod intake;
mod judging;
mod memory;
mod metrics;
mod readiness;
mod shared;
mod start;
mod state;
mod tasks;
mod trends;
mod upload;
mod view;
mod web;

#[cfg(test)]
pub(crate) use metrics::tests::every as every_metric;

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use crate::supervisor::Supervisor;

pub use error::AnalyzerError;

/// An analyzer that has its addresses and its stored state. Its tasks run; [`Analyzer::run`] watches over them.
pub struct Analyzer {
    grpc: SocketAddr,
    web: SocketAddr,
    supervisor: Supervisor<AnalyzerError>,
}

impl Analyzer {
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
