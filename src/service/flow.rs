//! The table of queue pairs on this host and what is known of their connections.
//!
//! Events come from several CPUs and not in the order of their times, some QPs existed before anyone listened, and
//! numbers are used again. So each field keeps the time of what set it (`entry`), a destroyed QP leaves a tombstone that
//! turns late events of its life away, and what remains in the end does not depend on the order in which events came.
//! The table is bounded: when it is full the QP that carries no connection and was silent longest goes first, and is
//! counted.

mod entry;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use rpingmesh_ebpf_event::{EventKind, QpEvent};

use self::entry::{Entry, text};
use super::qp::{CgroupPath, Variables};
use super::trace::{TraceMessage, TracedEvent};
use crate::id::{DeviceName, Qpn};
use crate::time::{HostTime, Nanos};

pub use super::qp::{Flow, ListedQp, Missing, Origin, Owner, QpKey, QpState, QpType, Route};

/// What happened to a live connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowChange {
    /// A connection went live or a live one changed its route, owner or peer.
    Live(Flow),
    /// It is live no longer.
    Ended(QpKey),
}

/// What the table counts since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct FlowCounters {
    /// Events applied.
    pub applied: u64,
    /// Events of a life that had already ended, or older than what is known.
    pub stale: u64,
    /// Calls that failed in the kernel and changed nothing.
    pub failed_calls: u64,
    /// Events of a kind or with a QPN or device that cannot be.
    pub odd: u64,
    /// QPs that went to make room.
    pub evicted: u64,
    /// Those of them that were live connections: services that are not followed although they should be.
    pub evicted_live: u64,
    /// Tombstones that went to make room before their time: late events of those QPs would be believed.
    pub tombstones_dropped: u64,
}

/// See the module.
#[derive(Debug)]
pub struct FlowTable {
    capacity: usize,
    entries: HashMap<QpKey, Entry>,
    /// (live, update number) → key: the first is the first to go.
    order: BTreeMap<(bool, u64), QpKey>,
    updates: u64,
    tombstones: HashMap<QpKey, i64>,
    /// The tombstones in the order in which they were set.
    burials: VecDeque<(i64, QpKey)>,
    /// Beginning of the last complete listing: what it does not name had ended by then.
    listed_at: i64,
    changes: Vec<FlowChange>,
    counters: FlowCounters,
}

/// How long late events of a destroyed QP are turned away. Per-CPU ring reordering is far below a second.
pub(crate) const TOMBSTONE_LIFE: Duration = Duration::from_secs(5);

impl FlowTable {
    /// An empty table for at most `capacity` QPs, and as many tombstones.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: HashMap::new(),
            order: BTreeMap::new(),
            updates: 0,
            tombstones: HashMap::new(),
            burials: VecDeque::new(),
            listed_at: i64::MIN,
            changes: Vec::new(),
            counters: FlowCounters::default(),
        }
    }

    /// All QPs, in no order.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.entries.values().map(|entry| &entry.flow)
    }

    /// One QP.
    pub fn get(&self, key: &QpKey) -> Option<&Flow> {
        self.entries.get(key).map(|entry| &entry.flow)
    }

    /// What the table counts.
    pub const fn counters(&self) -> FlowCounters {
        self.counters
    }

    /// The changes of live connections since the last call, in order.
    pub fn drain_changes(&mut self) -> std::vec::Drain<'_, FlowChange> {
        self.changes.drain(..)
    }

    /// Takes a message of a tracer. Its status and counters change nothing here.
    pub fn take(&mut self, message: &TraceMessage) {
        match message {
            TraceMessage::Event(traced) => self.apply_traced(traced),
            TraceMessage::Listing(listing) => {
                self.merge_listing(&listing.qps, listing.taken_from, listing.complete);
                for traced in &listing.events {
                    self.apply_traced(traced);
                }
            }
            TraceMessage::Status(_) | TraceMessage::Counters(_) => {}
        }
    }

    /// Takes an event of the eBPF programs in, with the path of its cgroup where that is known.
    pub fn apply(&mut self, event: &QpEvent, cgroup: Option<&CgroupPath>) {
        self.apply_traced(&TracedEvent {
            event: *event,
            cgroup: cgroup.cloned(),
            variables: Variables::default(),
        });
    }

    fn apply_traced(&mut self, traced: &TracedEvent) {
        let event = &traced.event;
        let Some(key) = key_of(event) else {
            self.counters.odd += 1;
            return;
        };
        if event.return_code != 0 {
            self.counters.failed_calls += 1;
            return;
        }
        let at = i64::try_from(event.time_ns).unwrap_or(i64::MAX);
        match event.kind() {
            EventKind::Destroy => return self.destroy(&key, at),
            EventKind::Unknown(_) => {
                self.counters.odd += 1;
                return;
            }
            EventKind::Create | EventKind::Modify | EventKind::Query => {}
        }
        if self.is_stale(&key, at) {
            self.counters.stale += 1;
            return;
        }
        self.counters.applied += 1;
        let origin = match event.kind() {
            EventKind::Create => Origin::Created,
            EventKind::Query => Origin::Listed,
            EventKind::Modify | EventKind::Destroy | EventKind::Unknown(_) => Origin::Modified,
        };
        if !self.entries.contains_key(&key) {
            self.insert(&key, origin, at);
        }
        self.update(&key, |entry| {
            // A number that is created is used for the first time or again: what was before is over, what was told of
            // later times has overtaken this event.
            if origin == Origin::Created && entry.born < at {
                entry.begin_life(at, origin);
            }
            entry.fill(traced, at);
        });
    }

    /// Takes a listing of QPs in: fills what events have not told and, when it is `complete`, ends QPs older than
    /// `taken_from` that are not listed.
    ///
    /// `taken_from` is when the listing began: what events tell of later times stands.
    pub(crate) fn merge_listing(
        &mut self,
        listed: &[ListedQp],
        taken_from: HostTime,
        complete: bool,
    ) {
        let begin = taken_from.nanos();
        for qp in listed {
            self.merge_one(qp, begin);
        }
        if !complete {
            return;
        }
        self.listed_at = self.listed_at.max(begin);
        let keys: HashSet<&QpKey> = listed.iter().map(|qp| &qp.key).collect();
        // Each device has QPs of the kernel's own where it is visible; one in another network namespace lists nothing.
        let devices: HashSet<&DeviceName> = listed.iter().map(|qp| &qp.key.device).collect();
        // Kernels before 5.13 list no XRC.
        let lists_xrc = listed.iter().any(|qp| qp.qp_type.is_xrc());
        self.end_all(begin, |entry| {
            let is_xrc = entry.flow.qp_type.is_some_and(QpType::is_xrc);
            let visible = (devices.is_empty() || devices.contains(&entry.flow.key.device))
                && (lists_xrc || !is_xrc);
            visible && entry.seen < begin && !keys.contains(&entry.flow.key)
        });
    }

    /// Drops everything, because the source of the events is gone. Live connections end.
    pub fn clear(&mut self) {
        let keys: Vec<QpKey> = self.order.values().cloned().collect();
        for key in keys {
            self.remove(&key);
        }
    }

    fn end_all(&mut self, at: i64, ends: impl Fn(&Entry) -> bool) {
        let gone: Vec<QpKey> = self
            .entries
            .values()
            .filter(|entry| ends(entry))
            .map(|entry| entry.flow.key.clone())
            .collect();
        for key in gone {
            self.bury(&key, at);
            self.end_life(&key, at);
        }
    }

    fn destroy(&mut self, key: &QpKey, at: i64) {
        self.bury(key, at);
        match self.entries.get(key) {
            // Late, of a former life.
            Some(entry) if entry.born > at => self.counters.stale += 1,
            _ => {
                self.counters.applied += 1;
                self.end_life(key, at);
            }
        }
    }

    /// The life that a QP had at `at` is over. What was told of later times belongs to the next life of its number.
    fn end_life(&mut self, key: &QpKey, at: i64) {
        match self.entries.get(key) {
            Some(entry) if entry.born > at => {}
            Some(entry) if entry.seen > at => self.update(key, |entry| {
                entry.begin_life(at.saturating_add(1), Origin::Modified);
            }),
            _ => self.remove(key),
        }
    }

    /// Whether an event is of a life that is over.
    fn is_stale(&self, key: &QpKey, at: i64) -> bool {
        let is_buried = self.tombstones.get(key).is_some_and(|ended| at <= *ended);
        match self.entries.get(key) {
            Some(entry) => is_buried || at < entry.born,
            None => is_buried || at < self.listed_at,
        }
    }

    fn merge_one(&mut self, qp: &ListedQp, begin: i64) {
        let is_buried = self
            .tombstones
            .get(&qp.key)
            .is_some_and(|ended| begin <= *ended);
        if is_buried {
            self.counters.stale += 1;
            return;
        }
        if !self.entries.contains_key(&qp.key) {
            self.insert(&qp.key, Origin::Listed, begin);
        }
        self.update(&qp.key, |entry| {
            // Of a life that began while the listing was made, the listing may tell what was before.
            if begin >= entry.born {
                entry.merge(qp, begin);
            }
        });
    }

    fn insert(&mut self, key: &QpKey, origin: Origin, at: i64) {
        if self.entries.len() >= self.capacity
            && let Some(((is_live, _), victim)) = self.order.first_key_value()
        {
            self.counters.evicted += 1;
            self.counters.evicted_live += u64::from(*is_live);
            let victim = victim.clone();
            self.remove(&victim);
        }
        self.updates += 1;
        self.order.insert((false, self.updates), key.clone());
        let mut entry = Entry::new(key.clone(), origin, at);
        entry.updated = self.updates;
        self.entries.insert(key.clone(), entry);
    }

    /// Changes an entry, keeps the order of eviction and tells what became of the connection.
    fn update(&mut self, key: &QpKey, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let before = entry.flow.is_live().then(|| entry.flow.clone());
        let place = self.order.remove(&(before.is_some(), entry.updated));
        change(entry);
        self.updates += 1;
        entry.updated = self.updates;
        let is_live = entry.flow.is_live();
        let place = place.unwrap_or_else(|| key.clone());
        self.order.insert((is_live, self.updates), place);
        match (before, is_live) {
            (Some(before), true) if before == entry.flow => {}
            (_, true) => self.changes.push(FlowChange::Live(entry.flow.clone())),
            (Some(_), false) => self.changes.push(FlowChange::Ended(key.clone())),
            (None, false) => {}
        }
    }

    fn remove(&mut self, key: &QpKey) {
        if let Some(entry) = self.entries.remove(key) {
            let is_live = entry.flow.is_live();
            self.order.remove(&(is_live, entry.updated));
            if is_live {
                self.changes.push(FlowChange::Ended(entry.flow.key));
            }
        }
    }

    /// Sets a tombstone, and removes those that are old enough.
    fn bury(&mut self, key: &QpKey, at: i64) {
        let ended = self.tombstones.entry(key.clone()).or_insert(i64::MIN);
        if *ended >= at {
            return;
        }
        *ended = at;
        self.burials.push_back((at, key.clone()));
        let now = HostTime::from_nanos(at);
        while let Some((then, _)) = self.burials.front() {
            let is_old = now - HostTime::from_nanos(*then) > Nanos::from(TOMBSTONE_LIFE);
            if !is_old && self.burials.len() <= self.capacity {
                break;
            }
            let Some((then, key)) = self.burials.pop_front() else {
                break;
            };
            // A number that was buried again has a later tombstone.
            if self.tombstones.get(&key) == Some(&then) {
                self.tombstones.remove(&key);
                self.counters.tombstones_dropped += u64::from(!is_old);
            }
        }
    }
}

fn key_of(event: &QpEvent) -> Option<QpKey> {
    let device = text(&event.device);
    if device.is_empty() {
        return None;
    }
    Some(QpKey {
        device: DeviceName::new(device),
        qpn: Qpn::new(event.local_qpn)?,
    })
}

#[cfg(test)]
mod tests;
