use super::*;
use crate::analysis::localize::Component;
use crate::analysis::localize::files::Topology;

fn links(count: usize, loss: f64) -> Vec<FaultPlan> {
    vec![FaultPlan::drawn(FaultKind::Link, count, loss..=loss)]
}

#[test]
fn the_same_seed_draws_the_same_world() {
    let plan = SimulationPlan {
        shape: Shape::FatTree { k: 4 },
        ..SimulationPlan::default()
    };
    let (a, b) = (
        World::draw(&plan, 7).expect("valid"),
        World::draw(&plan, 7).expect("valid"),
    );
    assert_eq!((a.truth, a.observed), (b.truth, b.observed));
}

#[test]
fn a_fat_tree_has_its_well_known_sizes() {
    let fabric = Fabric::new(Shape::FatTree { k: 8 }).expect("valid");
    assert_eq!((fabric.hosts(), fabric.fabric_links().len()), (128, 256));
    assert_eq!(fabric.path_count(0, 127), 16);
    assert_eq!(
        fabric.path(0, 127, 6).join(" "),
        "h0 tor0 agg0-1 spine6 agg7-1 tor31 h127"
    );
    assert_eq!(fabric.path(0, 5, 3).join(" "), "h0 tor0 agg0-3 tor1 h5");
    assert_eq!(fabric.path(0, 1, 0).join(" "), "h0 tor0 h1");
}

#[test]
fn every_path_lies_in_the_topology() {
    for shape in [
        Shape::FatTree { k: 4 },
        Shape::LeafSpine {
            spines: 3,
            tors: 4,
            hosts: 2,
        },
    ] {
        let plan = SimulationPlan {
            shape,
            faults: links(1, 0.01),
            ..SimulationPlan::default()
        };
        let fabric = Fabric::new(shape).expect("valid");
        let topology = Topology::new(fabric.topology().check().expect("valid"));
        let world = World::draw(&plan, 1).expect("valid");
        let mut problem = crate::analysis::localize::Problem::new();
        for observed in &world.observed {
            let line = observed.line(plan.window_s);
            crate::analysis::localize::files::add_line(&topology, &mut problem, &line)
                .expect("valid");
        }
        assert_eq!(
            problem.observations(),
            (fabric.hosts() * plan.tuples_per_host) as u64
        );
    }
}

#[test]
fn losses_agree_with_the_rates() {
    let plan = SimulationPlan {
        shape: Shape::LeafSpine {
            spines: 1,
            tors: 2,
            hosts: 1,
        },
        faults: links(1, 0.25),
        background: 0.0,
        probes_per_second: 100_000.0,
        window_s: 1.0,
        ..SimulationPlan::default()
    };
    let world = World::draw(&plan, 3).expect("valid");
    let (sent, lost) = world
        .observed
        .iter()
        .filter(|seen| seen.lost > 0)
        .fold((0, 0), |(sent, lost), seen| {
            (sent + seen.sent, lost + seen.lost)
        });
    // One direction of one link: one of the two hosts' probes, 25 % ± 5 standard deviations of 0.14 %.
    assert_eq!(sent, 100_000);
    assert!((24_300..25_700).contains(&lost), "{lost}");
}

#[test]
fn impossible_plans_are_named() {
    let check = |plan: SimulationPlan| {
        World::draw(&plan, 0)
            .map(|_| ())
            .expect_err("impossible")
            .to_string()
    };
    insta::assert_snapshot!(
        [
            check(SimulationPlan {
                shape: Shape::FatTree { k: 7 },
                ..SimulationPlan::default()
            }),
            check(SimulationPlan {
                faults: vec![FaultPlan::drawn(FaultKind::Link, 1, 0.5..=1.5)],
                ..SimulationPlan::default()
            }),
            check(SimulationPlan {
                window_s: 0.0,
                ..SimulationPlan::default()
            }),
            check(SimulationPlan {
                shape: Shape::FatTree { k: 4 },
                faults: links(1000, 0.01),
                ..SimulationPlan::default()
            }),
        ]
        .join("\n"),
    );
}

/// The components that fail in a leaf-spine fabric of two spines, three ToRs and two hosts at each.
fn failing(faults: &[&str]) -> Result<Vec<String>, PlanError> {
    let plan = SimulationPlan {
        shape: Shape::LeafSpine {
            spines: 2,
            tors: 3,
            hosts: 2,
        },
        faults: faults
            .iter()
            .map(|fault| fault.parse().expect("a fault"))
            .collect(),
        ..SimulationPlan::default()
    };
    let world = World::draw(&plan, 1)?;
    let names = world.truth.iter().map(|truth| match &truth.component {
        Component::Link { from, to } => format!("{from}->{to}"),
        node => node.node().unwrap_or_default().into_owned(),
    });
    Ok(names.collect())
}

#[test]
fn a_name_says_what_fails() {
    let failing = |fault: &str| failing(&[fault]).expect("possible");
    assert_eq!(failing("link tor0->spine1 loss=1%"), ["tor0->spine1"]);
    assert_eq!(
        failing("link spine1-tor0 loss=1%"),
        ["tor0->spine1", "spine1->tor0"]
    );
    assert_eq!(
        failing("link tor*->spine1 down"),
        ["tor0->spine1", "tor1->spine1", "tor2->spine1"]
    );
    assert_eq!(failing("switch spine* blackhole=20%"), ["spine0", "spine1"]);
    assert_eq!(failing("link tor0->h1 loss=2%"), ["tor0->h1"]);
    assert_eq!(failing("host h3 loss=2%"), ["h3"]);
    let drawn = failing("link tor*->spine1 count=2 loss=1%");
    assert_eq!(drawn.len(), 2);
    assert!(drawn.iter().all(|link| link.ends_with("->spine1")));
    assert_eq!(failing("link * loss=1%").len(), 2 * (2 * 3 + 6));
    assert_eq!(failing("host loss=1%").len(), 1);
}

#[test]
fn a_name_that_nothing_has_and_one_that_fails_twice_are_refused() {
    let refusal = |faults: &[&str]| failing(faults).expect_err("refused").to_string();
    assert_eq!(
        refusal(&["switch spin1 loss=1%"]),
        "no switch is named `spin1`; did you mean spine1 or spine0?"
    );
    assert_eq!(
        refusal(&["switch spine1 loss=1%", "switch spine1 down"]),
        "`spine1` fails already: give one fault for each place"
    );
    assert_eq!(
        refusal(&["switch spine* count=3 loss=1%"]),
        "3 faults asked for, the fabric has 2 such components"
    );
}

#[test]
fn a_fault_is_written_as_it_is_read() {
    for text in [
        "link count=4 loss=0.002..0.02",
        "link tor0->agg0-1 loss=1",
        "switch spine* count=2 blackhole=0.3",
        "rnic h1/mlx5_0 loss=0.5",
    ] {
        assert_eq!(text.parse::<FaultPlan>().expect(text).to_string(), text);
    }
    let older = "blackhole spine2 loss=20%".parse::<FaultPlan>();
    assert_eq!(older, "switch spine2 blackhole=20%".parse());
}
