use super::*;
use crate::fabric::Shape;

fn wiring(shape: Shape) -> Wiring {
    let topology = Topology::new(shape, 1).expect("a possible shape");
    of(&topology).expect("a valid description")
}

fn small(rails: u32, planes: u32) -> Shape {
    Shape {
        tors: 2,
        hosts: 1,
        ..Shape::on(rails, planes)
    }
}

fn tors(wiring: &Wiring, host: &str) -> String {
    let host = wiring.host(&host.into()).expect("a host");
    let tors: Vec<_> = host.tors().into_iter().map(ToString::to_string).collect();
    tors.join(" ")
}

#[test]
fn hosts_on_rails_have_each_rnic_under_its_own_leaf() {
    let wiring = wiring(small(4, 1));
    assert_eq!(
        tors(&wiring, "host1"),
        "leaf1-r0 leaf1-r1 leaf1-r2 leaf1-r3"
    );
    let paths = wiring.paths();
    let between = |a: &str, b: &str| paths.between(&a.into(), &b.into());
    assert_eq!(between("leaf0-r0", "leaf1-r0"), Some(4));
    assert_eq!(
        between("leaf0-r0", "leaf0-r3"),
        Some(4),
        "the leaves of all rails meet at the spines"
    );
}

#[test]
fn no_path_leads_from_one_plane_to_another() {
    for shape in [
        small(1, 2),
        small(4, 2),
        Shape {
            pods: 2,
            ..small(1, 2)
        },
    ] {
        let topology = Topology::new(shape, 1).expect("a possible shape");
        let paths = of(&topology).expect("a valid description").paths();
        for a in topology.rnic_ids() {
            for b in topology.rnic_ids() {
                let tors = (&topology.rnic(a).tor, &topology.rnic(b).tor);
                if tors.0 != tors.1 {
                    let reached = paths.between(tors.0, tors.1).expect("known ToRs") > 0;
                    assert_eq!(reached, topology.connects(a, b), "{tors:?} of {shape:?}");
                }
            }
        }
    }
}

#[test]
fn bonds_have_two_leaves() {
    let wiring = wiring(Shape {
        bonds: true,
        ..small(2, 1)
    });
    assert_eq!(
        tors(&wiring, "host0"),
        "leaf0-r0a leaf0-r0b leaf0-r1a leaf0-r1b"
    );
}
