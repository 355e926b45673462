//! The level of one observation beside the sum that it is written down as.

use proptest::prelude::*;

use super::*;
use crate::analysis::localize::hazards::ln_sum_exp;

/// One lossy observation; a suspect that it may cross is known already.
fn evidence(lost: f64, sent: f64, elsewhere: f64) -> Evidence {
    Evidence {
        lossy: vec![Lossy {
            are_acks: false,
            parts: Vec::new(),
            links: 4.0,
            sent,
            lost,
            elsewhere,
        }],
        observations: 100.0,
        ..Evidence::default()
    }
}

/// `ln Σ w·((1 − s) + s·e^g)`, term by term.
fn written_down(term: &Term<'_>, hazard: f64) -> f64 {
    let own = term.posting.times * hazard;
    let passed = if term.posting.is_sure() {
        0.0
    } else {
        term.lossy.passed()
    };
    ln_sum_exp(term.hazards.all(0).map(|case| {
        let share = term.crossed(case);
        let growth =
            term.lossy.lost * (ln_loss(case.hazard + own) - ln_loss(case.hazard)) - passed * own;
        let values = [(1.0 - share).ln(), share.ln() + growth];
        case.ln_weight + ln_sum_exp(values.into_iter().filter(|value| value.is_finite()))
    }))
}

proptest! {
    #[test]
    fn the_level_is_the_sum_over_the_cases(
        (lost, passed) in (1_u32..400, 0_u32..400),
        share in prop_oneof![Just(1.0), 0.01..0.99],
        elsewhere in prop_oneof![Just(0.0), 0.01..0.5],
        open in proptest::collection::vec((0.05..0.9, 1e-4..2.0), 0..4),
        hazard in 1e-5..12.0,
        background in 1e-9..1e-2,
    ) {
        let (lost, passed) = (f64::from(lost), f64::from(passed));
        let evidence = evidence(lost, lost + passed, elsewhere);
        let mut hazards = Hazards::of(vec![background]);
        if !open.is_empty() {
            let members = open.iter().map(|member| (0, *member)).collect();
            hazards.open(&evidence, members, &open);
        }
        let posting = Posting { at: 0, share, times: 1.0 };
        let term = Term { posting: &posting, lossy: &evidence.lossy[0], hazards: &hazards };
        let (nats, expected) = (term.nats(hazard), written_down(&term, hazard));
        prop_assert!((nats - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{nats} {expected}");
        // Where it is nearly certain that the component is crossed, the slope leaves out that it may not be.
        if share <= NEARLY * (1.0 - elsewhere) || posting.is_sure() {
            let step = hazard * 1e-5;
            let rise = written_down(&term, hazard + step) - written_down(&term, hazard - step);
            let expected = rise / (2.0 * step);
            let slope = term.slope(hazard);
            let scale = expected.abs().max(1.0) + expected.abs().max(nats.abs()) / hazard * 1e-3;
            prop_assert!((slope - expected).abs() <= 1e-2 * scale, "{slope} {expected}");
        }
    }

    #[test]
    fn failure_is_the_logarithm_and_its_derivative(x in prop_oneof![1e-9..1e-3, 1e-3..60.0]) {
        let level = failure(x);
        prop_assert!((level.nats - ln_loss(x)).abs() <= 1e-9 * ln_loss(x).abs().max(1e-3));
        let slope = 1.0 / x.exp_m1();
        prop_assert!((level.slope - slope).abs() <= 1e-9 * slope);
    }
}
