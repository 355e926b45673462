//! What there is of RDMA on a host, as plain values that every platform can print: the verbs transport fills them in.

use std::fmt;

use super::CompletionClock;
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
    /// Why it cannot be opened; `None` when it can.
    pub problem: Option<Trouble>,
    /// Firmware version; empty where there is none.
    pub firmware: String,
    /// Whether it can stamp completions.
    pub timestamps: Timestamps,
    /// Its ports.
    pub ports: Vec<PortReport>,
}

/// What is wrong with a device or a port, and what to do about it where there is something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong.
    pub what: String,
    /// What to do about this cause.
    pub advice: Option<String>,
}

impl Trouble {
    /// Where there is something to do.
    pub fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: Some(advice.into()),
        }
    }

    /// Where there is nothing to do.
    pub fn fact(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.advice {
            Some(advice) => write!(f, "{}; {advice}", self.what),
            None => f.write_str(&self.what),
        }
    }
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

/// What stamps the completions of an endpoint, found out by opening one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps {
    /// The clock in use.
    pub clock: CompletionClock,
    /// The better clocks that the device claims and refused, best first.
    pub refused: Vec<Refused>,
}

/// A clock that a device refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The clock.
    pub clock: CompletionClock,
    /// The call that failed, and how.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.clock, self.why)
    }
}

/// One port of a device.
#[derive(Debug, Clone, Serialize)]
pub struct PortReport {
    /// Its number, from 1.
    pub port: u8,
    /// Its state; `None` where the device does not tell.
    pub state: Option<PortState>,
    /// What it is attached to; `None` where the device does not tell.
    pub link_layer: Option<LinkLayer>,
    /// The active path MTU in bytes, where the driver gives a known value.
    pub mtu: Option<u32>,
    /// The used entries of its GID table.
    pub gids: Vec<GidEntry>,
    /// Index of the GID that an endpoint would use, or why none can be opened here and what to do.
    #[serde(serialize_with = "usable")]
    pub usable: Result<u32, Trouble>,
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
    /// Whether that interface is one of this network namespace.
    pub place: Place,
}

/// Where the network interface of a GID is. With shared RDMA namespaces a table shows the entries of all network
/// namespaces, of which only the own ones can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In this network namespace.
    Here,
    /// Not told.
    Unknown,
    /// In another network namespace: its number, or the name with that number, does not exist here.
    Elsewhere(u32),
    /// Its number does not exist here, but the device is not in this system's sysfs either, so that numbers prove little.
    Doubtful(u32),
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
    /// Not told: EFA and old InfiniBand drivers. RoCE ports say Ethernet.
    Unspecified,
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
            Self::Unspecified => f.pad("unspecified"),
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

serialize_as_text!(GidKind, PortState, LinkLayer, Trouble);

/// `{"gid_index": 1}` or `{"problem": "…"}`.
fn usable<S: Serializer>(usable: &Result<u32, Trouble>, serializer: S) -> Result<S::Ok, S::Error> {
    match usable {
        Ok(index) => serializer.collect_map([("gid_index", index)]),
        Err(why) => serializer.collect_map([("problem", why)]),
    }
}
