//! RNICs as they are announced, and pinglists as sessions take them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::agent::endpoint::Inventory;
use crate::id::Gid;
use crate::pinglist::{self, Pinglist};
use crate::probe::{Group, ProbeKind, ProbePath, Rate};
use crate::topology::Rnic;

/// The open RNICs. Two ports with the same GID are one to the fabric: the first is announced.
pub(super) fn announced(inventory: &Inventory) -> Vec<Rnic> {
    let mut seen = HashSet::new();
    inventory
        .iter()
        .filter_map(|(name, state)| Some((name, state.as_ref().ok()?)))
        .filter(|(_, open)| seen.insert(open.address.gid))
        .map(|(name, open)| Rnic {
            address: open.address,
            device: name.device.clone(),
            port: name.port,
            tor: open.tor.clone(),
            gid_index: open.gid_index,
            clock: open.capabilities.clock,
            steering: open.capabilities.steering.clone(),
        })
        .collect()
}

/// A pinglist as sessions take it.
pub fn groups(list: &Pinglist) -> HashMap<Gid, Vec<Group>> {
    list.rnics
        .iter()
        .map(|rnic| (rnic.source, rnic.groups.iter().filter_map(group).collect()))
        .collect()
}

fn group(group: &pinglist::Group) -> Option<Group> {
    Some(Group {
        kind: match group.kind {
            pinglist::GroupKind::TorMesh => ProbeKind::TorMesh,
            pinglist::GroupKind::InterTor => ProbeKind::InterTor,
        },
        rate: Rate::per_second(group.probes_per_second)?,
        paths: group
            .targets
            .iter()
            .map(|target| {
                Arc::new(ProbePath {
                    target: Arc::clone(&target.peer),
                    flow_label: target.flow_label,
                    service: None,
                    traffic_class: None,
                    fidelity: None,
                })
            })
            .collect(),
    })
}
