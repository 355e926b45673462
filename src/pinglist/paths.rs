//! How many equal-cost paths there are between two ToRs, and between which there is none.

use crate::id::TorId;
use crate::topology::wiring::PathCounts;

use super::coverage::MAX_PATHS;

/// How many equal-cost paths there are between two ToRs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paths {
    /// The same number everywhere.
    Uniform(u32),
    /// By ordered pair, from a description of the fabric. Two ToRs of the description between which it has no path are in
    /// different planes.
    PerPair {
        /// The numbers of the description.
        known: PathCounts,
        /// Where one of the two ToRs is not described.
        otherwise: u32,
    },
}

impl Paths {
    /// The place of a ToR in the description; [`Paths::at`] takes it.
    pub(super) fn place(&self, tor: &TorId) -> Option<usize> {
        match self {
            Self::Uniform(_) => None,
            Self::PerPair { known, .. } => known.place(tor),
        }
    }

    /// Between two ToRs by their places, at least 1; `None` where no path connects them.
    pub(super) fn at(&self, source: Option<usize>, target: Option<usize>) -> Option<u32> {
        let paths = match self {
            Self::Uniform(paths) => (*paths).max(1),
            Self::PerPair { known, otherwise } => match (source, target) {
                (Some(source), Some(target)) => known.at(source, target),
                _ => (*otherwise).max(1),
            },
        };
        (paths > 0).then_some(paths.min(MAX_PATHS))
    }

    /// Between two different ToRs, at least 1; `None` where no path connects them.
    pub fn between(&self, source: &TorId, target: &TorId) -> Option<u32> {
        self.at(self.place(source), self.place(target))
    }
}
