//! The shape of an emulated Clos fabric: nodes, directed links and the paths that ECMP takes through them.
//!
//! Two tiers (ToR, spine), or three with pods: `agg<pod>-<n>` between the ToRs of a pod and the spines. Spine `s` is cabled
//! to aggregation switch `s mod aggs` of every pod, as in a fat tree. All RNICs of a host are cabled to the host's ToR.
//!
//! With rails a host has no single ToR: where `tor3` would be, there is a group of leaves, `leaf3-r0`, `leaf3-r1` …, and
//! RNIC `i` of each host of the group is cabled to the leaf of rail `i mod rails`. The leaves of all rails meet at the
//! spines. With planes the switches above the leaves are divided into disjoint sets, and the leaves of a plane are cabled
//! to its set alone: RNICs of different planes do not reach each other. Rail `r` is in plane `r mod planes`; without rails
//! each plane has its own leaf in a group, `leaf3-p0`, `leaf3-p1` …. With bonds each RNIC is cabled to two leaves, whose
//! names end in `a` and `b`; it sends a 5-tuple over either of them, and so do the switches towards it.
//!
//! A cable is two directed links with the numbers `2n` (upwards) and `2n + 1` (downwards).

mod build;
mod route;
mod shape;

use std::collections::HashMap;

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
    /// The ToR that it is cabled to; of a bond the first one.
    pub tor: TorId,
    /// The second ToR of a bond.
    pub bonded: Option<TorId>,
    /// Number of the first ToR.
    pub tor_index: u32,
    /// IPv4-mapped `10.<group>.<host in the group>.<index + 1>`; without rails and planes a group is a ToR.
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
        topology.build();
        Ok(topology)
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

    /// The name of a ToR by its number.
    pub fn tor_name(&self, tor: u32) -> &str {
        self.node_name(self.tor_node(tor))
    }

    /// Whether some path leads from one RNIC to another.
    pub fn connects(&self, a: RnicId, b: RnicId) -> bool {
        let plane = |rnic| self.shape.plane_of(self.rnic(rnic).index);
        plane(a) == plane(b)
    }

    /// Whether two RNICs are on one rail; without rails all are that reach each other.
    pub fn is_same_rail(&self, a: RnicId, b: RnicId) -> bool {
        let class = |rnic| self.shape.class_of(self.rnic(rnic).index);
        class(a) == class(b)
    }

    /// The RNICs of all hosts that hang under the ToRs where those of this RNIC's host do.
    pub(crate) fn group_of(&self, rnic: RnicId) -> impl Iterator<Item = RnicId> + use<> {
        let under = self.shape.hosts * self.shape.rnics;
        let group = rnic.0 / under;
        (group * under..(group + 1) * under).map(RnicId)
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
        link.index() < self.rnics.len() * self.shape.cables() as usize * 2
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
        node < self.tor_node(self.shape.leaves())
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
