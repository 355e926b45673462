//! The table of queue pairs on this host and what is known of their connections.
//!
//! Events come from several CPUs and not in the order of their times, some QPs existed before anyone listened, and
//! numbers are used again. So each field keeps the time of the event that set it, an older event fills only what no
//! newer one has set, and a destroyed QP leaves a tombstone that turns late events of its life away. The table is
//! bounded: when it is full the QP that carries no connection and was silent longest goes first, and is counted.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rpingmesh_ebpf_event::{Kind, QpEvent, present};

use super::identity::Service;
use super::trace::{CgroupPath, TraceMessage};
use crate::id::{DeviceName, Gid, Qpn, UdpSourcePort};
use crate::time::HostTime;

/// Which queue pair of this host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QpKey {
    /// The device that it belongs to.
    pub device: DeviceName,
    /// Its number, unique on the device while it lives.
    pub qpn: Qpn,
}

/// `enum ib_qp_type` of `include/rdma/ib_verbs.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QpType {
    /// Reliable connection.
    Rc,
    /// Unreliable connection.
    Uc,
    /// Unreliable datagram.
    Ud,
    /// Another type, by number.
    Unknown(u8),
}

impl From<u8> for QpType {
    fn from(number: u8) -> Self {
        match number {
            2 => Self::Rc,
            3 => Self::Uc,
            4 => Self::Ud,
            other => Self::Unknown(other),
        }
    }
}

/// `enum ib_qp_state` of `include/rdma/ib_verbs.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QpState {
    /// Fresh.
    Reset,
    /// Bound to a port.
    Init,
    /// Ready to receive: the peer is known.
    Rtr,
    /// Ready to send.
    Rts,
    /// Send queue drained.
    Sqd,
    /// Send queue in error.
    Sqe,
    /// In error.
    Err,
    /// Another state, by number.
    Unknown(u8),
}

impl From<u8> for QpState {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Reset,
            1 => Self::Init,
            2 => Self::Rtr,
            3 => Self::Rts,
            4 => Self::Sqd,
            5 => Self::Sqe,
            6 => Self::Err,
            other => Self::Unknown(other),
        }
    }
}

impl QpState {
    /// Whether a connection in this state carries, or is about to carry, traffic.
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Rtr | Self::Rts | Self::Sqd)
    }
}

/// Where a connection goes and on which path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// The peer's RNIC port.
    pub destination: Gid,
    /// 20 bits; 0 lets the driver derive one from the QPNs.
    pub flow_label: u32,
    /// DSCP and ECN bits.
    pub traffic_class: u8,
    /// Index of the source GID in the port's table.
    pub sgid_index: u8,
}

/// The process that owns a QP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Process name.
    pub comm: String,
    /// Cgroup v2 id, where an event told it.
    pub cgroup_id: Option<u64>,
    /// Where that cgroup lies, where it could be looked up.
    pub cgroup: Option<CgroupPath>,
}

impl Owner {
    /// Which service the process belongs to.
    pub fn service(&self) -> Service {
        Service::identify(self.cgroup.as_deref(), &self.comm)
    }
}

/// How the table learned of a QP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Its creation was seen.
    Created,
    /// It existed before and was first seen at a modification.
    Modified,
    /// The RDMA netlink dump listed it.
    Listed,
}

/// A queue pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Which one.
    pub key: QpKey,
    /// Its type; not known until an event or the listing tells.
    pub qp_type: Option<QpType>,
    /// Its port, from 1.
    pub port: Option<u8>,
    /// Its last known state.
    pub state: Option<QpState>,
    /// The peer's QP.
    pub remote_qpn: Option<Qpn>,
    /// Its own GID; missing for QPs that connected before the tracer listened.
    pub source: Option<Gid>,
    /// Where it goes; missing for QPs that connected before the tracer listened.
    pub route: Option<Route>,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// How it was first seen.
    pub origin: Origin,
    /// When it was first seen.
    pub since: HostTime,
}

impl Flow {
    /// Whether this is an RC connection that is up and whose peer is known.
    pub fn is_live(&self) -> bool {
        self.qp_type == Some(QpType::Rc)
            && self.state.is_some_and(QpState::is_connected)
            && self.route.is_some()
    }

    /// The UDP source port that the connection's packets have, by the kernel's own rule: the flow label folded, and
    /// where it is 0 one derived from both QPNs (`rdma_get_udp_sport`, Linux `include/rdma/ib_verbs.h`).
    pub fn source_port(&self) -> Option<UdpSourcePort> {
        let label = self.route?.flow_label & 0xf_ffff;
        if label != 0 {
            return Some(fold(label));
        }
        let product = u64::from(self.key.qpn.get()).wrapping_mul(u64::from(self.remote_qpn?.get()));
        let mixed = product ^ (product >> 20);
        let mixed = mixed ^ (mixed >> 40);
        Some(fold((mixed & 0xf_ffff) as u32))
    }
}

/// [`crate::id::FlowLabel::source_port`], also for label 0, which a product of QPNs can give.
fn fold(label: u32) -> UdpSourcePort {
    match crate::id::FlowLabel::new(label) {
        Some(label) => label.source_port(),
        None => UdpSourcePort(UdpSourcePort::FIRST),
    }
}

/// What a listing (RDMA netlink) tells of one QP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedQp {
    /// Which one.
    pub key: QpKey,
    /// Its type.
    pub qp_type: QpType,
    /// Its port, where bound.
    pub port: Option<u8>,
    /// Its state.
    pub state: QpState,
    /// The peer's QP, where connected.
    pub remote_qpn: Option<Qpn>,
    /// Whose it is, where it belongs to a process.
    pub owner: Option<Owner>,
}

/// What happened to a live connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowChange {
    /// A connection went live or a live one changed its route, owner or peer.
    Live(Flow),
    /// It is live no longer.
    Ended(QpKey),
}

/// What the table counts since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
}

#[derive(Debug)]
struct Entry {
    flow: Flow,
    /// Times of the events that set the fields.
    state_at: i64,
    route_at: i64,
    remote_at: i64,
    /// When this life began, as far as known: older events belong to an earlier one.
    born: i64,
    updated: u64,
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
    changes: Vec<FlowChange>,
    counters: FlowCounters,
}

/// How long late events of a destroyed QP are turned away. Per-CPU ring reordering is far below a second.
pub const TOMBSTONE_LIFE: Duration = Duration::from_secs(5);

impl FlowTable {
    /// An empty table for at most `capacity` QPs.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: HashMap::new(),
            order: BTreeMap::new(),
            updates: 0,
            tombstones: HashMap::new(),
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

    /// Takes in what a tracer tells. Its status and counters change nothing here.
    pub fn take(&mut self, message: &TraceMessage) {
        match message {
            TraceMessage::Event(traced) => self.apply(&traced.event, traced.cgroup.as_ref()),
            TraceMessage::Listing(listing) => {
                self.merge_listing(&listing.qps, listing.taken_from, listing.complete);
            }
            TraceMessage::Status(_) | TraceMessage::Counters(_) => {}
        }
    }

    /// Takes an event of the eBPF programs in, with the path of its cgroup where that is known.
    pub fn apply(&mut self, event: &QpEvent, cgroup: Option<&CgroupPath>) {
        let Some(key) = key_of(event) else {
            self.counters.odd += 1;
            return;
        };
        if event.return_code != 0 {
            self.counters.failed_calls += 1;
            return;
        }
        let at = i64::try_from(event.time_ns).unwrap_or(i64::MAX);
        self.drop_tombstones(at);
        match event.kind() {
            Kind::Create => self.create(&key, event, cgroup, at),
            Kind::Modify => self.modify(&key, event, cgroup, at, Origin::Modified),
            Kind::Query => self.modify(&key, event, None, at, Origin::Listed),
            Kind::Destroy => self.destroy(&key, at),
            Kind::Unknown(_) => self.counters.odd += 1,
        }
    }

    /// Takes a listing of QPs in: fills what events have not told and, when it is `complete`, ends QPs older than
    /// `taken_from` that are not listed.
    ///
    /// `taken_from` is when the listing began: what events tell of later times stands.
    pub fn merge_listing(&mut self, listed: &[ListedQp], taken_from: HostTime, complete: bool) {
        let begin = taken_from.nanos();
        for qp in listed {
            self.merge_one(qp, begin);
        }
        if !complete {
            return;
        }
        let keys: std::collections::HashSet<&QpKey> = listed.iter().map(|qp| &qp.key).collect();
        let gone: Vec<QpKey> = self
            .entries
            .iter()
            .filter(|(key, entry)| entry.latest() < begin && !keys.contains(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.remove(&key);
        }
    }

    /// Ends all QPs of a process that is gone: the kernel destroys them, but a lost event must not leave them alive.
    pub fn process_exited(&mut self, pid: u32) {
        let gone: Vec<QpKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry
                    .flow
                    .owner
                    .as_ref()
                    .is_some_and(|owner| owner.pid == pid)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.remove(&key);
        }
    }

    fn create(&mut self, key: &QpKey, event: &QpEvent, cgroup: Option<&CgroupPath>, at: i64) {
        if self.is_stale(key, at) {
            return;
        }
        if let Some(entry) = self.entries.get(key) {
            if entry.born == at {
                self.counters.stale += 1;
                return;
            }
            if entry.flow.origin == Origin::Created || entry.latest() < at {
                // The number is used again: its former life ended unseen.
                self.remove(key);
            } else {
                // A later modification overtook this event: same life.
                self.update(key, |entry| {
                    entry.born = at;
                    entry.flow.origin = Origin::Created;
                    entry.flow.since = HostTime::from_nanos(at);
                });
                self.counters.applied += 1;
                return;
            }
        }
        self.insert(key, Origin::Created, at);
        self.fill(key, event, cgroup, at);
    }

    fn modify(
        &mut self,
        key: &QpKey,
        event: &QpEvent,
        cgroup: Option<&CgroupPath>,
        at: i64,
        origin: Origin,
    ) {
        if self.is_stale(key, at) {
            return;
        }
        if !self.entries.contains_key(key) {
            self.insert(key, origin, at);
            // It existed before this event.
            self.update(key, |entry| entry.born = i64::MIN);
        }
        self.fill(key, event, cgroup, at);
    }

    fn destroy(&mut self, key: &QpKey, at: i64) {
        if self.entries.get(key).is_some_and(|entry| entry.born > at) {
            self.counters.stale += 1;
            return;
        }
        let last = self.tombstones.entry(key.clone()).or_insert(at);
        *last = (*last).max(at);
        self.counters.applied += 1;
        self.remove(key);
    }

    fn is_stale(&mut self, key: &QpKey, at: i64) -> bool {
        let buried = self
            .tombstones
            .get(key)
            .is_some_and(|destroyed| at <= *destroyed);
        let before = self.entries.get(key).is_some_and(|entry| at < entry.born);
        if buried || before {
            self.counters.stale += 1;
        }
        buried || before
    }

    fn fill(&mut self, key: &QpKey, event: &QpEvent, cgroup: Option<&CgroupPath>, at: i64) {
        self.counters.applied += 1;
        self.update(key, |entry| entry.fill(event, cgroup, at));
    }

    fn merge_one(&mut self, qp: &ListedQp, begin: i64) {
        if self
            .tombstones
            .get(&qp.key)
            .is_some_and(|destroyed| *destroyed >= begin)
        {
            self.counters.stale += 1;
            return;
        }
        if !self.entries.contains_key(&qp.key) {
            self.insert(&qp.key, Origin::Listed, begin);
            self.update(&qp.key, |entry| entry.born = i64::MIN);
        }
        self.update(&qp.key, |entry| entry.merge(qp, begin));
    }

    fn insert(&mut self, key: &QpKey, origin: Origin, at: i64) {
        if self.entries.len() >= self.capacity
            && let Some((_, victim)) = self.order.first_key_value()
        {
            let victim = victim.clone();
            self.remove(&victim);
            self.counters.evicted += 1;
        }
        self.updates += 1;
        self.order.insert((false, self.updates), key.clone());
        let flow = Flow {
            key: key.clone(),
            qp_type: None,
            port: None,
            state: None,
            remote_qpn: None,
            source: None,
            route: None,
            owner: None,
            origin,
            since: HostTime::from_nanos(at),
        };
        let entry = Entry {
            flow,
            state_at: i64::MIN,
            route_at: i64::MIN,
            remote_at: i64::MIN,
            born: at,
            updated: self.updates,
        };
        self.entries.insert(key.clone(), entry);
    }

    /// Changes an entry, keeps the order of eviction and tells what became of the connection.
    fn update(&mut self, key: &QpKey, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let before = entry.flow.is_live().then(|| entry.flow.clone());
        self.order.remove(&(before.is_some(), entry.updated));
        change(entry);
        self.updates += 1;
        entry.updated = self.updates;
        let live = entry.flow.is_live();
        self.order.insert((live, self.updates), key.clone());
        match (before, live) {
            (Some(before), true) if before == entry.flow => {}
            (_, true) => self.changes.push(FlowChange::Live(entry.flow.clone())),
            (Some(_), false) => self.changes.push(FlowChange::Ended(key.clone())),
            (None, false) => {}
        }
    }

    fn remove(&mut self, key: &QpKey) {
        if let Some(entry) = self.entries.remove(key) {
            let live = entry.flow.is_live();
            self.order.remove(&(live, entry.updated));
            if live {
                self.changes.push(FlowChange::Ended(key.clone()));
            }
        }
    }

    /// Forgets tombstones that are old enough, now and then: each costs only one visit.
    fn drop_tombstones(&mut self, now: i64) {
        if self.tombstones.len() > self.capacity {
            let life = i64::try_from(TOMBSTONE_LIFE.as_nanos()).unwrap_or(i64::MAX);
            self.tombstones
                .retain(|_, destroyed| now.saturating_sub(*destroyed) < life);
            if self.tombstones.len() > self.capacity {
                // More destroyed within their life than the table holds: keep the bound.
                self.tombstones.clear();
            }
        }
    }
}

impl Entry {
    fn latest(&self) -> i64 {
        self.state_at
            .max(self.route_at)
            .max(self.remote_at)
            .max(self.born)
    }

    fn fill(&mut self, event: &QpEvent, cgroup: Option<&CgroupPath>, at: i64) {
        self.flow.qp_type = Some(QpType::from(event.qp_type));
        if event.port != 0 {
            self.flow.port = Some(event.port);
        }
        self.fill_owner(event, cgroup);
        if event.has(present::STATE) && at >= self.state_at {
            self.flow.state = Some(QpState::from(event.qp_state));
            self.state_at = at;
        }
        if event.has(present::REMOTE_QPN) && at >= self.remote_at {
            self.flow.remote_qpn = Some(Qpn::from_lower_bits(event.remote_qpn));
            self.remote_at = at;
        }
        if event.has(present::ADDRESS_VECTOR) && at >= self.route_at {
            self.route_at = at;
            self.flow.route = Some(Route {
                destination: Gid::from_bytes(event.destination_gid),
                flow_label: event.flow_label,
                traffic_class: event.traffic_class,
                sgid_index: event.sgid_index,
            });
            if event.has(present::SOURCE_GID) {
                self.flow.source = Some(Gid::from_bytes(event.source_gid));
            }
        }
    }

    /// The creator owns a QP; of a QP from before, whoever the listing names, else whoever modifies it. Who asks for
    /// its attributes says nothing.
    fn fill_owner(&mut self, event: &QpEvent, cgroup: Option<&CgroupPath>) {
        let known = self.flow.owner.as_ref();
        let same_process = known.is_some_and(|known| known.pid == event.tgid);
        let takes = match event.kind() {
            Kind::Create => true,
            Kind::Modify => {
                known.is_none() || same_process && known.is_none_or(|known| known.cgroup.is_none())
            }
            Kind::Query | Kind::Destroy | Kind::Unknown(_) => false,
        };
        if takes {
            self.flow.owner = Some(Owner {
                pid: event.tgid,
                comm: text(&event.comm),
                cgroup_id: Some(event.cgroup_id),
                cgroup: cgroup.cloned(),
            });
        }
    }

    fn merge(&mut self, qp: &ListedQp, begin: i64) {
        self.flow.qp_type.get_or_insert(qp.qp_type);
        if self.flow.port.is_none() {
            self.flow.port = qp.port;
        }
        if self.state_at < begin {
            self.flow.state = Some(qp.state);
            self.state_at = begin;
        }
        if self.flow.remote_qpn.is_none() {
            self.flow.remote_qpn = qp.remote_qpn;
        }
        if self.flow.owner.is_none() {
            self.flow.owner.clone_from(&qp.owner);
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

/// Text padded with zeros; bytes that are not UTF-8 are replaced.
fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests;
