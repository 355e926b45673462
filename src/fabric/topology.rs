//! The shape of an emulated Clos fabric: nodes, directed links and the paths that ECMP takes through them.
//!
//! Two tiers (ToR, spine), or three with pods: `agg<pod>-<n>` between the ToRs of a pod and the spines. The spines are
//! divided into planes: spine `s` is cabled to aggregation switch `s mod aggs` of every pod, as in a fat tree. All
//! RNICs of a host are cabled to the host's ToR.
//!
//! A cable is two directed links with the numbers `2n` (upwards) and `2n + 1` (downwards).

mod shape;

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::id::{DeviceName, Gid, HostName, TorId, UdpSourcePort};

pub use shape::{Shape, ShapeError};

/// The most directed links that a path has: RNIC, ToR, agg, spine, agg, ToR, RNIC.
pub const MAX_HOPS: usize = 6;

/// Number of an RNIC in its fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RnicId(pub u32);

/// Number of a directed link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LinkId(pub u32);

impl LinkId {
    /// The other direction of the same cable.
    #[must_use]
    pub const fn reverse(self) -> Self {
        Self(self.0 ^ 1)
    }

    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl RnicId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Number of a node: switches first, then RNICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// An RNIC of the fabric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rnic {
    /// Its host.
    pub host: HostName,
    /// Number of the host.
    pub host_index: u32,
    /// Number on its host, from 0.
    pub index: u32,
    /// Device name on its host: `rnic<index>`.
    pub device: DeviceName,
    /// The ToR that it is cabled to.
    pub tor: TorId,
    /// Number of the ToR.
    pub tor_index: u32,
    /// IPv4-mapped `10.<tor>.<host under the ToR>.<index + 1>`.
    pub gid: Gid,
}

/// The directed links that a packet crosses, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    links: [LinkId; MAX_HOPS],
    len: u8,
}

impl Path {
    const EMPTY: Self = Self {
        links: [LinkId(0); MAX_HOPS],
        len: 0,
    };

    fn push(&mut self, link: LinkId) {
        self.links[usize::from(self.len)] = link;
        self.len += 1;
    }

    /// The links.
    pub fn links(&self) -> &[LinkId] {
        &self.links[..usize::from(self.len)]
    }

    /// The first `hops` links walked back.
    #[must_use]
    pub fn back(&self, hops: usize) -> Self {
        let mut back = Self::EMPTY;
        for link in self.links()[..hops.min(self.links().len())].iter().rev() {
            back.push(link.reverse());
        }
        back
    }
}

/// What an ECMP hash sees. The protocol and the destination port are the same for all RoCE v2 packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Source RNIC.
    pub source: RnicId,
    /// Destination RNIC.
    pub target: RnicId,
    /// UDP source port.
    pub port: UdpSourcePort,
}

impl Flow {
    /// All of it in one number.
    pub(crate) fn key(self) -> u64 {
        u64::from(self.source.0) << 40 | u64::from(self.target.0) << 16 | u64::from(self.port.0)
    }

    /// A well-mixed number that depends on the flow and `seed` alone.
    pub(crate) fn hash(self, seed: u64) -> u64 {
        mix(self.key() ^ mix(seed))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `hash` scaled to `0..count`.
fn choose(hash: u64, count: u32) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the high half of a product with a 32-bit number"
    )]
    let chosen = ((u128::from(hash) * u128::from(count)) >> 64) as u32;
    chosen
}

/// A fabric that can be built, with every name and number resolved.
#[derive(Debug, Clone)]
pub struct Topology {
    shape: Shape,
    seed: u64,
    names: Vec<String>,
    by_name: HashMap<String, NodeId>,
    rnics: Vec<Rnic>,
    hosts: Vec<HostName>,
    /// Of each directed link.
    ends: Vec<(NodeId, NodeId)>,
}

impl Topology {
    /// Builds it. `seed` decides how the switches hash.
    ///
    /// # Errors
    /// [`ShapeError`] when the shape is impossible.
    pub fn new(shape: Shape, seed: u64) -> Result<Self, ShapeError> {
        shape.check()?;
        let mut topology = Self {
            shape,
            seed,
            names: Vec::new(),
            by_name: HashMap::new(),
            rnics: Vec::new(),
            hosts: Vec::new(),
            ends: Vec::new(),
        };
        topology.add_switches();
        topology.add_hosts();
        topology.add_cables();
        Ok(topology)
    }

    fn add_node(&mut self, name: String) {
        let id = NodeId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.by_name.insert(name.clone(), id);
        self.names.push(name);
    }

    fn add_switches(&mut self) {
        for spine in 0..self.shape.spines {
            self.add_node(format!("spine{spine}"));
        }
        for pod in 0..self.shape.pods {
            for agg in 0..self.shape.aggs {
                self.add_node(format!("agg{pod}-{agg}"));
            }
        }
        for tor in 0..self.shape.tors {
            self.add_node(format!("tor{tor}"));
        }
    }

    fn add_hosts(&mut self) {
        for host_index in 0..self.shape.tors * self.shape.hosts {
            let tor_index = host_index / self.shape.hosts;
            let host = HostName::new(format!("host{host_index}"));
            for index in 0..self.shape.rnics {
                let low = |number: u32| number.to_le_bytes()[0];
                let address = Ipv4Addr::new(
                    10,
                    low(tor_index),
                    low(host_index % self.shape.hosts),
                    low(index + 1),
                );
                self.add_node(format!("{host}/{index}"));
                self.rnics.push(Rnic {
                    host: host.clone(),
                    host_index,
                    index,
                    device: DeviceName::new(format!("rnic{index}")),
                    tor: TorId::new(format!("tor{tor_index}")),
                    tor_index,
                    gid: address.into(),
                });
            }
            self.hosts.push(host);
        }
    }

    /// In the order that [`Self::rnic_uplink`] and [`Self::tor_uplink`] rely on.
    fn add_cables(&mut self) {
        for rnic in 0..self.rnics.len() {
            let id = RnicId(u32::try_from(rnic).unwrap_or(u32::MAX));
            let (rnic, tor) = (
                self.rnic_node(id),
                self.tor_node(self.rnics[rnic].tor_index),
            );
            self.add_cable(rnic, tor);
        }
        let shape = self.shape;
        for tor in 0..shape.tors {
            if shape.pods == 0 {
                for spine in 0..shape.spines {
                    self.add_cable(self.tor_node(tor), NodeId(spine));
                }
            } else {
                for agg in 0..shape.aggs {
                    self.add_cable(self.tor_node(tor), self.agg_node(self.pod_of(tor), agg));
                }
            }
        }
        for pod in 0..shape.pods {
            for agg in 0..shape.aggs {
                for turn in 0..shape.spines / shape.aggs {
                    let spine = NodeId(turn * shape.aggs + agg);
                    self.add_cable(self.agg_node(pod, agg), spine);
                }
            }
        }
    }

    fn add_cable(&mut self, lower: NodeId, upper: NodeId) {
        self.ends.push((lower, upper));
        self.ends.push((upper, lower));
    }

    fn agg_node(&self, pod: u32, agg: u32) -> NodeId {
        NodeId(self.shape.spines + pod * self.shape.aggs + agg)
    }

    fn tor_node(&self, tor: u32) -> NodeId {
        NodeId(self.shape.spines + self.shape.pods * self.shape.aggs + tor)
    }

    /// The node of an RNIC.
    pub fn rnic_node(&self, rnic: RnicId) -> NodeId {
        NodeId(self.tor_node(self.shape.tors).0 + rnic.0)
    }

    fn pod_of(&self, tor: u32) -> u32 {
        tor / (self.shape.tors / self.shape.pods.max(1)).max(1)
    }

    /// The link from an RNIC to its ToR.
    pub fn rnic_uplink(&self, rnic: RnicId) -> LinkId {
        LinkId(rnic.0 * 2)
    }

    fn tor_uplink(&self, tor: u32, port: u32) -> LinkId {
        let ports = if self.shape.pods == 0 {
            self.shape.spines
        } else {
            self.shape.aggs
        };
        let rnics = self.shape.tors * self.shape.hosts * self.shape.rnics;
        LinkId((rnics + tor * ports + port) * 2)
    }

    fn agg_uplink(&self, pod: u32, agg: u32, turn: u32) -> LinkId {
        let first = self.tor_uplink(self.shape.tors, 0).0;
        let per_agg = self.shape.spines / self.shape.aggs;
        LinkId(first + ((pod * self.shape.aggs + agg) * per_agg + turn) * 2)
    }

    /// The choice of a switch for `flow`: each has a seed of its own, unless all are to choose alike.
    fn ecmp(&self, flow: Flow, switch: NodeId, ports: u32) -> u32 {
        let own = if self.shape.one_hash { 0 } else { switch.0 };
        choose(flow.hash(mix(self.seed) ^ u64::from(own) << 32), ports)
    }

    /// The path that ECMP gives `flow`; empty for a flow from an RNIC to itself.
    pub fn path(&self, flow: Flow) -> Path {
        let mut path = Path::EMPTY;
        if flow.source == flow.target {
            return path;
        }
        let from = self.rnics[flow.source.index()].tor_index;
        let to = self.rnics[flow.target.index()].tor_index;
        path.push(self.rnic_uplink(flow.source));
        if from != to {
            if self.shape.pods == 0 {
                let spine = self.ecmp(flow, self.tor_node(from), self.shape.spines);
                path.push(self.tor_uplink(from, spine));
                path.push(self.tor_uplink(to, spine).reverse());
            } else {
                self.cross_pods(flow, from, to, &mut path);
            }
        }
        path.push(self.rnic_uplink(flow.target).reverse());
        path
    }

    fn cross_pods(&self, flow: Flow, from: u32, to: u32, path: &mut Path) {
        let (from_pod, to_pod) = (self.pod_of(from), self.pod_of(to));
        let agg = self.ecmp(flow, self.tor_node(from), self.shape.aggs);
        path.push(self.tor_uplink(from, agg));
        if from_pod != to_pod {
            let turns = self.shape.spines / self.shape.aggs;
            let turn = self.ecmp(flow, self.agg_node(from_pod, agg), turns);
            path.push(self.agg_uplink(from_pod, agg, turn));
            path.push(self.agg_uplink(to_pod, agg, turn).reverse());
        }
        path.push(self.tor_uplink(to, agg).reverse());
    }

    /// What it was built from.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// All RNICs, by [`RnicId`].
    pub fn rnics(&self) -> &[Rnic] {
        &self.rnics
    }

    /// The numbers of all RNICs.
    pub fn rnic_ids(&self) -> impl Iterator<Item = RnicId> + use<> {
        (0..self.shape.tors * self.shape.hosts * self.shape.rnics).map(RnicId)
    }

    /// An RNIC by number.
    pub fn rnic(&self, id: RnicId) -> &Rnic {
        &self.rnics[id.index()]
    }

    /// The RNIC that has a GID.
    pub fn rnic_by_gid(&self, gid: Gid) -> Option<RnicId> {
        let [
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0xff,
            0xff,
            10,
            tor,
            host,
            rnic,
        ] = gid.bytes()
        else {
            return None;
        };
        let (tor, host) = (u32::from(tor), u32::from(host));
        let rnic = u32::from(rnic).checked_sub(1)?;
        let Shape {
            tors, hosts, rnics, ..
        } = self.shape;
        (tor < tors && host < hosts && rnic < rnics)
            .then(|| RnicId((tor * hosts + host) * rnics + rnic))
    }

    /// All hosts.
    pub fn hosts(&self) -> &[HostName] {
        &self.hosts
    }

    /// The RNICs of a host.
    pub fn rnics_of(&self, host_index: u32) -> impl Iterator<Item = RnicId> + use<> {
        let rnics = self.shape.rnics;
        (host_index * rnics..(host_index + 1) * rnics).map(RnicId)
    }

    /// How many directed links there are.
    pub fn link_count(&self) -> usize {
        self.ends.len()
    }

    /// The numbers of all directed links.
    pub fn links(&self) -> impl Iterator<Item = LinkId> + use<> {
        (0..u32::try_from(self.ends.len()).unwrap_or(u32::MAX)).map(LinkId)
    }

    /// The nodes at the ends of a directed link, sender first.
    pub fn ends(&self, link: LinkId) -> (NodeId, NodeId) {
        self.ends[link.index()]
    }

    /// Whether a link ends at an RNIC.
    pub fn is_host_link(&self, link: LinkId) -> bool {
        link.index() < self.rnics.len() * 2
    }

    /// `spine1->tor3`.
    pub fn link_name(&self, link: LinkId) -> String {
        let (from, to) = self.ends(link);
        format!("{}->{}", self.node_name(from), self.node_name(to))
    }

    /// `spine1`, `agg0-1`, `tor3`, `host5/0`.
    pub fn node_name(&self, node: NodeId) -> &str {
        &self.names[node.0 as usize]
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    /// Whether a node is a switch.
    pub fn is_switch(&self, node: NodeId) -> bool {
        node < self.tor_node(self.shape.tors)
    }

    /// All names of nodes and hosts.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .map(String::as_str)
            .chain(self.hosts.iter().map(HostName::as_str))
    }

    /// The node that a hop leads to.
    pub(crate) fn head(&self, link: LinkId) -> NodeId {
        self.ends(link).1
    }

    /// The links of a path by name.
    pub fn describe(&self, path: &Path) -> Vec<String> {
        let mut nodes = Vec::new();
        if let Some(first) = path.links().first() {
            nodes.push(self.node_name(self.ends(*first).0).to_owned());
        }
        nodes.extend(
            path.links()
                .iter()
                .map(|link| self.node_name(self.head(*link)).to_owned()),
        );
        nodes
    }
}

#[cfg(test)]
mod tests;
