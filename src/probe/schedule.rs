//! When each path is probed.
//!
//! Each group has its own evenly spaced turns; each turn takes the next path of the group. A turn that passes unused is
//! counted, and is not made up for: the later turns keep their times. The cap over all kinds acts twice: when groups
//! are set, the rates that they are granted add up to it at most, less important kinds giving way; and a limit on what
//! is handed out keeps groups that are due together (after a stall) from making a burst. Service connections come and
//! go one by one and share what the groups leave, see [`Connections`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use rand::Rng;

use crate::id::{FlowLabel, Gid, ServiceName};
use crate::time::{HostTime, Nanos};
use crate::transport::Address;

use super::connections::Connections;
use super::limit::{Limit, Meter, interval};
use super::{Config, Group, PathId, ProbeKind, ProbePath, Rate, Start};

/// Probes that may leave at the same time.
const BURST: u32 = 4;

/// How much faster than the cap probes that have had to wait may follow each other. The grants keep the average; this
/// only spreads what is due at the same time, and a little haste keeps it near its schedule.
const HASTE: f64 = 2.0;

fn spreading(max_rate: Rate) -> Limit {
    Limit::new(
        Rate::per_second(max_rate.get() * HASTE).unwrap_or(Rate::MAX),
        BURST,
    )
}

/// The rate that a kind asked for and what it got under the cap, in probes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grant {
    /// Which kind.
    pub kind: ProbeKind,
    /// Sum over its groups.
    pub asked: f64,
    /// Below `asked` when the cap does not suffice; each of the kind's groups is slowed in proportion.
    pub granted: f64,
}

/// A turn.
pub(super) struct Due {
    pub(super) kind: ProbeKind,
    pub(super) path: Arc<ProbePath>,
    /// Turns of the group that passed before this one.
    pub(super) missed: u64,
}

/// A group with its place in time.
struct Lane {
    kind: ProbeKind,
    /// As the group has it.
    asked: Rate,
    /// As the cap allows it; `None` when it allows nothing.
    interval: Option<Nanos>,
    /// The next turn.
    next: HostTime,
    paths: Vec<Arc<ProbePath>>,
    /// Whose turn it is.
    cursor: usize,
}

/// What makes a path the same path although its QPN may have changed.
type PathKey = (Gid, FlowLabel, Option<ServiceName>);

fn key(path: &ProbePath) -> PathKey {
    (
        path.target.address.gid,
        path.flow_label,
        path.service.clone(),
    )
}

pub(super) struct Schedule {
    limit: Limit,
    meter: Meter,
    max_rate: Rate,
    start: Start,
    lanes: Vec<Lane>,
    /// What the lanes got.
    shares: Vec<Grant>,
    connections: Connections,
    /// What all got.
    grants: Vec<Grant>,
    /// Lanes by the time of their next turn.
    waiting: BinaryHeap<Reverse<(HostTime, usize)>>,
    /// Lanes whose turn has come, the most important first.
    ready: BinaryHeap<Reverse<(ProbeKind, HostTime, usize)>>,
}

impl Schedule {
    pub(super) fn new(config: &Config) -> Self {
        let mut schedule = Self {
            limit: spreading(config.max_rate),
            meter: Meter::FRESH,
            max_rate: config.max_rate,
            start: config.start,
            lanes: Vec::new(),
            shares: Vec::new(),
            connections: Connections::new(config.service_interval),
            grants: Vec::new(),
            waiting: BinaryHeap::new(),
            ready: BinaryHeap::new(),
        };
        schedule.share_with_connections();
        schedule
    }

    #[cfg(test)]
    pub(super) fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Replaces the groups. A group goes on in the place of the old one of its kind with which it shares most paths: same grid,
    /// same order, new paths last.
    pub(super) fn set_groups(&mut self, groups: Vec<Group>, now: HostTime, rng: &mut impl Rng) {
        self.shares = grants(
            groups
                .iter()
                .filter(|group| !group.paths.is_empty())
                .map(|group| (group.kind, group.rate)),
            self.max_rate,
        );
        self.share_with_connections();
        let mut old: Vec<Option<Lane>> = std::mem::take(&mut self.lanes)
            .into_iter()
            .map(Some)
            .collect();
        let mut owner = HashMap::new();
        for (index, lane) in old.iter().enumerate() {
            for path in lane.iter().flat_map(|lane| &lane.paths) {
                owner.insert((lane.as_ref().map(|lane| lane.kind), key(path)), index);
            }
        }
        for group in groups.into_iter().filter(|group| !group.paths.is_empty()) {
            let interval = self.granted_interval(group.kind, group.rate);
            let mut shared: HashMap<usize, usize> = HashMap::new();
            for path in &group.paths {
                if let Some(index) = owner.get(&(Some(group.kind), key(path))) {
                    *shared.entry(*index).or_default() += 1;
                }
            }
            let predecessor = shared
                .into_iter()
                .filter(|(index, _)| old[*index].is_some())
                .max_by_key(|(index, count)| (*count, Reverse(*index)))
                .and_then(|(index, _)| old[index].take());
            let lane = match predecessor {
                Some(lane) => lane.succeed(&group, interval, now, rng),
                None => self.new_lane(group, interval, now, rng),
            };
            self.lanes.push(lane);
        }
        self.queue_all();
    }

    /// Divides another cap among all that there is, and probes service connections in another rhythm.
    pub(super) fn set_config(&mut self, config: &Config, now: HostTime, rng: &mut impl Rng) {
        self.max_rate = config.max_rate;
        self.limit = spreading(config.max_rate);
        self.connections.set_interval(config.service_interval);
        self.shares = grants(
            self.lanes.iter().map(|lane| (lane.kind, lane.asked)),
            config.max_rate,
        );
        self.share_with_connections();
        let mut lanes = std::mem::take(&mut self.lanes);
        for lane in &mut lanes {
            lane.pace(self.granted_interval(lane.kind, lane.asked), now, rng);
        }
        self.lanes = lanes;
        self.queue_all();
    }

    /// Probes the path of a service connection from now on, for the first time as soon as the cap allows it; one that is
    /// known takes the new path and keeps its turn.
    pub(super) fn set_connection(&mut self, id: PathId, path: Arc<ProbePath>, now: HostTime) {
        self.connections.set(id, path, now);
        self.share_with_connections();
    }

    /// Probes it no longer.
    pub(super) fn remove_connection(&mut self, id: PathId) {
        self.connections.remove(id);
        self.share_with_connections();
    }

    /// Points every path to `gid` at its new address.
    pub(super) fn replace_address(&mut self, gid: Gid, address: Address) {
        self.connections.replace_address(gid, address);
        for lane in &mut self.lanes {
            for path in &mut lane.paths {
                if path.target.address.gid == gid {
                    let mut moved = ProbePath::clone(path);
                    Arc::make_mut(&mut moved.target).address = address;
                    *path = Arc::new(moved);
                }
            }
        }
    }

    /// Takes a turn that has come, if the cap allows one.
    pub(super) fn take(&mut self, now: HostTime) -> Option<Due> {
        while let Some(&Reverse((at, index))) = self.waiting.peek() {
            if at > now {
                break;
            }
            self.waiting.pop();
            self.ready
                .push(Reverse((self.lanes[index].kind, at, index)));
        }
        let connection_is_due = || self.connections.next_turn().is_some_and(|turn| turn <= now);
        if self.ready.is_empty() && !connection_is_due() {
            return None;
        }
        if !self.meter.admit(self.limit, now) {
            return None;
        }
        let Some(Reverse((_, _, index))) = self.ready.pop() else {
            let turn = self.connections.take(now)?;
            return Some(Due {
                kind: ProbeKind::ServiceTracing,
                path: turn.path,
                missed: turn.missed,
            });
        };
        let lane = &mut self.lanes[index];
        let due = lane.take(now);
        self.waiting.push(Reverse((lane.next, index)));
        Some(due)
    }

    /// When the next turn can be taken.
    pub(super) fn next_wakeup(&self) -> Option<HostTime> {
        let ready = self.ready.peek().map(|Reverse((_, at, _))| *at);
        let waiting = self.waiting.peek().map(|Reverse((at, _))| *at);
        ready
            .into_iter()
            .chain(waiting)
            .chain(self.connections.next_turn())
            .min()
            .map(|at| at.max(self.meter.ready_at(self.limit)))
    }

    /// What the lanes leave of the cap is for the connections.
    fn share_with_connections(&mut self) {
        let taken: f64 = self.shares.iter().map(|share| share.granted).sum();
        let left = self.max_rate.get() - taken;
        // Below a probe in a thousand seconds there is nothing but what rounding left.
        let left = Rate::per_second(left).filter(|left| left.get() > 1e-3);
        self.connections.set_left(left);
        self.grants.clone_from(&self.shares);
        let asked = self.connections.asked();
        if asked > 0.0 {
            let granted = asked.min(left.map_or(0.0, Rate::get));
            let kind = ProbeKind::ServiceTracing;
            match self.grants.iter_mut().find(|grant| grant.kind == kind) {
                Some(grant) => {
                    grant.asked += asked;
                    grant.granted += granted;
                }
                None => self.grants.push(Grant {
                    kind,
                    asked,
                    granted,
                }),
            }
        }
    }

    fn granted_interval(&self, kind: ProbeKind, asked: Rate) -> Option<Nanos> {
        let share = self
            .shares
            .iter()
            .find(|grant| grant.kind == kind)
            .map_or(1.0, |grant| grant.granted / grant.asked);
        Rate::per_second(asked.get() * share).map(interval)
    }

    fn new_lane(
        &self,
        group: Group,
        interval: Option<Nanos>,
        now: HostTime,
        rng: &mut impl Rng,
    ) -> Lane {
        let mut seen = HashSet::new();
        let paths: Vec<_> = group
            .paths
            .into_iter()
            .filter(|path| seen.insert(key(path)))
            .collect();
        let (next, cursor) = match self.start {
            Start::RandomPhase => (
                random_turn(interval, now, rng),
                rng.random_range(0..paths.len()),
            ),
            Start::AtOnce => (now, 0),
        };
        Lane {
            kind: group.kind,
            asked: group.rate,
            interval,
            next,
            paths,
            cursor,
        }
    }

    fn queue_all(&mut self) {
        self.ready.clear();
        self.waiting = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| lane.interval.is_some())
            .map(|(index, lane)| Reverse((lane.next, index)))
            .collect();
    }
}

impl Lane {
    /// Takes the newest turn that has come; the older ones are missed.
    fn take(&mut self, now: HostTime) -> Due {
        // Only lanes that are granted something are queued.
        let interval = self.interval.map_or(i64::MAX, |interval| interval.0);
        let late = (now - self.next).0.max(0);
        let missed = late / interval;
        self.next = self.next + Nanos(interval.saturating_mul(missed + 1));
        let path = Arc::clone(&self.paths[self.cursor]);
        self.cursor = (self.cursor + 1) % self.paths.len();
        Due {
            kind: self.kind,
            path,
            missed: missed.unsigned_abs(),
        }
    }

    /// The lane with the paths and the rate of `group`.
    fn succeed(
        mut self,
        group: &Group,
        interval: Option<Nanos>,
        now: HostTime,
        rng: &mut impl Rng,
    ) -> Self {
        let mut fresh: HashMap<PathKey, Arc<ProbePath>> = group
            .paths
            .iter()
            .map(|path| (key(path), Arc::clone(path)))
            .collect();
        self.paths.rotate_left(self.cursor);
        self.cursor = 0;
        let kept: Vec<_> = self
            .paths
            .iter()
            .filter_map(|path| fresh.remove(&key(path)))
            .collect();
        self.paths = kept;
        self.paths.extend(
            group
                .paths
                .iter()
                .filter_map(|path| fresh.remove(&key(path))),
        );
        self.asked = group.rate;
        self.pace(interval, now, rng);
        self
    }

    /// Goes on with another interval, if it is another.
    fn pace(&mut self, interval: Option<Nanos>, now: HostTime, rng: &mut impl Rng) {
        if interval == self.interval {
            return;
        }
        self.next = match (self.interval, interval) {
            (Some(old), Some(new)) => rescale(self.next, old, new, now),
            _ => random_turn(interval, now, rng),
        };
        self.interval = interval;
    }
}

/// Somewhere in the coming interval.
fn random_turn(interval: Option<Nanos>, now: HostTime, rng: &mut impl Rng) -> HostTime {
    interval.map_or(now, |interval| {
        now + Nanos(rng.random_range(0..interval.0.max(1)))
    })
}

/// The part of the interval that is still to pass, of the new interval.
fn rescale(next: HostTime, old: Nanos, new: Nanos, now: HostTime) -> HostTime {
    let remaining = (next - now).0.clamp(0, old.0);
    let scaled = i128::from(remaining) * i128::from(new.0) / i128::from(old.0.max(1));
    now + Nanos(i64::try_from(scaled).unwrap_or(new.0))
}

/// Divides the cap, the most important kind first.
fn grants(asked: impl Iterator<Item = (ProbeKind, Rate)>, cap: Rate) -> Vec<Grant> {
    let mut sums: BTreeMap<ProbeKind, f64> = BTreeMap::new();
    for (kind, rate) in asked {
        *sums.entry(kind).or_default() += rate.get();
    }
    let mut left = cap.get();
    sums.into_iter()
        .map(|(kind, asked)| {
            let granted = asked.min(left);
            left -= granted;
            Grant {
                kind,
                asked,
                granted,
            }
        })
        .collect()
}
