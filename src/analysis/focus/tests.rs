use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::analysis::localize::{Alternatives, Possible};
use crate::time::HostTime;

type Crossing = Vec<(ComponentId, f64)>;

const BACKGROUND: f64 = 5e-5;
const LINKS: f64 = 12.0;

fn possible(component: u32, probability: f64, hazard: f64) -> Possible {
    Possible {
        component: ComponentId(component),
        probability,
        hazard,
    }
}

/// Each inner list is alternatives.
fn posterior(suspects: &[&[Possible]]) -> Posterior {
    Posterior {
        suspects: suspects
            .iter()
            .map(|components| Alternatives {
                components: components.to_vec(),
            })
            .collect(),
        background: BACKGROUND,
    }
}

fn crossing(components: &[u32]) -> Crossing {
    components
        .iter()
        .map(|component| (ComponentId(*component), 1.0))
        .collect()
}

fn candidate(prober: usize, target: usize, crossing: &Crossing) -> Candidate<'_> {
    Candidate {
        prober,
        target,
        base: 1.0,
        crossing,
        links: LINKS,
    }
}

/// Rates by candidate.
fn rates(focus: &Focus, candidates: usize) -> Vec<f64> {
    let mut rates = vec![0.0; candidates];
    for ask in &focus.asks {
        rates[ask.candidate] += ask.rate;
    }
    rates
}

/// What is drawn for a candidate: prober, target, base rate, components.
type Drawn = (usize, usize, f64, Vec<u32>);

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let components = prop::collection::btree_set(0_u32..12, 1..5);
    let components = components.prop_map(|set| set.into_iter().collect());
    prop::collection::vec((0_usize..4, 0_usize..4, 0.1..3.0_f64, components), 1..60)
}

fn suspects() -> impl Strategy<Value = Vec<Vec<Possible>>> {
    let one = (0_u32..12, 0.001..1.0_f64, 1e-4..0.5_f64);
    let alternatives = prop::collection::vec(one, 1..4).prop_map(|mut drawn| {
        drawn.sort_by_key(|(component, ..)| *component);
        drawn.dedup_by_key(|(component, ..)| *component);
        let sum: f64 = drawn.iter().map(|(_, odds, _)| odds).sum();
        let scale = sum.max(1.0);
        drawn
            .into_iter()
            .map(|(component, odds, hazard)| possible(component, odds / scale, hazard))
            .collect()
    });
    prop::collection::vec(alternatives, 0..6)
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (
        0.0..1.0_f64,
        0.0..1.5_f64,
        1.0..6.0_f64,
        0.0..60.0_f64,
        0.0..80.0_f64,
    )
        .prop_map(
            |(share, extra, most_per_tuple, most_per_target, most)| Bounds {
                share,
                extra,
                most_per_tuple,
                most_per_target,
                most,
            },
        )
}

fn sum(
    candidates: &[Candidate<'_>],
    rates: &[f64],
    is_of: impl Fn(&Candidate<'_>) -> bool,
) -> (f64, f64) {
    let of = candidates.iter().zip(rates).filter(|(one, _)| is_of(one));
    of.fold((0.0, 0.0), |(base, asked), (one, rate)| {
        (base + one.base, asked + rate)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bound_is_passed_and_each_5_tuple_keeps_a_quarter(drawn in drawn(), suspects in suspects(), bounds in bounds()) {
        let crossings: Vec<_> = drawn.iter().map(|(.., components)| crossing(components)).collect();
        let candidates: Vec<_> = drawn
            .iter()
            .zip(&crossings)
            .map(|((prober, target, base, _), crossing)| Candidate { base: *base, ..candidate(*prober, *target, crossing) })
            .collect();
        let suspects: Vec<&[Possible]> = suspects.iter().map(Vec::as_slice).collect();
        let focus = rank(&posterior(&suspects), &candidates, &[], &bounds);
        let rates = rates(&focus, candidates.len());
        for prober in 0..4 {
            let (base, asked) = sum(&candidates, &rates, |one| one.prober == prober);
            let kept = bounds.kept(base, asked);
            prop_assert!((FLOOR..=1.0).contains(&kept), "keeps {kept}");
            prop_assert!(kept * base + asked <= base * (1.0 + bounds.extra) + 1e-6, "{base} became {}", kept * base + asked);
        }
        for target in 0..4 {
            let (base, asked) = sum(&candidates, &rates, |one| one.target == target);
            prop_assert!(asked == 0.0 || base + asked <= bounds.most_per_target + 1e-6);
        }
        for (candidate, asked) in candidates.iter().zip(&rates) {
            prop_assert!(candidate.base + asked <= bounds.most_per_tuple * candidate.base + 1e-6);
        }
        prop_assert!(focus.rate() <= bounds.most + 1e-6);
    }

    #[test]
    fn only_5_tuples_across_suspects_are_asked_for(drawn in drawn(), suspects in suspects()) {
        let crossings: Vec<_> = drawn.iter().map(|(.., components)| crossing(components)).collect();
        let candidates: Vec<_> = drawn
            .iter()
            .zip(&crossings)
            .map(|((prober, target, base, _), crossing)| Candidate { base: *base, ..candidate(*prober, *target, crossing) })
            .collect();
        let lists: Vec<&[Possible]> = suspects.iter().map(Vec::as_slice).collect();
        let focus = rank(&posterior(&lists), &candidates, &[], &Bounds::default());
        for ask in &focus.asks {
            let crosses = drawn[ask.candidate].3.iter().any(|component| {
                suspects.iter().flatten().any(|possible| possible.component.0 == *component)
            });
            prop_assert!(crosses, "{} crosses no suspect", ask.candidate);
        }
    }

    #[test]
    fn suspects_that_are_alike_get_alike_shares(
        suspects in 2_u32..8, each in 2_u32..6, probability in 0.001..0.9_f64, hazard in 5e-4..0.02_f64,
    ) {
        let crossings: Vec<_> = (0..suspects * each).map(|nth| crossing(&[nth % suspects])).collect();
        let candidates: Vec<_> = crossings.iter().map(|crossing| candidate(0, 0, crossing)).collect();
        let all: Vec<_> = (0..suspects).map(|component| [possible(component, probability, hazard)]).collect();
        let lists: Vec<&[Possible]> = all.iter().map(|one| &one[..]).collect();
        let focus = rank(&posterior(&lists), &candidates, &[], &Bounds::default());
        let rates = rates(&focus, candidates.len());
        let shares: Vec<f64> = (0..suspects as usize)
            .map(|suspect| rates.iter().skip(suspect).step_by(suspects as usize).sum())
            .collect();
        let most = shares.iter().copied().fold(0.0, f64::max);
        let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
        prop_assert!(most > 0.0 && most - least <= 1.0 + 1e-9, "{shares:?}");
    }
}

#[test]
fn nothing_is_asked_where_nothing_is_suspected() {
    let crossings: Vec<_> = (0..20).map(|nth| crossing(&[nth % 5])).collect();
    let candidates: Vec<_> = crossings
        .iter()
        .map(|crossing| candidate(0, 0, crossing))
        .collect();
    let before = [Ask {
        candidate: 3,
        portions: 2,
        rate: 2.0,
        about: 0,
    }];
    let focus = rank(&posterior(&[]), &candidates, &before, &Bounds::default());
    assert_eq!(focus, Focus::default());
}

#[test]
fn the_weaker_suspect_is_asked_about_too_but_less() {
    let crossings: Vec<_> = (0..40).map(|nth| crossing(&[nth % 2])).collect();
    let candidates: Vec<_> = crossings
        .iter()
        .map(|crossing| candidate(0, 0, crossing))
        .collect();
    let suspects = posterior(&[&[possible(0, 0.3, 2e-3)], &[possible(1, 0.05, 2e-3)]]);
    // Room for all questions to be answered.
    let bounds = Bounds {
        extra: 5.0,
        most_per_tuple: 400.0,
        most_per_target: f64::INFINITY,
        ..Bounds::default()
    };
    let rates = rates(&rank(&suspects, &candidates, &[], &bounds), 40);
    let of = |suspect: usize| rates.iter().skip(suspect).step_by(2).sum::<f64>();
    assert!(of(0) > of(1), "{} and {}", of(0), of(1));
}

#[test]
fn what_is_certain_is_not_asked_about() {
    let crossings = [crossing(&[0]), crossing(&[1])];
    let candidates = [
        candidate(0, 0, &crossings[0]),
        candidate(0, 1, &crossings[1]),
    ];
    let suspects = posterior(&[&[possible(0, 1.0, 2e-3)], &[possible(1, 0.5, 2e-3)]]);
    let focus = rank(&suspects, &candidates, &[], &Bounds::default());
    assert_eq!(rates(&focus, 2), [0.0, 1.0]);
}

/// Two directions of a cable that one of them is known to be bad: a round trip that returns over the same cable says nothing.
#[test]
fn alternatives_are_asked_about_by_5_tuples_that_tell_them_apart() {
    let crossings = [crossing(&[0, 1]), crossing(&[0, 2]), crossing(&[1, 3])];
    let candidates: Vec<_> = crossings
        .iter()
        .map(|crossing| candidate(0, 0, crossing))
        .collect();
    let directions = [possible(0, 0.5, 3e-3), possible(1, 0.5, 3e-3)];
    let focus = rank(
        &posterior(&[&directions]),
        &candidates,
        &[],
        &Bounds::default(),
    );
    let rates = rates(&focus, 3);
    assert!(rates[0] == 0.0 && rates[1] + rates[2] > 0.0, "{rates:?}");
}

/// A loss on a path that crosses a lossy link says less about a suspect there.
#[test]
fn paths_without_a_known_fault_tell_more() {
    let crossings = [crossing(&[0, 1]), crossing(&[0])];
    let candidates: Vec<_> = crossings
        .iter()
        .map(|crossing| candidate(0, 0, crossing))
        .collect();
    let suspects = posterior(&[&[possible(0, 0.2, 1e-3)], &[possible(1, 0.999, 0.05)]]);
    let focus = rank(&suspects, &candidates, &[], &Bounds::default());
    assert_eq!(rates(&focus, 2), [0.0, 1.0]);
}

#[test]
fn small_changes_leave_the_rates_alone() {
    let crossings: Vec<_> = (0..8).map(|nth| crossing(&[nth])).collect();
    let candidates: Vec<_> = crossings
        .iter()
        .map(|crossing| candidate(0, 0, crossing))
        .collect();
    let with = |probabilities: &[f64; 8]| {
        let all: Vec<_> = (0..8)
            .zip(probabilities)
            .map(|(component, probability)| [possible(component, *probability, 2e-3)])
            .collect();
        let lists: Vec<&[Possible]> = all.iter().map(|one| &one[..]).collect();
        posterior(&lists)
    };
    let bounds = Bounds {
        most_per_tuple: 2.0,
        ..Bounds::default()
    };
    // Room for four of eight.
    let first = with(&[0.11, 0.11, 0.11, 0.11, 0.1, 0.1, 0.1, 0.1]);
    let first = rank(&first, &candidates, &[], &bounds);
    assert_eq!(first.asks.len(), 4);
    let swapped = with(&[0.1, 0.1, 0.1, 0.1, 0.11, 0.11, 0.11, 0.11]);
    let second = rank(&swapped, &candidates, &first.asks, &bounds);
    assert_eq!(second.asks, first.asks);
    let clearly = with(&[0.1, 0.1, 0.1, 0.1, 0.3, 0.3, 0.3, 0.3]);
    let third = rank(&clearly, &candidates, &second.asks, &bounds);
    let places: Vec<_> = third.asks.iter().map(|ask| ask.candidate).collect();
    assert_eq!(places, [4, 5, 6, 7]);
}

#[test]
fn what_was_asked_for_expires() {
    let focus = Focus {
        asks: vec![Ask {
            candidate: 1,
            portions: 2,
            rate: 2.0,
            about: 0,
        }],
        ..Focus::default()
    };
    let start = HostTime::from_nanos(1_000);
    let standing = Standing::new(focus.clone(), start);
    assert_eq!(standing.asks(start), focus.asks);
    let just_before = start.after(
        VALID
            .checked_sub(Duration::from_nanos(1))
            .expect("positive"),
    );
    assert_eq!(standing.asks(just_before), focus.asks);
    assert_eq!(standing.asks(start.after(VALID)), []);
    assert_eq!(Standing::default().asks(start), []);
}
