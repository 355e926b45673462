//! The agent: prober and responder on each RNIC of a host.
//!
//! [`Agent::run`] starts these tasks and waits for them:
//! - [`rnics`]: finds RNICs and starts one [`endpoint`] task for each, which owns its endpoint and session;
//! - [`hardware`]: the RNICs' own counters, for the same batches;
//! - [`registration`]: the stream to the controller; turns pinglists into orders for the endpoints;
//! - [`services`]: follows the services' connections and leaves their paths in the endpoints' mailboxes, where a tracer
//!   tells of them;
//! - [`collect`]: results into batches, batches into the spool;
//! - [`traces`]: which switches the probes pass, for the same batches;
//! - [`upload`]: batches to the analyzer, until it has acknowledged them.
//!
//! No task waits for another but through its channels, so a server that is away, or an RNIC that fails, stops nothing
//! else. At the end the endpoints stop first, then the last batch is made, and the analyzer has [`LAST_UPLOAD`] to take
//! it; what it does not take stays in the spool.

pub mod absence;
pub mod backoff;
pub mod cache;
pub mod client;
pub mod collect;
pub mod drive;
pub mod endpoint;
pub mod hardware;
pub mod mailbox;
pub mod metrics;
pub mod registration;
pub mod rnics;
pub mod services;
pub mod traces;
pub mod upload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::ConfigError;
use crate::config::agent::AgentConfig;
use crate::config::defaults::agent::{PATH_TRACE_TIMEOUT, UPLOAD_INTERVAL};
use crate::hardware::Source;
use crate::path_trace::{PathTracer, Round};
use crate::probe::{Config, Rate};
use crate::service::trace::TraceMessage;
use crate::store::spool::Spool;
use crate::store::{Location, StoreError};
use crate::telemetry;
use crate::time::Clock;
use crate::transport::Provider;

use client::Controller;
use collect::{Collect, Health, Inputs, Outputs};
use endpoint::{DELIVERY_DEPTH, Inventory, Orders, Shared};
use hardware::{Hardware, RISES_DEPTH};
use mailbox::Mailboxes;
use metrics::Metrics;
use registration::{Registration, RegistrationChannels};
use rnics::Rnics;
use services::{ServiceStatus, Services};
use traces::{SEEN_DEPTH, Settings, TRACES_DEPTH, Traces};
use upload::Upload;

/// How long the analyzer has to take the last batches when the agent stops.
pub const LAST_UPLOAD: Duration = Duration::from_secs(1);

/// The spool's file in its folder.
pub const SPOOL_FILE: &str = "spool.sqlite";

/// Why an agent cannot start. Nothing that happens later ends it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Servers and TLS settings contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The spool cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metrics cannot be offered.
    #[error("cannot serve metrics on {address}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Everything that an agent is made of.
pub struct Agent {
    /// Validated.
    pub config: Arc<AgentConfig>,
    /// What carries the probes; `None` for an agent that neither probes nor answers.
    pub provider: Option<Arc<dyn Provider>>,
    /// What traces the paths of the probes; `None` for no tracing.
    pub tracer: Option<Arc<dyn PathTracer>>,
    /// Host time and wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where results wait; [`Agent::spool_location`] for the configured place.
    pub spool: Location,
    /// What this agent does without and why, in words; sent with each heartbeat.
    pub off: Vec<String>,
    /// What the tracer tells of the services' connections; `None` where there is no tracer at all.
    pub tracing: Option<mpsc::Receiver<TraceMessage>>,
    /// Reads the RNICs' own counters; `None` where they have none.
    pub hardware: Option<Arc<dyn Source>>,
    /// What it counts; served and pushed as configured.
    pub metrics: Arc<Metrics>,
}

impl Agent {
    /// The configured place of the spool.
    pub fn spool_location(config: &AgentConfig) -> Location {
        Location::File(config.settings.spool_dir().join(SPOOL_FILE))
    }

    /// Runs until `stop` is cancelled.
    ///
    /// # Errors
    /// [`AgentError`], before any task has started.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AgentError> {
        let config = self.config;
        let controller = Controller::new(&config.controller, &config.security)?;
        let spool = Spool::open(&self.spool, config.settings.spool_limit.0).await?;
        let waiting = spool.waiting().await?;

        let (orders, orders_in) = watch::channel(Arc::new(Orders::idle(session_config(&config))));
        let (inventory, inventory_in) = watch::channel(Inventory::new());
        let (deliveries, deliveries_in) = mpsc::channel(DELIVERY_DEPTH);
        let (degraded, degraded_in) = watch::channel(None);
        let (health, health_in) = watch::channel(Health::default());
        let (interval, interval_in) = watch::channel(UPLOAD_INTERVAL);
        let (service_status, service_status_in) = watch::channel(ServiceStatus::default());
        // What is left of the last run is uploaded too.
        let (spooled, spooled_in) = watch::channel(if waiting > 0 { u64::MAX } else { 0 });
        let (acknowledged, acknowledged_in) = watch::channel(0);
        let newest = spooled_in.clone();

        let upload = Upload::new(&config, spool.clone(), spooled_in, acknowledged)?;
        let mut others = telemetry(&config, &self.metrics, &self.clock, &stop).await?;
        let outputs = Outputs {
            spool,
            spooled,
            health,
            metrics: Arc::clone(&self.metrics),
        };
        let (seen, seen_in) = mpsc::channel(SEEN_DEPTH);
        let (traces, traces_in) = mpsc::channel(TRACES_DEPTH);
        let (rises, rises_in) = mpsc::channel(RISES_DEPTH);
        let inputs = Inputs {
            deliveries: deliveries_in,
            traces: traces_in,
            hardware: rises_in,
            interval: interval_in,
        };
        let tracer = self.tracer.map(|tracer| {
            let clock = self.clock.clone();
            let task = Traces::new(tracer, trace_settings(&config), clock, seen_in, traces);
            tokio::spawn(task.run(stop.clone()))
        });
        let collect = Collect::new(
            inputs,
            outputs,
            tracer.is_some().then_some(seen),
            config.host.clone(),
            self.clock.clone(),
        );
        let channels = RegistrationChannels {
            inventory: inventory_in,
            health: health_in,
            degraded: degraded_in,
            services: self.tracing.is_some().then_some(service_status_in),
            orders,
            upload_interval: interval,
        };
        let mailboxes = Mailboxes::default();
        let services = self.tracing.map(|messages| {
            let channels = services::ServiceChannels {
                messages,
                inventory: inventory.subscribe(),
                orders: orders_in.clone(),
                mailboxes: mailboxes.clone(),
                status: service_status,
            };
            Services::new(channels, controller.clone(), self.clock.clone())
        });
        let registration = Registration::new(config.clone(), controller, channels, self.off);

        let counters = Hardware::new(self.hardware, inventory.subscribe(), rises, self.metrics);
        others.push(("counters", tokio::spawn(counters.run(stop.clone()))));
        let uploading = CancellationToken::new();
        let uploader = tokio::spawn(upload.run(uploading.clone()));
        let collector = tokio::spawn(collect.run());
        let registrar = tokio::spawn(registration.run(stop.clone()));
        let follower = services.map(|services| tokio::spawn(services.run(stop.clone())));
        let shared = self.provider.map(|provider| Shared {
            provider,
            keys: Arc::new(config.cluster_keys.clone()),
            clock: self.clock,
            orders: orders_in,
            mailboxes,
            inventory,
            deliveries: deliveries.clone(),
        });
        match shared {
            Some(shared) => Rnics::new(shared, config, degraded).run(stop).await,
            None => stop.cancelled().await,
        }
        if let Some(tracer) = tracer {
            finished("tracer", tracer.await);
        }
        // The last sender: the collector makes its last batch and ends.
        drop(deliveries);
        finished("collector", collector.await);
        // Its own statement: the guard must not live across the wait.
        let newest = *newest.borrow();
        let _ = tokio::time::timeout(LAST_UPLOAD, drained(newest, acknowledged_in)).await;
        uploading.cancel();
        others.extend([("uploader", uploader), ("registration", registrar)]);
        others.extend(follower.map(|follower| ("service connections", follower)));
        for (name, task) in others {
            finished(name, task.await);
        }
        Ok(())
    }
}

/// Serves and pushes the metrics as configured; gives the tasks.
async fn telemetry(
    config: &AgentConfig,
    metrics: &Metrics,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<Vec<(&'static str, JoinHandle<()>)>, AgentError> {
    let mut tasks = Vec::new();
    if let Some(address) = config.settings.metrics {
        let fail = |source| AgentError::Metrics { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        tracing::info!(%address, "metrics are served");
        let serving = telemetry::metrics::serve(listener, metrics.registry(), stop.clone());
        let serving = async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, %address, "the metrics server failed");
            }
        };
        tasks.push(("metrics server", tokio::spawn(serving)));
    }
    if let Some(otlp) = config.otlp.clone() {
        let origin = telemetry::otlp::Origin {
            service: "rpingmesh-agent",
            instance: config.agent_id.as_str().to_owned(),
        };
        let registry = metrics.registry();
        let source = move || telemetry::metrics::text(&registry).ok();
        let pushing = telemetry::otlp::push(otlp, origin, source, Arc::clone(clock), stop.clone());
        tasks.push(("metrics push", tokio::spawn(pushing)));
    }
    Ok(tasks)
}

/// Until the analyzer has everything.
async fn drained(newest: u64, mut acknowledged: watch::Receiver<u64>) {
    // Fails only when the uploader has ended; then nothing will change.
    let _ = acknowledged.wait_for(|sequence| *sequence >= newest).await;
}

fn finished(name: &str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(task = name, %error, "a task has died");
    }
}

/// How an agent with this configuration traces.
pub fn trace_settings(config: &AgentConfig) -> Settings {
    Settings {
        schedule: config.path_schedule,
        round: trace_round(config),
    }
}

/// How the rounds of its traces are made.
pub fn trace_round(config: &AgentConfig) -> Round {
    Round {
        max_hops: config.settings.path_trace.max_hops,
        timeout: PATH_TRACE_TIMEOUT,
        traffic_class: config.settings.traffic_class,
    }
}

/// How the sessions of an agent with this configuration behave.
pub fn session_config(config: &AgentConfig) -> Config {
    Config {
        timeout: config.settings.probe_timeout.0,
        // Validated; the cap of an invalid rate is that of the paper.
        max_rate: Rate::per_second(config.settings.max_probes_per_second)
            .unwrap_or(Config::default().max_rate),
        service_interval: config.settings.service_probe_interval.0,
        traffic_class: config.settings.traffic_class,
        ..Config::default()
    }
}
