//! What an announcement changes for others.

use std::collections::BTreeMap;

use crate::id::{Gid, TorId};
use crate::topology::{Announcement, Rnic};

/// What an accepted announcement means for others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::controller) struct Change {
    /// RNICs whose address or steering changed while their place stayed: their probers are to be told at once.
    pub(in crate::controller) readdressed: Vec<(TorId, Gid)>,
    /// RNICs came, went or moved: lists change everywhere.
    pub(in crate::controller) membership: bool,
}

impl Change {
    pub(in crate::controller) fn is_empty(&self) -> bool {
        self.readdressed.is_empty() && !self.membership
    }
}

/// What differs between two announcements of one agent.
pub(super) fn difference(old: &Announcement, new: &Announcement) -> Change {
    let place = |announcement: &Announcement| -> BTreeMap<Gid, TorId> {
        let rnics = announcement.rnics.iter();
        rnics
            .map(|rnic| (rnic.address.gid, rnic.tor.clone()))
            .collect()
    };
    if place(old) != place(new) {
        return Change {
            membership: true,
            ..Change::default()
        };
    }
    let moved = old.host != new.host;
    let readdressed = new
        .rnics
        .iter()
        .filter(|rnic| {
            let same = |other: &&Rnic| other.address.gid == rnic.address.gid;
            moved
                || old.rnics.iter().find(same).is_none_or(|before| {
                    before.address != rnic.address
                        || before.device != rnic.device
                        || before.steering != rnic.steering
                })
        })
        .map(|rnic| (rnic.tor.clone(), rnic.address.gid))
        .collect();
    Change {
        readdressed,
        membership: false,
    }
}
