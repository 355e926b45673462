use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// RNICs under other ToRs that one probes in turns.
const FAR: usize = 8;

/// A cluster of ToRs with RNICs, some of which lose probes.
struct Cluster {
    tors: usize,
    under: usize,
    /// Loss of each bad RNIC, by number.
    bad: BTreeMap<usize, f64>,
    /// Loss above a ToR, by number of the ToR.
    above: BTreeMap<usize, f64>,
    background: f64,
}

impl Cluster {
    /// Pairs of 5 s: 10 mesh probes/s and 20 to random far RNICs, from each.
    fn observe(&self, seed: u64) -> Vec<(usize, usize, u64, u64)> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let all = self.tors * self.under;
        let mut counts: BTreeMap<(usize, usize), (u64, u64)> = BTreeMap::new();
        for source in 0..all {
            let tor = source / self.under;
            let mut probe = |random: &mut ChaCha8Rng, target: usize, times: usize| {
                let passes = self.passes(source, target);
                let lost = (0..times).filter(|_| !random.random_bool(passes)).count();
                let entry = counts.entry((source, target)).or_default();
                entry.0 += times as u64;
                entry.1 += lost as u64;
            };
            for step in 1..self.under {
                let target = tor * self.under + (source % self.under + step) % self.under;
                probe(&mut random, target, turns(50, self.under - 1, step - 1));
            }
            if self.tors > 1 {
                for turn in 0..FAR {
                    let other = (tor + random.random_range(1..self.tors)) % self.tors;
                    let target = other * self.under + random.random_range(0..self.under);
                    probe(&mut random, target, turns(100, FAR, turn));
                }
            }
        }
        counts
            .into_iter()
            .map(|((source, target), (sent, lost))| (source, target, sent, lost))
            .collect()
    }

    /// How likely a probe comes back.
    fn passes(&self, source: usize, target: usize) -> f64 {
        let near = source / self.under == target / self.under;
        let mut passes = 1.0 - self.background;
        for rnic in [source, target] {
            passes *= 1.0 - self.bad.get(&rnic).copied().unwrap_or(0.0);
            if !near {
                let above = self.above.get(&(rnic / self.under));
                passes *= 1.0 - above.copied().unwrap_or(0.0);
            }
        }
        passes
    }

    fn judge(&self, seed: u64) -> Vec<Verdict> {
        let seen = self.observe(seed);
        let names: Vec<(RnicName, String)> = (0..self.tors * self.under)
            .map(|rnic| (name(rnic), format!("tor{}", rnic / self.under)))
            .collect();
        let name = |rnic: usize| (&names[rnic].0, names[rnic].1.as_str());
        let pairs: Vec<_> = seen
            .iter()
            .map(|(source, target, sent, lost)| Pair {
                source: name(*source),
                target: name(*target),
                sent: *sent,
                lost: *lost,
                unsent: 0,
            })
            .collect();
        judge(&pairs, &Rest::default(), u64::MAX)
            .expect("possible counts")
            .verdicts
            .expect("no limit")
    }
}

/// The RNIC with a number.
fn name(number: usize) -> RnicName {
    RnicName::new(format!("h{number:03}"), "mlx5_0")
}

/// How often the `number`th of some that take turns has its turn.
fn turns(all: usize, takers: usize, number: usize) -> usize {
    all / takers + usize::from(number < all % takers)
}

fn healthy(tors: usize, under: usize) -> Cluster {
    Cluster {
        tors,
        under,
        bad: BTreeMap::new(),
        above: BTreeMap::new(),
        background: 1e-4,
    }
}

fn anomalous(verdicts: &[Verdict]) -> BTreeSet<RnicName> {
    verdicts
        .iter()
        .filter_map(|verdict| match verdict {
            Verdict::Anomalous(finding) => Some(finding.rnic.clone()),
            Verdict::CannotTell { .. } => None,
        })
        .collect()
}

/// Two bad RNICs at most, with an RNIC under the same ToR that is well and, where two are bad, another one: without
/// that they cannot be told from their ToR or its uplinks.
fn with_bad_rnics(random: &mut ChaCha8Rng) -> Cluster {
    let under = random.random_range(2..=4);
    let tors = random.random_range(3..=8);
    let mut cluster = healthy(tors, under);
    let loss = |random: &mut ChaCha8Rng| [1.0, 0.5, 0.3, 0.2][random.random_range(0..4)];
    let first = random.random_range(0..tors * under);
    cluster.bad.insert(first, loss(random));
    let second = random.random_range(0..tors * under);
    if second / under != first / under || under == 4 {
        cluster.bad.insert(second, loss(random));
    }
    cluster
}

/// The share of windows of 5 s in which exactly the bad RNICs of a cluster with small ToRs were named. Each has another
/// number of ToRs and RNICs, other bad ones, other losses.
#[test]
fn small_tors_are_judged_right_in_ninety_nine_of_a_hundred_cases() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut right, mut others) = (0, Vec::new());
    for seed in 0..1_000 {
        let cluster = with_bad_rnics(&mut random);
        let expected: BTreeSet<_> = cluster.bad.keys().map(|rnic| name(*rnic)).collect();
        let verdicts = cluster.judge(seed);
        let named = anomalous(&verdicts);
        if named == expected && verdicts.len() == expected.len() {
            right += 1;
        } else {
            others.push((seed, cluster.tors, cluster.under, cluster.bad, verdicts));
        }
    }
    assert!(right >= 990, "{right} of 1000 right; {:#?}", others.first());
}

#[test]
fn two_rnics_and_nothing_else_cannot_be_told_apart() {
    let mut cluster = healthy(1, 2);
    cluster.bad.insert(0, 1.0);
    let verdicts = cluster.judge(1);
    let [Verdict::CannotTell { or, first }] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    assert!(first.rnic == name(0) || first.rnic == name(1));
    assert_eq!(or.len(), 2, "the other RNIC and the switch: {or:?}");
}

#[test]
fn a_bad_uplink_is_not_blamed_on_the_rnics() {
    for seed in 0..20 {
        let mut cluster = healthy(4, 2);
        cluster.above.insert(1, 0.3);
        assert_eq!(cluster.judge(seed), [], "seed {seed}");
    }
}

#[test]
fn an_rnic_that_its_neighbours_reach_is_not_blamed_for_paths_that_die_above() {
    let names: Vec<RnicName> = (0..8).map(name).collect();
    let tor = |rnic: usize| if rnic < 4 { "t0" } else { "t1" };
    let mut pairs = Vec::new();
    for a in 0..8 {
        for b in a + 1..8 {
            // A spine is dead, and by chance half of the paths of RNIC 0 go over it.
            let (sent, lost) = match (tor(a) == tor(b), a) {
                (true, _) => (50, 0),
                (false, 0) => (60, 30),
                (false, _) => (60, 8),
            };
            pairs.push(Pair {
                source: (&names[a], tor(a)),
                target: (&names[b], tor(b)),
                sent,
                lost,
                unsent: 0,
            });
        }
    }
    assert_eq!(
        judge(&pairs, &Rest::default(), u64::MAX)
            .expect("counts that can be")
            .verdicts
            .expect("no limit"),
        []
    );
}

#[test]
fn a_healthy_cluster_has_no_anomalous_rnic() {
    for seed in 0..50 {
        assert_eq!(healthy(4, 3).judge(seed), [], "seed {seed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_counts_make_it_fail(counts in proptest::collection::vec((0_u8..6, 0_u8..6, 0_u64..50, 0_u64..50), 0..40)) {
        let names: Vec<_> = (0..6).map(|rnic| (name(rnic), format!("t{}", rnic / 2))).collect();
        let name = |rnic: u8| (&names[usize::from(rnic)].0, names[usize::from(rnic)].1.as_str());
        let pairs: Vec<_> = counts
            .iter()
            .filter(|(source, target, ..)| source != target)
            .map(|(source, target, sent, lost)| Pair { source: name(*source), target: name(*target), sent: *sent + *lost, lost: *lost, unsent: 0 })
            .collect();
        for verdict in judge(&pairs, &Rest::default(), u64::MAX).expect("lost is at most sent").verdicts.expect("no limit") {
            let finding = verdict.finding();
            prop_assert!((0.0..=1.0).contains(&finding.loss) && (0.0..=1.0).contains(&finding.confidence));
        }
    }
}

#[test]
fn losses_that_no_rnic_can_be_blamed_for_cost_no_search() {
    let names = [0, 1, 2].map(|number| RnicName::new(format!("h{number}"), "rnic0"));
    let pair = |source: usize, target: usize, lost| Pair {
        source: (&names[source], "t"),
        target: (&names[target], "t"),
        sent: 1_000,
        lost,
        unsent: 0,
    };
    // Six of 2 000 probes: a link's loss, and no RNIC's.
    let few = [pair(0, 1, 6), pair(1, 2, 0), pair(2, 0, 0)];
    let judged = judge(&few, &Rest::default(), u64::MAX).expect("possible counts");
    assert_eq!((judged.verdicts, judged.work), (Some(Vec::new()), 0));
    let many = [pair(0, 1, 200), pair(1, 2, 200), pair(2, 0, 0)];
    assert!(
        judge(&many, &Rest::default(), u64::MAX)
            .expect("possible counts")
            .work
            > 0
    );
}
