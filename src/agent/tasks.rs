//! Starts an agent's tasks: makes the channels between them and gives the tasks to the supervisor, consumers before
//! producers. The stages are described in [`super`].

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::client::Controller;
use super::collect::{Collect, Inputs, Outputs};
use super::condition::{Condition, RegistrationTrouble};
use super::endpoint::{DELIVERY_DEPTH, Delivery, Inventory, Orders, Shared};
use super::hardware::{Hardware, RISES_DEPTH};
use super::health::Health;
use super::keys::Keys;
use super::mailbox::Mailboxes;
use super::metrics::Metrics;
use super::outcome::PathOutcome;
use super::pods::{Pods, PodsIn};
use super::registration::{Registration, RegistrationChannels};
use super::rnics::Rnics;
use super::services::{ServiceChannels, ServiceStatus, Services};
use super::settings::{session_config, trace_settings};
use super::traces::{SEEN_DEPTH, TRACES_DEPTH, Traces};
use super::upload::{GOODBYE, LAST_UPLOAD, Upload};
use super::{Agent, AgentError};
use crate::analysis::hardware::PortRise;
use crate::config::agent::AgentConfig;
use crate::config::defaults::agent::UPLOAD_INTERVAL;
use crate::hardware::Source;
use crate::path_trace::PathTracer;
use crate::probe::trace::Trace;
use crate::rpc::shards::Assignment;
use crate::service::naming::Naming;
use crate::service::trace::TraceMessage;
use crate::store::spool::Spool;
use crate::supervisor::{Stage, Supervisor};
use crate::telemetry::{self, otlp};
use crate::time::Clock;
use crate::transport::Provider;

/// What the collector has at least to make the last batch and store it.
const LAST_BATCH: Duration = Duration::from_secs(1);
/// What the uploader and the metrics have at least: [`LAST_UPLOAD`], [`GOODBYE`] and a moment.
const LAST_MOMENT: Duration = Duration::from_millis(1_300);
const _: () = assert!(LAST_UPLOAD.as_millis() + GOODBYE.as_millis() < LAST_MOMENT.as_millis());

/// The supervisor while tasks are added, and what most of them need.
struct Tasks {
    supervisor: Supervisor<AgentError>,
    probing: Stage,
    collecting: Stage,
    uploading: Stage,
    config: Arc<AgentConfig>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    orders: watch::Receiver<Arc<Orders>>,
    inventory: watch::Sender<Inventory>,
    mailboxes: Mailboxes,
}

/// What the collector makes batches of, besides what the endpoints deliver.
struct Sources {
    deliveries: mpsc::Receiver<Delivery>,
    rises: mpsc::Receiver<Vec<PortRise>>,
    interval: watch::Receiver<Duration>,
}

impl Agent {
    /// Runs until `stop` is cancelled.
    ///
    /// # Errors
    /// [`AgentError`]: the agent cannot start, or one of its tasks has failed.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AgentError> {
        // A stop while the spool is being opened: nothing runs yet.
        match stop.run_until_cancelled(start(self)).await {
            Some(supervisor) => supervisor?.run(stop).await,
            None => Ok(()),
        }
    }
}

/// Starts all tasks.
///
/// # Errors
/// [`AgentError`]; then nothing is left running.
async fn start(agent: Agent) -> Result<Supervisor<AgentError>, AgentError> {
    if let Some(why) = agent.config.misnamed() {
        tracing::warn!("{why}");
    }
    let controller = Controller::new(&agent.config.controller, &agent.config.security)?;
    let spool = Spool::open(&agent.spool, agent.config.settings.spool_limit.0).await?;
    let keys = Keys::open(&agent.config).await;
    let idle = Arc::new(Orders {
        key_use: keys.key_use(),
        ..Orders::idle(session_config(&agent.config), keys.ring())
    });
    let (orders, orders_in) = watch::channel(idle);
    let mut tasks = Tasks::new(agent.config, agent.clock, agent.metrics, orders_in);
    tasks.serve_metrics().await?;
    tasks.push_metrics();
    let (health, health_in) = watch::channel(Health::default());
    let (without_rnics, without_rnics_in) = watch::channel(None);
    let (trouble, trouble_in) = watch::channel(RegistrationTrouble::default());
    let traced = agent
        .tracing
        .map(|messages| (messages, watch::channel(ServiceStatus::default())));
    let condition = Condition {
        off: agent.off,
        inventory: tasks.inventory.subscribe(),
        health: health_in,
        without_rnics: without_rnics_in,
        services: traced.as_ref().map(|(_, (_, status))| status.clone()),
        registration: trouble_in,
        orders: tasks.orders.clone(),
    };
    let (assignment, assigned) = watch::channel(None);
    let spooled = tasks.upload(spool.clone(), condition.clone(), assigned)?;

    let (interval, interval_in) = watch::channel(UPLOAD_INTERVAL);
    let (deliveries, deliveries_in) = mpsc::channel(DELIVERY_DEPTH);
    let (rises, rises_in) = mpsc::channel(RISES_DEPTH);
    let (traces, traces_in) = mpsc::channel(TRACES_DEPTH);
    let seen = agent.tracer.map(|tracer| tasks.trace(tracer, traces));
    let sources = Sources {
        deliveries: deliveries_in,
        rises: rises_in,
        interval: interval_in,
    };
    tasks.collect(sources, (traces_in, seen), (spool, spooled), health);

    if let Some((messages, (status, _))) = traced {
        tasks.follow_services(messages, status, controller.clone());
    }
    let channels = RegistrationChannels {
        inventory: tasks.inventory.subscribe(),
        condition,
        trouble,
        orders,
        upload_interval: interval,
        assignment,
    };
    tasks.register(controller, channels, keys);
    tasks.read_counters(agent.hardware, rises);
    if let Some(provider) = agent.provider {
        tasks.probe(provider, deliveries, without_rnics);
    }
    Ok(tasks.supervisor)
}

impl Tasks {
    fn new(
        config: Arc<AgentConfig>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        orders: watch::Receiver<Arc<Orders>>,
    ) -> Self {
        let mut supervisor = Supervisor::new("agent");
        Self {
            probing: supervisor.stage(Duration::ZERO),
            collecting: supervisor.stage(LAST_BATCH),
            uploading: supervisor.stage(LAST_MOMENT),
            supervisor,
            config,
            clock,
            metrics,
            orders,
            inventory: watch::Sender::new(Inventory::new()),
            mailboxes: Mailboxes::default(),
        }
    }

    /// Serves the metrics as configured.
    async fn serve_metrics(&mut self) -> Result<(), AgentError> {
        let Some(address) = self.config.settings.metrics else {
            return Ok(());
        };
        let fail = move |source| AgentError::Metrics { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let bound = listener.local_addr().map_err(fail)?;
        tracing::info!(address = %bound, "metrics are served");
        let (registry, stop) = (self.metrics.registry(), self.uploading.token());
        let serving = async move {
            let served = telemetry::metrics::serve(listener, registry, stop).await;
            served.map_err(fail)
        };
        self.supervisor
            .spawn(&self.uploading, "metrics server", serving);
        Ok(())
    }

    /// Pushes the metrics as configured. Started again after a panic: it only reads what others count.
    fn push_metrics(&mut self) {
        let Some(otlp) = self.config.otlp.clone() else {
            return;
        };
        let origin = otlp::Origin {
            service: "rpingmesh-agent",
            instance: self.config.agent_id.as_str().to_owned(),
        };
        let (registry, clock) = (self.metrics.registry(), Arc::clone(&self.clock));
        let source = move || telemetry::metrics::values(&registry).ok();
        let pushing = otlp::pushing(otlp, origin, source, clock);
        self.supervisor
            .spawn_restarted(&self.uploading, "metrics push", pushing);
    }

    /// Uploads the spool. Gives the sender for the number of the newest batch.
    fn upload(
        &mut self,
        spool: Spool,
        condition: Condition,
        assigned: watch::Receiver<Option<Assignment>>,
    ) -> Result<watch::Sender<u64>, AgentError> {
        let (spooled, spooled_in) = watch::channel(0);
        let upload = Upload::new(&self.config, spool, spooled_in, condition, assigned)?;
        let task = upload.run(self.uploading.token());
        self.supervisor.spawn(&self.uploading, "uploader", task);
        Ok(spooled)
    }

    /// Traces paths. Gives the sender for what became of their probes.
    fn trace(
        &mut self,
        tracer: Arc<dyn PathTracer>,
        traces: mpsc::Sender<Trace>,
    ) -> mpsc::Sender<Vec<PathOutcome>> {
        let (seen, seen_in) = mpsc::channel(SEEN_DEPTH);
        let settings = trace_settings(&self.config);
        let (orders, clock) = (self.orders.clone(), Arc::clone(&self.clock));
        let task =
            Traces::new(tracer, settings, orders, clock, seen_in, traces).run(self.probing.token());
        self.supervisor.spawn(&self.probing, "path tracer", task);
        seen
    }

    /// Makes batches and stores them.
    fn collect(
        &mut self,
        sources: Sources,
        (traces, seen): (
            mpsc::Receiver<Trace>,
            Option<mpsc::Sender<Vec<PathOutcome>>>,
        ),
        (spool, spooled): (Spool, watch::Sender<u64>),
        health: watch::Sender<Health>,
    ) {
        let inputs = Inputs {
            deliveries: sources.deliveries,
            traces,
            hardware: sources.rises,
            interval: sources.interval,
        };
        let outputs = Outputs {
            spool,
            spooled,
            health,
            metrics: Arc::clone(&self.metrics),
        };
        let (host, clock) = (self.config.host.clone(), Arc::clone(&self.clock));
        let collect = Collect::new(inputs, outputs, seen, host, clock);
        let task = collect.run(self.collecting.token());
        self.supervisor.spawn(&self.collecting, "collector", task);
    }

    /// Follows the services' connections.
    fn follow_services(
        &mut self,
        messages: mpsc::Receiver<TraceMessage>,
        status: watch::Sender<ServiceStatus>,
        controller: Controller,
    ) {
        let channels = ServiceChannels {
            pods: self.name_pods(),
            messages,
            inventory: self.inventory.subscribe(),
            orders: self.orders.clone(),
            mailboxes: self.mailboxes.clone(),
            status,
            metrics: Arc::clone(&self.metrics),
        };
        let naming = Naming::new(&self.config.settings.services.rules);
        let services = Services::new(channels, controller, Arc::clone(&self.clock), naming);
        let task = services.run(self.probing.token());
        self.supervisor
            .spawn(&self.probing, "service connections", task);
    }

    /// Asks Kubernetes for the names of pods, where that is configured.
    fn name_pods(&mut self) -> Option<PodsIn> {
        let (pods, names) = Pods::new(self.config.kubernetes.clone()?);
        let task = pods.run(self.probing.token());
        self.supervisor.spawn(&self.probing, "names of pods", task);
        Some(names)
    }

    /// Keeps the agent registered.
    fn register(&mut self, controller: Controller, channels: RegistrationChannels, keys: Keys) {
        let (config, metrics) = (Arc::clone(&self.config), Arc::clone(&self.metrics));
        let registration = Registration::new(config, controller, channels, keys, metrics);
        let task = registration.run(self.probing.token());
        self.supervisor.spawn(&self.probing, "registration", task);
    }

    /// Reads the RNICs' own counters. Started again after a panic: what it knew is read again.
    fn read_counters(
        &mut self,
        source: Option<Arc<dyn Source>>,
        rises: mpsc::Sender<Vec<PortRise>>,
    ) {
        let inventory = self.inventory.subscribe();
        let metrics = Arc::clone(&self.metrics);
        self.supervisor
            .spawn_restarted(&self.probing, "hardware counters", move |stop| {
                let (inventory, rises) = (inventory.clone(), rises.clone());
                Hardware::new(source.clone(), inventory, rises, Arc::clone(&metrics)).run(stop)
            });
    }

    /// Probes and answers on all RNICs.
    fn probe(
        &mut self,
        provider: Arc<dyn Provider>,
        deliveries: mpsc::Sender<Delivery>,
        degraded: watch::Sender<Option<String>>,
    ) {
        let shared = Shared {
            provider,
            clock: Arc::clone(&self.clock),
            orders: self.orders.clone(),
            mailboxes: self.mailboxes.clone(),
            inventory: self.inventory.clone(),
            deliveries,
        };
        let rnics = Rnics::new(shared, Arc::clone(&self.config), degraded);
        let task = rnics.run(self.probing.token());
        self.supervisor.spawn(&self.probing, "RNICs", task);
    }
}
