//! Messages of pinglists.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;

use crate::id::FlowLabel;
use crate::pinglist::delta::{GroupDelta, PinglistDelta, RnicDelta};
use crate::pinglist::{Group, GroupKind, Limit, Pinglist, RnicPinglist, Shortfall, Target};
use crate::topology::Peer;

use super::convert::{self, FieldError};
use super::v1;

impl From<GroupKind> for v1::ProbeKind {
    fn from(kind: GroupKind) -> Self {
        match kind {
            GroupKind::TorMesh => Self::TorMesh,
            GroupKind::InterTor => Self::InterTor,
        }
    }
}

fn kind(number: i32) -> Result<GroupKind, FieldError> {
    match v1::ProbeKind::try_from(number) {
        Ok(v1::ProbeKind::TorMesh) => Ok(GroupKind::TorMesh),
        Ok(v1::ProbeKind::InterTor) => Ok(GroupKind::InterTor),
        _ => Err(convert::unknown("kind", number)),
    }
}

impl From<Limit> for v1::CoverageLimit {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Tuples => Self::Tuples,
            Limit::Rate => Self::Rate,
            Limit::SourcePorts => Self::SourcePorts,
            Limit::AddressFamily => Self::AddressFamily,
        }
    }
}

fn limit(number: i32) -> Result<Limit, FieldError> {
    match v1::CoverageLimit::try_from(number) {
        Ok(v1::CoverageLimit::Tuples) => Ok(Limit::Tuples),
        Ok(v1::CoverageLimit::Rate) => Ok(Limit::Rate),
        Ok(v1::CoverageLimit::SourcePorts) => Ok(Limit::SourcePorts),
        Ok(v1::CoverageLimit::AddressFamily) => Ok(Limit::AddressFamily),
        Ok(v1::CoverageLimit::Unspecified) | Err(_) => Err(convert::unknown("limit", number)),
    }
}

/// Bytes of a list as a message.
pub fn encoded_len(list: &Pinglist) -> usize {
    v1::Pinglist::from(list).encoded_len()
}

impl From<&Target> for v1::ProbeTarget {
    fn from(target: &Target) -> Self {
        Self {
            address: Some(target.peer.address.into()),
            tor: target.peer.tor.as_str().to_owned(),
            host: target.peer.host.as_str().to_owned(),
            device: target.peer.device.as_str().to_owned(),
            flow_label: target.flow_label.get(),
        }
    }
}

impl From<&Pinglist> for v1::Pinglist {
    fn from(list: &Pinglist) -> Self {
        let group = |group: &Group| v1::ProbeGroup {
            kind: v1::ProbeKind::from(group.kind).into(),
            probes_per_second: group.probes_per_second,
            targets: group.targets.iter().map(Into::into).collect(),
        };
        let rnic = |rnic: &RnicPinglist| v1::RnicPinglist {
            source_gid: convert::gid_bytes(rnic.source),
            groups: rnic.groups.iter().map(group).collect(),
        };
        Self {
            rnics: list.rnics.iter().map(rnic).collect(),
            shortfalls: list.shortfalls.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Shortfall> for v1::CoverageShortfall {
    fn from(short: &Shortfall) -> Self {
        Self {
            source_tor: short.source.as_str().to_owned(),
            target_tor: short.target.as_str().to_owned(),
            limit: v1::CoverageLimit::from(short.limit).into(),
            paths: short.paths,
            tuples: short.tuples,
            wanted_tuples: short.wanted_tuples,
            coverage: short.coverage,
            link_probes_per_second: short.link_rate,
        }
    }
}

impl TryFrom<v1::CoverageShortfall> for Shortfall {
    type Error = FieldError;

    fn try_from(short: v1::CoverageShortfall) -> Result<Self, FieldError> {
        Ok(Self {
            source: convert::name("source_tor", short.source_tor)?,
            target: convert::name("target_tor", short.target_tor)?,
            limit: limit(short.limit)?,
            paths: short.paths,
            tuples: short.tuples,
            wanted_tuples: short.wanted_tuples,
            coverage: convert::rate("coverage", short.coverage)?,
            link_rate: convert::rate("link_probes_per_second", short.link_probes_per_second)?,
        })
    }
}

/// Many 5-tuples lead to the same peer: each peer is kept once.
type Peers = HashMap<Peer, Arc<Peer>>;

fn target(target: v1::ProbeTarget, peers: &mut Peers) -> Result<Target, FieldError> {
    let peer = Peer {
        address: convert::address("address", target.address)?,
        tor: convert::name("tor", target.tor)?,
        host: convert::name("host", target.host)?,
        device: convert::name("device", target.device)?,
    };
    let flow_label = FlowLabel::try_from(target.flow_label)
        .map_err(|error| FieldError::new("flow_label", error.to_string()))?;
    let peer = peers
        .entry(peer)
        .or_insert_with_key(|peer| Arc::new(peer.clone()))
        .clone();
    Ok(Target { peer, flow_label })
}

fn group(group: v1::ProbeGroup, peers: &mut Peers) -> Result<Group, FieldError> {
    let targets = group
        .targets
        .into_iter()
        .enumerate()
        .map(|(index, message)| {
            target(message, peers).map_err(|error| error.within(&format!("targets[{index}]")))
        });
    Ok(Group {
        kind: kind(group.kind)?,
        probes_per_second: convert::rate("probes_per_second", group.probes_per_second)?,
        targets: targets.collect::<Result<_, _>>()?,
    })
}

fn rnic(rnic: v1::RnicPinglist, peers: &mut Peers) -> Result<RnicPinglist, FieldError> {
    let groups = rnic.groups.into_iter().enumerate().map(|(index, message)| {
        group(message, peers).map_err(|error| error.within(&format!("groups[{index}]")))
    });
    Ok(RnicPinglist {
        source: convert::gid("source_gid", &rnic.source_gid)?,
        groups: groups.collect::<Result<_, _>>()?,
    })
}

impl TryFrom<v1::Pinglist> for Pinglist {
    type Error = FieldError;

    fn try_from(list: v1::Pinglist) -> Result<Self, FieldError> {
        let mut peers = Peers::new();
        let rnics = list.rnics.into_iter().enumerate().map(|(index, message)| {
            rnic(message, &mut peers).map_err(|error| error.within(&format!("rnics[{index}]")))
        });
        Ok(Self {
            rnics: rnics.collect::<Result<_, _>>()?,
            shortfalls: list
                .shortfalls
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<&GroupDelta> for v1::GroupDelta {
    fn from(delta: &GroupDelta) -> Self {
        Self {
            kind: v1::ProbeKind::from(delta.kind).into(),
            probes_per_second: delta.probes_per_second,
            removed: delta.removed.clone(),
            added: delta
                .added
                .iter()
                .map(|(_, target)| target.into())
                .collect(),
            added_at: delta.added.iter().map(|(place, _)| *place).collect(),
        }
    }
}

impl From<&PinglistDelta> for v1::PinglistDelta {
    fn from(delta: &PinglistDelta) -> Self {
        let rnic = |rnic: &RnicDelta| v1::RnicDelta {
            source_gid: convert::gid_bytes(rnic.source),
            groups: rnic.groups.iter().map(Into::into).collect(),
        };
        Self {
            rnics: delta.rnics.iter().map(rnic).collect(),
            shortfalls: delta.shortfalls.iter().map(Into::into).collect(),
        }
    }
}

fn group_delta(delta: v1::GroupDelta, peers: &mut Peers) -> Result<GroupDelta, FieldError> {
    if delta.added.len() != delta.added_at.len() {
        let (targets, places) = (delta.added.len(), delta.added_at.len());
        let why = format!("has {places} places for {targets} targets");
        return Err(FieldError::new("added_at", why));
    }
    let added = delta.added.into_iter().zip(delta.added_at).enumerate();
    let added = added.map(|(index, (message, place))| {
        let target =
            target(message, peers).map_err(|error| error.within(&format!("added[{index}]")))?;
        Ok((place, target))
    });
    Ok(GroupDelta {
        kind: kind(delta.kind)?,
        probes_per_second: convert::rate("probes_per_second", delta.probes_per_second)?,
        removed: delta.removed,
        added: added.collect::<Result<_, FieldError>>()?,
    })
}

fn rnic_delta(delta: v1::RnicDelta, peers: &mut Peers) -> Result<RnicDelta, FieldError> {
    let groups = delta
        .groups
        .into_iter()
        .enumerate()
        .map(|(index, message)| {
            group_delta(message, peers).map_err(|error| error.within(&format!("groups[{index}]")))
        });
    Ok(RnicDelta {
        source: convert::gid("source_gid", &delta.source_gid)?,
        groups: groups.collect::<Result<_, _>>()?,
    })
}

impl TryFrom<v1::PinglistDelta> for PinglistDelta {
    type Error = FieldError;

    fn try_from(delta: v1::PinglistDelta) -> Result<Self, FieldError> {
        let mut peers = Peers::new();
        let rnics = delta.rnics.into_iter().enumerate().map(|(index, message)| {
            rnic_delta(message, &mut peers)
                .map_err(|error| error.within(&format!("rnics[{index}]")))
        });
        let shortfalls = delta.shortfalls.into_iter().map(TryInto::try_into);
        Ok(Self {
            rnics: rnics.collect::<Result<_, _>>()?,
            shortfalls: shortfalls.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests;
