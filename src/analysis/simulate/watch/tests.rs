use super::*;
use crate::analysis::focus::FLOOR;
use crate::analysis::simulate::{FaultKind, FaultPlan, Shape};

/// 16 hosts with 30 5-tuples each.
fn plan(faults: Vec<FaultPlan>, focus: Option<Bounds>) -> WatchPlan {
    WatchPlan {
        simulation: SimulationPlan {
            shape: Shape::FatTree { k: 4 },
            faults,
            tuples_per_host: 30,
            window_s: 10.0,
            ..SimulationPlan::default()
        },
        healthy_s: 0,
        focus,
    }
}

fn gray() -> Vec<FaultPlan> {
    vec![FaultPlan::drawn(FaultKind::Link, 2, 0.003..=0.003)]
}

fn watch(plan: &WatchPlan, seed: u64) -> Watched {
    Watched::new(plan, seed).expect("a valid plan")
}

/// Probes across the faults.
fn across(watched: &Watched) -> u64 {
    let faults: Vec<_> = watched
        .truth
        .iter()
        .filter_map(|fault| watched.problem.id(&fault.component))
        .collect();
    let crosses = |tuple: &&Tuple| tuple.crossing.iter().any(|(id, _)| faults.contains(id));
    let across = watched.tuples.iter().filter(crosses);
    across.map(|tuple| tuple.window().0).sum()
}

#[test]
fn the_fixed_schedule_sends_at_its_rate() {
    let watched = watch(&plan(gray(), None), 1);
    for tuple in &watched.tuples {
        let (sent, lost) = tuple.window();
        // 150 probes/s over 30 5-tuples for 10 s, with any phase.
        assert!((49..=51).contains(&sent) && lost <= sent, "{sent}");
    }
    assert_eq!(watched.sent, watched.problem.sent());
}

#[test]
fn focus_moves_probes_to_faults_and_keeps_its_bounds() {
    let (mut fixed, mut focused) = (0, 0);
    for seed in 1..=5 {
        let without = watch(&plan(gray(), None), seed);
        let with = watch(&plan(gray(), Some(Bounds::default())), seed);
        assert_eq!(with.truth, without.truth);
        let ratio = with.sent as f64 / without.sent as f64;
        assert!((0.99..=1.01).contains(&ratio), "{ratio} times the probes");
        for tuple in &with.tuples {
            let (sent, _) = tuple.window();
            let base = tuple.base * 10.0;
            assert!(sent as f64 >= FLOOR * base - 1.0, "{sent} of {base}");
            assert!(sent as f64 <= 4.0 * base + 1.0, "{sent} of {base}");
        }
        fixed += across(&without);
        focused += across(&with);
    }
    assert!(
        focused as f64 > 1.2 * fixed as f64,
        "{focused} instead of {fixed} probes across the faults"
    );
}

#[test]
fn where_nothing_is_lost_focus_changes_nothing() {
    let healthy = |focus| {
        let mut plan = plan(Vec::new(), focus);
        plan.simulation.background = 0.0;
        watch(&plan, 3)
    };
    let counts = |watched: &Watched| -> Vec<_> {
        let tuples = watched.tuples.iter();
        tuples.map(|tuple| tuple.seconds.clone()).collect()
    };
    assert_eq!(
        counts(&healthy(None)),
        counts(&healthy(Some(Bounds::default())))
    );
}

#[test]
fn the_same_seed_gives_the_same_observations() {
    let plan = plan(gray(), Some(Bounds::default()));
    let counts = |watched: &Watched| -> Vec<_> {
        let tuples = watched.tuples.iter();
        tuples.map(|tuple| tuple.seconds.clone()).collect()
    };
    assert_eq!(counts(&watch(&plan, 7)), counts(&watch(&plan, 7)));
}
