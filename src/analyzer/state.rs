//! What the analyzer knows, owned by one thread: windows, agents, metrics of what was measured.
//!
//! Hosts and RNICs that are missing are in [`fleet`].
//!
//! The thread works off a queue of [`DEPTH`] commands and ends when the last sender is gone. Readers send a closure and
//! wait for its answer; one that stops waiting changes nothing.

mod fleet;
mod ways;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub(super) use ways::NamedHop;

use super::agents::Agents;
use super::memory::Room;
use super::metrics::Metrics;
use crate::analysis::admission::Watermark;
use crate::analysis::clocks::is_corrected;
use crate::analysis::filter::HostFilter;
use crate::analysis::fleet::missing::Missing;
use crate::analysis::fleet::record::HostRecord;
use crate::analysis::fleet::{AgentState, Fleet};
use crate::analysis::hardware::{Hardware, Risen};
use crate::analysis::health::{Health, WrongClock};
use crate::analysis::judge::Snapshot;
use crate::analysis::map::{self, Map};
use crate::analysis::paths::{Known, KnownPaths, Learned};
use crate::analysis::report::{End, Sender};
use crate::analysis::routes::{MOST_DIFFERENCES, Routes};
use crate::analysis::shards::Held;
use crate::analysis::sizing::Sizing;
use crate::analysis::windows::{Limits, Placement, Planes, Slot, Windows};
use crate::events::{Event, Publisher};
use crate::id::{AgentVersion, HostName, RnicName};
use crate::net::limit::LogLimit;
use crate::probe::trace::{Route, Tuple};
use crate::rpc::results::Received;
use crate::time::{Clock, HostTime, Nanos, WallTime};
use crate::topology::wiring::{Names, Wiring};

/// Depth of the queue: groups of batches and readers' closures. Small, because the intake and the readers wait anyway.
pub(super) const DEPTH: usize = 16;
/// How often old paths and agents are forgotten.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(5);
/// How long a path that is no longer traced is remembered.
const KEEP_TRACES: Duration = Duration::from_hours(24);
/// How often the judge is told that a path was traced again as it was, nanoseconds.
const CONFIRM: i64 = 8 * 60 * 1_000_000_000;

/// The period in which a path is told as confirmed at most once.
const fn period(at: WallTime) -> i64 {
    at.nanos().div_euclid(CONFIRM)
}

/// Hosts with wrong clocks that are told apart.
const MOST_CLOCKS: usize = 10_000;
/// How long after the start an RNIC that reports nothing is not called missing.
const SETTLED: Duration = Duration::from_mins(1);
/// How long a host or RNIC that nobody hears of is remembered.
const KEEP_HOSTS: Duration = Duration::from_mins(10);

/// A batch that was stored, or came again.
#[derive(Debug)]
pub(super) struct Taken {
    /// The spool's mark after it.
    pub(super) mark: Watermark,
    /// Of the agent's program, where it is known.
    pub(super) version: Option<AgentVersion>,
    /// `None` for a duplicate.
    pub(super) received: Option<Received>,
    /// Read back from the journal.
    pub(super) replayed: bool,
    /// By how much the agent's clock is ahead; the batch is corrected already where that is possible.
    pub(super) clock: Nanos,
    /// What is there of the spool, where several analyzers share the fleet.
    pub(super) held: Option<Held>,
    /// When.
    pub(super) at: WallTime,
    /// The memory that it takes; `None` where nobody waits for it.
    pub(super) room: Option<Room>,
}

/// What an agent has said of itself.
#[derive(Debug)]
pub(super) struct Told {
    /// The agent, with its spool.
    pub(super) sender: Sender,
    /// Where it runs; empty where it does not say.
    pub(super) host: HostName,
    /// Of its program, where it is known.
    pub(super) version: Option<AgentVersion>,
    /// What it has said.
    pub(super) state: AgentState,
}

/// A trace that was learned: the switches from ToR to ToR.
pub(super) type Traced = (Tuple, Vec<String>);

/// What the state thread hands out for one run.
pub(super) struct Material {
    pub(super) snapshot: Snapshot,
    pub(super) traced: Vec<Traced>,
    /// 5-tuples that nobody has traced for long.
    pub(super) untraced: Vec<Tuple>,
    pub(super) differences: Vec<String>,
    /// What the RNICs' own counters say.
    pub(super) hardware: Risen,
    /// RNICs of which others say that they are elsewhere.
    pub(super) contradicted: BTreeSet<RnicName>,
    /// What the state knows of the monitoring itself.
    pub(super) health: Health,
    /// Hosts and RNICs that were there and are missing.
    pub(super) missing: Vec<Missing>,
    /// What is to be stored of hosts: the records that have changed since the last run, `None` for what is forgotten.
    pub(super) hosts: BTreeMap<HostName, Option<HostRecord>>,
    /// Paths that left the windows because of a bound since the start.
    pub(super) evicted: u64,
    /// Traced paths, hosts and RNICs that found no place since then.
    pub(super) unlisted: u64,
}

type Reader = Box<dyn FnOnce(&State, WallTime) + Send>;

enum Command {
    Taken(Vec<Taken>),
    Marks(Vec<Watermark>),
    Told(Box<Told>),
    WaitFor(Vec<(HostName, WallTime)>),
    FoundSilent(Vec<(HostName, WallTime)>),
    Read(Reader),
}

/// For the intake and the readers.
#[derive(Clone)]
pub(super) struct StateHandle {
    commands: mpsc::Sender<Command>,
}

impl fmt::Debug for StateHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateHandle")
    }
}

impl StateHandle {
    /// Counts batches. Waits while the thread is behind.
    pub(super) async fn taken(&self, taken: Vec<Taken>) {
        self.send(Command::Taken(taken)).await;
    }

    /// Tells of spools that were known before the start.
    pub(super) async fn marks(&self, marks: Vec<Watermark>) {
        self.send(Command::Marks(marks)).await;
    }

    /// Takes what an agent says of itself.
    pub(super) async fn told(&self, told: Told) {
        self.send(Command::Told(Box::new(told))).await;
    }

    /// Uploads of these hosts cannot arrive at the moment, each since when.
    pub(super) async fn wait_for(&self, hosts: Vec<(HostName, WallTime)>) {
        self.send(Command::WaitFor(hosts)).await;
    }

    /// The agents of these hosts were silent before the start, each since when.
    pub(super) async fn found_silent(&self, hosts: Vec<(HostName, WallTime)>) {
        self.send(Command::FoundSilent(hosts)).await;
    }

    async fn send(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::error!("the state thread has ended");
        }
    }

    /// Runs `read` on the thread; `None` when it has ended.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&State, WallTime) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let reader: Reader = Box::new(move |state, now| {
            // A reader that no longer waits needs no answer.
            let _ = reply.send(read(state, now));
        });
        self.commands.send(Command::Read(reader)).await.ok()?;
        answer.await.ok()
    }
}

/// What the topology file says, checked.
#[derive(Debug, Default)]
pub(super) struct KnownTopology {
    /// The file.
    pub(super) wiring: Option<Wiring>,
    /// To compare with reports.
    pub(super) routes: Routes,
    /// Switches by what answers traces.
    pub(super) names: Names,
}

impl KnownTopology {
    /// Of a file, or of none.
    pub(super) fn new(wiring: Option<Wiring>) -> Self {
        let names = wiring.as_ref().map(Wiring::names);
        Self {
            names: names.cloned().unwrap_or_default(),
            routes: Routes::new(wiring.as_ref()),
            wiring,
        }
    }
}

/// What the thread runs.
pub(super) struct StateThread {
    state: State,
    queue: mpsc::Receiver<Command>,
    clock: Arc<dyn Clock>,
}

impl StateThread {
    /// Works off the queue until its last sender is gone. Blocks.
    pub(super) fn run(self) {
        self.state.run(self.queue, &*self.clock);
    }
}

/// The state, empty, for a thread of its own.
pub(super) fn new(
    (limits, sizing): (Limits, Sizing),
    topology: KnownTopology,
    fleet: Fleet,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    events: Publisher,
) -> (StateHandle, StateThread) {
    let (commands, queue) = mpsc::channel(DEPTH);
    let paths = KnownPaths::new(limits.paths);
    let windows = Windows::new(limits);
    let state = State {
        paths,
        windows: match &topology.wiring {
            Some(_) => windows.without_planes(),
            None => windows,
        },
        agents: Agents::default(),
        host_filter: HostFilter::default(),
        hardware: Hardware::default(),
        topology,
        fleet: RefCell::new(fleet),
        sizing,
        fresh: RefCell::default(),
        differences: Vec::new(),
        clocks: HashMap::new(),
        missing: (0, Vec::new()),
        started: clock.host(),
        metrics,
        events,
        lines: LogLimit::new(10, Duration::from_secs(10)),
        expired: clock.host(),
    };
    let thread = StateThread {
        state,
        queue,
        clock,
    };
    (StateHandle { commands }, thread)
}

pub(super) struct State {
    pub(super) windows: Windows,
    pub(super) agents: Agents,
    /// What traces have shown.
    pub(super) paths: KnownPaths,
    /// Reasons why results say nothing about the network.
    pub(super) host_filter: HostFilter,
    /// What the RNICs' own counters say.
    hardware: Hardware,
    /// What the topology file says.
    topology: KnownTopology,
    /// Hosts and RNICs that were there.
    fleet: RefCell<Fleet>,
    /// How many paths are kept.
    pub(super) sizing: Sizing,
    /// Paths that were learned or have changed since the last run of the judge, and those whose RNICs nobody knows yet.
    fresh: RefCell<HashSet<Tuple>>,
    /// Where traces contradict the file, as it was when old paths were last forgotten.
    differences: Vec<String>,
    /// Clocks of agents that are off: by how much they are ahead, and when that was last seen.
    clocks: HashMap<HostName, (Nanos, WallTime)>,
    /// How many RNICs or hosts the file names, and those that nobody reports, as it was when old paths were last forgotten.
    missing: (usize, Vec<String>),
    started: HostTime,
    metrics: Arc<Metrics>,
    events: Publisher,
    lines: LogLimit,
    expired: HostTime,
}

impl State {
    fn run(mut self, mut queue: mpsc::Receiver<Command>, clock: &dyn Clock) {
        while let Some(command) = queue.blocking_recv() {
            let (host, wall) = (clock.host(), clock.wall());
            if host.since(self.expired) >= EXPIRE_INTERVAL {
                self.expired = host;
                self.windows.expire(wall);
                self.agents.expire(wall);
                self.paths.expire(wall, KEEP_TRACES);
                self.host_filter.expire(wall, KEEP_HOSTS);
                self.hardware.expire(wall);
                self.clocks
                    .retain(|_, (_, seen)| wall.since(*seen) < KEEP_HOSTS);
                self.step_fleet(host, wall);
                self.follow_pinglists();
                self.compare();
                if host.since(self.started) >= SETTLED {
                    self.look_for_missing();
                }
            }
            match command {
                Command::Taken(all) => {
                    for taken in all {
                        self.take(&taken, host);
                    }
                    self.update_gauges();
                }
                Command::Marks(marks) => {
                    for mark in &marks {
                        if let Some(agent) = self.agents.of(mark) {
                            agent.follow(mark);
                        }
                    }
                }
                Command::Told(told) => self.tell(&told, host, wall),
                Command::WaitFor(hosts) => {
                    for (one, since) in &hosts {
                        self.host_filter.wait_for(one, *since, wall);
                    }
                }
                Command::FoundSilent(hosts) => {
                    // Windows hold nothing that is older.
                    let oldest = wall + (Nanos::ZERO - Nanos::from(KEEP_HOSTS));
                    for (one, since) in &hosts {
                        let since = (*since).max(oldest);
                        self.host_filter.found_silent(one, since, wall);
                    }
                }
                Command::Read(reader) => reader(&self, wall),
            }
        }
    }

    fn take(&mut self, taken: &Taken, host: HostTime) {
        let Some(received) = &taken.received else {
            self.metrics.uploads.batches_duplicate.inc();
            if let Some(agent) = self.agents.of(&taken.mark) {
                agent.duplicates += 1;
            }
            return;
        };
        let received = &*self.own(received, &taken.mark.host);
        let placement = self.windows.ingest(&received.batch, taken.at);
        // Old traces are still worth something; those of a clock that is ahead would outlast all that come after.
        if !matches!(placement, Placement::Future(_)) {
            for trace in &received.batch.traces {
                let was_whole = self.has_whole_route(&trace.tuple);
                let before = self.paths.get(&trace.tuple).and_then(Known::confirmed);
                let learned = self.paths.learn(trace);
                // A trace that agrees may name a switch that never answered before.
                let completed = !was_whole && self.has_whole_route(&trace.tuple);
                let is_news = match learned {
                    Learned::New | Learned::Changed => true,
                    // Told now and then, so that the judge knows how old it is.
                    Learned::Confirmed => {
                        before.is_some_and(|before| period(before) != period(trace.at))
                    }
                    Learned::Silent | Learned::Old => false,
                };
                if completed || is_news {
                    self.fresh.borrow_mut().insert(trace.tuple);
                }
                if !taken.replayed {
                    self.metrics.traced(trace, learned);
                }
            }
        }
        if placement == Placement::Counted {
            self.hardware
                .ingest(&taken.mark.host, &received.batch.hardware, taken.at);
            // What another analyzer has kept does not show that the agent lives now.
            let is_kept = taken.replayed && taken.held.is_some();
            let heard = if is_kept {
                received.batch.interval.end
            } else {
                taken.at
            };
            self.host_filter
                .ingest(&taken.mark.host, &received.batch, heard);
        }
        if taken.replayed {
            return;
        }
        self.fleet.get_mut().hear(&taken.mark.host, host);
        self.record_clock(taken, placement);
        self.events
            .publish_blocking(|| Event::BatchStored(Arc::new(received.batch.clone())));
        let lost_before = self
            .agents
            .get(&taken.mark.sender.agent)
            .filter(|agent| agent.spool == taken.mark.sender.spool)
            .map_or(0, |agent| agent.lost_batches);
        let lost = taken.mark.lost.saturating_sub(lost_before);
        self.metrics.took(&received.batch, placement, lost);
        self.metrics
            .uploads
            .reports_refused
            .inc_by(received.refused.len() as u64);
        if let Some(agent) = self.agents.of(&taken.mark) {
            agent.follow(&taken.mark);
            agent.took(&received.batch, placement, (taken.clock, taken.at));
            agent.held = taken.held;
            agent.version.clone_from(&taken.version);
            agent.refused_reports += received.refused.len() as u64;
            if let Some(refusal) = received.refused.kept().last() {
                agent.last_refusal = Some(refusal.to_string());
            }
        }
        if let Some(refusal) = received.refused.kept().first()
            && let Some(suppressed) = self.lines.admit(host)
        {
            tracing::warn!(
                agent = %taken.mark.sender.agent, reason = %refusal, refused = received.refused.len(), suppressed,
                "refused reports that contradict themselves; the rest of the batch counts"
            );
        }
    }

    /// What an agent says of its own RNICs: reports and traces from one that another host's agent reports from are refused.
    fn own<'a>(&self, received: &'a Received, host: &HostName) -> Cow<'a, Received> {
        let slot = Slot::of_interval(&received.batch.interval);
        let owner = |gid| self.host_filter.reported_by_another(gid, host, slot);
        // An agent that does not name its host is believed, as the upload does.
        if host.as_str().is_empty() || !received.has_foreign(owner) {
            return Cow::Borrowed(received);
        }
        let mut own = received.clone();
        own.refuse_foreign(host, owner);
        Cow::Owned(own)
    }

    /// Keeps how far the agent's clock is off. An agent whose batches are not counted because of it lives nevertheless.
    fn record_clock(&mut self, taken: &Taken, placement: Placement) {
        let host = &taken.mark.host;
        if taken.clock == Nanos::ZERO {
            self.clocks.remove(host);
        } else if self.clocks.len() < MOST_CLOCKS || self.clocks.contains_key(host) {
            self.clocks.insert(host.clone(), (taken.clock, taken.at));
        }
        if placement != Placement::Counted {
            self.host_filter.note_alive(host, taken.at);
        }
    }

    /// What the state knows of the monitoring itself.
    fn health(&self) -> Health {
        let clocks = self.clocks.iter().map(|(host, (ahead, _))| WrongClock {
            host: host.clone(),
            ahead: *ahead,
            corrected: is_corrected(*ahead),
        });
        Health {
            hosts: self.host_filter.sizes().0,
            clocks: clocks.collect(),
            expected: self.missing.0,
            missing: self.missing.1.clone(),
            shortfall: self.sizing.shortfall(),
            ..Health::default()
        }
    }

    fn has_whole_route(&self, tuple: &Tuple) -> bool {
        let known = self.paths.get(tuple);
        known
            .and_then(|known| known.route())
            .is_some_and(Route::is_whole)
    }

    /// What the judge needs for one run: counts, and the paths that were traced since the last. The snapshot of the last run is brought
    /// up to date.
    pub(super) fn material(
        &self,
        mut snapshot: Snapshot,
        limits: &HashMap<u32, Nanos>,
        now: WallTime,
    ) -> Material {
        snapshot.update(&self.windows, &self.host_filter, limits, now);
        let untraced = self.paths.take_gone();
        let fresh = std::mem::take(&mut *self.fresh.borrow_mut());
        let mut traced = Vec::new();
        for tuple in fresh {
            let ends = (
                self.host_filter.end(tuple.source),
                self.host_filter.end(tuple.target),
            );
            if let (Some(_), Some(_)) = ends {
                traced.extend(self.traced(&tuple));
            } else if self.paths.get(&tuple).is_some() {
                // Its agent has not reported yet.
                self.fresh.borrow_mut().insert(tuple);
            }
        }
        let mut differences = self.topology.routes.differences(self.host_filter.rnics());
        differences.extend(self.differences.iter().cloned());
        differences.extend(self.windows.planes().and_then(Planes::difference));
        differences.truncate(MOST_DIFFERENCES);
        let mut fleet = self.fleet.borrow_mut();
        Material {
            snapshot,
            traced,
            untraced,
            differences,
            hardware: self.hardware.risen(now),
            contradicted: self.host_filter.contradicted(now).map(End::rnic).collect(),
            evicted: self.windows.memory().evicted,
            unlisted: self
                .paths
                .evicted()
                .saturating_add(self.host_filter.unlisted())
                .saturating_add(fleet.unlisted()),
            health: self.health(),
            missing: fleet.missing(),
            hosts: fleet.take_changes(),
        }
    }

    /// The switches of a traced path, if all are known.
    pub(super) fn traced(&self, tuple: &Tuple) -> Option<Traced> {
        let route = self.paths.get(tuple)?.route()?;
        let (source, target) = (
            self.host_filter.end(tuple.source)?,
            self.host_filter.end(tuple.target)?,
        );
        if source.tor == target.tor || route.hops().len() < 2 {
            return None;
        }
        let switches = map::named((Some(source), Some(target)), route, &self.topology.names)
            .map(|(_, name)| name.map(str::to_owned))
            .collect::<Option<_>>()?;
        Some((*tuple, switches))
    }

    /// The switch that answers first on a traced path, by the file's name for it.
    pub(super) fn first_switch(&self, tuple: &Tuple) -> Option<String> {
        let first = self.paths.get(tuple)?.route()?.hops().first()?;
        let answer = first.as_ref()?.as_str();
        Some(self.topology.names.of(answer).to_owned())
    }

    /// What the topology file says of cables.
    pub(super) const fn wiring(&self) -> Option<&Wiring> {
        self.topology.wiring.as_ref()
    }

    /// Where the topology file has the RNICs.
    pub(super) const fn routes(&self) -> &Routes {
        &self.topology.routes
    }

    /// Hosts and RNICs of the file that report nothing.
    pub(super) fn missing_of_file(&self) -> &[String] {
        &self.missing.1
    }

    /// The fabric as file, reports and traces know it together.
    pub(super) fn map(&self) -> Map<'_> {
        let mut map = Map::new(self.topology.wiring.as_ref());
        for end in self.host_filter.rnics() {
            map.report(end);
        }
        for (tuple, known) in self.paths.iter() {
            if let (Some(route), Some(confirmed)) = (known.route(), known.confirmed()) {
                let ends = (
                    self.host_filter.end(tuple.source),
                    self.host_filter.end(tuple.target),
                );
                let names_and_routes = (&self.topology.names, &self.topology.routes);
                map.trace(ends, route, names_and_routes, confirmed);
            }
        }
        map
    }

    /// Looks where traces contradict the file.
    fn compare(&mut self) {
        if self.topology.wiring.is_some() {
            self.differences = self.map().differences().map(str::to_owned).collect();
        }
    }

    /// Whether there is a topology file.
    pub(super) const fn has_file(&self) -> bool {
        self.topology.wiring.is_some()
    }

    fn update_gauges(&self) {
        self.metrics
            .set_memory(self.windows.memory(), self.agents.len());
        self.metrics.set_sizing(self.sizing);
        self.metrics
            .set_traced(self.paths.len(), self.paths.evicted());
        self.metrics.set_unlisted(self.host_filter.unlisted());
    }
}

#[cfg(test)]
mod tests;
