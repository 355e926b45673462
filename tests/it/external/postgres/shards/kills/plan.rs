//! What the steps do, drawn from a seed.

use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Judge,
    Owner,
    Still,
    Controller,
    Database,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Judge,
        Self::Owner,
        Self::Still,
        Self::Controller,
        Self::Database,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Judge => "SIGKILL of the judge",
            Self::Owner => "SIGKILL of an analyzer that owns shards",
            Self::Still => "SIGSTOP of an analyzer for 5 s",
            Self::Controller => "SIGKILL of a controller",
            Self::Database => "SIGQUIT of PostgreSQL (all its processes end at once)",
        })
    }
}

/// What a step does, as it was drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deed {
    pub(super) kind: Kind,
    /// Which one of several.
    pub(super) which: usize,
    /// Started again before the others have taken over.
    pub(super) at_once: bool,
    /// An analyzer comes back on the addresses that it had.
    pub(super) same_address: bool,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = match (self.kind, self.at_once) {
            (Kind::Still | Kind::Database, _) => "",
            (_, true) => ", started again at once",
            (_, false) => ", started again later",
        };
        write!(f, "{}{again}", self.kind)
    }
}

/// The steps of a seed.
pub(super) fn plan(seed: u64, kills: usize) -> Vec<Deed> {
    let mut random = StdRng::seed_from_u64(seed);
    // Each kind comes early: a short run has them all.
    let mut first = Kind::ALL.to_vec();
    let mut draw = |_| {
        let kind = match first.len() {
            0 => Kind::ALL[random.random_range(0..Kind::ALL.len())],
            left => first.swap_remove(random.random_range(0..left)),
        };
        Deed {
            kind,
            which: random.random_range(0..6),
            at_once: random.random(),
            same_address: random.random(),
        }
    };
    (0..kills).map(&mut draw).collect()
}
