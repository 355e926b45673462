//! Who probes whom where all pairs are too many: seeded circles.
//!
//! A circle puts all members in an order that a hash of seed, circle, generation and member decides; each member probes
//! its successor. Each circle gives each member one partner that it probes and one that probes it, so that a union of
//! `d` circles is a graph in which everybody has `d` partners in both directions. Unions of random circles are expanders
//! with high probability (Friedman, "A proof of Alon's second eigenvalue conjecture", 2003): few members separate it.
//!
//! A member that joins changes the successor of one other member per circle. Each rotation draws a fifth of the circles
//! anew, so that all pairs have their turn.

use super::ROTATION_COHORTS;
use super::mix::{join, mix};

/// What decides the order in the circles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    /// Of the policy, joined with what the circles are for.
    pub(super) seed: u64,
    /// Rotations since the Unix epoch.
    pub(super) period: u64,
}

/// Partners that each member has at the end of its circles.
pub(super) struct Circles<'a> {
    /// A key per member, the same on every controller.
    pub(super) keys: &'a [u64],
    /// How many partners each member wants.
    pub(super) wanted: &'a [usize],
    /// How the orders are drawn.
    pub(super) draw: Draw,
}

impl Circles<'_> {
    /// The partners of each member, by circle: the next successor that `may(member, other)` allows, that no earlier circle
    /// gave and that `prefer(member, other, circle)` likes, or without the liking where there is none. A member with fewer
    /// possible partners than wanted has all of them.
    pub(super) fn partners(
        &self,
        may: impl Fn(usize, usize) -> bool,
        prefer: impl Fn(usize, usize, usize) -> bool,
    ) -> Vec<Vec<usize>> {
        let mut partners = vec![Vec::new(); self.keys.len()];
        for circle in 0..self.wanted.iter().copied().max().unwrap_or(0) {
            let order = self.order(circle);
            for (at, member) in order.iter().enumerate() {
                if partners[*member].len() >= self.wanted[*member] {
                    continue;
                }
                let successors = order[at + 1..].iter().chain(&order[..at]);
                let mut possible = successors
                    .filter(|next| may(*member, **next) && !partners[*member].contains(*next));
                let mut rest = possible.clone();
                let next = possible
                    .find(|next| prefer(*member, **next, circle))
                    .or_else(|| rest.next());
                partners[*member].extend(next);
            }
        }
        partners
    }

    fn order(&self, circle: usize) -> Vec<usize> {
        let circle = circle as u64;
        let generation = (self.draw.period + circle % ROTATION_COHORTS) / ROTATION_COHORTS;
        let key = join(self.draw.seed, join(mix(circle), generation));
        let mut order: Vec<usize> = (0..self.keys.len()).collect();
        order.sort_by_cached_key(|member| (join(key, self.keys[*member]), self.keys[*member]));
        order
    }
}

/// The next `count` of each member in one circle that never changes: everybody has as many in both directions. Where
/// there are no more than `count` others, these are all.
pub(super) fn neighbours(keys: &[u64], count: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_cached_key(|member| (join(seed, keys[*member]), keys[*member]));
    let mut neighbours = vec![Vec::new(); keys.len()];
    for (at, member) in order.iter().enumerate() {
        let successors = order[at + 1..].iter().chain(&order[..at]);
        neighbours[*member] = successors.take(count).copied().collect();
    }
    neighbours
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn keys(count: u64) -> Vec<u64> {
        (0..count).map(|member| mix(member + 1)).collect()
    }

    fn partners(keys: &[u64], wanted: usize, period: u64) -> Vec<Vec<usize>> {
        let circles = Circles {
            keys,
            wanted: &vec![wanted; keys.len()],
            draw: Draw { seed: 7, period },
        };
        circles.partners(|a, b| a != b, |_, _, _| true)
    }

    fn changed(before: &[Vec<usize>], after: &[Vec<usize>]) -> usize {
        let both = before.iter().zip(after);
        both.map(|(before, after)| {
            let before: BTreeSet<_> = before.iter().collect();
            after
                .iter()
                .filter(|partner| !before.contains(partner))
                .count()
        })
        .sum()
    }

    #[test]
    fn everybody_has_as_many_partners_in_both_directions() {
        let partners = partners(&keys(1563), 13, 0);
        let mut probed_by = vec![0; 1563];
        for (member, own) in partners.iter().enumerate() {
            assert_eq!(own.iter().collect::<BTreeSet<_>>().len(), 13);
            assert!(!own.contains(&member));
            for partner in own {
                probed_by[*partner] += 1;
            }
        }
        // 13 but for successors that an earlier circle had given.
        assert!(
            probed_by.iter().all(|count| (11..=15).contains(count)),
            "{probed_by:?}"
        );
    }

    #[test]
    fn a_rotation_changes_a_fifth_and_all_pairs_have_their_turn() {
        let keys = keys(40);
        let mut seen = BTreeSet::new();
        let mut last = partners(&keys, 10, 0);
        for period in 1..200 {
            let now = partners(&keys, 10, period);
            let fresh = changed(&last, &now);
            assert!((40..=120).contains(&fresh), "about 80 of 400: {fresh}");
            for (member, own) in now.iter().enumerate() {
                seen.extend(own.iter().map(|partner| (member, *partner)));
            }
            last = now;
        }
        assert_eq!(seen.len(), 40 * 39);
    }

    #[test]
    fn a_member_that_joins_changes_one_partner_per_circle() {
        let all = keys(400);
        let (before, after) = (partners(&all[..399], 13, 3), partners(&all, 13, 3));
        let fresh = changed(&before, &after[..399]);
        assert!((10..=16).contains(&fresh), "{fresh}");
    }

    #[test]
    fn who_may_not_is_no_partner_and_few_possible_partners_are_all_taken() {
        let keys = keys(30);
        let circles = Circles {
            keys: &keys,
            wanted: &[20; 30],
            draw: Draw { seed: 1, period: 0 },
        };
        let partners = circles.partners(|a, b| a != b && a % 3 == b % 3, |_, _, _| true);
        for (member, own) in partners.iter().enumerate() {
            assert_eq!(own.len(), 9);
            assert!(own.iter().all(|other| other % 3 == member % 3));
        }
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(
            order in Just((0..24).collect::<Vec<usize>>()).prop_shuffle(), period in 0_u64..1_000_000,
        ) {
            let keys = keys(24);
            let shuffled: Vec<u64> = order.iter().map(|member| keys[*member]).collect();
            let (a, b) = (partners(&keys, 5, period), partners(&shuffled, 5, period));
            for (place, member) in order.iter().enumerate() {
                let there: Vec<usize> = b[place].iter().map(|partner| order[*partner]).collect();
                prop_assert_eq!(&a[*member], &there);
            }
        }
    }
}
