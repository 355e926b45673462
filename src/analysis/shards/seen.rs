//! Which batches of one spool were taken, in whatever order they came.

use std::ops::RangeInclusive;

/// Gaps that are told apart; beyond, what lies below the lowest counts as taken. An agent leaves a gap when its spool drops batches.
const MOST_RANGES: usize = 64;

/// The numbers of the batches that were taken: ranges that rise and do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    ranges: Vec<RangeInclusive<u64>>,
}

/// What was taken of one spool, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The lowest number that was taken.
    pub oldest: u64,
    /// Numbers between the lowest and the highest one that were not taken.
    pub missing: u64,
}

impl Seen {
    /// Takes a batch; false where it was taken before. Number 0 is none.
    pub fn take(&mut self, sequence: u64) -> bool {
        if sequence == 0 {
            return false;
        }
        let above = self
            .ranges
            .partition_point(|range| *range.start() <= sequence);
        let below = above.checked_sub(1);
        if below.is_some_and(|below| self.ranges[below].contains(&sequence)) {
            return false;
        }
        let joins_below = below.filter(|below| *self.ranges[*below].end() == sequence - 1);
        let joins_above = self
            .ranges
            .get(above)
            .is_some_and(|range| range.start().checked_sub(1) == Some(sequence));
        match (joins_below, joins_above) {
            (Some(below), true) => {
                let end = *self.ranges.remove(above).end();
                self.ranges[below] = *self.ranges[below].start()..=end;
            }
            (Some(below), false) => {
                self.ranges[below] = *self.ranges[below].start()..=sequence;
            }
            (None, true) => self.ranges[above] = sequence..=*self.ranges[above].end(),
            (None, false) => self.ranges.insert(above, sequence..=sequence),
        }
        self.bound();
        true
    }

    /// Joins the lowest ranges: what lies between them counts as taken, and is never counted twice.
    fn bound(&mut self) {
        if self.ranges.len() > MOST_RANGES {
            let lowest = self.ranges.remove(0);
            self.ranges[0] = *lowest.start()..=*self.ranges[0].end();
        }
    }

    /// The lowest number that was taken, and how many are missing between it and the highest one. `None` before the first.
    pub fn held(&self) -> Option<Held> {
        let oldest = *self.ranges.first()?.start();
        let gaps = self.ranges.windows(2);
        let missing = gaps.map(|pair| pair[1].start() - pair[0].end() - 1).sum();
        Some(Held { oldest, missing })
    }

    /// From which number on everything up to and including `newest` was taken; the one behind `newest` where that was not.
    pub fn whole_since(&self, newest: u64) -> u64 {
        let range = self.ranges.iter().find(|range| range.contains(&newest));
        range.map_or(newest.saturating_add(1), |range| *range.start())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_number_is_taken_once(numbers in prop::collection::vec(0_u64..80, 0..200)) {
            let (mut seen, mut expected) = (Seen::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(seen.take(number), number > 0 && expected.insert(number));
            }
            let ends = expected.first().zip(expected.last());
            let held = ends.map(|(oldest, newest)| Held {
                oldest: *oldest,
                missing: newest - oldest + 1 - expected.len() as u64,
            });
            prop_assert_eq!(seen.held(), held);
            for newest in 1..90 {
                let mut since = newest + 1;
                while expected.contains(&(since - 1)) {
                    since -= 1;
                }
                prop_assert_eq!(seen.whole_since(newest), since);
            }
        }

        #[test]
        fn beyond_the_bound_nothing_is_taken_twice(numbers in prop::collection::vec(1_u64..1_000, 0..500)) {
            let (mut seen, mut expected) = (Seen::default(), BTreeSet::new());
            for number in numbers {
                if seen.take(number) {
                    prop_assert!(expected.insert(number));
                }
                prop_assert!(seen.ranges.len() <= MOST_RANGES);
            }
        }
    }

    #[test]
    fn the_largest_number_is_one_like_others() {
        let mut seen = Seen::default();
        assert!(seen.take(u64::MAX));
        assert!(seen.take(u64::MAX - 1));
        assert!(!seen.take(u64::MAX));
        assert_eq!(seen.whole_since(u64::MAX), u64::MAX - 1);
    }
}
