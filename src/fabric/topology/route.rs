//! The path that ECMP gives a 5-tuple.

use super::{Flow, NodeId, Path, Topology, choose, mix};

impl Topology {
    /// The choice of a node for `flow`: each has a seed of its own, unless all are to choose alike.
    fn ecmp(&self, flow: Flow, node: NodeId, ports: u32) -> u32 {
        let own = if self.shape.one_hash { 0 } else { node.0 };
        choose(flow.hash(mix(self.seed) ^ u64::from(own) << 32), ports)
    }

    /// Which of its two cables a node takes for `flow` to or from a bond; 0 where there are no bonds.
    fn side(&self, flow: Flow, node: NodeId) -> u32 {
        if self.shape.bonds {
            self.ecmp(flow, node, self.shape.cables())
        } else {
            0
        }
    }

    /// The path that ECMP gives `flow`; empty for a flow from an RNIC to itself, and between planes.
    pub fn path(&self, flow: Flow) -> Path {
        let mut path = Path::EMPTY;
        if flow.source == flow.target || !self.connects(flow.source, flow.target) {
            return path;
        }
        let from_side = self.side(flow, self.rnic_node(flow.source));
        let from = self.rnic(flow.source).tor_index;
        let to = self.rnic(flow.target).tor_index;
        path.push(self.rnic_uplink(flow.source, from_side));
        let to_side = if from == to {
            from_side
        } else if self.shape.pods == 0 {
            self.cross_spines(flow, from + from_side, to, &mut path)
        } else {
            self.cross_pods(flow, from + from_side, to, &mut path)
        };
        path.push(self.rnic_uplink(flow.target, to_side).reverse());
        path
    }

    /// From a leaf over a spine; gives the side of the target where the path arrives.
    fn cross_spines(&self, flow: Flow, from: u32, to: u32, path: &mut Path) -> u32 {
        let port = self.ecmp(flow, self.tor_node(from), self.shape.leaf_ports());
        let up = self.tor_uplink(from, port);
        let side = self.side(flow, self.head(up));
        path.push(up);
        path.push(self.tor_uplink(to + side, port).reverse());
        side
    }

    /// The same over aggregation switches.
    fn cross_pods(&self, flow: Flow, from: u32, to: u32, path: &mut Path) -> u32 {
        let (from_pod, to_pod) = (self.pod_of(from), self.pod_of(to));
        let port = self.ecmp(flow, self.tor_node(from), self.shape.leaf_ports());
        let agg = self.shape.plane_of_leaf(from) * self.shape.leaf_ports() + port;
        path.push(self.tor_uplink(from, port));
        if from_pod != to_pod {
            let turns = self.shape.spines / self.shape.aggs;
            let turn = self.ecmp(flow, self.agg_node(from_pod, agg), turns);
            path.push(self.agg_uplink(from_pod, agg, turn));
            path.push(self.agg_uplink(to_pod, agg, turn).reverse());
        }
        let side = self.side(flow, self.agg_node(to_pod, agg));
        path.push(self.tor_uplink(to + side, port).reverse());
        side
    }
}
