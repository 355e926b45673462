//! How many equal-cost paths there are between two ToRs, and between which there is none.

use std::collections::{BTreeSet, HashMap};

use crate::id::TorId;

use super::coverage::MAX_PATHS;

/// How many equal-cost paths there are between two ToRs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paths {
    /// The same number everywhere.
    Uniform(u32),
    /// By ordered pair, from a description of the fabric.
    PerPair(PathTable),
}

/// The numbers of paths of a described fabric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTable {
    /// Places of the described ToRs.
    places: HashMap<TorId, usize>,
    /// By source and target place; 0 where no path is.
    counts: Vec<u32>,
    /// Where one of the two ToRs is not described.
    otherwise: u32,
}

impl Paths {
    /// Of a description that knows `tors` and the numbers of paths between them. Two of them that are no key of `known`
    /// are in different planes: no path connects them. `otherwise` is for pairs with a ToR that is not described.
    pub fn per_pair(
        tors: impl IntoIterator<Item = TorId>,
        known: &HashMap<(TorId, TorId), u32>,
        otherwise: u32,
    ) -> Self {
        let tors: BTreeSet<TorId> = tors.into_iter().collect();
        let places: HashMap<TorId, usize> = tors
            .into_iter()
            .enumerate()
            .map(|(at, tor)| (tor, at))
            .collect();
        let mut counts = vec![0; places.len() * places.len()];
        for ((source, target), paths) in known {
            if let (Some(source), Some(target)) = (places.get(source), places.get(target)) {
                counts[source * places.len() + target] = (*paths).clamp(1, MAX_PATHS);
            }
        }
        Self::PerPair(PathTable {
            places,
            counts,
            otherwise: otherwise.clamp(1, MAX_PATHS),
        })
    }

    /// The place of a ToR in the description; [`Paths::at`] takes it.
    pub(super) fn place(&self, tor: &TorId) -> Option<usize> {
        match self {
            Self::Uniform(_) => None,
            Self::PerPair(table) => table.places.get(tor).copied(),
        }
    }

    /// Between two ToRs by their places; `None` where no path connects them.
    pub(super) fn at(&self, source: Option<usize>, target: Option<usize>) -> Option<u32> {
        match self {
            Self::Uniform(paths) => Some((*paths).clamp(1, MAX_PATHS)),
            Self::PerPair(table) => match (source, target) {
                (Some(source), Some(target)) => {
                    let paths = table.counts[source * table.places.len() + target];
                    (paths > 0).then_some(paths)
                }
                _ => Some(table.otherwise),
            },
        }
    }

    /// Between two ToRs, at least 1; `None` where no path connects them.
    pub fn between(&self, source: &TorId, target: &TorId) -> Option<u32> {
        self.at(self.place(source), self.place(target))
    }
}
