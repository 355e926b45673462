//! What there is of RDMA on a host, as plain values that every platform can print: the verbs transport fills them in.

use std::fmt;

use crate::id::{DeviceName, Gid};
use serde::{Serialize, Serializer};

/// The state of libibverbs and everything below it.
#[derive(Debug, Clone, Serialize)]
pub struct Inventory {
    /// Why libibverbs or its kernel side cannot be used and what to do; `None` when it can.
    pub problem: Option<String>,
    /// The devices that libibverbs lists.
    pub devices: Vec<DeviceReport>,
}

/// One RDMA device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceReport {
    /// Its name.
    pub name: DeviceName,
    /// The kernel driver, where sysfs tells.
    pub driver: Option<String>,
    /// Why it cannot be opened and what to do; `None` when it can.
    pub problem: Option<String>,
    /// Firmware version; empty where there is none.
    pub firmware: String,
    /// Whether it can stamp completions.
    pub timestamps: Timestamps,
    /// Its ports.
    pub ports: Vec<PortReport>,
}

/// Whether a device stamps completions itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Timestamps {
    /// It does not: completions are stamped when they are taken.
    Software,
    /// A counter of `mask`'s width that ticks `khz` thousand times a second.
    Hardware {
        /// The bits of the counter.
        mask: u64,
        /// Its frequency; 0 where the device does not tell (then only wall-clock stamps can be used).
        khz: u64,
    },
}

/// One port of a device.
#[derive(Debug, Clone, Serialize)]
pub struct PortReport {
    /// Its number, from 1.
    pub port: u8,
    /// Its state.
    pub state: PortState,
    /// What it is attached to.
    pub link_layer: LinkLayer,
    /// The active path MTU in bytes, where the driver gives a known value.
    pub mtu: Option<u32>,
    /// The used entries of its GID table.
    pub gids: Vec<GidEntry>,
    /// Index of the GID that an endpoint would use, or why none can be opened here and what to do.
    #[serde(serialize_with = "usable")]
    pub usable: Result<u32, String>,
}

/// One used entry of a GID table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GidEntry {
    /// Its index.
    pub index: u32,
    /// The GID.
    pub gid: Gid,
    /// Which protocol it stands for.
    pub kind: GidKind,
    /// The network interface that it belongs to.
    pub interface: Option<String>,
}

/// Which protocol a GID stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GidKind {
    /// InfiniBand.
    Infiniband,
    /// RoCE v1: Ethernet frames without IP.
    RoceV1,
    /// RoCE v2: UDP.
    RoceV2,
    /// A type that this version does not know.
    Unknown(u32),
}

/// The state of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    /// No link.
    Down,
    /// The link trains.
    Initializing,
    /// The link is there, traffic is not allowed yet.
    Armed,
    /// Usable.
    Active,
    /// Active, about to go down.
    ActiveDeferred,
    /// A state that this version does not know.
    Unknown(u32),
}

/// What a port is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkLayer {
    /// Ethernet: RoCE or iWARP.
    Ethernet,
    /// InfiniBand.
    Infiniband,
    /// A link layer that this version does not know.
    Unknown(u8),
}

impl fmt::Display for GidKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Infiniband => f.pad("InfiniBand"),
            Self::RoceV1 => f.pad("RoCE v1"),
            Self::RoceV2 => f.pad("RoCE v2"),
            Self::Unknown(number) => write!(f, "GID type {number}"),
        }
    }
}

impl fmt::Display for PortState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.pad("down"),
            Self::Initializing => f.pad("initializing"),
            Self::Armed => f.pad("armed"),
            Self::Active => f.pad("active"),
            Self::ActiveDeferred => f.pad("active, going down"),
            Self::Unknown(number) => write!(f, "port state {number}"),
        }
    }
}

impl fmt::Display for LinkLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ethernet => f.pad("Ethernet"),
            Self::Infiniband => f.pad("InfiniBand"),
            Self::Unknown(number) => write!(f, "link layer {number}"),
        }
    }
}

impl fmt::Display for GidEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.index, self.gid, self.kind)
    }
}

macro_rules! serialize_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialize_as_text!(GidKind, PortState, LinkLayer);

/// `{"gid_index": 1}` or `{"problem": "…"}`.
fn usable<S: Serializer>(usable: &Result<u32, String>, serializer: S) -> Result<S::Ok, S::Error> {
    match usable {
        Ok(index) => serializer.collect_map([("gid_index", index)]),
        Err(why) => serializer.collect_map([("problem", why)]),
    }
}
