//! What a plan will do to a fabric, before it is rolled out.
//!
//! Counts are exact. Which link a 5-tuple crosses is drawn: at each switch a hash of the 5-tuple and the switch chooses
//! among the next hops of all shortest paths, as ECMP does with hash functions that differ by switch. Real switches hash
//! otherwise, so single links differ, the whole does not.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::id::{DeviceName, Gid, QKey, Qpn, TorId};
use crate::topology::wiring::graph::UNREACHABLE;
use crate::topology::wiring::{Graph, Rnics, Wiring};
use crate::topology::{Announcement, Rnic};
use crate::transport::{Address, CompletionClock, SourcePortSteering};

use super::mix::{hash, join, mix};
use super::plan::{Matrix, PinglistPlan};
use super::{GroupKind, Pinglist};

/// What a plan asks of agents and gives to links.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// RNICs that probe.
    pub rnics: usize,
    /// ToRs with RNICs.
    pub tors: usize,
    /// Groups of described ToRs that no path connects with each other.
    pub planes: usize,
    /// Which pairs of ToRs are probed.
    pub matrix: Matrix,
    /// 5-tuples of all RNICs: what the analyzer keeps as paths.
    pub tuples: u64,
    /// 5-tuples of the RNIC that has most.
    pub most_tuples: u64,
    /// Probes per second of all RNICs.
    pub rate: f64,
    /// Probes per second of the RNIC that sends most.
    pub most_rate: f64,
    /// The longest time between two probes of one inter-ToR 5-tuple.
    pub longest_interval: Duration,
    /// The cables between switches.
    pub links: LinkForecast,
}

/// What the directed links between switches get from inter-ToR probes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LinkForecast {
    /// Links on shortest paths between ToRs with RNICs.
    pub links: usize,
    /// Of these, how many no 5-tuple crosses.
    pub uncrossed: usize,
    /// Probes per second on the one that gets fewest.
    pub lowest_rate: f64,
    /// Probes per second and link on average.
    pub mean_rate: f64,
    /// Pairs of crossed links that the same 5-tuples cross: loss on one cannot be told from loss on the other.
    pub equal_pairs: u64,
}

#[derive(Clone, Copy, Default)]
struct Crossing {
    rate: f64,
    /// Of the set of 5-tuples: a sum of hashes, equal for equal sets.
    signature: u64,
    tuples: u64,
    is_usable: bool,
}

/// An inter-ToR 5-tuple of a list.
struct Tuple {
    source: usize,
    key: u64,
    rate: f64,
}

/// Adds up lists.
struct Sum<'a> {
    graph: &'a Graph,
    forecast: Forecast,
    /// By node of the target ToR.
    towards: HashMap<usize, Vec<Tuple>>,
}

impl Forecast {
    /// Of a plan over these agents, on the cables of `graph`.
    pub fn new(plan: &PinglistPlan, agents: &[Announcement], graph: &Graph) -> Self {
        let tors: Vec<TorId> = plan.tor_names().cloned().collect();
        let mut sum = Sum {
            graph,
            forecast: Self {
                rnics: 0,
                tors: tors.len(),
                planes: 0,
                matrix: plan.matrix(),
                tuples: 0,
                most_tuples: 0,
                rate: 0.0,
                most_rate: 0.0,
                longest_interval: Duration::ZERO,
                links: LinkForecast::default(),
            },
            towards: HashMap::new(),
        };
        for agent in agents {
            sum.add(agent, &plan.pinglist(agent));
        }
        let nodes: Vec<usize> = tors
            .iter()
            .filter_map(|tor| graph.node(tor.as_str()))
            .collect();
        let (planes, links) = sum.cross(&nodes);
        Self {
            planes,
            links,
            ..sum.forecast
        }
    }
}

impl Sum<'_> {
    fn add(&mut self, agent: &Announcement, list: &Pinglist) {
        for (rnic, own) in list.rnics.iter().zip(&agent.rnics) {
            let (mut tuples, mut rate) = (0, 0.0);
            for group in &rnic.groups {
                let count = group.targets.len() as f64;
                tuples += group.targets.len() as u64;
                rate += group.probes_per_second;
                if group.kind != GroupKind::InterTor {
                    continue;
                }
                let each = group.probes_per_second / count;
                let interval = Duration::try_from_secs_f64(1.0 / each).unwrap_or(Duration::MAX);
                let forecast = &mut self.forecast;
                forecast.longest_interval = forecast.longest_interval.max(interval);
                let Some(source) = self.graph.node(own.tor.as_str()) else {
                    continue;
                };
                for target in &group.targets {
                    if let Some(node) = self.graph.node(target.peer.tor.as_str()) {
                        let port = u64::from(target.flow_label.source_port().0);
                        let key = tuple_key(rnic.source, target.peer.address.gid, port);
                        let tuple = Tuple {
                            source,
                            key,
                            rate: each,
                        };
                        self.towards.entry(node).or_default().push(tuple);
                    }
                }
            }
            let forecast = &mut self.forecast;
            forecast.rnics += 1;
            forecast.tuples += tuples;
            forecast.most_tuples = forecast.most_tuples.max(tuples);
            forecast.rate += rate;
            forecast.most_rate = forecast.most_rate.max(rate);
        }
    }

    /// Sends each 5-tuple over the cables. Returns the number of planes among `tors`, and what the links get.
    fn cross(&self, tors: &[usize]) -> (usize, LinkForecast) {
        let mut links = vec![Crossing::default(); self.graph.directed_links()];
        let mut planes = 0;
        let mut known = vec![false; self.graph.len()];
        for target in tors {
            let distances = self.graph.distances(*target);
            if !known[*target] {
                planes += 1;
                for (node, known) in known.iter_mut().enumerate() {
                    *known |= distances[node] != UNREACHABLE;
                }
            }
            mark_usable(self.graph, &distances, tors, &mut links);
            for tuple in self.towards.get(target).into_iter().flatten() {
                walk(self.graph, &distances, tuple, &mut links);
            }
        }
        (planes, summary(&links))
    }
}

fn tuple_key(source: Gid, target: Gid, port: u64) -> u64 {
    join(join(hash(&source.bytes()), hash(&target.bytes())), port)
}

/// Marks the links on shortest paths from any of the ToRs.
fn mark_usable(graph: &Graph, distances: &[u32], tors: &[usize], links: &mut [Crossing]) {
    let mut seen = vec![false; graph.len()];
    let mut stack: Vec<usize> = tors
        .iter()
        .copied()
        .filter(|tor| distances[*tor] != UNREACHABLE)
        .collect();
    while let Some(node) = stack.pop() {
        if std::mem::replace(&mut seen[node], true) {
            continue;
        }
        let towards = graph
            .hops(node)
            .iter()
            .filter(|hop| closer(distances, node, hop.to));
        for hop in towards {
            links[hop.link].is_usable = true;
            stack.push(hop.to);
        }
    }
}

fn closer(distances: &[u32], node: usize, next: usize) -> bool {
    distances[next] != UNREACHABLE && distances[next] + 1 == distances[node]
}

fn walk(graph: &Graph, distances: &[u32], tuple: &Tuple, links: &mut [Crossing]) {
    let mut node = tuple.source;
    while distances[node] != 0 && distances[node] != UNREACHABLE {
        let next = graph
            .hops(node)
            .iter()
            .filter(|hop| closer(distances, node, hop.to));
        let draw = mix(tuple.key ^ mix(node as u64));
        // Of `n` next hops the one with the highest score: no need to count them first.
        let Some(hop) = next.max_by_key(|hop| mix(draw ^ hop.link as u64)) else {
            return;
        };
        let link = &mut links[hop.link];
        link.rate += tuple.rate;
        link.tuples += 1;
        link.signature = link.signature.wrapping_add(mix(tuple.key));
        node = hop.to;
    }
}

fn summary(links: &[Crossing]) -> LinkForecast {
    let usable: Vec<&Crossing> = links.iter().filter(|link| link.is_usable).collect();
    let mut by_signature: HashMap<(u64, u64), u64> = HashMap::new();
    let mut equal_pairs = 0;
    for link in usable.iter().filter(|link| link.tuples > 0) {
        match by_signature.entry((link.signature, link.tuples)) {
            Entry::Occupied(mut others) => {
                equal_pairs += *others.get();
                *others.get_mut() += 1;
            }
            Entry::Vacant(first) => {
                first.insert(1);
            }
        }
    }
    let rates = || usable.iter().map(|link| link.rate);
    LinkForecast {
        links: usable.len(),
        uncrossed: usable.iter().filter(|link| link.tuples == 0).count(),
        lowest_rate: rates().reduce(f64::min).unwrap_or(0.0),
        mean_rate: rates().sum::<f64>() / usable.len().max(1) as f64,
        equal_pairs,
    }
}

/// The agents that a description implies, each as it would register: for a forecast before there are any.
///
/// A host without `rnics` in the file gets `rnics_per_host` under its ToR; a bond probes under its first ToR. The addresses
/// are made up (10.0.0.0/8).
pub fn implied_agents(wiring: &Wiring, rnics_per_host: u8) -> Vec<Announcement> {
    let mut next = 0_u32;
    let mut agents = Vec::new();
    for host in wiring.hosts() {
        let places: Vec<(DeviceName, TorId)> = match &host.rnics {
            Rnics::All(tor) => (0..rnics_per_host)
                .map(|at| (format!("rnic{at}").into(), tor.clone()))
                .collect(),
            Rnics::Each(rnics) => rnics
                .iter()
                .filter_map(|rnic| Some((rnic.device.clone(), rnic.tors.first()?.clone())))
                .collect(),
        };
        let rnics = places.into_iter().map(|(device, tor)| {
            next += 1;
            implied_rnic(next, device, tor)
        });
        agents.push(Announcement {
            agent: host.name.as_str().into(),
            incarnation: 1,
            host: host.name.clone(),
            version: String::new(),
            rnics: rnics.collect(),
        });
    }
    agents
}

fn implied_rnic(number: u32, device: DeviceName, tor: TorId) -> Rnic {
    let [_, b, c, d] = number.to_be_bytes();
    Rnic {
        address: Address {
            gid: Ipv4Addr::new(10, b, c, d).into(),
            qpn: Qpn::from_lower_bits(number),
            q_key: QKey(0x1111_1111),
        },
        device,
        port: 1,
        tor,
        gid_index: 3,
        clock: CompletionClock::HardwareWall,
        steering: SourcePortSteering::FlowLabel,
    }
}

#[cfg(test)]
mod tests;
