//! Which paths may have other legs than before.

use std::collections::HashSet;

use crate::analysis::judge::path_counts::PathCounts;
use crate::analysis::report::End;
use crate::analysis::routes::RouteChanges;
use crate::id::TorId;
use crate::probe::trace::Tuple;

/// Which ends have changed legs, so that the legs of most paths need not be looked for among the changes.
pub(super) struct Changed {
    /// By end: one of its 5-tuples, and a path to or from its ToR.
    ends: Vec<(bool, bool)>,
}

impl Changed {
    /// `ends` are those of all paths, by their numbers.
    pub(super) fn of<'a>(changes: &RouteChanges, ends: impl Iterator<Item = &'a End>) -> Self {
        if changes.is_empty() {
            return Self { ends: Vec::new() };
        }
        let tuples = changes.tuples.iter();
        let gids: HashSet<_> = tuples
            .flat_map(|tuple| [tuple.source, tuple.target])
            .collect();
        let tors: HashSet<&TorId> = changes.pairs.iter().flat_map(|(a, b)| [a, b]).collect();
        let ends = ends.map(|end| (gids.contains(&end.gid), tors.contains(&end.tor)));
        Self {
            ends: ends.collect(),
        }
    }

    /// Whether a path between two of the ends, by their numbers, may have other legs than before.
    pub(super) fn holds(
        &self,
        changes: &RouteChanges,
        ends: [usize; 2],
        seen: &PathCounts,
    ) -> bool {
        let [Some(source), Some(target)] = ends.map(|end| self.ends.get(end)) else {
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
