//! What an agent gets that asks for its pinglist.

use super::metrics::Answer;
use crate::pinglist::delta::PinglistDelta;
use crate::pinglist::{Pinglist, PinglistPlan};
use crate::rpc::v1;
use crate::topology::Announcement;

/// How the newest list is told.
pub(super) enum Content {
    /// The agent has it.
    Unchanged,
    Delta(v1::PinglistDelta),
    Whole(v1::Pinglist),
}

impl Content {
    /// The version of the agent's list by `plan`, and how an agent is told that has the list of version `known`: by what has changed
    /// since, where that list came from `former` and less than half of the targets is new.
    pub(super) fn of(
        announcement: &Announcement,
        plan: &PinglistPlan,
        former: Option<&PinglistPlan>,
        known: u64,
    ) -> (u64, Self) {
        let list = plan.pinglist(announcement);
        let version = list.version();
        if version == known {
            return (version, Self::Unchanged);
        }
        // The RNICs may have changed since, then it is another list.
        let former = former
            .map(|former| former.pinglist(announcement))
            .filter(|former| former.version() == known);
        let delta = former.map(|former| PinglistDelta::between(&former, &list));
        let content = match delta.filter(|delta| delta.added() * 2 < targets(&list)) {
            Some(delta) => Self::Delta((&delta).into()),
            None => Self::Whole((&list).into()),
        };
        (version, content)
    }

    pub(super) const fn answer(&self) -> Answer {
        match self {
            Self::Unchanged => Answer::Unchanged,
            Self::Delta(_) => Answer::Delta,
            Self::Whole(_) => Answer::List,
        }
    }

    pub(super) fn message(self, version: u64) -> v1::GetPinglistResponse {
        let (pinglist, delta) = match self {
            Self::Unchanged => (None, None),
            Self::Delta(delta) => (None, Some(delta)),
            Self::Whole(list) => (Some(list), None),
        };
        v1::GetPinglistResponse {
            version,
            pinglist,
            delta,
        }
    }
}

fn targets(list: &Pinglist) -> usize {
    let groups = list.rnics.iter().flat_map(|rnic| &rnic.groups);
    groups.map(|group| group.targets.len()).sum()
}
