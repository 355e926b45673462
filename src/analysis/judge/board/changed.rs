//! Which paths may have other legs than before.

use std::collections::HashSet;

use super::{Board, Place};
use crate::analysis::judge::path_counts::PathCounts;
use crate::analysis::routes::RouteChanges;
use crate::id::TorId;
use crate::probe::trace::Tuple;

/// Which ends have changed legs, so that the legs of most paths need not be looked for among the changes.
pub(super) struct Changed {
    /// By end: one of its 5-tuples, and a path to or from its ToR.
    ends: Vec<(bool, bool)>,
}

impl Changed {
    pub(super) fn of(changes: &RouteChanges, board: &Board) -> Self {
        if changes.is_empty() {
            return Self { ends: Vec::new() };
        }
        let tuples = changes.tuples.iter();
        let gids: HashSet<_> = tuples
            .flat_map(|tuple| [tuple.source, tuple.target])
            .collect();
        let tors: HashSet<&TorId> = changes.pairs.iter().flat_map(|(a, b)| [a, b]).collect();
        let ends = board
            .ends
            .iter()
            .map(|known| (gids.contains(&known.end.gid), tors.contains(&known.end.tor)));
        Self {
            ends: ends.collect(),
        }
    }

    pub(super) fn holds(&self, changes: &RouteChanges, place: Place, seen: &PathCounts) -> bool {
        let [Some(source), Some(target)] = place.ends().map(|end| self.ends.get(end)) else {
            return false;
        };
        let has_tuple = || {
            let tuple = |source, target| {
                seen.port.map(|port| Tuple {
                    source,
                    target,
                    port,
                })
            };
            let (source, target) = (seen.source.gid, seen.target.gid);
            [tuple(source, target), tuple(target, source)]
                .into_iter()
                .flatten()
                .any(|tuple| changes.tuples.contains(&tuple))
        };
        let has_pair = || {
            let (source, target) = (&seen.source.tor, &seen.target.tor);
            [(source, target), (target, source)]
                .into_iter()
                .any(|(from, to)| changes.pairs.contains(&(from.clone(), to.clone())))
        };
        source.0 && target.0 && has_tuple() || source.1 && target.1 && has_pair()
    }
}
