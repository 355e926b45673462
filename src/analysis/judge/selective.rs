//! Losses of some 5-tuples only: what an RNIC's or a link's rate does not explain.

use super::counts::Counts;

/// Nats from which on losses hit some 5-tuples and spare others.
const LEAST_NATS: f64 = 6.0;
/// Share of its probes that a spared 5-tuple loses.
const SPARED: f64 = 1e-3;
/// Rounds of expectation-maximisation for the share of the 5-tuples that are hit.
const ROUNDS: usize = 4;

/// Whether the losses of these paths hit some and spare the others, rather than taking a share of the probes of each.
///
/// A path that is hit may lose any share of its probes: a blackhole that begins in the middle of a slot takes the later ones.
pub(super) fn is_selective(paths: &[Counts]) -> bool {
    let mut sum = Counts::default();
    for counts in paths {
        sum.add(*counts);
    }
    if sum.lost == 0 || sum.lost == sum.sent {
        return false;
    }
    let share = sum.share();
    let by_rate: f64 = paths.iter().map(|counts| binomial(*counts, share)).sum();
    some_hit(paths) - by_rate >= LEAST_NATS
}

fn binomial(counts: Counts, share: f64) -> f64 {
    let passed = counts.sent.saturating_sub(counts.lost);
    counts.lost as f64 * share.ln() + passed as f64 * (-share).ln_1p()
}

/// Log-likelihood where some paths are hit.
fn some_hit(paths: &[Counts]) -> f64 {
    let lossy = paths.iter().filter(|counts| counts.lost > 0).count();
    let mut hit_share = lossy as f64 / paths.len().max(1) as f64;
    let mut nats = 0.0;
    for _ in 0..ROUNDS {
        let mut hits = 0.0;
        nats = 0.0;
        let share = hit_share.clamp(1e-6, 1.0 - 1e-6);
        for counts in paths {
            let spared = (-share).ln_1p() + binomial(*counts, SPARED);
            let hit = share.ln() + any_share(*counts);
            let most = spared.max(hit);
            let sum = (spared - most).exp() + (hit - most).exp();
            nats += most + sum.ln();
            hits += (hit - most).exp() / sum;
        }
        hit_share = hits / paths.len().max(1) as f64;
    }
    nats
}

/// Log-likelihood of losses where every share is equally likely: `ln B(lost + 1, passed + 1)`.
fn any_share(counts: Counts) -> f64 {
    let (sent, few) = (
        counts.sent as f64,
        counts.lost.min(counts.sent.saturating_sub(counts.lost)),
    );
    let choices: f64 = (0..few)
        .map(|at| ((sent - at as f64) / (at as f64 + 1.0)).ln())
        .sum();
    -(sent + 1.0).ln() - choices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(counts: &[(u64, u64)]) -> Vec<Counts> {
        counts
            .iter()
            .map(|(sent, lost)| Counts {
                sent: *sent,
                lost: *lost,
            })
            .collect()
    }

    #[test]
    fn dead_paths_among_good_ones_are_selective_and_a_rate_is_not() {
        let some_dead = paths(&[(10, 10), (10, 0), (10, 0), (10, 0), (10, 10), (10, 0)]);
        assert!(is_selective(&some_dead));
        let half_of_a_slot = paths(&[
            (10, 4),
            (10, 0),
            (10, 0),
            (10, 0),
            (10, 5),
            (10, 0),
            (10, 0),
            (10, 0),
        ]);
        assert!(is_selective(&half_of_a_slot));
        let rate = paths(&[(10, 4), (10, 2), (10, 3), (10, 1), (10, 5), (10, 3)]);
        assert!(!is_selective(&rate));
        let mild = paths(&[(40, 1), (40, 0), (40, 1), (40, 0), (40, 2), (40, 0)]);
        assert!(!is_selective(&mild));
    }

    #[test]
    fn single_probes_and_dead_things_tell_nothing() {
        assert!(!is_selective(&paths(&[(1, 1), (1, 0), (1, 0), (1, 1)])));
        assert!(!is_selective(&paths(&[(10, 10), (10, 10)])));
        assert!(!is_selective(&[]));
    }
}
