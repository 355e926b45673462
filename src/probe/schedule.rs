//! Which path is probed when.
//!
//! A group has turns at even distances on a grid of its own; each turn takes the next of its paths. A turn that passes
//! unused is counted and gone: the grid stays where it is, nothing is caught up. The cap over all kinds acts twice:
//! when groups are set, the rates that they are granted add up to it at most, less important kinds giving way; and a
//! limit on what is handed out keeps groups that are due together (after a stall) from making a burst.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use rand::Rng;

use crate::id::{FlowLabel, Gid, ServiceName};
use crate::time::{HostTime, Nanos};
use crate::transport::Address;

use super::limit::{Limit, Meter, interval};
use super::{Group, Kind, ProbePath, Rate, Start};

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
    pub kind: Kind,
    /// Sum over its groups.
    pub asked: f64,
    /// Below `asked` when the cap does not suffice; each of the kind's groups is slowed in proportion.
    pub granted: f64,
}

/// A turn.
pub(super) struct Due {
    pub(super) kind: Kind,
    pub(super) path: Arc<ProbePath>,
    /// Turns of the group that passed before this one.
    pub(super) missed: u64,
}

/// A group with its place in time.
struct Lane {
    kind: Kind,
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
    grants: Vec<Grant>,
    /// Lanes by the time of their next turn.
    waiting: BinaryHeap<Reverse<(HostTime, usize)>>,
    /// Lanes whose turn has come, the most important first.
    ready: BinaryHeap<Reverse<(Kind, HostTime, usize)>>,
}

impl Schedule {
    pub(super) fn new(max_rate: Rate, start: Start) -> Self {
        Self {
            limit: spreading(max_rate),
            meter: Meter::FRESH,
            max_rate,
            start,
            lanes: Vec::new(),
            grants: Vec::new(),
            waiting: BinaryHeap::new(),
            ready: BinaryHeap::new(),
        }
    }

    pub(super) fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Replaces the groups. A group that shares a path with an old one of its kind goes on in its place: same grid,
    /// same order, new paths last.
    pub(super) fn set_groups(&mut self, groups: Vec<Group>, now: HostTime, rng: &mut impl Rng) {
        self.grants = grants(
            groups
                .iter()
                .filter(|group| !group.paths.is_empty())
                .map(|group| (group.kind, group.rate)),
            self.max_rate,
        );
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
            let predecessor = group
                .paths
                .iter()
                .filter_map(|path| owner.get(&(Some(group.kind), key(path))))
                .find_map(|index| old[*index].take());
            let lane = match predecessor {
                Some(lane) => lane.succeed(&group, interval, now, rng),
                None => self.new_lane(group, interval, now, rng),
            };
            self.lanes.push(lane);
        }
        self.queue_all();
    }

    /// Divides another cap among the groups that there are.
    pub(super) fn set_max_rate(&mut self, max_rate: Rate, now: HostTime, rng: &mut impl Rng) {
        self.max_rate = max_rate;
        self.limit = spreading(max_rate);
        self.grants = grants(
            self.lanes.iter().map(|lane| (lane.kind, lane.asked)),
            max_rate,
        );
        let mut lanes = std::mem::take(&mut self.lanes);
        for lane in &mut lanes {
            lane.pace(self.granted_interval(lane.kind, lane.asked), now, rng);
        }
        self.lanes = lanes;
        self.queue_all();
    }

    /// Points every path to `gid` at its new address.
    pub(super) fn replace_address(&mut self, gid: Gid, address: Address) {
        for lane in &mut self.lanes {
            for path in &mut lane.paths {
                if path.target.address.gid == gid {
                    let mut moved = ProbePath::clone(path);
                    moved.target.address = address;
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
        self.ready.peek()?;
        if !self.meter.admit(self.limit, now) {
            return None;
        }
        let Reverse((_, _, index)) = self.ready.pop()?;
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
            .min()
            .map(|at| at.max(self.meter.ready_at(self.limit)))
    }

    fn granted_interval(&self, kind: Kind, asked: Rate) -> Option<Nanos> {
        let share = self
            .grants
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
fn grants(asked: impl Iterator<Item = (Kind, Rate)>, cap: Rate) -> Vec<Grant> {
    let mut sums: BTreeMap<Kind, f64> = BTreeMap::new();
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
