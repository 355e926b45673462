//! What changes from one pinglist of an agent to the next.
//!
//! Targets of a group are in an order that a hash decides, so that most of a list stays where it was when some targets come and go. A
//! delta names, group by group, the targets that go by their places in the old list, and gives those that come with their places in
//! the new one.

use std::collections::HashMap;

use super::{Group, GroupKind, Pinglist, RnicPinglist, Shortfall, Target};
use crate::id::Gid;

/// Leads from one list to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct PinglistDelta {
    /// Each RNIC of the new list, in its order.
    pub rnics: Vec<RnicDelta>,
    /// Those of the new list.
    pub shortfalls: Vec<Shortfall>,
}

/// What changes for one RNIC.
#[derive(Debug, Clone, PartialEq)]
pub struct RnicDelta {
    /// The RNIC.
    pub source: Gid,
    /// Each group of the new list, in its order. A group that the old list lacks is one whose targets are all added.
    pub groups: Vec<GroupDelta>,
}

/// What changes in one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupDelta {
    /// Which group.
    pub kind: GroupKind,
    /// Its rate in the new list.
    pub probes_per_second: f64,
    /// Places of the targets in the old list that are not in the new one, rising.
    pub removed: Vec<u32>,
    /// Targets that the old list lacks, each with its place in the new one, rising.
    pub added: Vec<(u32, Target)>,
}

/// A delta does not fit to the list that it is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the changes do not fit to the pinglist at hand")]
pub struct Misfit;

impl PinglistDelta {
    /// From `old` to `new`.
    pub fn between(old: &Pinglist, new: &Pinglist) -> Self {
        let before: HashMap<Gid, &RnicPinglist> =
            old.rnics.iter().map(|rnic| (rnic.source, rnic)).collect();
        let rnic = |rnic: &RnicPinglist| RnicDelta {
            source: rnic.source,
            groups: rnic
                .groups
                .iter()
                .map(|group| {
                    let known = before.get(&rnic.source);
                    GroupDelta::between(known.and_then(|known| known.group(group.kind)), group)
                })
                .collect(),
        };
        Self {
            rnics: new.rnics.iter().map(rnic).collect(),
            shortfalls: new.shortfalls.clone(),
        }
    }

    /// Targets that come.
    pub fn added(&self) -> usize {
        let groups = self.rnics.iter().flat_map(|rnic| &rnic.groups);
        groups.map(|group| group.added.len()).sum()
    }

    /// The new list.
    ///
    /// # Errors
    /// [`Misfit`] if `old` is not the list that the delta was made from. Not every other list is noticed: compare the result's
    /// [version](Pinglist::version).
    pub fn apply(self, old: &Pinglist) -> Result<Pinglist, Misfit> {
        let before: HashMap<Gid, &RnicPinglist> =
            old.rnics.iter().map(|rnic| (rnic.source, rnic)).collect();
        let rnic = |rnic: RnicDelta| {
            let known = before.get(&rnic.source);
            let groups = rnic.groups.into_iter().map(|group| {
                let known = known.and_then(|known| known.group(group.kind));
                group.apply(known)
            });
            Ok(RnicPinglist {
                source: rnic.source,
                groups: groups.collect::<Result<_, _>>()?,
            })
        };
        Ok(Pinglist {
            rnics: self.rnics.into_iter().map(rnic).collect::<Result<_, _>>()?,
            shortfalls: self.shortfalls,
        })
    }
}

impl RnicPinglist {
    fn group(&self, kind: GroupKind) -> Option<&Group> {
        self.groups.iter().find(|group| group.kind == kind)
    }
}

impl GroupDelta {
    fn between(old: Option<&Group>, new: &Group) -> Self {
        let old = old.map_or(&[][..], |group| &group.targets);
        // In the new list, by target: its place. A 5-tuple is in a list once.
        let places: HashMap<_, usize> = (0..)
            .zip(&new.targets)
            .map(|(place, target)| (key(target), place))
            .collect();
        let mut kept = vec![false; new.targets.len()];
        let mut removed = Vec::new();
        let mut next = 0;
        for (place, target) in (0..).zip(old) {
            match places.get(&key(target)) {
                // In the order of both lists; one that was moved goes and comes.
                Some(&at) if at >= next && new.targets[at] == *target => {
                    kept[at] = true;
                    next = at + 1;
                }
                Some(_) | None => removed.push(place),
            }
        }
        let all = (0..).zip(&new.targets).zip(kept);
        let added = all.filter(|(_, kept)| !kept);
        Self {
            kind: new.kind,
            probes_per_second: new.probes_per_second,
            removed,
            added: added
                .map(|((place, target), _)| (place, target.clone()))
                .collect(),
        }
    }

    fn apply(self, old: Option<&Group>) -> Result<Group, Misfit> {
        let old = old.map_or(&[][..], |group| &group.targets);
        let mut removed = self.removed.into_iter().peekable();
        let mut kept = Vec::with_capacity(old.len());
        for (place, target) in (0_u32..).zip(old) {
            if removed.next_if_eq(&place).is_none() {
                kept.push(target.clone());
            }
        }
        if removed.peek().is_some() {
            return Err(Misfit);
        }
        let mut kept = kept.into_iter();
        let mut targets = Vec::with_capacity(old.len());
        for (place, target) in self.added {
            while targets.len() < place as usize {
                targets.push(kept.next().ok_or(Misfit)?);
            }
            if targets.len() != place as usize {
                return Err(Misfit);
            }
            targets.push(target);
        }
        targets.extend(kept);
        Ok(Group {
            kind: self.kind,
            probes_per_second: self.probes_per_second,
            targets,
        })
    }
}

/// What tells the targets of a group apart.
fn key(target: &Target) -> (Gid, u32) {
    (target.peer.address.gid, target.flow_label.get())
}
