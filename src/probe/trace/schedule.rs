//! When each path is traced: when it is new, when it begins to fail, when it recovers, and all paths in turn. This
//! holds for the paths of probes and of ACKs.
//!
//! Two bounds always hold, because a switch answers from a slow processor that many agents share: the traces per second
//! of an agent, and the answers per second that it asks of one switch. Within these bounds what the analysis lacks most goes first: paths
//! that were never traced, failing ones before others; then those that fail or recover; then the one that was traced longest ago. While
//! paths wait that lack a trace, or whose trace is older than `interval` and half of it, those that fail or recover again and again get
//! one turn of [`TURNS`] only: many lossy paths do not keep the others from being traced.
//!
//! A trace that ends in silence does not tell where the path ends: its packets were lost, or no probe had come through yet. It is
//! repeated after the gap, then after twice that time, and so on up to `interval`. Not where no switch has ever answered: then nothing
//! more is learned by asking again soon.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use super::{Before, End, Reason, Route, Trace, Tuple};
use crate::id::NodeName;
use crate::probe::Rate;
use crate::probe::limit::{Limit, Meter};
use crate::time::{HostTime, Nanos};

/// The most switches whose rate is remembered. On overflow those without recent traces are dropped.
const MAX_SWITCHES: usize = 16_384;

/// Of so many traces one goes to a path that was traced before and fails or recovers, while others lack a trace.
const TURNS: u32 = 4;

/// A trace that shows another path than the one before is repeated so often, while the repetitions disagree as well.
const REPEATS: u32 = 3;

/// Which packets take a path, seen from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Probes that this host sends.
    Forward,
    /// ACKs that this host sends to probes of others.
    Reverse,
}

/// How a [`Schedule`] behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// How often every path is traced, as far as the bounds allow.
    pub interval: Duration,
    /// Traces per second of this agent.
    pub rate: Rate,
    /// Traces at once of this agent.
    pub burst: u32,
    /// Answers per second that one switch is asked for by this agent.
    pub switch_rate: Rate,
    /// Answers that one switch is asked for at once.
    pub switch_burst: u32,
    /// The least time between two traces of one path.
    pub gap: Duration,
    /// Probes in a row that have to come through before a failing path counts as recovered.
    pub recovery: u32,
    /// A path without probes for so long is forgotten.
    pub forget: Duration,
    /// The most paths; further ones are counted and not traced. Peers decide how many reverse paths there are, so these
    /// get at most half.
    pub max_paths: usize,
}

impl Default for Config {
    /// Each path every five minutes, four traces a second, ten answers a second of one switch.
    fn default() -> Self {
        Self {
            interval: Duration::from_mins(5),
            rate: const { Rate::per_second(4.0).expect("in range") },
            burst: 4,
            switch_rate: const { Rate::per_second(10.0).expect("in range") },
            switch_burst: 10,
            gap: Duration::from_secs(5),
            recovery: 5,
            forget: Duration::from_mins(2),
            max_paths: 65_536,
        }
    }
}

impl Config {
    /// From one trace to the next, after so many in a row that ended in silence.
    fn pause(&self, silent: u32) -> Duration {
        let doubled = 1_u32.checked_shl(silent - 1).unwrap_or(u32::MAX);
        self.gap.saturating_mul(doubled)
    }
}

/// A trace to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Of what.
    pub tuple: Tuple,
    /// Why.
    pub reason: Reason,
    /// What is known of the path.
    pub route: Option<Route>,
    /// Whether probes come through, if not all.
    pub healthy: bool,
}

impl Order {
    /// As an [`Assembly`](super::Assembly) wants it.
    pub fn before(&self) -> Before<'_> {
        Before {
            route: self.route.as_ref(),
            healthy: self.healthy,
        }
    }
}

/// What a schedule counts since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Traces that were ordered.
    pub ordered: u64,
    /// Traces that failed.
    pub failed: u64,
    /// Times that the probes of a path that was not known found no place among the paths.
    pub paths_dropped: u64,
}

/// When a path is due. In the order of time; ties by tuple, so that the order is always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: HostTime,
    tuple: Tuple,
}

/// Where a path waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In `later`, until it is due.
    Later,
    /// In `ready`, until the bounds allow it.
    Ready,
    /// Nowhere: it is being traced.
    Running,
}

/// What goes first of the paths that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// It was never traced, and fails.
    FailingUnknown,
    /// It was never traced.
    Unknown,
    /// It begins to fail, or has recovered.
    Changed,
    /// It was traced a while ago.
    Scheduled,
}

/// A path that is due: those of the same urgency in the order of their newest traces, or of their arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    urgency: Urgency,
    since: HostTime,
    tuple: Tuple,
}

#[derive(Debug)]
struct PathState {
    direction: Direction,
    /// When its first probes were seen.
    came: HostTime,
    seen: HostTime,
    failing: bool,
    /// Whether the newest probes came through, if not all.
    alive: bool,
    /// Probes that came through since the last loss.
    clean: u32,
    traced: Option<HostTime>,
    route: Option<Route>,
    reason: Reason,
    due: HostTime,
    place: Place,
    /// Repetitions since a trace has last agreed with the one before.
    repeats: u32,
    /// Traces in a row that ended in silence behind a switch that has answered.
    silent: u32,
    /// What came up while it was running.
    again: Option<Reason>,
}

impl PathState {
    /// Its place among the paths that are due. It changes with what [`Schedule::place`] and [`Schedule::start`] set only.
    fn ready(&self, tuple: Tuple) -> Ready {
        let urgency = match (self.traced, self.reason) {
            (None, Reason::Failing) => Urgency::FailingUnknown,
            (None, Reason::Recovered | Reason::New | Reason::Scheduled) => Urgency::Unknown,
            (Some(_), Reason::Failing | Reason::Recovered) => Urgency::Changed,
            (Some(_), Reason::New | Reason::Scheduled) => Urgency::Scheduled,
        };
        Ready {
            urgency,
            since: self.traced.unwrap_or(self.came),
            tuple,
        }
    }
}

/// The schedule of one agent.
#[derive(Debug)]
pub struct Schedule {
    config: Config,
    paths: HashMap<Tuple, PathState>,
    ready: BTreeSet<Ready>,
    /// Traces since one went to a path that fails or recovers while others lacked a trace.
    turns: u32,
    later: BTreeSet<Due>,
    /// How many of the paths are reverse paths.
    reverse_paths: usize,
    agent: Meter,
    switches: HashMap<NodeName, Meter>,
    swept: HostTime,
    jitter: RandomState,
    counters: Counters,
}

impl Schedule {
    /// Without any path.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            paths: HashMap::new(),
            ready: BTreeSet::new(),
            turns: 0,
            later: BTreeSet::new(),
            reverse_paths: 0,
            agent: Meter::FRESH,
            switches: HashMap::new(),
            swept: HostTime::from_nanos(0),
            jitter: RandomState::new(),
            counters: Counters::default(),
        }
    }

    /// What was counted.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there is no path.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    fn has_room(&self, direction: Direction) -> bool {
        let is_allowed =
            direction == Direction::Forward || self.reverse_paths < self.config.max_paths / 2;
        is_allowed && self.paths.len() < self.config.max_paths
    }

    /// Probes of a path have ended: so many were lost, so many came through.
    pub fn seen(
        &mut self,
        (tuple, direction): (Tuple, Direction),
        lost: u64,
        complete: u64,
        now: HostTime,
    ) {
        if !self.paths.contains_key(&tuple) {
            if !self.has_room(direction) {
                self.counters.paths_dropped += 1;
                return;
            }
            self.reverse_paths += usize::from(direction == Direction::Reverse);
            let path = PathState {
                direction,
                came: now,
                seen: now,
                failing: false,
                alive: true,
                clean: 0,
                traced: None,
                route: None,
                reason: Reason::New,
                due: now,
                place: Place::Later,
                repeats: 0,
                silent: 0,
                again: None,
            };
            self.paths.insert(tuple, path);
            self.later.insert(Due { at: now, tuple });
        }
        let Some(path) = self.paths.get_mut(&tuple) else {
            return;
        };
        path.seen = now;
        path.alive = complete > 0 || lost == 0;
        if lost > 0 {
            path.clean = 0;
            if !std::mem::replace(&mut path.failing, true) {
                self.request(tuple, Reason::Failing, now);
            }
            return;
        }
        path.clean = path
            .clean
            .saturating_add(u32::try_from(complete).unwrap_or(u32::MAX));
        if path.failing && path.clean >= self.config.recovery {
            path.failing = false;
            self.request(tuple, Reason::Recovered, now);
        }
    }

    /// Puts a path forward, but not before its gap is over.
    fn request(&mut self, tuple: Tuple, reason: Reason, now: HostTime) {
        let Some(path) = self.paths.get_mut(&tuple) else {
            return;
        };
        if path.place == Place::Running {
            path.again = Some(reason);
            return;
        }
        let earliest = path
            .traced
            .map_or(now, |traced| traced.after(self.config.gap).max(now));
        self.place(tuple, reason, earliest);
    }

    fn place(&mut self, tuple: Tuple, reason: Reason, at: HostTime) {
        self.unplace(tuple);
        if let Some(path) = self.paths.get_mut(&tuple) {
            (path.reason, path.due, path.place) = (reason, at, Place::Later);
            self.later.insert(Due { at, tuple });
        }
    }

    fn unplace(&mut self, tuple: Tuple) {
        if let Some(path) = self.paths.get(&tuple) {
            let due = Due {
                at: path.due,
                tuple,
            };
            match path.place {
                Place::Later => {
                    self.later.remove(&due);
                }
                Place::Ready => {
                    self.ready.remove(&path.ready(tuple));
                }
                Place::Running => {}
            }
        }
    }

    /// The next trace to make, if one is due and the bounds allow it. Every order has to be ended by [`Self::done`] or
    /// [`Self::failed`].
    pub fn next(&mut self, now: HostTime) -> Option<Order> {
        self.sweep(now);
        while let Some(due) = self.later.first().copied().filter(|due| due.at <= now) {
            self.later.remove(&due);
            if let Some(path) = self.paths.get_mut(&due.tuple) {
                path.place = Place::Ready;
                self.ready.insert(path.ready(due.tuple));
            }
        }
        let limit = Limit::new(self.config.rate, self.config.burst);
        if self.agent.ready_at(limit) > now {
            return None;
        }
        while let Some(ready) = self.first(now) {
            let tuple = ready.tuple;
            let reason = self.paths.get(&tuple)?.reason;
            let free_at = self.switches_free_at(tuple, now);
            if free_at > now {
                // It comes back when its busiest switch has an answer to give.
                self.place(tuple, reason, free_at);
                continue;
            }
            self.ready.remove(&ready);
            self.turns = match ready.urgency {
                Urgency::Changed => 0,
                Urgency::FailingUnknown | Urgency::Unknown | Urgency::Scheduled => {
                    self.turns.saturating_add(1)
                }
            };
            self.agent.admit(limit, now);
            return self.start(tuple, reason, now);
        }
        None
    }

    /// The path that is to be traced first of those that are due.
    fn first(&self, now: HostTime) -> Option<Ready> {
        let first_of = |urgency| {
            let least = Ready {
                urgency,
                since: HostTime::from_nanos(i64::MIN),
                tuple: Tuple::LEAST,
            };
            let found = self.ready.range(least..).next().copied();
            found.filter(|found| found.urgency == urgency)
        };
        let first = self.ready.first().copied()?;
        let changed = first_of(Urgency::Changed);
        let lacking = match first.urgency {
            Urgency::FailingUnknown => return Some(first),
            Urgency::Unknown => Some(first),
            Urgency::Changed | Urgency::Scheduled => first_of(Urgency::Scheduled)
                .filter(|oldest| now.since(oldest.since) > self.config.interval * 3 / 2),
        };
        match (lacking, changed) {
            (Some(lacking), Some(_)) if self.turns + 1 < TURNS => Some(lacking),
            (Some(lacking), None) => Some(lacking),
            (_, Some(changed)) => Some(changed),
            (None, None) => Some(first),
        }
    }

    fn start(&mut self, tuple: Tuple, reason: Reason, now: HostTime) -> Option<Order> {
        let path = self.paths.get_mut(&tuple)?;
        path.place = Place::Running;
        path.traced = Some(now);
        let order = Order {
            tuple,
            reason,
            route: path.route.clone(),
            healthy: path.alive,
        };
        self.counters.ordered += 1;
        let nodes: Vec<_> = order.route.iter().flat_map(Route::nodes).cloned().collect();
        for node in nodes {
            self.charge(node, now);
        }
        Some(order)
    }

    fn switches_free_at(&self, tuple: Tuple, now: HostTime) -> HostTime {
        let limit = Limit::new(self.config.switch_rate, self.config.switch_burst);
        let route = self.paths.get(&tuple).and_then(|path| path.route.as_ref());
        route
            .into_iter()
            .flat_map(Route::nodes)
            .filter_map(|node| self.switches.get(node))
            .map(|meter| meter.ready_at(limit))
            .fold(now, HostTime::max)
    }

    fn charge(&mut self, node: NodeName, now: HostTime) {
        if self.switches.len() >= MAX_SWITCHES {
            self.switches
                .retain(|_, meter| meter.ready_at(Limit::new(self.config.switch_rate, 1)) > now);
        }
        let limit = Limit::new(self.config.switch_rate, self.config.switch_burst);
        self.switches
            .entry(node)
            .or_insert(Meter::FRESH)
            .charge(limit, now);
    }

    /// When [`Self::next`] may have something, at the latest.
    pub fn next_wakeup(&self, now: HostTime) -> Option<HostTime> {
        let limit = Limit::new(self.config.rate, self.config.burst);
        let first = match (self.ready.first(), self.later.first()) {
            (Some(_), _) => now,
            (None, Some(due)) => due.at,
            (None, None) => return None,
        };
        Some(first.max(self.agent.ready_at(limit)))
    }

    /// A trace has ended.
    pub fn done(&mut self, trace: &Trace, now: HostTime) {
        let Some(path) = self.paths.get_mut(&trace.tuple) else {
            return;
        };
        let old = path.route.take();
        let new = trace.route();
        // Switches that were not known when the trace began have answered too.
        let surprises: Vec<_> = new
            .nodes()
            .filter(|node| {
                old.iter()
                    .all(|old| !old.nodes().any(|known| known == *node))
            })
            .cloned()
            .collect();
        let is_other = old.as_ref().is_some_and(|old| {
            trace.end.is_complete() && old.relation(&new) == super::Relation::Different
        });
        // Only repetitions tell a path that has changed from one that has no path of its own.
        if !is_other {
            path.repeats = 0;
        } else if path.repeats < REPEATS {
            path.repeats += 1;
            path.again.get_or_insert(Reason::Scheduled);
        }
        path.route = match old {
            None if trace.end == End::Silent => None,
            None => Some(new),
            Some(old) => match old.relation(&new) {
                super::Relation::Same(both) => Some(both),
                super::Relation::Shorter => Some(old),
                super::Relation::Different if trace.end == End::Silent => Some(old),
                super::Relation::Different => Some(new),
            },
        };
        let is_answered = path.route.is_some() || trace.hops.iter().any(Option::is_some);
        path.silent = match trace.end {
            End::Silent if is_answered => path.silent.saturating_add(1),
            End::Silent | End::Answered | End::Inferred => 0,
        };
        for node in surprises {
            self.charge(node, now);
        }
        self.end(trace.tuple, now);
    }

    /// A trace could not be made.
    pub fn failed(&mut self, tuple: Tuple, now: HostTime) {
        self.counters.failed += 1;
        self.end(tuple, now);
    }

    fn end(&mut self, tuple: Tuple, now: HostTime) {
        let jittered = self.jittered(tuple, now);
        let Some(path) = self.paths.get_mut(&tuple) else {
            return;
        };
        let traced = path.traced.unwrap_or(now);
        match path.again.take() {
            Some(reason) => self.place(tuple, reason, traced.after(self.config.gap).max(now)),
            None if path.silent > 0 => {
                let (reason, pause) = (path.reason, self.config.pause(path.silent));
                self.place(tuple, reason, traced.after(pause).max(now).min(jittered));
            }
            None => self.place(tuple, Reason::Scheduled, jittered),
        }
    }

    /// An interval from now, a quarter more or less: agents do not trace in step.
    fn jittered(&self, tuple: Tuple, now: HostTime) -> HostTime {
        let interval = Nanos::from(self.config.interval).0;
        let half = (interval / 2).max(1).unsigned_abs();
        let extra = self.jitter.hash_one((tuple, now)) % half;
        let extra = i64::try_from(extra).unwrap_or_default();
        now + Nanos(interval - interval / 4 + extra)
    }

    /// Forgets paths that are no longer probed, now and then.
    fn sweep(&mut self, now: HostTime) {
        if now.since(self.swept) < self.config.forget / 4 {
            return;
        }
        self.swept = now;
        let forget = self.config.forget;
        let gone: Vec<_> = self
            .paths
            .iter()
            .filter(|(_, path)| path.place != Place::Running && now.since(path.seen) > forget)
            .map(|(tuple, _)| *tuple)
            .collect();
        for tuple in gone {
            self.unplace(tuple);
            if let Some(path) = self.paths.remove(&tuple) {
                self.reverse_paths -= usize::from(path.direction == Direction::Reverse);
            }
        }
    }
}

#[cfg(test)]
mod tests;
