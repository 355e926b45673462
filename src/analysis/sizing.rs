//! How many paths the windows keep: as many as the agents' pinglists need.
//!
//! Agents say how many 5-tuples their pinglists have. Twice as many paths are kept: a rotation leaves those of before in the windows
//! for some minutes, and services have paths of their own. The bound never falls, so that an agent that starts again
//! evicts nothing. It is at least [`LEAST_PATHS`], and no more than fit the memory bound at [`PATH_BYTES`] each: whatever
//! agents say, memory is bounded as configured.

use super::windows::Limits;

/// Paths that are kept whatever the agents say.
pub(crate) const LEAST_PATHS: usize = 500_000;
/// Paths for each 5-tuple of the pinglists.
const PATHS_PER_TUPLE: u64 = 2;
/// What a path with few probes takes in the windows, in bytes, at the least.
const PATH_BYTES: usize = 512;

/// How many paths are kept, and how many there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizing {
    /// The number is configured.
    is_fixed: bool,
    /// The most that the memory bound has room for.
    most: usize,
    paths: usize,
    tuples: u64,
}

impl Sizing {
    /// With the limits that are configured; `follows` where the number of paths is not.
    pub(crate) fn new(limits: &Limits, follows: bool) -> Self {
        Self {
            is_fixed: !follows,
            most: (limits.bytes / PATH_BYTES).max(1),
            paths: limits.paths,
            tuples: 0,
        }
    }

    /// The agents' pinglists have so many 5-tuples. Gives the new number of paths where it has risen.
    pub(crate) fn follow(&mut self, tuples: u64) -> Option<usize> {
        self.tuples = tuples;
        let wanted = usize::try_from(tuples.saturating_mul(PATHS_PER_TUPLE)).unwrap_or(usize::MAX);
        let paths = wanted.min(self.most);
        if self.is_fixed || paths <= self.paths {
            return None;
        }
        self.paths = paths;
        Some(paths)
    }

    /// The most paths that are kept.
    pub(crate) const fn paths(&self) -> usize {
        self.paths
    }

    /// 5-tuples of the agents' pinglists.
    pub(crate) const fn tuples(&self) -> u64 {
        self.tuples
    }

    /// Why fewer paths are kept than the pinglists have 5-tuples; `None` where there is room.
    pub(crate) fn shortfall(&self) -> Option<String> {
        let paths = self.paths as u64;
        if self.tuples <= paths {
            return None;
        }
        let key = if self.is_fixed {
            "max_paths"
        } else {
            "memory_limit"
        };
        Some(format!(
            "the pinglists have {} 5-tuples, and {paths} paths are kept: raise {key}",
            self.tuples
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(paths: usize, bytes: usize) -> Limits {
        Limits {
            lateness: Duration::from_mins(1),
            clock_tolerance: Duration::from_secs(5),
            paths,
            bytes,
        }
    }

    #[test]
    fn the_number_of_paths_follows_the_pinglists_and_never_falls() {
        let mut sizing = Sizing::new(&limits(LEAST_PATHS, 4 << 30), true);
        assert_eq!(sizing.follow(1_000), None, "there is room");
        assert_eq!(sizing.follow(2_941_400), Some(5_882_800));
        assert_eq!(sizing.follow(0), None, "all agents start again");
        assert_eq!((sizing.paths(), sizing.tuples()), (5_882_800, 0));
        assert_eq!(sizing.shortfall(), None);
    }

    #[test]
    fn whatever_agents_say_memory_is_bounded_and_what_is_short_is_named() {
        let mut sizing = Sizing::new(&limits(LEAST_PATHS, 1 << 30), true);
        assert_eq!(sizing.follow(u64::MAX), Some(2_097_152));
        assert_eq!(sizing.follow(2_941_400), None);
        assert_eq!(
            sizing.shortfall().as_deref(),
            Some(
                "the pinglists have 2941400 5-tuples, and 2097152 paths are kept: raise memory_limit"
            )
        );
        let mut fixed = Sizing::new(&limits(1_000, 1 << 30), false);
        assert_eq!(fixed.follow(5_000), None);
        assert_eq!(
            fixed.shortfall().as_deref(),
            Some("the pinglists have 5000 5-tuples, and 1000 paths are kept: raise max_paths")
        );
    }
}
