//! The version of a pinglist: a hash of what it says.

use super::mix::{hash, join};
use super::{Group, GroupKind, Limit, Pinglist, Shortfall, Target};

/// Of the way in which a version is computed.
const BASIS: u64 = 1;

impl Pinglist {
    /// A hash of all that the list says: lists that say the same have the same version, from every controller and after restarts.
    /// Never 0. It is no protection against somebody who wants two lists with one version.
    pub fn version(&self) -> u64 {
        let mut state = BASIS;
        for rnic in &self.rnics {
            state = join(state, hash(&rnic.source.bytes()));
            state = join(state, rnic.groups.len() as u64);
            for group in &rnic.groups {
                state = of_group(state, group);
            }
        }
        for short in &self.shortfalls {
            state = of_shortfall(state, short);
        }
        state.max(1)
    }
}

fn of_group(state: u64, group: &Group) -> u64 {
    let kind = match group.kind {
        GroupKind::TorMesh => 1,
        GroupKind::InterTor => 2,
    };
    let mut state = join(join(state, kind), group.probes_per_second.to_bits());
    state = join(state, group.targets.len() as u64);
    for target in &group.targets {
        state = join(state, of_target(target));
    }
    state
}

fn of_target(target: &Target) -> u64 {
    let peer = &target.peer;
    let address = &peer.address;
    let endpoint = u64::from(address.qpn.get()) << 32 | u64::from(address.q_key.0);
    let names = [peer.tor.as_str(), peer.host.as_str(), peer.device.as_str()];
    let state = join(hash(&address.gid.bytes()), endpoint);
    let state = join(state, target.flow_label.get().into());
    names
        .iter()
        .fold(state, |state, name| join(state, hash(name.as_bytes())))
}

fn of_shortfall(state: u64, short: &Shortfall) -> u64 {
    let limit = match short.limit {
        Limit::Tuples => 1,
        Limit::Rate => 2,
        Limit::SourcePorts => 3,
        Limit::AddressFamily => 4,
    };
    let values = [
        hash(short.source.as_str().as_bytes()),
        hash(short.target.as_str().as_bytes()),
        limit,
        short.paths.into(),
        short.tuples.into(),
        short.wanted_tuples.into(),
        short.coverage.to_bits(),
        short.link_rate.to_bits(),
    ];
    values.into_iter().fold(state, join)
}
