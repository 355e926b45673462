//! Queue pairs and their connections, as the flow table reports them.

use std::sync::Arc;

use serde::Serialize;

use super::identity::Service;
use crate::id::{DeviceName, FlowLabel, Gid, Qpn, UdpSourcePort};
use crate::time::HostTime;

/// Path of a cgroup below the mount point of cgroup v2, such as `/system.slice/a.service`.
pub type CgroupPath = Arc<str>;

/// Variables of a process's environment with their values: those that rules of the operator ask for.
pub type Variables = Arc<[(Box<str>, Box<str>)]>;

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
    /// The sending end of an extended reliable connection (XRC).
    XrcInitiator,
    /// The receiving end of an extended reliable connection.
    XrcTarget,
    /// A type of the driver's own, such as mlx5's dynamically connected (DC) queue pairs: each message names its peer.
    Driver,
    /// Another type, by number.
    Unknown(u8),
}

impl From<u8> for QpType {
    fn from(number: u8) -> Self {
        match number {
            2 => Self::Rc,
            3 => Self::Uc,
            4 => Self::Ud,
            9 => Self::XrcInitiator,
            10 => Self::XrcTarget,
            255 => Self::Driver,
            other => Self::Unknown(other),
        }
    }
}

impl QpType {
    /// Whether such a queue pair is connected to one other.
    pub const fn has_one_peer(self) -> bool {
        matches!(self, Self::Rc | Self::Uc) || self.is_xrc()
    }

    /// Whether it is an end of an extended reliable connection.
    pub const fn is_xrc(self) -> bool {
        matches!(self, Self::XrcInitiator | Self::XrcTarget)
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

/// Bytes that an event has for the name of a module, with a zero at its end (`TASK_COMM_LEN` is 16).
const MODULE_NAME: usize = 15;

/// The process that owns a QP, or the kernel module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Whether it is a kernel module; see [`Owner::module`].
    pub is_kernel: bool,
    /// Process id; 0 for a kernel module.
    pub pid: u32,
    /// Name of the process or of the module.
    pub comm: String,
    /// Cgroup v2 id, where an event told it.
    pub cgroup_id: Option<u64>,
    /// Where that cgroup lies, where it could be looked up.
    pub cgroup: Option<CgroupPath>,
    /// What rules ask for of its environment, as far as it could be read.
    pub variables: Variables,
}

impl Owner {
    /// The kernel module of this name (`nvme_rdma`), as far as events have it: 15 bytes.
    pub fn module(name: &str) -> Self {
        let end = name.floor_char_boundary(MODULE_NAME);
        let name = if name.is_empty() {
            "unknown"
        } else {
            &name[..end]
        };
        Self {
            is_kernel: true,
            pid: 0,
            comm: name.to_owned(),
            cgroup_id: None,
            cgroup: None,
            variables: Variables::default(),
        }
    }

    /// Which service the process belongs to.
    pub fn service(&self) -> Service {
        if self.is_kernel {
            return Service::module(&self.comm);
        }
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
    /// Whether this is a connection that is up and whose peer is known.
    pub fn is_live(&self) -> bool {
        self.qp_type.is_some_and(QpType::has_one_peer)
            && self.state.is_some_and(QpState::is_connected)
            && self.route.is_some()
    }

    /// What is not known of this QP although it should be: the parts that would have to be seen when it connects, or
    /// completed from its attributes. Empty for QPs that are not connected.
    pub fn missing(&self) -> Vec<Missing> {
        let connected = self.state.is_some_and(QpState::is_connected)
            && self.qp_type.is_some_and(QpType::has_one_peer);
        if !connected {
            return Vec::new();
        }
        [
            (self.source.is_none(), Missing::SourceGid),
            (self.route.is_none(), Missing::DestinationGid),
            (self.remote_qpn.is_none(), Missing::RemoteQpn),
            (self.owner.is_none(), Missing::Owner),
        ]
        .into_iter()
        .filter_map(|(is_missing, what)| is_missing.then_some(what))
        .collect()
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

/// [`FlowLabel::source_port`], also for label 0, which a product of QPNs can give.
fn fold(label: u32) -> UdpSourcePort {
    match FlowLabel::new(label) {
        Some(label) => label.source_port(),
        None => UdpSourcePort(UdpSourcePort::FIRST),
    }
}

/// A part of a connection that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Its own GID: the RNIC is known by the device's name only.
    SourceGid,
    /// Where it goes, with the flow label: it cannot be probed.
    DestinationGid,
    /// The peer's QP.
    RemoteQpn,
    /// Whose it is.
    Owner,
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
    /// Whose it is, where it belongs to a process that is seen, or to a kernel module.
    pub owner: Option<Owner>,
}
