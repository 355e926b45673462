//! What a fault means on a topology: which links, RNICs and hosts it hits.

#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;

use super::{Effect, Fault, FaultError, Target};
use crate::fabric::topology::{LinkId, NodeId, RnicId, Topology};

/// How many near matches an error names.
const NEAR_MATCHES: usize = 3;

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

/// Whether `name` fits `pattern`, in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + middle.len()..],
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

/// The names that look most like `name`.
fn near_matches<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let limit = (name.len() / 3).max(2);
    let mut near: Vec<_> = candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter()
        .take(NEAR_MATCHES)
        .map(|(_, candidate)| candidate.to_owned())
        .collect()
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

/// The node names that an end of a link's name may mean: a host's name means all its RNICs.
fn end_fits(pattern: &str, name: &str) -> bool {
    fits(pattern, name)
        || (!pattern.contains('/')
            && name
                .split_once('/')
                .is_some_and(|(host, _)| fits(pattern, host)))
}

/// The ways to read a link's name: `agg0-1-tor3` has several, of which one names nodes.
fn splits(name: &str) -> Vec<(&str, &str, bool)> {
    if let Some((from, to)) = name.split_once("->") {
        return vec![(from, to, true)];
    }
    name.match_indices('-')
        .map(|(at, _)| (&name[..at], &name[at + 1..], false))
        .collect()
}

fn links(topology: &Topology, name: &str) -> Result<Vec<LinkId>, FaultError> {
    let splits = splits(name);
    let found: Vec<_> = topology
        .links()
        .filter(|link| {
            let (from, to) = topology.ends(*link);
            let (from, to) = (topology.node_name(from), topology.node_name(to));
            splits.iter().any(|(a, b, one_way)| {
                (end_fits(a, from) && end_fits(b, to))
                    || (!one_way && end_fits(a, to) && end_fits(b, from))
            })
        })
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let one_way = name.contains("->");
    let candidates: Vec<_> = topology
        .links()
        .filter(|link| one_way || link.0 % 2 == 1)
        .map(|link| {
            let full = topology.link_name(link);
            if one_way {
                full
            } else {
                full.replacen("->", "-", 1)
            }
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
