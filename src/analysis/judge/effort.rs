//! How much a run of the judge may do, and how long that takes.

use std::time::Duration;

/// Work in a run, in evaluations of one observation at one hazard: the same on every machine. The role that runs the judge turns
/// time into it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    most: u64,
    spent: u64,
}

impl Effort {
    pub(super) const fn of(most: u64) -> Self {
        Self { most, spent: 0 }
    }

    /// Whether so much is left.
    pub(super) const fn has(&self, work: u64) -> bool {
        self.left() >= work
    }

    pub(super) const fn left(&self) -> u64 {
        self.most.saturating_sub(self.spent)
    }

    pub(super) const fn spend(&mut self, work: u64) {
        self.spent = self.spent.saturating_add(work);
    }

    pub(super) const fn spent(&self) -> u64 {
        self.spent
    }
}

/// How much work of the judge a machine does in a second, lately: turns time into work.
#[derive(Debug, Clone, Copy)]
pub struct Pace(f64);

/// Runs with less work say nothing about the pace.
const LEAST_WORK: u64 = 100_000;
/// No budget is smaller: a run that uses it up says something about the pace, so that a machine that stood still for a
/// moment does not keep the judge short for good.
const LEAST_BUDGET: u64 = 4 * LEAST_WORK;

impl Default for Pace {
    /// Slower than machines are, so that the first run is not the longest.
    fn default() -> Self {
        Self(5e6)
    }
}

impl Pace {
    /// Takes into account that a run did so much in that time: at once where it was slower, slowly where it was faster.
    pub fn learn(&mut self, work: u64, took: Duration) {
        if work >= LEAST_WORK {
            let seen = work as f64 / took.as_secs_f64().max(1e-6);
            self.0 = seen.min(self.0 * 1.25);
        }
    }

    /// The work of a run: half of the interval between runs, at least [`LEAST_BUDGET`].
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, far below the largest number"
    )]
    pub fn budget(self, interval: Duration) -> u64 {
        let work = (self.0 * interval.as_secs_f64() / 2.0) as u64;
        work.max(LEAST_BUDGET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_run_shortens_the_next_and_fast_ones_lengthen_it_slowly() {
        let interval = Duration::from_secs(1);
        let mut pace = Pace::default();
        let first = pace.budget(interval);
        pace.learn(1_000_000, Duration::from_secs(1));
        assert_eq!(pace.budget(interval), 500_000);
        assert!(pace.budget(interval) < first);
        pace.learn(1_000_000, Duration::from_millis(10));
        assert_eq!(pace.budget(interval), 625_000);
        // A run that had nothing to do says nothing.
        pace.learn(10, Duration::from_secs(10));
        assert_eq!(pace.budget(interval), 625_000);
    }

    #[test]
    fn after_a_machine_that_stood_still_the_budget_grows_again() {
        let interval = Duration::from_secs(1);
        let mut pace = Pace::default();
        let usual = pace.budget(interval);
        pace.learn(1_000_000, Duration::from_mins(10));
        assert_eq!(pace.budget(interval), LEAST_BUDGET);
        let runs = (1..1_000).find(|_| {
            let work = pace.budget(interval);
            pace.learn(work, Duration::from_secs_f64(work as f64 / 5e6));
            pace.budget(interval) >= usual
        });
        assert_eq!(
            runs,
            Some(36),
            "1.25 to the 36th is 3 000: from 1 667 per second to 5 million"
        );
    }

    #[test]
    fn effort_is_used_up() {
        let mut effort = Effort::of(10);
        effort.spend(8);
        assert!(effort.has(2) && !effort.has(3));
        effort.spend(8);
        assert_eq!((effort.left(), effort.spent()), (0, 16));
    }
}
