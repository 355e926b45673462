//! What an observation crosses, on its way into a [`Problem`](super::Problem).

use std::hash::Hasher;

use super::component::ComponentId;
use super::error::ProblemError;
use super::evidence::Part;

/// A component of the observation at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathered {
    pub(super) component: ComponentId,
    /// Shares of the candidates of each direction that cross it, summed over the directions.
    pub(super) sum: f64,
    /// It lies between the ToRs: where the path is out of date, it is not crossed.
    pub(super) between: bool,
}

/// What an observation crosses, as components with shares: see [`Problem::add_crossing`](super::Problem::add_crossing).
#[derive(Debug, Clone, Copy)]
pub struct Crossing<'a> {
    /// Components that are crossed for certain, with how often.
    pub ends: &'a [(ComponentId, f64)],
    /// Those between the ToRs, with the share of the candidates that cross each; 1 where the path was traced.
    pub between: &'a [(ComponentId, f64)],
    /// Probability, 0 to 1, that a traced path is out of date, so that none of `between` is crossed; 0 for candidates.
    pub elsewhere: f64,
    /// Cables that may lose packets by chance.
    pub links: f64,
}

/// Parts of a path that was told, or of candidates.
pub(super) fn parts_of(
    gathered: impl Iterator<Item = Gathered>,
    elsewhere: f64,
) -> impl Iterator<Item = Part> {
    let told = 1.0 - elsewhere;
    gathered.map(move |part| {
        let mut made = Part::new(part.component, part.sum);
        if part.between {
            made.share *= told;
        }
        made
    })
}

/// What a second ACK crosses. A loss at the ends is one of a round trip, which passes them twice: it counts half.
pub(super) fn acks_cross(crossing: &Crossing<'_>) -> impl Iterator<Item = Part> {
    let ends = crossing.ends.iter();
    let ends = ends.map(|(component, sum)| Part::new(*component, *sum).halved());
    let between = crossing.between.iter().map(|(component, sum)| Gathered {
        component: *component,
        sum: *sum,
        between: true,
    });
    ends.chain(parts_of(between, crossing.elsewhere))
}

/// A component as its nodes: a link from one to another, or the node itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Link(u32, u32),
    Switch(u32),
    Host(u32),
    Rnic(u32),
}

/// Multiplies and folds the few small integers of a [`Key`]: nodes are numbered here, nobody chooses them to collide.
#[derive(Default)]
pub(super) struct KeyHasher(u64);

impl KeyHasher {
    const fn mix(&mut self, value: u64) {
        let spread = (self.0.rotate_left(26) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value).wrapping_add(0x9E37_79B9));
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value.unsigned_abs() as u64 + 1);
    }
}

/// Links that a packet crosses on one of these paths, on average.
pub(super) fn links_on(paths: &[Vec<&str>]) -> f64 {
    let links: usize = paths.iter().map(|path| path.len() - 1).sum();
    links as f64 / paths.len() as f64
}

pub(super) fn check(path: &[&str]) -> Result<(), ProblemError> {
    if path.len() < 2 {
        return Err(ProblemError::NoPath);
    }
    for (index, node) in path.iter().enumerate() {
        if path[..index].contains(node) {
            return Err(ProblemError::Loop((*node).to_owned()));
        }
    }
    Ok(())
}
