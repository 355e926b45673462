//! The running lab: fabric, controller, analyzer and one agent per host, wired together over gRPC on loopback.
//!
//! Tasks: the fabric's, the controller's, the analyzer's own, and one per agent. The lab itself is one loop that takes
//! every batch which the analyzer has stored from a channel of `TAP_DEPTH`, and shows what came once in
//! `INTERVAL`. Cancelling its token ends it as its duration does: the agents stop first and upload what they have,
//! then the servers, then the fabric, whose ground truth the summary needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::counters::EmulatedCounters;
use super::exposed::Exposed;
use super::located::Located;
use super::observed::{Counts, Observed, PathSample};
use super::plan::LabPlan;
use super::services::tracers;
use super::show::{FaultProgress, Line, Progress, ServiceSummary, Started, Summary};
use super::verdict::{overall, verdicts};
use crate::agent::metrics::Metrics;
use crate::agent::{Agent, AgentError};
use crate::analysis::incident::Change;
use crate::analysis::report::{Batch, PathReport};
use crate::analyzer::{Analyzer, AnalyzerError, Taps};
use crate::config::agent::AgentSettings;
use crate::config::analyzer::AnalyzerSettings;
use crate::config::controller::{AgentsSettings, ControllerSettings, PinglistSettings};
use crate::config::{ConfigError, HumanDuration};
use crate::controller::{Controller, ControllerError};
use crate::fabric::realtime::{Fabric, Stopped};
use crate::fabric::topology::{Flow, Topology};
use crate::fabric::truth::FaultTruth;
use crate::fabric::{Engine, FaultError, Profile, ScenarioError};
use crate::id::ServiceName;
use crate::service::trace::TraceMessage;
use crate::store::{Location, StoreError, open};
use crate::time::{Clock, HostTime, SystemClock, WallTime};
use crate::topology::wiring::WiringError;

/// How often progress is shown.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often agents upload: twice as often as they do on their own, for people who watch.
const UPLOAD_INTERVAL: Duration = Duration::from_millis(500);

/// Batches between analyzer and lab: several rounds of the largest number of agents that one machine runs.
const TAP_DEPTH: usize = 4_096;

/// Why a lab ends early.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A part refuses its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The fabric cannot be described to the analyzer.
    #[error("the emulated fabric: {0}")]
    Wiring(#[from] WiringError),
    /// The scenario cannot be run.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A fault cannot be injected.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// No folder for what the agents keep.
    #[error("cannot make a temporary folder for the agents")]
    Folder(#[source] std::io::Error),
    /// The controller's registry cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The controller failed.
    #[error("the controller failed")]
    Controller(#[from] ControllerError),
    /// The analyzer failed.
    #[error("the analyzer failed")]
    Analyzer(#[from] AnalyzerError),
    /// An agent failed.
    #[error("the agent of {host} failed")]
    Agent {
        /// Its host.
        host: String,
        /// The cause.
        #[source]
        source: AgentError,
    },
    /// The metrics cannot be offered.
    #[error("cannot serve metrics on {address}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The fabric's task ended.
    #[error(transparent)]
    Fabric(#[from] Stopped),
    /// A part ended although nobody stopped it.
    #[error("the {0} ended unexpectedly")]
    Ended(&'static str),
    /// A task panicked.
    #[error("a task of the lab has died")]
    Died(#[from] tokio::task::JoinError),
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The servers and agents of a running lab.
struct Roles {
    controller: JoinHandle<Result<(), ControllerError>>,
    analyzer: JoinHandle<Result<(), AnalyzerError>>,
    web: SocketAddr,
    /// Where the metrics of controller and agents are, if they are served.
    metrics: Option<SocketAddr>,
    agents: JoinSet<Result<(), LabError>>,
    stop_agents: CancellationToken,
    stop_servers: CancellationToken,
    /// Kept open, see [`Tracers`](super::services::Tracers).
    _tracers: Vec<mpsc::Sender<TraceMessage>>,
    /// Removed at the end.
    _folder: tempfile::TempDir,
}

/// How many parallel paths the fabric has between two ToRs: what the pinglists have to cover.
fn parallel_paths(topology: &Topology) -> u32 {
    topology.shape().spines
}

async fn start_roles(
    plan: &LabPlan,
    fabric: &Fabric,
    clock: &Arc<dyn Clock>,
    stop_servers: CancellationToken,
    taps: Taps,
    counters: &EmulatedCounters,
) -> Result<Roles, LabError> {
    let folder = tempfile::tempdir().map_err(LabError::Folder)?;
    let config = ControllerSettings {
        listen: LOOPBACK,
        store: Location::Memory.to_string(),
        pinglist: PinglistSettings {
            seed: plan.scenario.seed,
            parallel_paths: parallel_paths(fabric.topology()),
            ..PinglistSettings::default()
        },
        agents: AgentsSettings {
            upload_interval: Some(HumanDuration(UPLOAD_INTERVAL)),
            ..AgentsSettings::default()
        },
        ..ControllerSettings::default()
    }
    .validate()?;
    let registry = open::registry(&config.store).await?;
    let controller = Controller::start(config, registry, Arc::clone(clock)).await?;
    let controller_address = controller.address();
    let mut exposed = Exposed::new(controller.registry(), counters.clone());
    let controller = tokio::spawn(controller.run(stop_servers.clone()));
    let mut config = AnalyzerSettings {
        listen: LOOPBACK.to_string(),
        web: plan.web.to_string(),
        store: Location::Memory.to_string(),
        ..AnalyzerSettings::default()
    }
    .validate()?;
    config.topology = Some(super::wiring::of(fabric.topology())?);
    let analyzer =
        Analyzer::start_with_taps(config, Arc::clone(clock), stop_servers.clone(), taps).await?;
    let servers = (controller_address, analyzer.grpc_address());
    let stop_agents = CancellationToken::new();
    let services = tracers(plan, fabric.topology(), clock.host())?;
    let agents = start_agents(
        fabric,
        clock,
        servers,
        folder.path(),
        &stop_agents,
        services.agents,
        &mut exposed,
    )?;
    let web = analyzer.web_address();
    let metrics = match plan.metrics {
        Some(address) => Some(exposed.serve(address, stop_servers.clone()).await?),
        None => None,
    };
    Ok(Roles {
        controller,
        analyzer: tokio::spawn(analyzer.wait()),
        web,
        metrics,
        agents,
        stop_agents,
        stop_servers,
        _tracers: services.tracers,
        _folder: folder,
    })
}

fn start_agents(
    fabric: &Fabric,
    clock: &Arc<dyn Clock>,
    (controller, analyzer): (SocketAddr, SocketAddr),
    folder: &std::path::Path,
    stop: &CancellationToken,
    mut messages: HashMap<u32, mpsc::Receiver<TraceMessage>>,
    exposed: &mut Exposed,
) -> Result<JoinSet<Result<(), LabError>>, LabError> {
    let topology = fabric.topology();
    let mut agents = JoinSet::new();
    for (number, host) in (0_u32..).zip(topology.hosts()) {
        let tor = topology
            .rnics_of(number)
            .next()
            .map(|rnic| topology.rnic(rnic).tor.to_string());
        let config = AgentSettings {
            controller: format!("http://{controller}"),
            analyzer: format!("http://{analyzer}"),
            host: host.to_string(),
            tor,
            state_dir: folder.join(host.as_str()),
            ..AgentSettings::default()
        }
        .validate()?;
        let metrics = Arc::new(Metrics::new());
        let agent = Agent {
            config: Arc::new(config),
            provider: Some(Arc::new(fabric.provider(number))),
            tracer: Some(Arc::new(fabric.tracer())),
            clock: Arc::clone(clock),
            spool: Location::Memory,
            off: Vec::new(),
            tracing: messages.remove(&number),
            hardware: Some(Arc::new(exposed.counters.of_host(host.clone()))),
            metrics: Arc::clone(&metrics),
        };
        exposed.agents.insert(host.to_string(), metrics.registry());
        let (stop, host) = (stop.clone(), host.to_string());
        agents.spawn(async move {
            agent
                .run(stop)
                .await
                .map_err(|source| LabError::Agent { host, source })
        });
    }
    Ok(agents)
}

/// What the lab knows while it runs.
struct Watch {
    topology: Arc<Topology>,
    observed: Observed,
    faults: Vec<String>,
    truth_before: Vec<FaultTruth>,
    began: HostTime,
    first_results: Option<Duration>,
    reporting: BTreeSet<String>,
    services: BTreeMap<ServiceName, Counts>,
}

impl Watch {
    fn take(&mut self, batch: &Batch, now: HostTime) {
        for report in &batch.paths {
            self.take_report(report);
        }
        if let Some(first) = batch.paths.first() {
            self.reporting.insert(first.path.source.host.to_string());
            self.first_results
                .get_or_insert_with(|| now.since(self.began));
        }
    }

    fn take_report(&mut self, report: &PathReport) {
        let path = &report.path;
        let counts = Counts {
            sent: report.sent(),
            lost: report.lost,
            invalid: report.invalid_total(),
        };
        if let Some(service) = &path.service {
            self.services
                .entry(service.clone())
                .or_default()
                .add(counts);
        }
        let (Some(source), Some(target), Some(port)) = (
            self.topology.rnic_by_gid(path.source.gid),
            self.topology.rnic_by_gid(path.target.gid),
            path.source_port,
        ) else {
            return;
        };
        let rtts: Vec<_> = report
            .samples
            .iter()
            .map(|sample| sample.network_rtt)
            .collect();
        self.observed.add(PathSample {
            flow: Flow {
                source,
                target,
                port,
            },
            counts,
            rtts: &rtts,
        });
    }

    fn progress(&mut self, truth: Vec<FaultTruth>, now: HostTime) -> Progress {
        let faults = self
            .faults
            .iter()
            .zip(&truth)
            .zip(&self.truth_before)
            .map(|((fault, now), before)| FaultProgress {
                fault: fault.clone(),
                exposed: now.exposed - before.exposed,
                lost: now.lost - before.lost,
            })
            .collect();
        self.truth_before = truth;
        let agents = (self.reporting.len(), self.topology.hosts().len());
        let pairs = self.observed.take_interval();
        Progress::new(now.since(self.began), agents, &pairs, faults)
    }
}

fn new_watch(engine: &Engine, began: HostTime) -> Watch {
    let resolved: Vec<_> = engine
        .fault_truth()
        .map(|(fault, _)| fault.clone())
        .collect();
    Watch {
        topology: Arc::clone(engine.topology()),
        observed: Observed::new(Arc::clone(engine.topology()), &resolved),
        faults: resolved
            .iter()
            .map(|resolved| resolved.fault.to_string())
            .collect(),
        truth_before: vec![FaultTruth::default(); resolved.len()],
        began,
        first_results: None,
        reporting: BTreeSet::new(),
        services: BTreeMap::new(),
    }
}

/// A lab on its way: everything that has to be stopped in order.
struct Running {
    clock: Arc<dyn Clock>,
    fabric: Fabric,
    roles: Roles,
    batches: mpsc::Receiver<Arc<Batch>>,
    changes: mpsc::UnboundedReceiver<(WallTime, Change)>,
    located: Located,
    watch: Watch,
    /// For the agents, which take them for those of their RNICs.
    counters: EmulatedCounters,
}

impl Running {
    async fn truth(&self) -> Result<Vec<FaultTruth>, Stopped> {
        self.fabric
            .with(|engine| engine.fault_truth().map(|(_, truth)| truth).collect())
            .await
    }

    /// Shows progress until the duration has passed or `stop` is cancelled.
    async fn watch(
        &mut self,
        duration: Duration,
        stop: &CancellationToken,
        show: &mut impl FnMut(Line<'_>),
    ) -> Result<(), LabError> {
        let end = tokio::time::sleep(duration);
        tokio::pin!(end);
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = &mut end => return Ok(()),
                Some(batch) = self.batches.recv() => self.watch.take(&batch, self.clock.host()),
                Some((_, change)) = self.changes.recv() => {
                    let since = self.clock.host().since(self.watch.began);
                    let line = self.located.take(&change, since);
                    // Newer figures alone are no news.
                    if !matches!(change, Change::Refined(_)) {
                        show(Line::Incident(&line));
                    }
                }
                Some(ended) = self.roles.agents.join_next() => ended??,
                ended = &mut self.roles.controller => {
                    ended??;
                    return Err(LabError::Ended("controller"));
                }
                ended = &mut self.roles.analyzer => {
                    ended??;
                    return Err(LabError::Ended("analyzer"));
                }
                _ = ticks.tick() => {
                    let counted = self.fabric.with(super::counters::read).await?;
                    self.counters.set(counted);
                    let truth = self.truth().await?;
                    let progress = self.watch.progress(truth, self.clock.host());
                    show(Line::Progress(&progress));
                }
            }
        }
    }

    /// Stops the agents, takes what they still upload, then stops the servers.
    async fn stop(&mut self) -> Result<(), LabError> {
        self.roles.stop_agents.cancel();
        loop {
            tokio::select! {
                Some(batch) = self.batches.recv() => self.watch.take(&batch, self.clock.host()),
                ended = self.roles.agents.join_next() => match ended {
                    Some(ended) => ended??,
                    None => break,
                },
            }
        }
        self.roles.stop_servers.cancel();
        // The analyzer's end closes the tap.
        while let Some(batch) = self.batches.recv().await {
            self.watch.take(&batch, self.clock.host());
        }
        (&mut self.roles.controller).await??;
        (&mut self.roles.analyzer).await??;
        Ok(())
    }
}

/// Runs a lab until its duration has passed or `stop` is cancelled, and shows how it goes.
///
/// # Errors
/// [`LabError`] names the part that failed.
pub async fn run(
    plan: &LabPlan,
    stop: CancellationToken,
    mut show: impl FnMut(Line<'_>),
) -> Result<Summary, LabError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let began = clock.host();
    let topology = Arc::new(plan.scenario.topology()?);
    let mut engine = Engine::new(topology, Profile::default(), plan.scenario.seed, began);
    for fault in &plan.scenario.faults {
        engine.inject(fault)?;
    }
    let watch = new_watch(&engine, began);
    let stop_fabric = CancellationToken::new();
    let (fabric, fabric_task) = Fabric::start(engine, Arc::clone(&clock), stop_fabric.clone());
    // End the fabric and the servers on every way out of here.
    let fabric_guard = stop_fabric.drop_guard();
    let (tap, batches) = mpsc::channel(TAP_DEPTH);
    let (change_tap, changes) = mpsc::unbounded_channel();
    let taps = Taps {
        batches: Some(tap),
        changes: Some(change_tap),
    };
    let stop_servers = CancellationToken::new();
    let _servers_guard = stop_servers.clone().drop_guard();
    let counters = EmulatedCounters::default();
    let roles = start_roles(plan, &fabric, &clock, stop_servers, taps, &counters).await?;
    let mut running = Running {
        clock,
        fabric,
        roles,
        batches,
        changes,
        located: Located::default(),
        watch,
        counters,
    };
    show(Line::Started(&Started {
        web: running.roles.web,
        metrics: running.roles.metrics,
        hosts: running.watch.topology.hosts().len(),
        rnics: running.watch.topology.rnics().len(),
        links: running.watch.topology.link_count(),
        faults: running.watch.faults.clone(),
    }));
    running
        .watch(plan.scenario.duration.0, &stop, &mut show)
        .await?;
    // What is located from here on is the end of the lab, not of its faults.
    let ended = running.clock.host().since(running.watch.began);
    running.stop().await?;
    drop(fabric_guard);
    let engine = fabric_task.await?;
    let mut summary = summarise(&engine, &running.watch, running.clock.host());
    running.located.judge(&engine, ended, &mut summary);
    Ok(summary)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

fn summarise(engine: &Engine, watch: &Watch, now: HostTime) -> Summary {
    let faults = verdicts(engine, &watch.observed);
    let overall = overall(engine, &watch.observed);
    Summary {
        duration_ns: nanos(now.since(watch.began)),
        hosts: watch.topology.hosts().len(),
        rnics: watch.topology.rnics().len(),
        first_results_ns: watch.first_results.map(nanos),
        cpu_ns: nanos(processor_time()),
        agrees: Summary::all_agree(&overall, &faults),
        overall,
        packets: engine.totals(),
        faults,
        services: watch
            .services
            .iter()
            .map(|(service, counts)| ServiceSummary {
                service: service.clone(),
                sent: counts.sent,
                lost: counts.lost,
            })
            .collect(),
        located: Vec::new(),
        missed: Vec::new(),
        starved_hosts: 0,
        locations_right: None,
    }
}
