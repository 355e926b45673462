//! Starts the lab's controller, analyzer and agents.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt as _;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counters::{EmulatedCounters, OfHost};
use super::emulated::programs::Programs;
use super::emulated::{Bridge, EmulatedHost};
use super::error::LabError;
use super::hosts::{self, Outages};
use super::plan::LabPlan;
use super::services::{self, tracer};
use crate::agent::metrics::Metrics;
use crate::agent::{Agent, AgentError};
use crate::analyzer::Analyzer;
use crate::config::agent::{
    AgentConfig, AgentSettings, DeviceFilter, DeviceTor, SteeringChoice, TracingChoice,
    TransportChoice,
};
use crate::config::analyzer::AnalyzerSettings;
use crate::config::controller::{
    AgentsSettings, ControllerConfig, ControllerSettings, FocusSettings, PinglistSettings,
};
use crate::config::{ConfigError, HumanDuration};
use crate::controller::Controller;
use crate::events::Publisher;
use crate::fabric::Engine;
use crate::fabric::realtime::Fabric;
use crate::id::HostName;
use crate::pinglist::Paths;
use crate::service::trace::TraceMessage;
use crate::store::{Location, open};
use crate::supervisor::{Stage, Supervisor};
use crate::time::Clock;
use crate::topology::wiring::Wiring;

/// How often agents upload: twice as often as they do on their own, for people who watch.
const UPLOAD_INTERVAL: Duration = Duration::from_millis(500);

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// When each host has no power, by number.
pub(super) fn outages(engine: &Engine) -> Vec<Outages> {
    (0_u32..)
        .zip(engine.topology().hosts())
        .map(|(number, _)| Outages::of(engine, number))
        .collect()
}

/// The running servers, for the agents and for those who watch.
pub(super) struct Servers {
    controller: SocketAddr,
    analyzer: SocketAddr,
    /// Where the dashboard is.
    pub(super) web: SocketAddr,
    /// The controller's metrics.
    pub(super) registry: Arc<Registry>,
}

/// What the roles are started with.
pub(super) struct Roles<'a> {
    pub(super) plan: &'a LabPlan,
    pub(super) fabric: &'a Fabric,
    pub(super) clock: &'a Arc<dyn Clock>,
    /// What the agents take for the counters of their RNICs.
    pub(super) counters: &'a EmulatedCounters,
    /// The start of the fabric.
    pub(super) began: Instant,
}

impl Roles<'_> {
    /// Starts controller and analyzer.
    pub(super) async fn start_servers(
        &self,
        supervisor: &mut Supervisor<LabError>,
        stage: &Stage,
        events: Publisher,
    ) -> Result<Servers, LabError> {
        let wiring = super::wiring::of(self.fabric.topology())?;
        let config = self.controller_config(&wiring)?;
        let registry = open::registry(&config.store).await?;
        let controller = Controller::start(config, registry, Arc::clone(self.clock)).await?;
        let mut config = AnalyzerSettings {
            listen: LOOPBACK.to_string(),
            web: self.plan.web.to_string(),
            store: Location::Memory.to_string(),
            least_loss: self.plan.least_loss,
            focus_controller: self
                .plan
                .focus
                .then(|| format!("http://{}", controller.address())),
            ..AnalyzerSettings::default()
        }
        .validate()?;
        config.topology = Some(wiring);
        let analyzer = Analyzer::start(config, Arc::clone(self.clock), events).await?;
        let servers = Servers {
            controller: controller.address(),
            analyzer: analyzer.grpc_address(),
            web: analyzer.web_address(),
            registry: controller.registry(),
        };
        let controller = controller.run(stage.token()).map_err(LabError::from);
        supervisor.spawn(stage, "controller", controller);
        let analyzer = analyzer.run(stage.token()).map_err(LabError::from);
        supervisor.spawn(stage, "analyzer", analyzer);
        Ok(servers)
    }

    fn controller_config(&self, wiring: &Wiring) -> Result<ControllerConfig, ConfigError> {
        // Parallel paths between two ToRs: what the pinglists have to cover.
        let known = wiring.paths();
        let otherwise = known.most().max(1);
        let mut config = ControllerSettings {
            listen: LOOPBACK,
            store: Location::Memory.to_string(),
            pinglist: PinglistSettings {
                seed: self.plan.scenario.seed,
                parallel_paths: otherwise,
                ..PinglistSettings::default()
            },
            focus: FocusSettings {
                analyzers: self
                    .plan
                    .focus
                    .then(|| "lab".to_owned())
                    .into_iter()
                    .collect(),
                ..FocusSettings::default()
            },
            agents: AgentsSettings {
                upload_interval: Some(HumanDuration(UPLOAD_INTERVAL)),
                ..AgentsSettings::default()
            },
            ..ControllerSettings::default()
        }
        .validate()?;
        config.policy.paths = Paths::PerPair { known, otherwise };
        Ok(config)
    }

    /// Starts the program of an agent on each host that has power, and what carries between their RNICs and the fabric. The programs
    /// keep their files in `folder`.
    pub(super) async fn start_programs(
        &self,
        supervisor: &mut Supervisor<LabError>,
        (agents, carriers): (&Stage, &Stage),
        servers: &Servers,
        outages: Vec<Outages>,
        (folder, programs): (&Path, &Programs),
    ) -> Result<(), LabError> {
        let bridge = Bridge::new(self.fabric.clone(), Arc::clone(self.clock), folder).await?;
        let stop = carriers.token();
        supervisor.spawn(carriers, "carrier of emulated RNICs", async move {
            stop.run_until_cancelled(bridge.run())
                .await
                .unwrap_or(Ok(()))
        });
        let topology = self.fabric.topology();
        for ((number, host), outages) in (0_u32..).zip(topology.hosts()).zip(outages) {
            let mut settings = self.agent_settings(number, host, servers, folder);
            settings.transport = TransportChoice::Verbs;
            settings.steering = SteeringChoice::FlowLabel;
            settings.tracing = TracingChoice::Off;
            settings.path_trace.mode = TracingChoice::Off;
            "warn".clone_into(&mut settings.log.level);
            let machine = EmulatedHost::new(programs, folder.join(host.as_str()), &settings)?;
            let (stop, began) = (agents.token(), self.began);
            let powered = hosts::run(outages, began, stop, move |stop| machine.boot(stop));
            supervisor.spawn(agents, format!("agent's program of {host}"), powered);
        }
        Ok(())
    }

    /// Starts an agent on each host that has power, and sees to it that hosts boot when theirs comes back. The agents keep
    /// their files in `folder`. Gives their metrics by host.
    pub(super) fn start_agents(
        &self,
        supervisor: &mut Supervisor<LabError>,
        stage: &Stage,
        servers: &Servers,
        outages: Vec<Outages>,
        folder: &Path,
    ) -> Result<BTreeMap<String, Arc<Registry>>, LabError> {
        let topology = self.fabric.topology();
        let mut connections = services::messages(self.plan, topology, self.clock.host())?;
        let mut registries = BTreeMap::new();
        for ((number, host), outages) in (0_u32..).zip(topology.hosts()).zip(outages) {
            let metrics = Arc::new(Metrics::new());
            registries.insert(host.to_string(), metrics.registry());
            let machine = Machine {
                config: Arc::new(
                    self.agent_settings(number, host, servers, folder)
                        .validate()?,
                ),
                fabric: self.fabric.clone(),
                number,
                clock: Arc::clone(self.clock),
                connections: connections.remove(&number),
                counters: Arc::new(self.counters.of_host(host.clone())),
                metrics,
            };
            let name = format!("agent of {host}");
            let (stop, host) = (stage.token(), host.to_string());
            let powered = hosts::run(outages, self.began, stop, move |stop| machine.boot(stop));
            let powered = powered.map_err(|source| LabError::Agent { host, source });
            supervisor.spawn(stage, name, powered);
        }
        Ok(registries)
    }

    fn agent_settings(
        &self,
        number: u32,
        host: &HostName,
        servers: &Servers,
        folder: &Path,
    ) -> AgentSettings {
        let topology = self.fabric.topology();
        let rnics = topology.rnics_of(number).map(|rnic| topology.rnic(rnic));
        let device_tors = rnics
            .map(|rnic| DeviceTor {
                device: DeviceFilter {
                    device: rnic.device.clone(),
                    port: None,
                },
                tor: rnic.tor.clone(),
            })
            .collect();
        AgentSettings {
            controller: format!("http://{}", servers.controller),
            analyzer: format!("http://{}", servers.analyzer),
            host: host.to_string(),
            device_tors,
            state_dir: folder.join(host.as_str()),
            ..AgentSettings::default()
        }
    }
}

/// A host as it boots.
struct Machine {
    config: Arc<AgentConfig>,
    fabric: Fabric,
    number: u32,
    clock: Arc<dyn Clock>,
    /// What a tracer says after each boot; `None` where no service runs.
    connections: Option<Vec<TraceMessage>>,
    counters: Arc<OfHost>,
    metrics: Arc<Metrics>,
}

impl Machine {
    /// Runs a new agent until `stop`.
    fn boot(
        &self,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), AgentError>> + Send + use<> {
        // The tracer's end has to stay open: an agent whose tracer is gone follows nothing.
        let tracer = self.connections.clone().map(tracer);
        let (open, tracing) = tracer.unzip();
        let agent = Agent {
            config: Arc::clone(&self.config),
            provider: Some(Arc::new(self.fabric.provider(self.number))),
            tracer: Some(Arc::new(self.fabric.tracer())),
            clock: Arc::clone(&self.clock),
            spool: Location::Memory,
            off: Vec::new(),
            tracing,
            hardware: Some(self.counters.clone()),
            metrics: Arc::clone(&self.metrics),
        };
        async move {
            let _open = open;
            agent.run(stop).await
        }
    }
}
