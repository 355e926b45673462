//! One queue pair in the table. Each field keeps the time of the event that set it.
//!
//! The value with the latest time wins, in whatever order the events arrive. A kernel uses a queue pair number again, so
//! one number has several lives. A creation or a destruction separates them: values from before it are dropped, later
//! ones belong to the next life and stay.

use rpingmesh_ebpf_event::{EventKind, present};

use super::super::netlink::CONNECTION_MANAGER;
use super::super::qp::{Flow, ListedQp, Origin, Owner, QpKey, QpState, QpType, Route};
use super::super::trace::TracedEvent;
use crate::id::{Gid, Qpn};
use crate::time::HostTime;

/// A value with the time of the event that set it.
#[derive(Debug, Clone)]
struct Latest<T>(Option<(i64, T)>);

impl<T> Latest<T> {
    const UNKNOWN: Self = Self(None);

    fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(_, value)| value)
    }

    /// Keeps the value with the latest time; of two with the same time the one that arrives last.
    fn update(&mut self, at: i64, value: T) {
        if self.0.as_ref().is_none_or(|(then, _)| at >= *then) {
            self.0 = Some((at, value));
        }
    }

    /// Drops a value from before `begin`.
    fn forget_before(&mut self, begin: i64) {
        if self.0.as_ref().is_some_and(|(then, _)| *then < begin) {
            self.0 = None;
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) flow: Flow,
    /// Number of the update that was last, see the table's order.
    pub(super) updated: u64,
    /// When this life began, as far as known: older events belong to an earlier one.
    pub(super) born: i64,
    /// The latest time at which it was there.
    pub(super) seen: i64,
    qp_type: Latest<QpType>,
    port: Latest<u8>,
    state: Latest<QpState>,
    remote: Latest<Qpn>,
    source: Latest<Gid>,
    route: Latest<Route>,
    creator: Latest<Owner>,
    listed: Latest<Owner>,
    modifier: Latest<Owner>,
}

impl Entry {
    pub(super) fn new(key: QpKey, origin: Origin, at: i64) -> Self {
        Self {
            flow: Flow {
                key,
                qp_type: None,
                port: None,
                state: None,
                remote_qpn: None,
                source: None,
                route: None,
                owner: None,
                origin,
                since: HostTime::from_nanos(at),
            },
            updated: 0,
            // It existed before, unless this event is its creation.
            born: i64::MIN,
            seen: at,
            qp_type: Latest::UNKNOWN,
            port: Latest::UNKNOWN,
            state: Latest::UNKNOWN,
            remote: Latest::UNKNOWN,
            source: Latest::UNKNOWN,
            route: Latest::UNKNOWN,
            creator: Latest::UNKNOWN,
            listed: Latest::UNKNOWN,
            modifier: Latest::UNKNOWN,
        }
    }

    /// A life begins at `begin`: values from before belong to an earlier one.
    pub(super) fn begin_life(&mut self, begin: i64, origin: Origin) {
        self.born = begin;
        self.seen = self.seen.max(begin);
        self.flow.origin = origin;
        self.flow.since = HostTime::from_nanos(begin);
        self.qp_type.forget_before(begin);
        self.port.forget_before(begin);
        self.state.forget_before(begin);
        self.remote.forget_before(begin);
        self.source.forget_before(begin);
        self.route.forget_before(begin);
        self.creator.forget_before(begin);
        self.listed.forget_before(begin);
        self.modifier.forget_before(begin);
        self.refresh();
    }

    /// Takes an event of this life in.
    pub(super) fn fill(&mut self, traced: &TracedEvent, at: i64) {
        let event = &traced.event;
        self.seen = self.seen.max(at);
        self.qp_type.update(at, QpType::from(event.qp_type));
        if event.port != 0 {
            self.port.update(at, event.port);
        }
        if event.has(present::STATE) {
            self.state.update(at, QpState::from(event.qp_state));
        }
        if event.has(present::REMOTE_QPN) {
            self.remote
                .update(at, Qpn::from_lower_bits(event.remote_qpn));
        }
        if event.has(present::ADDRESS_VECTOR) {
            let route = Route {
                destination: Gid::from_bytes(event.destination_gid),
                flow_label: event.flow_label,
                traffic_class: event.traffic_class,
                sgid_index: event.sgid_index,
            };
            self.route.update(at, route);
        }
        if event.has(present::SOURCE_GID) {
            self.source.update(at, Gid::from_bytes(event.source_gid));
        }
        let owner = || owner_of(traced);
        match event.kind() {
            EventKind::Create => self.creator.update(at, owner()),
            EventKind::Modify => self.modifier.update(at, owner()),
            // Who asks for its attributes says nothing.
            EventKind::Query | EventKind::Destroy | EventKind::Unknown(_) => {}
        }
        self.refresh();
    }

    /// Takes an entry of a listing in that began at `begin`.
    pub(super) fn merge(&mut self, qp: &ListedQp, begin: i64) {
        self.seen = self.seen.max(begin);
        self.qp_type.update(begin, qp.qp_type);
        self.state.update(begin, qp.state);
        if let Some(port) = qp.port {
            self.port.update(begin, port);
        }
        if let Some(remote) = qp.remote_qpn {
            self.remote.update(begin, remote);
        }
        if let Some(owner) = &qp.owner {
            self.listed.update(begin, owner.clone());
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        self.flow.qp_type = self.qp_type.get().copied();
        self.flow.port = self.port.get().copied();
        self.flow.state = self.state.get().copied();
        self.flow.remote_qpn = self.remote.get().copied();
        self.flow.source = self.source.get().copied();
        self.flow.route = self.route.get().copied();
        let owner = self.owner();
        if self.flow.owner.as_ref() != owner {
            self.flow.owner = owner.cloned();
        }
    }

    /// The creator owns a QP. A QP that existed before belongs to the process in the listing, else to the process that
    /// modifies it. A modification by the same process tells the cgroup where the first word did not. Of a kernel module
    /// counts who tells its own name, and not that of the connection manager, which made the queue pair for it.
    fn owner(&self) -> Option<&Owner> {
        let named = self.creator.get().or(self.listed.get());
        if named.is_some_and(|owner| owner.is_kernel) {
            let told = [self.modifier.get(), self.listed.get(), named];
            let mut told = told.into_iter().flatten();
            return told
                .find(|owner| owner.is_kernel && owner.comm != CONNECTION_MANAGER)
                .or(named);
        }
        match (named, self.modifier.get()) {
            (Some(named), Some(modifier)) => {
                let tells_more = named.cgroup.is_none() && named.pid == modifier.pid;
                Some(if tells_more { modifier } else { named })
            }
            (named, modifier) => named.or(modifier),
        }
    }
}

fn owner_of(traced: &TracedEvent) -> Owner {
    let event = &traced.event;
    if event.has(present::KERNEL) {
        return Owner::module(&text(&event.comm));
    }
    Owner {
        is_kernel: false,
        pid: event.tgid,
        comm: text(&event.comm),
        cgroup_id: Some(event.cgroup_id),
        cgroup: traced.cgroup.clone(),
        variables: traced.variables.clone(),
    }
}

/// Text padded with zeros; bytes that are not UTF-8 are replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
