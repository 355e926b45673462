//! The wiring between switches, and what ECMP may choose in it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::leg::{Leg, Origin, add, link};
use crate::analysis::localize::Component;
use crate::id::{HostName, TorId};
use crate::topology::wiring::{Host, Rnics, Wiring};

/// Hops that are remembered, over all switches that were asked for: 64 MiB.
const MOST_HOPS: usize = 32 << 20;
/// Hops from a switch that does not reach the other one.
const UNREACHED: u16 = u16::MAX;

/// The wiring between switches.
#[derive(Debug, Clone, Default)]
pub(super) struct Fabric {
    /// The switches in the order of their names.
    names: Vec<String>,
    nodes: HashMap<String, u32>,
    /// Next hops of each, in the order of the file: parallel cables as often as they are listed.
    neighbours: Vec<Vec<u32>>,
    /// The ToRs of hosts and RNICs.
    pub(super) tors: BTreeSet<TorId>,
    pub(super) hosts: HashMap<HostName, Host>,
    pub(super) has_bonds: bool,
    /// Hops to a switch from each one, by switch. A fabric's ToRs are asked for with many others each.
    hops: RefCell<HashMap<u32, Arc<[u16]>>>,
}

impl Fabric {
    pub(super) fn new(wiring: &Wiring) -> Self {
        let cables = wiring.links();
        let names: BTreeSet<&String> = cables
            .iter()
            .flat_map(|cable| [&cable.a, &cable.b])
            .collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let nodes: HashMap<String, u32> = (0..)
            .zip(&names)
            .map(|(at, name)| (name.clone(), at))
            .collect();
        let mut neighbours = vec![Vec::new(); names.len()];
        for cable in cables {
            let (a, b) = (nodes[&cable.a], nodes[&cable.b]);
            neighbours[a as usize].push(b);
            neighbours[b as usize].push(a);
        }
        let hosts = wiring.hosts().iter();
        Self {
            names,
            nodes,
            neighbours,
            tors: wiring.tors().into_iter().cloned().collect(),
            has_bonds: hosts.clone().any(|host| match &host.rnics {
                Rnics::All(_) => false,
                Rnics::Each(rnics) => rnics.iter().any(|rnic| rnic.tors.len() > 1),
            }),
            hosts: hosts
                .map(|host| (host.name.clone(), host.clone()))
                .collect(),
            hops: RefCell::default(),
        }
    }

    /// Whether a cable ends at a switch of this name.
    pub(super) fn has_switch(&self, name: &str) -> bool {
        self.nodes.contains_key(name)
    }

    /// Links from one switch to another at the least; `None` where no path connects them, or one is not known.
    pub(super) fn distance(&self, from: &str, to: &str) -> Option<u32> {
        if from == to {
            return Some(0);
        }
        let (from, to) = (*self.nodes.get(from)?, *self.nodes.get(to)?);
        let hops = self.hops_to(to)[from as usize];
        (hops != UNREACHED).then_some(u32::from(hops))
    }

    /// Hops to a switch from each one.
    fn hops_to(&self, to: u32) -> Arc<[u16]> {
        let mut known = self.hops.borrow_mut();
        if let Some(hops) = known.get(&to) {
            return Arc::clone(hops);
        }
        if (known.len() + 1).saturating_mul(self.names.len()) > MOST_HOPS {
            known.clear();
        }
        let mut hops = vec![UNREACHED; self.names.len()];
        hops[to as usize] = 0;
        let mut queue = VecDeque::from([to]);
        while let Some(node) = queue.pop_front() {
            let next = hops[node as usize].saturating_add(1);
            for neighbour in &self.neighbours[node as usize] {
                let known = &mut hops[*neighbour as usize];
                if *known == UNREACHED && next != UNREACHED {
                    *known = next;
                    queue.push_back(*neighbour);
                }
            }
        }
        let hops: Arc<[u16]> = hops.into();
        known.insert(to, Arc::clone(&hops));
        hops
    }

    /// The next switches of the shortest paths from one switch to another, each with its cables.
    pub(super) fn next_hops(&self, from: &str, to: &str) -> BTreeMap<&str, usize> {
        let mut next = BTreeMap::new();
        let (Some(from), Some(to)) = (self.nodes.get(from), self.nodes.get(to)) else {
            return next;
        };
        let hops = self.hops_to(*to);
        let here = hops[*from as usize];
        for other in &self.neighbours[*from as usize] {
            let left = hops[*other as usize];
            if left != UNREACHED && left + 1 == here {
                *next
                    .entry(self.names[*other as usize].as_str())
                    .or_default() += 1;
            }
        }
        next
    }

    /// All shortest paths, each switch dividing evenly among its next hops; parallel cables count as often as listed.
    pub(super) fn leg(&self, from: &str, to: &str) -> Option<Leg> {
        let (from, to) = (*self.nodes.get(from)?, *self.nodes.get(to)?);
        let hops_to = self.hops_to(to);
        let hops = hops_to[from as usize];
        if hops == UNREACHED {
            return None;
        }
        let name = |node: u32| self.names[node as usize].as_str();
        let mut shares = Vec::new();
        let mut layer = BTreeMap::from([(from, 1.0)]);
        for left in (0..hops).rev() {
            let mut next: BTreeMap<u32, f64> = BTreeMap::new();
            for (node, share) in layer {
                let closer = self.neighbours[node as usize]
                    .iter()
                    .filter(|other| hops_to[**other as usize] == left);
                let part = share / closer.clone().count().max(1) as f64;
                for other in closer {
                    add(&mut shares, link(name(node), name(*other)), part);
                    *next.entry(*other).or_default() += part;
                }
            }
            if left > 0 {
                for (node, share) in &next {
                    let name = name(*node).to_owned();
                    add(&mut shares, Component::Switch { name }, *share);
                }
            }
            layer = next;
        }
        Some(Leg {
            shares,
            links: f64::from(hops),
            origin: Origin::Candidates,
            doubt: 0.0,
            steps: 0,
            path: None,
        })
    }
}
