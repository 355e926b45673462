//! How long to wait before the next attempt: exponential with full jitter, so that agents which lost the same server
//! do not come back in step.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Waits that grow from attempt to attempt up to a bound.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    ceiling: Duration,
    rng: ChaCha8Rng,
}

impl Backoff {
    /// The first wait is at most `first`, the ceiling doubles with each attempt up to `longest`.
    pub(crate) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self {
            first,
            longest,
            ceiling: first,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The next wait: any length up to the ceiling is equally likely, but never less than a tenth of the first
    /// ceiling, so that a failure at once does not become a busy loop.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let floor = self.first / 10;
        let wait = self.rng.random_range(floor..=self.ceiling.max(floor));
        self.ceiling = (self.ceiling * 2).min(self.longest);
        wait
    }

    /// An attempt has succeeded: the next wait is a first one again.
    pub(crate) fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_bounds_and_start_over() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest, 7);
        let mut ceiling = first;
        let mut longest_seen = Duration::ZERO;
        for _ in 0..200 {
            let wait = backoff.next_wait();
            assert!(
                wait >= first / 10 && wait <= ceiling,
                "{wait:?} over {ceiling:?}"
            );
            ceiling = (ceiling * 2).min(longest);
            longest_seen = longest_seen.max(wait);
        }
        assert!(longest_seen > longest / 2);
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }

    #[test]
    fn two_agents_do_not_wait_alike() {
        let waits = |seed| {
            let mut backoff =
                Backoff::new(Duration::from_millis(100), Duration::from_secs(5), seed);
            (0..5).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
    }
}
