//! What can lose packets, and how files and answers name it.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{DeviceName, HostName, RnicName};

/// A component's index in its [`Problem`](super::Problem).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId(pub u32);

impl ComponentId {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Something that can lose packets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", from = "Read")]
pub enum Component {
    /// One direction of a cable. An end that is an RNIC is written as [`RnicName`].
    Link {
        /// The end that sends.
        from: String,
        /// The end that receives.
        to: String,
    },
    /// A switch, with all its ports.
    Switch {
        /// Its name.
        name: String,
    },
    /// A host, with all its RNICs.
    Host {
        /// Its name.
        name: String,
    },
    /// An RNIC, with its cable where no link stands for that.
    Rnic {
        /// The host that it is in.
        host: HostName,
        /// Its name on the host.
        device: DeviceName,
    },
    /// Many of the above, or the monitoring itself: what an incident is about that has no single place. Never what the
    /// localisation looks for.
    Group {
        /// What they have in common: the name of a category.
        name: String,
    },
}

/// A component as JSON has it. Older stored incidents, answers and truths have an RNIC as a host that is named
/// `HOST/DEVICE`: they are still read.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Read {
    Link { from: String, to: String },
    Switch { name: String },
    Host { name: String },
    Rnic { host: HostName, device: DeviceName },
    Group { name: String },
}

impl From<Read> for Component {
    fn from(read: Read) -> Self {
        match read {
            Read::Link { from, to } => Self::Link { from, to },
            Read::Switch { name } => Self::Switch { name },
            Read::Host { name } => name.parse().map_or(Self::Host { name }, Self::rnic),
            Read::Rnic { host, device } => Self::Rnic { host, device },
            Read::Group { name } => Self::Group { name },
        }
    }
}

impl Component {
    /// An RNIC.
    pub fn rnic(RnicName { host, device }: RnicName) -> Self {
        Self::Rnic { host, device }
    }

    /// The name of the node that it is, as paths and ends of links have it; `None` for a link and a group.
    pub fn node(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Link { .. } | Self::Group { .. } => None,
            Self::Switch { name } | Self::Host { name } => Some(Cow::Borrowed(name)),
            Self::Rnic { host, device } => Some(Cow::Owned(
                RnicName::new(host.clone(), device.clone()).to_string(),
            )),
        }
    }

    /// The host that it is, or that it is in.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Host { name } => Some(name),
            Self::Rnic { host, .. } => Some(host.as_str()),
            Self::Link { .. } | Self::Switch { .. } | Self::Group { .. } => None,
        }
    }

    /// The other direction of the cable, where this is a link.
    pub fn reverse(&self) -> Option<Self> {
        match self {
            Self::Link { from, to } => Some(Self::Link {
                from: to.clone(),
                to: from.clone(),
            }),
            Self::Switch { .. } | Self::Host { .. } | Self::Rnic { .. } | Self::Group { .. } => {
                None
            }
        }
    }

    /// Whether this is a node, and one end of `link`.
    pub(crate) fn is_end_of(&self, link: &Self) -> bool {
        match link {
            Self::Link { from, to } => self.node().is_some_and(|node| node == *from || node == *to),
            Self::Switch { .. } | Self::Host { .. } | Self::Rnic { .. } | Self::Group { .. } => {
                false
            }
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { from, to } => write!(f, "link {from}->{to}"),
            Self::Switch { name } => write!(f, "switch {name}"),
            Self::Host { name } => write!(f, "host {name}"),
            Self::Group { name } => f.write_str(if name.starts_with("monitoring") {
                "the monitoring"
            } else {
                "many of a kind"
            }),
            Self::Rnic { host, device } => {
                write!(f, "RNIC {}", RnicName::new(host.clone(), device.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
