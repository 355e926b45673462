//! Hosts with an RNIC on each rail.

use std::fmt::Write as _;

use crate::analysis::localize::files::{Topology, locate};
use crate::analysis::localize::{Component, Settings};
use crate::analysis::simulate::{Fabric, Rails, Shape, SimulationPlan, World};

fn shape(planes: usize) -> Shape {
    Shape::Rails(Rails {
        rails: 4,
        planes,
        spines: 4,
        tors: 3,
        hosts: 3,
    })
}

/// What `rpingmesh localize` names in the files of a world with these faults.
fn named(shape: Shape, faults: &[&str], candidates: bool, seed: u64) -> Vec<Component> {
    let plan = SimulationPlan {
        shape,
        faults: faults
            .iter()
            .map(|text| text.parse().expect("a fault"))
            .collect(),
        known_paths: !candidates,
        tuples_per_host: 30,
        ..SimulationPlan::default()
    };
    let fabric = Fabric::new(shape).expect("a possible shape");
    let topology = Topology::new(fabric.topology().check().expect("a valid topology"));
    let world = World::draw(&plan, seed).expect("a possible plan");
    let mut text = String::new();
    for seen in &world.observed {
        let line = serde_json::to_string(&seen.line(plan.window_s)).expect("a line");
        let _ = writeln!(text, "{line}");
    }
    let located = locate(&topology, &text, None, &Settings::default());
    located
        .expect("valid lines")
        .1
        .suspects
        .into_iter()
        .map(|suspect| suspect.component)
        .collect()
}

fn host(name: &str) -> Component {
    Component::Host {
        name: name.to_owned(),
    }
}

#[test]
fn all_rnics_of_a_host_are_one_suspect() {
    for shape in [shape(1), shape(2), shape(4)] {
        for fault in ["host h4 loss=100%", "host h4 loss=2%"] {
            let found = named(shape, &[fault], false, 1);
            assert_eq!(found, [host("h4")], "{fault}, {shape:?}");
        }
    }
    let found = named(shape(1), &["host h4 loss=20%"], true, 1);
    assert_eq!(found, [host("h4")], "with candidate paths only");
}

#[test]
fn one_rnic_of_a_host_is_not_the_host() {
    let rnic = |device: &str| Component::Rnic {
        host: "h4".into(),
        device: device.into(),
    };
    for shape in [shape(1), shape(2), shape(4)] {
        for loss in ["100%", "2%"] {
            let fault = format!("rnic h4/mlx5_2 loss={loss}");
            let found = named(shape, &[&fault], false, 1);
            assert_eq!(found, [rnic("mlx5_2")], "{fault}, {shape:?}");
        }
        let two = ["rnic h4/mlx5_1 loss=20%", "rnic h4/mlx5_2 loss=20%"];
        let mut found = named(shape, &two, false, 1);
        found.sort();
        assert_eq!(found, [rnic("mlx5_1"), rnic("mlx5_2")], "{shape:?}");
    }
}

#[test]
fn leaves_and_links_of_a_rail_are_named() {
    let link = Component::Link {
        from: "leaf1-r2".to_owned(),
        to: "spine1".to_owned(),
    };
    let leaf = Component::Switch {
        name: "leaf2-r3".to_owned(),
    };
    for shape in [shape(1), shape(2)] {
        let faults = ["link leaf1-r2->spine1 loss=3%"];
        assert_eq!(
            named(shape, &faults, false, 1),
            std::slice::from_ref(&link),
            "{shape:?}"
        );
        let faults = ["switch leaf2-r3 loss=3%"];
        assert_eq!(
            named(shape, &faults, false, 1),
            std::slice::from_ref(&leaf),
            "{shape:?}"
        );
    }
}
