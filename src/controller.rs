//! The controller: registry of the agents, pinglists, target look-up, configuration of the agents.
//!
//! Tasks and channels. The [`Supervisor`] stops the gRPC server with its sessions first, then the others:
//! - The *core* owns all state: directory, plan, versions. Everybody else asks it through one bounded queue
//!   (`core::QUEUE_DEPTH`); a full queue makes callers wait. It stores an announcement before it answers, if
//!   the store takes it.
//! - One *session* per registration stream reads the agent's messages and tells it what changed and what to probe more, which it
//!   learns through `watch` channels: only the newest matters, so nothing can pile up.
//! - The gRPC server and, if wanted, the metrics server.
//!
//! Several controllers may share a registry: each sees what the others have stored (`core::sharing`), and gives the same lists.
//!
//! The registry is soft state: what the store does not take is served from memory, reported, and stored later ([`unstored`]).
//!
//! A task that panics or ends too early stops the controller with an error that names it; the state is read back from the
//! store at the next start. Only the push of metrics is started again instead. Cancelling is safe: a session that ends leaves the agent its lease; the core does nothing halfway that is not in one
//! transaction of the store.

mod addresses;
mod answer;
mod calls;
mod core;
mod directory;
mod focus;
mod health;
mod keys;
mod metrics;
mod origin;
mod placing;
mod reported;
pub mod rotate;
mod service;
mod session;
mod sharing;
mod unstored;

#[cfg(test)]
pub(crate) use metrics::tests::every as every_metric;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::controller::ControllerConfig;
use crate::error::describe;
use crate::net::calls::counted;
use crate::net::server::{self, Listener, ServerError};
use crate::net::tls::Security;
use crate::rpc::v1::controller_service_server::ControllerServiceServer;
use crate::store::StoreError;
use crate::store::registry::{Registry, RegistryError};
use crate::store::tenure::RELEASE;
use crate::supervisor::{Stage, Supervisor, TaskError};
use crate::telemetry::{self, otlp};
use crate::time::Clock;

/// The largest request: an announcement with the most RNICs and the longest names fits in it twice.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// How long open calls may take to end when the controller stops.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// What the core and the last push of metrics have at least after that.
const CORE_RESERVE: Duration = Duration::from_secs(2);

/// Why the controller cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The registry cannot be read.
    #[error("cannot read the registry")]
    Registry(#[from] RegistryError),
    /// Another controller has taken the registry over.
    #[error(transparent)]
    Taken(#[from] StoreError),
    /// The gRPC service cannot be offered.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The metrics cannot be offered.
    #[error("cannot serve metrics on {address}")]
    Metrics {
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

/// A controller that has its addresses and its stored state and does not serve yet.
pub struct Controller {
    listener: Listener,
    metrics_listener: Option<TcpListener>,
    config: ControllerConfig,
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    stored: Vec<crate::topology::Announcement>,
    exposed: Arc<prometheus_client::registry::Registry>,
    metrics: metrics::Metrics,
}

impl Controller {
    /// Binds the addresses and reads the registry.
    ///
    /// # Errors
    /// [`ControllerError`].
    pub async fn start(
        config: ControllerConfig,
        registry: Arc<dyn Registry>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ControllerError> {
        let stored = match registry.load().await {
            Ok(stored) => stored,
            Err(RegistryError::Store(error)) => {
                tracing::error!(
                    error = describe(&error),
                    "the registry cannot be read: the controller starts without it, and agents register again"
                );
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        let listener = Listener::bind(config.settings.listen, config.security.clone()).await?;
        let metrics_listener = match config.settings.metrics {
            None => None,
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .map_err(|source| ControllerError::Metrics { address, source })?,
            ),
        };
        let (exposed, metrics) = metrics::Metrics::registered(listener.counters());
        Ok(Self {
            exposed: Arc::new(exposed),
            metrics,
            listener,
            metrics_listener,
            config,
            registry,
            clock,
            stored,
        })
    }

    /// Where the gRPC service listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Where the metrics are, if they are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_listener
            .as_ref()
            .and_then(|listener| listener.local_addr().ok())
    }

    /// What shows its metrics.
    pub fn registry(&self) -> Arc<prometheus_client::registry::Registry> {
        Arc::clone(&self.exposed)
    }

    /// Serves until `stop` is cancelled.
    ///
    /// # Errors
    /// [`ControllerError`] when a task fails.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ControllerError> {
        let known = self.stored.len();
        tracing::info!(address = %self.listener.address(), agents = known, "controller listens");
        if let Some(waived) = self.config.security.waived() {
            tracing::warn!("{waived}");
        }
        let mut supervisor = Supervisor::new("controller");
        let serving = supervisor.stage(Duration::ZERO);
        let core_stage = supervisor.stage(CORE_RESERVE);
        // After all others: it lets a successor begin.
        let holding = supervisor.stage(RELEASE);
        let (tenure, stopping) = (self.registry.tenure(), holding.token());
        let lease = async move { Ok(tenure.hold(stopping).await?) };
        supervisor.spawn(&holding, "store lease", lease);
        let (core, handle) = core::Core::new(
            &self.config,
            (Arc::clone(&self.registry), std::mem::take(&mut self.stored)),
            Arc::clone(&self.clock),
            self.metrics.clone(),
        );
        let under_way = core.lists_under_way();
        self.expose(&handle, &mut supervisor, &core_stage);
        supervisor.spawn(&core_stage, "core", core.run(core_stage.token()));
        match &self.config.keys {
            Some(_) => {
                let watching = rotate::watch(
                    self.config.store.clone(),
                    Arc::clone(&self.registry),
                    handle.clone(),
                    core_stage.token(),
                );
                supervisor.spawn(&core_stage, "key requests", watching);
            }
            None => tracing::info!(
                tls = matches!(self.config.security, Security::Mutual(_)),
                hand_out = self.config.settings.cluster_key.hand_out,
                "agents get no key to sign their probes with"
            ),
        }
        let service = service::Service::new(
            &self.config,
            (handle, under_way),
            self.registry.shared().map(|shared| shared.analyzers()),
            self.metrics,
            serving.token(),
        );
        let service =
            ControllerServiceServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES);
        let router = server::builder().add_service(counted(service));
        let (listener, stopping) = (self.listener, serving.token());
        let grpc = async move { Ok(listener.serve(router, stopping, STOP_GRACE).await?) };
        supervisor.spawn(&serving, "gRPC server", grpc);
        supervisor.run(stop).await
    }

    /// Serves and pushes the metrics as configured, and serves [`health`] beside them. The push is started again after a panic:
    /// it only reads what others count.
    fn expose(
        &mut self,
        core: &core::Handle,
        supervisor: &mut Supervisor<ControllerError>,
        stage: &Stage,
    ) {
        if let Some(listener) = self.metrics_listener.take() {
            let address = listener.local_addr().unwrap_or(self.config.settings.listen);
            tracing::info!(%address, "metrics are served");
            let router = telemetry::metrics::router(self.registry());
            let router = router.merge(health::router(core.clone()));
            let serving = telemetry::metrics::serve_router(listener, router, stage.token());
            let serving =
                serving.map_err(move |source| ControllerError::Metrics { address, source });
            supervisor.spawn(stage, "metrics server", serving);
        }
        if let Some(otlp) = self.config.otlp.clone() {
            let origin = otlp::Origin {
                service: "rpingmesh-controller",
                instance: self.listener.address().to_string(),
            };
            let (registry, clock) = (self.registry(), Arc::clone(&self.clock));
            let source = move || telemetry::metrics::values(&registry).ok();
            let pushing = otlp::pushing(otlp, origin, source, clock);
            supervisor.spawn_restarted(stage, "metrics push", pushing);
        }
    }
}
