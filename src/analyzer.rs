//! The analyzer: takes agents' results and says what was measured where.
//!
//! Tasks and channels:
//! - one task per upload stream ([`upload`]): decodes, waits for its acknowledgements, at most
//!   [`upload::IN_FLIGHT`] batches ahead of them. Submits to
//! - the intake ([`intake`]), through a queue of [`intake::DEPTH`] that holds back all streams when the disk is slow:
//!   stores what is new in groups, then passes it on and acknowledges it. It owns the journal and the watermarks.
//! - the state thread ([`state`]) behind a queue of [`state::DEPTH`], which holds back the intake: it owns the windows,
//!   the table of agents and the metrics of what was measured, and answers the readers.
//! - the task that judges ([`judging`]): asks the state thread for what it judges, once a second; owns the incidents.
//! - one task per receiver of alerts ([`alerts`]), which the judging task feeds.
//! - the web server ([`web`]) with the pages for people ([`dashboard`]) and what runs for them: one task that tells open
//!   pages of news, one that keeps a picture per minute.
//!
//! Stopping: the streams and the web server watch the stop token. When the last stream is gone the intake stores what
//! is queued and ends, then the state thread. Cancelling at any point is safe: what was not acknowledged is sent again,
//! what was stored is not counted twice.

mod agents;
mod alerts;
mod api;
mod dashboard;
mod intake;
mod judging;
mod metrics;
mod state;
mod upload;
mod web;

#[cfg(test)]
pub(crate) use metrics::tests::every as every_metric;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::analysis::report::Batch;
use crate::analysis::routes::Routes;
use crate::config::analyzer::AnalyzerConfig;
use crate::net::server::{self, Listener, ServerError};
use crate::store::StoreError;
use crate::store::open::Stores;
use crate::telemetry::otlp;
use crate::time::Clock;

/// How long open uploads and requests may take to end after a stop.
const GRACE: Duration = Duration::from_secs(2);
/// How long the intake may take to store what is queued after that.
const DRAIN: Duration = Duration::from_secs(2);

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
    /// A part of the analyzer failed in a way that it must not.
    #[error("the analyzer's {0} ended unexpectedly")]
    Ended(&'static str),
}

/// A running analyzer.
#[derive(Debug)]
pub struct Analyzer {
    grpc: SocketAddr,
    web: SocketAddr,
    stop: CancellationToken,
    servers: JoinSet<Result<(), AnalyzerError>>,
    tasks: JoinSet<Result<(), AnalyzerError>>,
    alerts: JoinSet<()>,
}

/// Somebody who watches in the same process: gets every batch that was stored, once, in order. The analyzer waits while
/// this channel is full, as long as somebody holds its other end.
pub type Tap = mpsc::Sender<Arc<Batch>>;

pub use judging::ChangeTap;

/// Those who watch in the same process.
#[derive(Debug, Default)]
pub struct Taps {
    /// Gets the batches.
    pub batches: Option<Tap>,
    /// Gets what becomes of incidents.
    pub changes: Option<ChangeTap>,
}

impl Analyzer {
    /// Opens the store, replays what it holds, and serves until `stop` is cancelled.
    ///
    /// # Errors
    /// The store cannot be used or an address cannot be listened on. Nothing is left running then.
    pub async fn start(
        config: AnalyzerConfig,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<Self, AnalyzerError> {
        Self::start_with_taps(config, clock, stop, Taps::default()).await
    }

    /// [`Self::start`] with some who watch.
    ///
    /// # Errors
    /// Those of [`Self::start`].
    pub async fn start_with_taps(
        config: AnalyzerConfig,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
        taps: Taps,
    ) -> Result<Self, AnalyzerError> {
        let Stores {
            journal,
            incidents,
            history,
        } = Stores::open(&config.store).await?;
        let listener = Listener::bind(config.listen, config.security).await?;
        let web = Listener::bind(config.web, config.web_security).await?;
        let web_address = web.address();
        let metrics = Arc::new(metrics::Metrics::new(listener.counters()));
        let routes = Routes::new(config.topology.as_ref());
        let topology = state::KnownTopology::new(config.topology.clone());
        let (state, state_task) = state::start(
            config.limits.clone(),
            topology,
            clock.clone(),
            metrics.clone(),
            taps.batches,
        );
        let (intake, intake_task) = intake::start(
            journal,
            config.limits,
            clock.clone(),
            state.clone(),
            metrics.clone(),
        )
        .await?;
        let for_pushing = clock.clone();
        let receivers = alerts::AlertInputs {
            config: config.alerts,
            store: incidents.clone(),
            clock: clock.clone(),
            web: web_address,
        };
        let (alerts, alert_tasks) = alerts::start(receivers, &metrics.alerts, &stop).await?;
        let parts = judging::JudgingInputs {
            store: incidents.clone(),
            alerts: alerts.clone(),
            state: state.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            routes,
            interval: config.settings.judge_interval.0,
            retention: config.settings.incident_retention.0,
            tap: taps.changes,
        };
        let (views, judging) = judging::start(parts, stop.clone()).await?;
        let grpc = listener.address();
        let mut servers = JoinSet::new();
        let router =
            server::builder().add_service(upload::service(intake, metrics.clone(), stop.clone()));
        let serving = stop.clone();
        servers.spawn(async move { Ok(listener.serve(router, serving, GRACE).await?) });
        if let Some(otlp) = config.otlp {
            let origin = otlp::Origin {
                service: "rpingmesh-analyzer",
                instance: grpc.to_string(),
            };
            let exposed = metrics.clone();
            let source = move || exposed.encode().ok();
            let pushing = otlp::push(otlp, origin, source, for_pushing, stop.clone());
            servers.spawn(async move {
                pushing.await;
                Ok(())
            });
        }
        let pages = dashboard::DashboardInputs {
            state: state.clone(),
            views: views.clone(),
            incidents: incidents.clone(),
            history,
            clock,
            wiring: config.topology,
            retention: config.settings.history_retention.0,
        };
        let web_parts = web::Web {
            state,
            metrics,
            views,
            incidents,
            alerts,
            auth_header: config.web_auth_header,
        };
        let pages = dashboard::start(pages, &stop);
        let mut tasks = JoinSet::new();
        tasks.spawn(part("intake", intake_task, stop.clone()));
        tasks.spawn(part("state thread", state_task, stop.clone()));
        tasks.spawn(part("judging task", judging, stop.clone()));
        servers.spawn(web::serve(web, web_parts, pages, stop.clone()));
        tracing::info!(grpc = %grpc, web = %web_address, store = %config.store, "the analyzer is ready");
        Ok(Self {
            grpc,
            web: web_address,
            stop,
            servers,
            tasks,
            alerts: alert_tasks,
        })
    }

    /// Where agents upload to, with the port that was chosen.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// Where the API is, with the port that was chosen.
    pub fn web_address(&self) -> SocketAddr {
        self.web
    }

    /// Waits until everything has ended; a part that fails stops the others.
    ///
    /// # Errors
    /// The first failure.
    pub async fn wait(mut self) -> Result<(), AnalyzerError> {
        let mut result = tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            ended = self.servers.join_next() => flatten(ended),
            ended = self.tasks.join_next() => flatten(ended),
        };
        self.stop.cancel();
        while let Some(ended) = self.servers.join_next().await {
            result = result.and(flatten(Some(ended)));
        }
        let drained = async {
            let mut result = Ok(());
            while self.alerts.join_next().await.is_some() {}
            while let Some(ended) = self.tasks.join_next().await {
                result = result.and(flatten(Some(ended)));
            }
            result
        };
        if let Ok(drained) = tokio::time::timeout(DRAIN, drained).await {
            result.and(drained)
        } else {
            tracing::warn!("stopped before everything was stored; agents will send the rest again");
            result
        }
    }
}

/// Waits for the end of a part. Once the analyzer stops all of them end by themselves, in any order.
async fn part(
    name: &'static str,
    task: JoinHandle<()>,
    stop: CancellationToken,
) -> Result<(), AnalyzerError> {
    match task.await {
        Ok(()) if stop.is_cancelled() => Ok(()),
        _ => Err(AnalyzerError::Ended(name)),
    }
}

fn flatten(
    ended: Option<Result<Result<(), AnalyzerError>, tokio::task::JoinError>>,
) -> Result<(), AnalyzerError> {
    match ended {
        Some(Ok(result)) => result,
        Some(Err(error)) if error.is_panic() => Err(AnalyzerError::Ended("server")),
        Some(Err(_)) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(stopping: bool, task: JoinHandle<()>) -> String {
        let stop = CancellationToken::new();
        if stopping {
            stop.cancel();
        }
        part("judging task", task, stop)
            .await
            .map_or_else(|error| error.to_string(), |()| "as it should".to_owned())
    }

    #[tokio::test]
    async fn a_part_may_end_before_its_end_is_awaited_but_only_when_the_analyzer_stops() {
        let unexpected = "the analyzer's judging task ended unexpectedly";
        assert_eq!(told(true, tokio::spawn(async {})).await, "as it should");
        assert_eq!(told(false, tokio::spawn(async {})).await, unexpected);
        let panics = || tokio::spawn(async { panic!("a defect") });
        assert_eq!(told(false, panics()).await, unexpected);
        assert_eq!(told(true, panics()).await, unexpected);
    }
}
