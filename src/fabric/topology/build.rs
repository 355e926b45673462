//! The nodes and cables of a fabric, and the order of their numbers.

use std::net::Ipv4Addr;

use super::{LinkId, NodeId, Rnic, RnicId, Topology};
use crate::id::{DeviceName, HostName, TorId};

impl Topology {
    pub(super) fn build(&mut self) {
        self.add_switches();
        self.add_hosts();
        self.add_cables();
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
        for tor in 0..self.shape.leaves() {
            self.add_node(self.shape.leaf_name(tor));
        }
    }

    fn add_hosts(&mut self) {
        let shape = self.shape;
        for host_index in 0..shape.tors * shape.hosts {
            let group = host_index / shape.hosts;
            let host = HostName::new(format!("host{host_index}"));
            for index in 0..shape.rnics {
                let low = |number: u32| number.to_le_bytes()[0];
                let address = Ipv4Addr::new(
                    10,
                    low(group),
                    low(host_index % shape.hosts),
                    low(index + 1),
                );
                self.add_node(format!("{host}/{index}"));
                let tor_index = shape.leaf_of(group, index);
                let tor = |number| TorId::new(shape.leaf_name(number));
                self.rnics.push(Rnic {
                    host: host.clone(),
                    host_index,
                    index,
                    device: DeviceName::new(format!("rnic{index}")),
                    tor: tor(tor_index),
                    bonded: shape.bonds.then(|| tor(tor_index + 1)),
                    tor_index,
                    gid: address.into(),
                });
            }
            self.hosts.push(host);
        }
    }

    /// In the order that [`Self::rnic_uplink`], [`Self::tor_uplink`] and [`Self::agg_uplink`] rely on.
    fn add_cables(&mut self) {
        let shape = self.shape;
        for rnic in self.rnic_ids() {
            for side in 0..shape.cables() {
                let tor = self.tor_node(self.rnic(rnic).tor_index + side);
                self.add_cable(self.rnic_node(rnic), tor);
            }
        }
        for tor in 0..shape.leaves() {
            for port in 0..shape.leaf_ports() {
                self.add_cable(self.tor_node(tor), self.above(tor, port));
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

    /// The switch that a leaf's port leads to.
    fn above(&self, tor: u32, port: u32) -> NodeId {
        let shape = self.shape;
        let number = shape.plane_of_leaf(tor) * shape.leaf_ports() + port;
        if shape.pods == 0 {
            NodeId(number)
        } else {
            self.agg_node(self.pod_of(tor), number)
        }
    }

    pub(super) fn agg_node(&self, pod: u32, agg: u32) -> NodeId {
        NodeId(self.shape.spines + pod * self.shape.aggs + agg)
    }

    pub(super) fn tor_node(&self, tor: u32) -> NodeId {
        NodeId(self.shape.spines + self.shape.pods * self.shape.aggs + tor)
    }

    /// The node of an RNIC.
    pub fn rnic_node(&self, rnic: RnicId) -> NodeId {
        NodeId(self.tor_node(self.shape.leaves()).0 + rnic.0)
    }

    pub(super) fn pod_of(&self, tor: u32) -> u32 {
        let group = tor / self.shape.leaves_per_group();
        group / (self.shape.tors / self.shape.pods.max(1)).max(1)
    }

    /// The links from an RNIC to its ToR, to both of a bond.
    pub fn rnic_uplinks(&self, rnic: RnicId) -> impl Iterator<Item = LinkId> + use<> {
        let cables = self.shape.cables();
        (rnic.0 * cables..(rnic.0 + 1) * cables).map(|cable| LinkId(cable * 2))
    }

    /// The link from an RNIC to one of its ToRs: 0, or 1 for the second one of a bond.
    pub(super) fn rnic_uplink(&self, rnic: RnicId, side: u32) -> LinkId {
        LinkId((rnic.0 * self.shape.cables() + side) * 2)
    }

    pub(super) fn tor_uplink(&self, tor: u32, port: u32) -> LinkId {
        let shape = self.shape;
        let rnics = shape.tors * shape.hosts * shape.rnics;
        LinkId((rnics * shape.cables() + tor * shape.leaf_ports() + port) * 2)
    }

    pub(super) fn agg_uplink(&self, pod: u32, agg: u32, turn: u32) -> LinkId {
        let first = self.tor_uplink(self.shape.leaves(), 0).0;
        let per_agg = self.shape.spines / self.shape.aggs;
        LinkId(first + ((pod * self.shape.aggs + agg) * per_agg + turn) * 2)
    }
}
