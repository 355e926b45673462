//! The model of what is probed: RNICs, the hosts and agents they belong to, the ToR switches they are cabled to.

pub mod import;
pub mod lldp;
pub mod wiring;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{AgentId, DeviceName, Gid, HostName, TorId};
use crate::transport::{Address, CompletionClock, SourcePortSteering};

/// One RNIC port with its probing endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rnic {
    /// How peers reach its endpoint.
    pub address: Address,
    /// The RDMA device on its host.
    pub device: DeviceName,
    /// Port number on the device, from 1.
    pub port: u8,
    /// The ToR switch that the port is cabled to.
    pub tor: TorId,
    /// Index of the GID in the port's table.
    pub gid_index: u32,
    /// Which clock stamps the endpoint's completions.
    pub clock: CompletionClock,
    /// What decides the UDP source port of what it sends.
    pub steering: SourcePortSteering,
}

/// An agent with all its RNICs, as it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Stable over restarts of the agent.
    pub agent: AgentId,
    /// Random per start of the agent.
    pub incarnation: u64,
    /// The host it runs on.
    pub host: HostName,
    /// The agent's program version, for people.
    pub version: String,
    /// Its RNICs.
    pub rnics: Vec<Rnic>,
}

/// An RNIC as those who probe it know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// How it is reached.
    pub address: Address,
    /// Its ToR switch.
    pub tor: TorId,
    /// Its host.
    pub host: HostName,
    /// Its RDMA device.
    pub device: DeviceName,
}

/// An RNIC in its place under a ToR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// As others see it.
    pub peer: Arc<Peer>,
    /// The agent that probes from it.
    pub agent: AgentId,
    /// What decides the UDP source port of what it sends.
    pub steering: SourcePortSteering,
}

impl Member {
    /// Its GID.
    pub fn gid(&self) -> Gid {
        self.peer.address.gid
    }
}

/// A ToR switch and the RNICs under it, in the order of their GIDs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tor {
    /// Sorted by GID.
    pub members: Vec<Arc<Member>>,
}

impl Tor {
    /// Position of an RNIC under this ToR.
    pub fn position(&self, gid: Gid) -> Option<usize> {
        self.members
            .binary_search_by_key(&gid, |member| member.gid())
            .ok()
    }
}

/// All RNICs by ToR. Cloning is cheap: ToRs are shared until one changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    tors: BTreeMap<TorId, Arc<Tor>>,
}

impl Topology {
    /// The ToRs in the order of their names.
    pub fn tors(&self) -> impl ExactSizeIterator<Item = (&TorId, &Arc<Tor>)> {
        self.tors.iter()
    }

    /// One ToR.
    pub fn tor(&self, name: &TorId) -> Option<&Tor> {
        self.tors.get(name).map(|tor| &**tor)
    }

    /// How many RNICs there are.
    pub fn rnics(&self) -> usize {
        self.tors.values().map(|tor| tor.members.len()).sum()
    }

    /// Adds an agent's RNICs; one whose GID is there already under the same ToR is replaced.
    pub fn insert(&mut self, announcement: &Announcement) {
        for rnic in &announcement.rnics {
            let member = Arc::new(Member {
                peer: Arc::new(Peer {
                    address: rnic.address,
                    tor: rnic.tor.clone(),
                    host: announcement.host.clone(),
                    device: rnic.device.clone(),
                }),
                agent: announcement.agent.clone(),
                steering: rnic.steering.clone(),
            });
            let tor = Arc::make_mut(self.tors.entry(rnic.tor.clone()).or_default());
            match tor
                .members
                .binary_search_by_key(&member.gid(), |other| other.gid())
            {
                Ok(index) => tor.members[index] = member,
                Err(index) => tor.members.insert(index, member),
            }
        }
    }

    /// Takes away the RNICs of an announcement that was inserted.
    pub fn remove(&mut self, announcement: &Announcement) {
        for rnic in &announcement.rnics {
            let Some(tor) = self.tors.get_mut(&rnic.tor) else {
                continue;
            };
            let Some(index) = tor.position(rnic.address.gid) else {
                continue;
            };
            if tor.members[index].agent != announcement.agent {
                continue;
            }
            let tor = Arc::make_mut(tor);
            tor.members.remove(index);
            if tor.members.is_empty() {
                self.tors.remove(&rnic.tor);
            }
        }
    }
}

#[cfg(test)]
mod tests;
