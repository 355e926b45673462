//! The running lab: fabric, controller, analyzer and one agent per host, wired together over gRPC on loopback.
//!
//! The [`Supervisor`] stops its tasks in this order: the agents ([`hosts`](super::hosts)), which upload what they have; then
//! the servers; then the fabric, whose ground truth the summary needs. The lab itself is one loop: it listens to what the
//! roles publish as [`crate::events`], and shows what came once in `INTERVAL`. Cancelling its token ends it as its
//! duration does. Each role has a supervisor of its own; a task of any role that fails ends the lab with an error that
//! names it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::counters::EmulatedCounters;
use super::error::LabError;
use super::exposed::Exposed;
use super::located::Located;
use super::plan::LabPlan;
use super::roles::{self, Roles};
use super::show::{Line, Started, Summary};
use super::watch::{Watch, summarise};
use crate::analysis::incident::Change;
use crate::events::{self, Event, Events};
use crate::fabric::realtime::{Fabric, Stopped};
use crate::fabric::truth::FaultTruth;
use crate::fabric::{Engine, Profile};
use crate::supervisor::Supervisor;
use crate::time::{Clock, HostTime, SystemClock};

/// How often progress is shown.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a lab may take to stop when its duration is over. Hundreds of agents share the processor, and the summary needs
/// their last results.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Of this, what the servers have at least, and the fabric.
const SERVERS_RESERVE: Duration = Duration::from_secs(10);
const FABRIC_RESERVE: Duration = Duration::from_secs(5);

/// A lab on its way.
struct Running {
    clock: Arc<dyn Clock>,
    fabric: Fabric,
    /// The fabric's state, when it has stopped.
    engine: oneshot::Receiver<Engine>,
    events: Events,
    located: Located,
    watch: Watch,
    /// For the agents, which take them for those of their RNICs.
    counters: EmulatedCounters,
    web: SocketAddr,
    metrics: Option<SocketAddr>,
    /// Removed at the end.
    _folder: tempfile::TempDir,
}

/// All tasks of the lab, until they have ended.
type Supervised<'a> = Pin<&'a mut (dyn Future<Output = Result<(), LabError>> + Send)>;

/// The fabric with its faults planned.
fn new_engine(plan: &LabPlan, began: HostTime) -> Result<Engine, LabError> {
    let topology = Arc::new(plan.scenario.topology()?);
    let mut engine = Engine::new(topology, Profile::default(), plan.scenario.seed, began);
    for fault in &plan.scenario.faults {
        engine.inject(fault)?;
    }
    Ok(engine)
}

/// Starts everything: fabric, servers, agents.
async fn start(plan: &LabPlan) -> Result<(Running, Supervisor<LabError>), LabError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // One moment, by the clock of packets and by that of timers.
    let (began, timers_began) = (clock.host(), Instant::now());
    let engine = new_engine(plan, began)?;
    let watch = Watch::new(&engine, began);
    let outages = roles::outages(&engine);

    let mut supervisor = Supervisor::with_limit("lab", STOP_LIMIT);
    let agents = supervisor.stage(Duration::ZERO);
    let servers = supervisor.stage(SERVERS_RESERVE);
    let last = supervisor.stage(FABRIC_RESERVE);
    let (fabric, fabric_task) = Fabric::start(engine, Arc::clone(&clock), last.token());
    let (give, engine) = oneshot::channel();
    supervisor.spawn(&last, "fabric", async move {
        if let Ok(engine) = fabric_task.await {
            // The lab may have failed meanwhile.
            let _ = give.send(engine);
        }
    });

    let (publisher, events) = events::channel();
    let folder = tempfile::tempdir().map_err(LabError::Folder)?;
    let counters = EmulatedCounters::default();
    let roles = Roles {
        plan,
        fabric: &fabric,
        clock: &clock,
        counters: &counters,
        began: timers_began,
    };
    let started = roles
        .start_servers(&mut supervisor, &servers, publisher)
        .await?;
    let web = started.web;
    let registries = match &plan.emulated {
        None => roles.start_agents(&mut supervisor, &agents, &started, outages, folder.path())?,
        Some(programs) => {
            let (stages, files) = ((&agents, &last), (folder.path(), programs));
            roles
                .start_programs(&mut supervisor, stages, &started, outages, files)
                .await?;
            BTreeMap::new()
        }
    };
    let metrics = match plan.metrics {
        Some(address) => {
            let exposed = Exposed {
                controller: started.registry,
                agents: registries,
            };
            let (address, serving) = exposed.serve(address, servers.token()).await?;
            supervisor.spawn(&servers, "metrics server", serving);
            Some(address)
        }
        None => None,
    };
    let running = Running {
        web,
        metrics,
        clock,
        fabric,
        engine,
        events,
        located: Located::default(),
        watch,
        counters,
        _folder: folder,
    };
    Ok((running, supervisor))
}

impl Running {
    fn started(&self) -> Started {
        let topology = &self.watch.topology;
        Started {
            web: self.web,
            metrics: self.metrics,
            hosts: topology.hosts().len(),
            rnics: topology.rnics().len(),
            links: topology.link_count(),
            faults: self.watch.faults.clone(),
        }
    }

    /// Shows progress until the duration has passed or `stop` is cancelled.
    async fn watch(
        &mut self,
        duration: Duration,
        stop: &CancellationToken,
        mut supervised: Supervised<'_>,
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
                // Nobody has stopped the tasks: one has failed.
                ended = supervised.as_mut() => return Err(ended.err().unwrap_or(LabError::Fabric(Stopped))),
                Some(event) = self.events.recv() => self.take(&event, show),
                _ = ticks.tick() => self.tick(show).await?,
            }
        }
    }

    fn take(&mut self, event: &Event, show: &mut impl FnMut(Line<'_>)) {
        match event {
            Event::BatchStored(batch) => self.watch.take(batch, self.clock.host()),
            Event::Incident { change, .. } => {
                let since = self.clock.host().since(self.watch.began);
                let line = self.located.take(change, since);
                // Newer figures alone are no news.
                if !matches!(change, Change::Refined(_)) {
                    show(Line::Incident(&line));
                }
            }
        }
    }

    async fn tick(&mut self, show: &mut impl FnMut(Line<'_>)) -> Result<(), Stopped> {
        let (counted, truth) = self
            .fabric
            .with(|engine| (super::counters::read(engine), truth(engine)))
            .await?;
        self.counters.set(counted);
        let progress = self.watch.progress(truth, self.clock.host());
        show(Line::Progress(&progress));
        Ok(())
    }

    /// Takes what is still stored until all tasks have ended. Incidents of this time are about the end of the lab.
    async fn finish(&mut self, mut supervised: Supervised<'_>) -> Result<(), LabError> {
        loop {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => match event {
                    Event::BatchStored(batch) => self.watch.take(&batch, self.clock.host()),
                    Event::Incident { .. } => {}
                },
                ended = supervised.as_mut() => return ended,
            }
        }
    }
}

fn truth(engine: &Engine) -> Vec<FaultTruth> {
    engine.fault_truth().map(|(_, truth)| truth).collect()
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
    let (mut running, supervisor) = Box::pin(start(plan)).await?;
    show(Line::Started(&running.started()));
    let halt = CancellationToken::new();
    let supervised = supervisor.run(halt.clone());
    tokio::pin!(supervised);
    let duration = plan.scenario.duration.0;
    running
        .watch(duration, &stop, supervised.as_mut(), &mut show)
        .await?;
    // What is located from here on is the end of the lab, not of its faults.
    let ended = running.clock.host().since(running.watch.began);
    halt.cancel();
    running.finish(supervised).await?;
    let engine = running.engine.await.map_err(|_| Stopped)?;
    let mut summary = summarise(&engine, &running.watch, running.clock.host());
    running.located.judge(&engine, ended, &mut summary);
    Ok(summary)
}
