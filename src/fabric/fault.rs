//! What a fault means on a topology: which links, RNICs and hosts it hits.

#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;

use super::topology::{LinkId, NodeId, RnicId, Topology};
use crate::fault::pattern::{LinkPattern, fits, near_matches};
use crate::fault::{Effect, Fault, FaultError, Target};

/// One effect at one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// A directed link, with the packets that enter it.
    Link(LinkId),
    /// An RNIC itself: its clock, its port state.
    Rnic(RnicId),
    /// A host, by number.
    Host(u32),
    /// A switch: whether it answers packets whose hop limit ends there.
    Switch(NodeId),
}

/// A fault with all its places.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The fault.
    pub fault: Fault,
    /// Where each effect acts.
    pub places: Vec<(Place, Effect)>,
}

impl Resolved {
    /// The directed links on which packets are hit.
    pub fn links(&self) -> Vec<LinkId> {
        let links: BTreeSet<_> = self
            .places
            .iter()
            .filter_map(|(place, _)| match place {
                Place::Link(link) => Some(*link),
                Place::Rnic(_) | Place::Host(_) | Place::Switch(_) => None,
            })
            .collect();
        links.into_iter().collect()
    }
}

impl Fault {
    /// Finds what it hits.
    ///
    /// # Errors
    /// [`FaultError::Unknown`] when the topology has nothing of that name.
    pub fn resolve(&self, topology: &Topology) -> Result<Resolved, FaultError> {
        let places = match &self.target {
            Target::Link(name) => self.everywhere(&links(topology, name)?),
            Target::Switch(name) => {
                let switches = nodes(topology, "switch", name, |node| topology.is_switch(node))?;
                self.on_switches(topology, &switches)
            }
            Target::Rnic(name) => {
                let found = nodes(topology, "rnic", name, |node| !topology.is_switch(node))?;
                let first = topology.rnic_node(RnicId(0)).0;
                let rnics: Vec<_> = found.iter().map(|node| RnicId(node.0 - first)).collect();
                self.on_rnics(topology, &rnics)
            }
            Target::Host(name) => self.on_hosts(topology, &hosts(topology, name)?),
        };
        Ok(Resolved {
            fault: self.clone(),
            places,
        })
    }

    fn everywhere(&self, links: &[LinkId]) -> Vec<(Place, Effect)> {
        links
            .iter()
            .flat_map(|link| {
                self.effects
                    .iter()
                    .map(|effect| (Place::Link(*link), *effect))
            })
            .collect()
    }

    fn on_switches(&self, topology: &Topology, switches: &[NodeId]) -> Vec<(Place, Effect)> {
        let mut places = Vec::new();
        for link in topology.links() {
            let (from, to) = topology.ends(link);
            for effect in &self.effects {
                let hit = switches.contains(&from)
                    || matches!(effect, Effect::Down) && switches.contains(&to);
                if hit {
                    places.push((Place::Link(link), *effect));
                }
            }
        }
        if self.effects.contains(&Effect::Down) {
            places.extend(
                switches
                    .iter()
                    .map(|switch| (Place::Switch(*switch), Effect::Down)),
            );
        }
        places
    }

    fn on_rnics(&self, topology: &Topology, rnics: &[RnicId]) -> Vec<(Place, Effect)> {
        let mut places = Vec::new();
        for rnic in rnics {
            for effect in &self.effects {
                if !matches!(effect, Effect::ClockStep(_) | Effect::Restart) {
                    for up in topology.rnic_uplinks(*rnic) {
                        places.push((Place::Link(up), *effect));
                        places.push((Place::Link(up.reverse()), *effect));
                    }
                }
                if matches!(
                    effect,
                    Effect::ClockStep(_) | Effect::Restart | Effect::Down | Effect::Flap(_)
                ) {
                    places.push((Place::Rnic(*rnic), *effect));
                }
            }
        }
        places
    }

    fn on_hosts(&self, topology: &Topology, hosts: &[u32]) -> Vec<(Place, Effect)> {
        let mut places = Vec::new();
        for host in hosts {
            for effect in &self.effects {
                if matches!(effect, Effect::Down) {
                    let rnics = topology.rnics_of(*host);
                    for up in rnics.flat_map(|rnic| topology.rnic_uplinks(rnic)) {
                        places.push((Place::Link(up), *effect));
                        places.push((Place::Link(up.reverse()), *effect));
                    }
                }
                if matches!(effect, Effect::Restart) {
                    let rnics = topology.rnics_of(*host);
                    places.extend(rnics.map(|rnic| (Place::Rnic(rnic), *effect)));
                } else {
                    places.push((Place::Host(*host), *effect));
                }
            }
        }
        places
    }
}

fn links(topology: &Topology, name: &str) -> Result<Vec<LinkId>, FaultError> {
    let pattern = LinkPattern::new(name);
    let ends = |link: LinkId| {
        let (from, to) = topology.ends(link);
        (topology.node_name(from), topology.node_name(to))
    };
    let found: Vec<_> = topology
        .links()
        .filter(|link| {
            let (from, to) = ends(*link);
            pattern.fits(from, to)
        })
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let candidates: Vec<_> = topology
        .links()
        .filter(|link| pattern.is_one_way() || link.0 % 2 == 1)
        .map(|link| {
            let (from, to) = ends(link);
            pattern.written(from, to)
        })
        .collect();
    Err(FaultError::Unknown {
        kind: "link",
        name: name.to_owned(),
        near: near_matches(name, candidates.iter().map(String::as_str)),
    })
}

fn nodes(
    topology: &Topology,
    kind: &'static str,
    name: &str,
    wanted: impl Fn(NodeId) -> bool,
) -> Result<Vec<NodeId>, FaultError> {
    let mut found: Vec<_> = topology
        .names()
        .filter(|candidate| fits(name, candidate))
        .filter_map(|candidate| topology.node(candidate))
        .filter(|node| wanted(*node))
        .collect();
    found.sort_unstable();
    if !found.is_empty() {
        return Ok(found);
    }
    let candidates = topology
        .names()
        .filter(|candidate| topology.node(candidate).is_some_and(&wanted));
    Err(FaultError::Unknown {
        kind,
        name: name.to_owned(),
        near: near_matches(name, candidates),
    })
}

fn hosts(topology: &Topology, name: &str) -> Result<Vec<u32>, FaultError> {
    let found: Vec<_> = (0_u32..)
        .zip(topology.hosts())
        .filter(|(_, host)| fits(name, host.as_str()))
        .map(|(number, _)| number)
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    Err(FaultError::Unknown {
        kind: "host",
        name: name.to_owned(),
        near: near_matches(
            name,
            topology.hosts().iter().map(crate::id::HostName::as_str),
        ),
    })
}

#[cfg(test)]
mod tests;
