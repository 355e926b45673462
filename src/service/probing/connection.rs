//! A live connection, the RNICs that can probe for it, and what is to be probed.

use std::sync::Arc;

use serde::Serialize;

use crate::id::{Gid, ServiceName, UdpSourcePort};
use crate::probe::{PathFidelity, PathId, ProbePath};
use crate::transport::{RnicName, SourcePortSteering};

/// An RNIC of this host that can probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Its name.
    pub rnic: RnicName,
    /// The GID of its endpoint.
    pub gid: Gid,
    /// What decides the UDP source port of its probes.
    pub steering: SourcePortSteering,
}

/// Whether the probes of a connection take the connection's path, which ECMP chooses by addresses and UDP source port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fidelity {
    /// The connection's addresses and UDP source port: the same path.
    OwnPath,
    /// The endpoint cannot take the connection's UDP source port, only this one: perhaps another path.
    OtherPort(UdpSourcePort),
    /// The UDP source port of the connection or that of the probes is not known.
    UnknownPort,
    /// The endpoint has another of the RNIC's GIDs than the connection: perhaps another path.
    OtherSource,
}

impl Fidelity {
    /// As results say it.
    pub const fn of_path(self) -> PathFidelity {
        match self {
            Self::OwnPath => PathFidelity::OwnPath,
            Self::UnknownPort => PathFidelity::UnknownPort,
            Self::OtherPort(_) | Self::OtherSource => PathFidelity::OtherPath,
        }
    }
}

/// A path that an RNIC is to probe, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathChange {
    /// Who probes.
    pub rnic: RnicName,
    /// Which path.
    pub id: PathId,
    /// What to probe from now on; `None` for nothing more.
    pub path: Option<Arc<ProbePath>>,
}

/// A live connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) source: Option<Gid>,
    pub(super) port: Option<u8>,
    pub(super) destination: Gid,
    pub(super) source_port: Option<UdpSourcePort>,
    pub(super) traffic_class: u8,
    pub(super) service: ServiceName,
}
