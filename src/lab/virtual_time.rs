//! The analysis over the emulated fabric in virtual time: hours of a small fabric in seconds, the same in every run.
//!
//! Everything but transport and storage is real: probe sessions, collectors, host filter, windows, judge, tracker. Agents
//! upload once a second unless their host is down or stalled, as they would over a management network of their own.

pub mod certified;
mod split;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::analysis::filter::{HostFilter, Reason};
use crate::analysis::focus::Bounds;
use crate::analysis::incident::{Change, Tracker};
use crate::analysis::judge::{Asked, Counts, Judge, Snapshot};
use crate::analysis::localize::ProblemError;
use crate::analysis::report::{AgentCounters, Batch, Collector, End, Path};
use crate::analysis::routes::Routes;
use crate::analysis::windows::{Limits, Windows};
use crate::config::HumanDuration;
use crate::fabric::fault::{Place, Resolved};
use crate::fabric::swarm::Swarm;
use crate::fabric::topology::{Flow, RnicId, Topology};
use crate::fabric::{Engine, Profile, Scenario, ScenarioError};
use crate::fault::{Effect, Fault};
use crate::id::{Gid, TorId};
use crate::probe::focus::{FlowKey, FocusBounds};
use crate::probe::trace::Tuple;
use crate::probe::{Config, ProbeResult};
use crate::rpc::relay::FrameError;
use crate::time::{HostTime, Nanos, WallTime};
use crate::topology::wiring::Wiring;

use split::Split;

/// How often agents upload and the analyzer judges.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// The wall clock at the start: the beginning of a slot.
const EPOCH: i64 = 1_800_000_000 * 1_000_000_000;
/// An agent that is stalled when it should upload, but not for longer than this, uploads a little late: here in time.
const A_LITTLE: Duration = Duration::from_millis(500);
/// From the end of a second to the moment at which agents probe what it has shown to be worth it: a second to rank, and half a
/// second on the way.
const LAG: Duration = Duration::from_millis(1_500);
/// Results that one agent holds.
const HELD: usize = 100_000;

/// Why a run in virtual time ends early.
#[derive(Debug, thiserror::Error)]
pub enum VirtualTimeError {
    /// The scenario cannot be run.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The counts contradict each other.
    #[error("the judge refuses what was counted")]
    Judge(#[from] ProblemError),
    /// What analyzers pass on cannot be read.
    #[error("what an analyzer passed on cannot be read")]
    Relay(#[from] FrameError),
}

/// Something that became of an incident, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Since the start.
    pub at: Duration,
    /// What.
    pub change: Change,
}

/// What came out.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// In the order of time.
    pub events: Vec<Event>,
    /// Probes set aside, by reason, each as often as a run of the judge looked at it.
    pub set_aside: BTreeMap<Reason, Counts>,
    /// Runs of the judge.
    pub runs: u64,
    /// Probes concluded.
    pub probes: u64,
    /// 5-tuples that were to be probed more, each as often as a run of the judge asked for it.
    pub asked: u64,
    /// Where several analyzers share the fleet: owners that were killed, and batches that came to the judge again and were not counted.
    pub killed: (u64, u64),
}

struct Agent {
    collector: Collector,
    since: WallTime,
    sequence: u64,
}

/// Runs a scenario to its end. With `traced` the path and the reverse path of each 5-tuple are known from its first
/// probe on; without it only the fabric's wiring is known.
///
/// # Errors
/// [`VirtualTimeError`].
pub fn run_in_virtual_time(scenario: &Scenario, traced: bool) -> Result<Outcome, VirtualTimeError> {
    run(scenario, traced, None, None)
}

/// The same where so many analyzers share the fleet and are killed now and then: with the shards and kills of a seed.
///
/// # Errors
/// [`VirtualTimeError`].
pub fn run_in_virtual_time_over_shards(
    scenario: &Scenario,
    traced: bool,
    (analyzers, seed): (usize, u64),
) -> Result<Outcome, VirtualTimeError> {
    run(scenario, traced, None, Some(Split::new(analyzers, seed)))
}

/// The same with focus: what the judge asks for is probed more, within these bounds, [`LAG`] later.
///
/// # Errors
/// [`VirtualTimeError`].
pub fn run_in_virtual_time_with_focus(
    scenario: &Scenario,
    traced: bool,
    bounds: Bounds,
) -> Result<Outcome, VirtualTimeError> {
    run(scenario, traced, Some(bounds), None)
}

fn run(
    scenario: &Scenario,
    traced: bool,
    focus: Option<Bounds>,
    split: Option<Split>,
) -> Result<Outcome, VirtualTimeError> {
    let topology = Arc::new(scenario.topology()?);
    let wiring = (!scenario.probing.across_planes)
        .then(|| super::wiring::of(&topology).ok())
        .flatten();
    let (mut swarm, mut lab) = prepare(scenario, &topology, wiring.as_ref(), traced)?;
    lab.judge.focus = focus;
    lab.split = split;
    let HumanDuration(duration) = scenario.duration;
    let origin = HostTime::from_nanos(0);
    let mut now = origin;
    while now.since(origin) < duration {
        now = now.after(INTERVAL);
        lab.step(&mut swarm, now)?;
    }
    if let Some(split) = &lab.split {
        lab.outcome.killed = (split.killed, split.again);
    }
    Ok(lab.outcome)
}

/// The fabric with its faults and probers, and the analysis with the wiring that it knows.
fn prepare(
    scenario: &Scenario,
    topology: &Arc<Topology>,
    wiring: Option<&Wiring>,
    traced: bool,
) -> Result<(Swarm, VirtualLab), VirtualTimeError> {
    let origin = HostTime::from_nanos(0);
    let profile = Profile::default();
    let mut engine = Engine::new(Arc::clone(topology), profile, scenario.seed, origin);
    for fault in &scenario.faults {
        engine
            .inject(fault)
            .map_err(|source| ScenarioError::Fault {
                fault: fault.to_string(),
                source,
            })?;
    }
    let faults: Vec<Resolved> = engine
        .fault_truth()
        .map(|(fault, _)| fault.clone())
        .collect();
    let mut swarm = Swarm::new(engine, Config::default(), scenario.seed);
    swarm.probe_and_follow(&scenario.probing, &scenario.services, scenario.seed);
    let lab = VirtualLab::new(topology, wiring, faults, traced);
    Ok((swarm, lab))
}

struct VirtualLab {
    topology: Arc<Topology>,
    faults: Vec<Resolved>,
    traced: Option<HashSet<Tuple>>,
    agents: Vec<Agent>,
    windows: Windows,
    host_filter: HostFilter,
    judge: Judge,
    snapshot: Snapshot,
    tracker: Tracker,
    /// ToRs that RNICs report, where that is not the one that they are cabled to.
    reported: HashMap<Gid, TorId>,
    /// What was asked for and has not reached the agents yet.
    asked: VecDeque<(HostTime, Vec<Asked>)>,
    /// Several analyzers that pass on what agents upload.
    split: Option<Split>,
    outcome: Outcome,
}

fn wall(now: HostTime) -> WallTime {
    WallTime::from_nanos(EPOCH + now.nanos())
}

impl VirtualLab {
    fn new(
        topology: &Arc<Topology>,
        wiring: Option<&Wiring>,
        faults: Vec<Resolved>,
        traced: bool,
    ) -> Self {
        let start = WallTime::from_nanos(EPOCH);
        let agents = topology
            .hosts()
            .iter()
            .map(|_| Agent {
                collector: Collector::new(HELD),
                since: start,
                sequence: 0,
            })
            .collect();
        let windows = Windows::new(Limits {
            lateness: Duration::from_mins(1),
            clock_tolerance: Duration::from_secs(5),
            paths: 1 << 20,
            bytes: usize::MAX,
        });
        Self {
            topology: Arc::clone(topology),
            faults,
            traced: traced.then(HashSet::new),
            agents,
            windows: match wiring {
                Some(_) => windows.without_planes(),
                None => windows,
            },
            host_filter: HostFilter::default(),
            judge: Judge::new(Routes::new(wiring), 0.0),
            snapshot: Snapshot::empty(),
            tracker: Tracker::new(Vec::new(), 1, start),
            reported: HashMap::new(),
            asked: VecDeque::new(),
            split: None,
            outcome: Outcome::default(),
        }
    }

    fn ingest(&mut self, source: RnicId, result: &ProbeResult) {
        self.outcome.probes += 1;
        let rnic = self.topology.rnic(source);
        let target = &result.path.target;
        let path = Path {
            source: Arc::new(End {
                gid: rnic.gid,
                qpn: result.source.qpn,
                host: rnic.host.clone(),
                tor: self.tor(rnic.gid, &rnic.tor),
                device: rnic.device.clone(),
            }),
            target: Arc::new(End {
                gid: target.address.gid,
                qpn: target.address.qpn,
                host: target.host.clone(),
                tor: self.tor(target.address.gid, &target.tor),
                device: target.device.clone(),
            }),
            kind: result.kind,
            source_port: result.source_port,
            service: result.path.service.clone(),
            class: None,
            fidelity: None,
        };
        let host = rnic.host_index as usize;
        self.trace(source, &path);
        self.agents[host]
            .collector
            .add(&path, result.clock, &result.outcome);
    }

    fn trace(&mut self, source: RnicId, path: &Path) {
        let (Some(traced), Some(port)) = (&mut self.traced, path.source_port) else {
            return;
        };
        let Some(target) = self.topology.rnic_by_gid(path.target.gid) else {
            return;
        };
        if self.topology.rnic(source).tor == self.topology.rnic(target).tor {
            return;
        }
        for (source, target) in [(source, target), (target, source)] {
            let tuple = Tuple {
                source: self.topology.rnic(source).gid,
                target: self.topology.rnic(target).gid,
                port,
            };
            if traced.insert(tuple) {
                let flow = Flow {
                    source,
                    target,
                    port,
                };
                let mut nodes = self.topology.describe(&self.topology.path(flow));
                if nodes.is_empty() {
                    // No path leads there.
                    continue;
                }
                nodes.pop();
                nodes.remove(0);
                let start = WallTime::from_nanos(EPOCH);
                self.judge.routes.learn(tuple, nodes, start);
            }
        }
    }

    /// One interval that ends at `now`: probes, uploads, a run of the judge.
    fn step(&mut self, swarm: &mut Swarm, now: HostTime) -> Result<(), VirtualTimeError> {
        while let Some((due, asked)) = self.asked.pop_front_if(|(due, _)| *due <= now) {
            swarm.run_until(due, |source, result| self.ingest(source, &result));
            self.deliver(swarm, &asked);
        }
        swarm.run_until(now, |source, result| self.ingest(source, &result));
        self.upload(swarm, now)?;
        Ok(self.judge(now)?)
    }

    /// The ToR that an RNIC reports.
    fn tor(&self, gid: Gid, cabled: &TorId) -> TorId {
        self.reported.get(&gid).unwrap_or(cabled).clone()
    }

    /// Tells every agent what is asked of its RNICs.
    fn deliver(&self, swarm: &mut Swarm, asked: &[Asked]) {
        let mut of: HashMap<Gid, HashMap<FlowKey, u32>> = HashMap::new();
        for asked in asked {
            let flows = of.entry(asked.source).or_default();
            flows.insert((asked.target, asked.port), asked.portions);
        }
        for rnic in self.topology.rnic_ids() {
            let asked = of.remove(&self.topology.rnic(rnic).gid).unwrap_or_default();
            swarm.focus(rnic, asked, &FocusBounds::default());
        }
    }

    fn upload(&mut self, swarm: &Swarm, now: HostTime) -> Result<(), FrameError> {
        let mut batches = Vec::new();
        for host in 0..self.agents.len() {
            let number = u32::try_from(host).unwrap_or(u32::MAX);
            let stalled = swarm
                .engine()
                .host_stalled_until(number, now)
                .is_some_and(|until| until.since(now) > A_LITTLE);
            if stalled || is_down(&self.faults, number, now) {
                continue;
            }
            let agent = &mut self.agents[host];
            agent.sequence += 1;
            let batch = Batch {
                sequence: agent.sequence,
                interval: agent.since..wall(now),
                paths: agent.collector.take(),
                traces: Vec::new(),
                hardware: Vec::new(),
                counters: AgentCounters::default(),
            };
            agent.since = wall(now);
            batches.push((host, batch));
        }
        self.count(batches, now)?;
        // What the agent of a host that is down would have kept dies with it.
        for host in 0..self.agents.len() {
            let number = u32::try_from(host).unwrap_or(u32::MAX);
            if is_down(&self.faults, number, now) {
                self.agents[host].collector.take();
                self.agents[host].since = wall(now);
            }
        }
        Ok(())
    }

    /// Counts batches, which other analyzers may have passed on.
    fn count(&mut self, batches: Vec<(usize, Batch)>, now: HostTime) -> Result<(), FrameError> {
        let name = |host: usize| self.topology.hosts()[host].clone();
        let counted = match &mut self.split {
            None => batches
                .into_iter()
                .map(|(host, batch)| (name(host), batch))
                .collect(),
            Some(split) => {
                let tors = |host: usize| {
                    let rnics = self
                        .topology
                        .rnic_ids()
                        .map(|rnic| self.topology.rnic(rnic));
                    let of_host = rnics.filter(|rnic| rnic.host_index as usize == host);
                    of_host.map(|rnic| rnic.tor.clone()).collect()
                };
                let batch = |(host, batch)| (name(host), tors(host), batch);
                split.pass(batches.into_iter().map(batch).collect())?
            }
        };
        for (host, batch) in counted {
            self.host_filter.ingest(&host, &batch, wall(now));
            self.windows.ingest(&batch, wall(now));
        }
        Ok(())
    }

    fn judge(&mut self, now: HostTime) -> Result<(), ProblemError> {
        let at = wall(now);
        if now.nanos() % 5_000_000_000 == 0 {
            self.windows.expire(at);
        }
        let limits = self.judge.limits();
        self.snapshot
            .update(&self.windows, &self.host_filter, &limits, at);
        let judgement = self.judge.judge(&self.snapshot)?;
        self.outcome.runs += 1;
        if self.judge.focus.is_some() {
            self.outcome.asked += judgement.asked.len() as u64;
            self.asked
                .push_back((now.after(LAG), judgement.asked.clone()));
        }
        for (reason, counts) in &judgement.set_aside {
            self.outcome
                .set_aside
                .entry(*reason)
                .or_default()
                .add(*counts);
        }
        let since = now.since(HostTime::from_nanos(0));
        for change in self.tracker.step(&judgement, at) {
            self.outcome.events.push(Event { at: since, change });
        }
        Ok(())
    }
}

fn is_active(fault: &Fault, now: HostTime) -> bool {
    let since = Nanos(now.nanos()).to_duration().unwrap_or_default();
    since >= fault.at && fault.lasts.is_none_or(|lasts| since < fault.at + lasts)
}

fn is_down(faults: &[Resolved], host: u32, now: HostTime) -> bool {
    faults.iter().any(|resolved| {
        is_active(&resolved.fault, now)
            && resolved
                .places
                .iter()
                .any(|(place, effect)| *place == Place::Host(host) && *effect == Effect::Down)
    })
}
