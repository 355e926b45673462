//! Where an announcement came from: what tells two machines with one name apart.

use std::fmt;
use std::net::IpAddr;

use crate::net::tls::PeerIdentity;

/// Where an announcement came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The peer's address; not known of what was stored.
    pub(super) address: Option<IpAddr>,
    /// What the agent says of its machine; empty where it does not.
    pub(super) machine: String,
    /// Who it has proved to be.
    pub(super) identity: PeerIdentity,
}

impl Origin {
    /// Whether two agents are on two machines for sure. Machines that were made from one image can be alike.
    pub(super) fn is_elsewhere(&self, other: &Self) -> bool {
        !self.machine.is_empty() && !other.machine.is_empty() && self.machine != other.machine
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{address}")?,
            None => f.write_str("an unknown address")?,
        }
        if self.machine.is_empty() {
            return Ok(());
        }
        write!(f, " (machine {})", self.machine)
    }
}
