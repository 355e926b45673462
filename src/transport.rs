//! The boundary to whatever carries probes: one trait for a UD endpoint, several implementations at run time.
//!
//! What an implementation supplies: [`Provider`] finds the RNIC ports it can use and opens an [`Endpoint`] on one.
//! An endpoint is what peers reach under one address (GID, QPN, Q_Key). It may own several queue pairs where only the
//! sending QP decides the UDP source port; packets to any of them arrive in the same place.
//!
//! Nothing here blocks: [`Endpoint::post`] takes what fits and leaves the rest, completions are polled with a waker
//! that an fd or a channel fires.

pub mod fault;
pub mod memory;
mod queue;
pub mod rdma_report;
pub mod userspace;

use std::fmt;
use std::ops::RangeInclusive;
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};

use crate::id::{DeviceName, FlowLabel, Gid, QKey, Qpn, TargetName, UdpSourcePort};
use crate::time::NicTime;

/// The largest payload that an endpoint has to carry, in bytes.
pub const MAX_PAYLOAD: usize = 64;

/// How peers reach an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The RNIC port.
    pub gid: Gid,
    /// The queue pair that takes probes.
    pub qpn: Qpn,
    /// The key that the QP demands.
    pub q_key: QKey,
}

impl Address {
    /// The `gid%qpn` form.
    pub fn name(&self) -> TargetName {
        TargetName {
            gid: self.gid,
            qpn: self.qpn,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

/// What chooses the queue of a packet in hosts and switches: the traffic class of the IP header, and the service level that an
/// RNIC maps to a priority of its own and to the PCP of VLAN tags. RoCE services travel in a lossless class; probes in another
/// class measure another queue.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Class {
    /// DSCP and ECN bits of the IP header.
    pub traffic_class: u8,
    /// Service level of the address handle, one of [`Self::LEVELS`].
    pub service_level: u8,
}

impl Class {
    /// Service levels that there are on Ethernet, where they are priorities (IEEE 802.1Q has 8).
    pub const LEVELS: RangeInclusive<u8> = 0..=7;

    /// The DSCP: the traffic class without the ECN bits.
    pub const fn dscp(self) -> u8 {
        self.traffic_class >> 2
    }
}

impl fmt::Display for Class {
    /// `DSCP 26, service level 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DSCP {}, service level {}",
            self.dscp(),
            self.service_level
        )
    }
}

/// Which clock stamps an endpoint's completions. Within one endpoint it is always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompletionClock {
    /// The RNIC's clock, delivered as wall-clock nanoseconds.
    HardwareWall,
    /// The RNIC's free-running counter, converted to nanoseconds.
    HardwareRaw,
    /// The kernel's software packet time stamps.
    Kernel,
    /// The process reads its own clock: just before it posts a send, and when it takes a received packet.
    Software,
    /// The emulated fabric's clock.
    Emulated,
}

impl CompletionClock {
    /// Every clock, the most exact first.
    pub const ALL: [Self; 5] = [
        Self::HardwareWall,
        Self::HardwareRaw,
        Self::Kernel,
        Self::Software,
        Self::Emulated,
    ];

    /// Its name in labels and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HardwareWall => "hardware_wall",
            Self::HardwareRaw => "hardware_raw",
            Self::Kernel => "kernel",
            Self::Software => "software",
            Self::Emulated => "emulated",
        }
    }
}

impl fmt::Display for CompletionClock {
    /// Who stamps, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HardwareWall => "the RNIC (wall clock)",
            Self::HardwareRaw => "the RNIC (its own counter)",
            Self::Kernel => "the kernel",
            Self::Software => "software",
            Self::Emulated => "the emulated fabric",
        })
    }
}

/// What decides the UDP source port of an endpoint's packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by", content = "ports")]
pub enum SourcePortSteering {
    /// The flow label, folded by [`FlowLabel::source_port`].
    FlowLabel,
    /// The sending QP. The endpoint chooses among its own QPs, whose ports these are.
    QueuePair(Vec<UdpSourcePort>),
    /// The driver, in a way that is not known.
    Driver,
}

impl SourcePortSteering {
    /// The UDP source port that a packet sent with `label` has, where it is known.
    pub fn source_port(&self, label: FlowLabel) -> Option<UdpSourcePort> {
        match self {
            Self::FlowLabel => Some(label.source_port()),
            Self::QueuePair(ports) => Some(ports[Self::queue_pair(label, ports)?]),
            Self::Driver => None,
        }
    }

    /// Index of the QP to send from: the one that has the label's own port, else one chosen by the label.
    /// `None` when there is no QP.
    pub fn queue_pair(label: FlowLabel, ports: &[UdpSourcePort]) -> Option<usize> {
        let wanted = label.source_port();
        ports
            .iter()
            .position(|port| *port == wanted)
            .or_else(|| usize::from(wanted.0).checked_rem(ports.len()))
    }
}

/// What an endpoint can do, said honestly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Which clock stamps its completions.
    pub clock: CompletionClock,
    /// What decides the UDP source port of what it sends.
    pub steering: SourcePortSteering,
    /// Whether [`Received::source_port`] is filled in.
    pub sees_source_port: bool,
}

/// Chosen by the sender, returned with the send completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendToken(pub u64);

/// A small datagram, held in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    len: u8,
    bytes: [u8; MAX_PAYLOAD],
}

impl Payload {
    /// A copy of `bytes`, if they are at most [`MAX_PAYLOAD`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let len = u8::try_from(bytes.len()).ok()?;
        let mut payload = Self {
            len,
            bytes: [0; MAX_PAYLOAD],
        };
        payload.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(payload)
    }

    /// A copy of an array whose length is known to fit when this is compiled.
    pub(crate) fn from_array<const N: usize>(bytes: &[u8; N]) -> Self {
        const { assert!(N <= MAX_PAYLOAD) };
        let mut payload = Self {
            #[expect(clippy::cast_possible_truncation, reason = "at most MAX_PAYLOAD")]
            len: N as u8,
            bytes: [0; MAX_PAYLOAD],
        };
        payload.bytes[..N].copy_from_slice(bytes);
        payload
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({:02x?})", self.as_slice())
    }
}

/// One datagram to send.
#[derive(Debug, Clone, Copy)]
pub struct SendRequest {
    /// Comes back with the completion.
    pub token: SendToken,
    /// Where to.
    pub to: Address,
    /// Which path: decides the UDP source port as far as the endpoint can steer it.
    pub flow_label: FlowLabel,
    /// In which class.
    pub class: Class,
    /// What to send.
    pub payload: Payload,
}

/// How a send ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStatus {
    /// The packet left.
    Sent,
    /// The provider failed it; the code is the provider's own (`ibv_wc_status`, `errno`).
    Failed(u32),
}

/// A received datagram.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// When it arrived.
    pub at: NicTime,
    /// Sender's RNIC port, from the GRH.
    pub source_gid: Gid,
    /// The sender's queue pair.
    pub source_qpn: Qpn,
    /// The packet's UDP source port, where the endpoint can see it.
    pub source_port: Option<UdpSourcePort>,
    /// What it carried; longer datagrams are counted as malformed and dropped by the endpoint.
    pub payload: Payload,
}

/// What an endpoint reports.
#[derive(Debug, Clone, Copy)]
pub enum Completion {
    /// A send has ended.
    Sent {
        /// As given with the request.
        token: SendToken,
        /// When the packet left.
        at: NicTime,
        /// How it ended.
        status: SendStatus,
    },
    /// A datagram has arrived.
    Received(Received),
    /// Something about the endpoint changed.
    Event(EndpointEvent),
}

/// A change of an endpoint's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointEvent {
    /// The port came up.
    PortActive,
    /// The port went down: sends will fail or vanish until it is up again.
    PortDown,
    /// The endpoint's address is no longer valid (GID table or QP changed): open a new one.
    AddressChanged,
    /// Received packets were dropped before they could be handed over; their number.
    ReceiveOverflow(u64),
    /// An event that this version does not know, with the provider's own code.
    Unknown(u32),
}

/// Why a transport operation failed.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// This system or build cannot do it at all.
    #[error("{what} is not supported here: {why}")]
    Unsupported {
        /// The thing asked for.
        what: &'static str,
        /// The reason and what to do.
        why: String,
    },
    /// No usable RNIC.
    #[error("no usable RNIC: {0}")]
    NoDevice(String),
    /// The RNIC named in the configuration cannot be used.
    #[error("RNIC {rnic}: {why}")]
    Rnic {
        /// `device/port`.
        rnic: RnicName,
        /// What is wrong and what to do.
        why: String,
    },
    /// The RNIC is there and cannot be used yet: its port is down, or it has no address.
    #[error("RNIC {rnic}: {why}")]
    NotReady {
        /// `device/port`.
        rnic: RnicName,
        /// What it lacks and what to do.
        why: String,
    },
    /// A call to the system or library failed.
    #[error("RNIC {rnic}: {call} failed")]
    System {
        /// `device/port`.
        rnic: RnicName,
        /// The call, with the arguments that matter.
        call: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The endpoint is dead (fatal device event, QP in error): open a new one.
    #[error("endpoint {endpoint} is lost: {why}")]
    EndpointLost {
        /// Its address.
        endpoint: TargetName,
        /// What happened.
        why: String,
    },
}

/// An RNIC port by name: `mlx5_0/1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RnicName {
    /// The device.
    pub device: DeviceName,
    /// The port on it, from 1.
    pub port: u8,
}

impl fmt::Display for RnicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device, self.port)
    }
}

/// An RNIC port that a provider found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RnicPort {
    /// Its name.
    pub name: RnicName,
    /// The GID that an endpoint on it will have.
    pub gid: Gid,
    /// Index of that GID in the port's table.
    pub gid_index: u32,
    /// Name of the network interface behind it, where there is one (for LLDP and traces).
    pub interface: Option<String>,
}

/// One UD endpoint. Owned by one task.
pub trait Endpoint: Send {
    /// Where peers reach it.
    fn address(&self) -> Address;

    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// Index of its GID in the port's table, where the transport has such a table and tells.
    fn gid_index(&self) -> Option<u32> {
        None
    }

    /// The UDP source port that its packets with this label have, where it is known. Differs from what the
    /// capabilities say when the wanted port is taken on this host and another one stands in.
    fn source_port(&self, label: FlowLabel) -> Option<UdpSourcePort> {
        self.capabilities().steering.source_port(label)
    }

    /// Posts requests from the front of `batch` without blocking and returns how many it took; the caller keeps the
    /// others. A request that was taken always yields one [`Completion::Sent`], unless the endpoint is lost.
    ///
    /// # Errors
    /// [`TransportError::EndpointLost`], after which the endpoint is useless.
    fn post(&mut self, batch: &[SendRequest]) -> Result<usize, TransportError>;

    /// Appends the completions that are there to `out`; pending only when there is none.
    ///
    /// # Errors
    /// [`TransportError::EndpointLost`], after which the endpoint is useless.
    fn poll_completions(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>>;
}

/// Finds RNIC ports and opens endpoints on them.
pub trait Provider: Send + Sync {
    /// Name of the transport for logs and `--transport`.
    fn name(&self) -> &'static str;

    /// The RNIC ports that can be used now.
    ///
    /// # Errors
    /// [`TransportError::NoDevice`] and others that say what is missing.
    fn discover(&self) -> Result<Vec<RnicPort>, TransportError>;

    /// Opens an endpoint. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those that say what is wrong with this RNIC.
    fn open(&self, rnic: &RnicName) -> Result<Box<dyn Endpoint>, TransportError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ecn_bits_are_no_part_of_the_dscp() {
        let class = Class {
            traffic_class: 0x6a,
            service_level: 3,
        };
        assert_eq!(class.dscp(), 26);
        assert_eq!(class.to_string(), "DSCP 26, service level 3");
    }
}
