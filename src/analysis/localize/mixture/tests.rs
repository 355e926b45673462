use crate::analysis::localize::{Component, PathObservation, Problem, Settings, Symptom, localize};
use crate::analysis::simulate::{FaultKind, FaultPlan, Shape, SimulationPlan, World};

fn named(world: &World) -> Vec<(String, Symptom)> {
    let mut problem = Problem::new();
    for seen in &world.observed {
        let observation = PathObservation {
            paths: vec![seen.path.iter().map(String::as_str).collect()],
            sent: seen.sent,
            lost: seen.lost,
        };
        problem.add(&observation).expect("valid");
    }
    localize(&problem, &Settings::default())
        .suspects
        .into_iter()
        .map(|suspect| (suspect.component.to_string(), suspect.symptom))
        .collect()
}

/// A window in which each 5-tuple gets about so many probes.
fn window(fault: FaultPlan, probes: f64) -> SimulationPlan {
    let plan = SimulationPlan {
        shape: Shape::LeafSpine {
            spines: 4,
            tors: 8,
            hosts: 4,
        },
        faults: vec![fault],
        tuples_per_host: 60,
        ..SimulationPlan::default()
    };
    SimulationPlan {
        window_s: probes * plan.tuples_per_host as f64 / plan.probes_per_second,
        ..plan
    }
}

/// A blackhole is one from three probes per 5-tuple on, and a rate is a rate.
#[test]
fn dead_paths_are_told_from_lossy_ones_with_few_probes() {
    for probes in [3.0, 5.0, 10.0, 30.0] {
        for seed in 1..=3 {
            let blackhole = FaultPlan::blackholes(1, 0.25..=0.25);
            let world = World::draw(&window(blackhole, probes), seed).expect("valid");
            let expected = (world.truth[0].component.to_string(), Symptom::Blackhole);
            assert_eq!(named(&world), [expected], "{probes} probes, seed {seed}");

            let half = FaultPlan::drawn(FaultKind::Link, 1, 0.5..=0.5);
            let world = World::draw(&window(half, probes), seed).expect("valid");
            let expected = (world.truth[0].component.to_string(), Symptom::Loss);
            assert_eq!(named(&world), [expected], "{probes} probes, seed {seed}");
        }
    }
}

/// One probe per path cannot tell a rate from a blackhole; what loses everything is down all the same.
#[test]
fn single_probes_show_what_is_down() {
    let mut problem = Problem::new();
    for path in 0..12 {
        let far = format!("h{path}");
        let spine = if path % 2 == 0 { "s0" } else { "s1" };
        problem
            .add(&PathObservation {
                paths: vec![vec!["h", "t0", spine, "t1", &far]],
                sent: 1,
                lost: u64::from(path % 2 == 0),
            })
            .expect("valid");
    }
    let suspects = localize(&problem, &Settings::default()).suspects;
    assert!(
        suspects
            .iter()
            .all(|suspect| suspect.symptom == Symptom::Down),
        "{suspects:?}"
    );
    let at_the_spine = |component: &Component| component.to_string().contains("s0");
    assert!(
        suspects
            .iter()
            .all(|suspect| at_the_spine(&suspect.component)),
        "{suspects:?}"
    );
}

/// Beside a blackhole a rate stays one, with few probes per 5-tuple, too.
#[test]
fn a_rate_beside_a_blackhole_is_no_blackhole() {
    for probes in [2.0, 3.0, 5.0] {
        for seed in 1..=2 {
            let mut plan = window(FaultPlan::blackholes(1, 0.25..=0.25), probes);
            plan.faults.push("link loss=50%".parse().expect("a fault"));
            let world = World::draw(&plan, seed).expect("valid");
            let mut expected: Vec<_> = world
                .truth
                .iter()
                .map(|truth| (truth.component.to_string(), truth.symptom))
                .collect();
            let mut named = named(&world);
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            named.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(named, expected, "{probes} probes, seed {seed}");
        }
    }
}
