use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn flow(source: u32, target: u32, port: u16) -> Flow {
    Flow {
        source: RnicId(source),
        target: RnicId(target),
        port: UdpSourcePort(port),
    }
}

fn three_tiers() -> Topology {
    let shape = Shape {
        pods: 2,
        ..Shape::default()
    };
    Topology::new(shape, 7).expect("possible shape")
}

#[test]
fn names_and_gids_are_those_of_the_contract() {
    let topology = Topology::new(Shape::default(), 1).expect("default shape");
    let rnic = topology.rnic(RnicId(17));
    assert_eq!(
        (rnic.host.as_str(), rnic.index, rnic.tor.as_str()),
        ("host8", 1, "tor1")
    );
    assert_eq!(rnic.gid.to_string(), "10.1.0.2");
    assert_eq!(topology.rnic_by_gid(rnic.gid), Some(RnicId(17)));
    assert!(topology.node("spine3").is_some());
    assert!(topology.node("spine4").is_none());
    assert_eq!(topology.hosts().len(), 64);
    assert_eq!(topology.link_count(), 2 * (128 + 32));
}

#[test]
fn paths_lead_from_source_to_target() {
    let two = Topology::new(Shape::default(), 1).expect("default shape");
    let three = three_tiers();
    let lines = [
        (&two, 127),
        (&two, 3),
        (&three, 127),
        (&three, 20),
        (&three, 3),
    ]
    .map(|(topology, target)| {
        topology
            .describe(&topology.path(flow(0, target, 50_000)))
            .join(" ")
    });
    insta::assert_snapshot!(lines.join("\n"));
    assert!(two.path(flow(4, 4, 50_000)).links().is_empty());
}

#[test]
fn source_ports_spread_over_all_spines() {
    for topology in [
        Topology::new(Shape::default(), 1).expect("default shape"),
        three_tiers(),
    ] {
        let mut taken = BTreeMap::new();
        for port in 49_152..=65_535 {
            let path = topology.path(flow(0, 127, port));
            let spine = topology
                .describe(&path)
                .into_iter()
                .find(|name| name.starts_with("spine"))
                .expect("a spine on the path");
            *taken.entry(spine).or_insert(0_u32) += 1;
        }
        assert_eq!(taken.len(), 4);
        assert!(
            taken.values().all(|count| (3_700..4_500).contains(count)),
            "{taken:?}"
        );
    }
}

#[test]
fn impossible_shapes_are_named() {
    let shape = Shape::default();
    let shapes = [
        Shape { spines: 0, ..shape },
        Shape { rnics: 17, ..shape },
        Shape {
            tors: 256,
            hosts: 256,
            ..shape
        },
        Shape { pods: 3, ..shape },
        Shape {
            pods: 2,
            aggs: 9,
            ..shape
        },
        Shape {
            pods: 2,
            aggs: 3,
            ..shape
        },
        Shape { rails: 0, ..shape },
        Shape { rails: 17, ..shape },
        Shape {
            rails: 8,
            rnics: 4,
            ..shape
        },
        Shape { planes: 3, ..shape },
        Shape { planes: 4, ..shape },
        Shape {
            planes: 4,
            ..Shape::on(6, 1)
        },
        Shape {
            pods: 2,
            ..Shape::on(1, 4)
        },
    ];
    let lines = shapes.map(|shape| {
        Topology::new(shape, 0)
            .err()
            .map_or_else(|| format!("{shape:?} was built"), |error| error.to_string())
    });
    insta::assert_snapshot!(lines.join("\n"));
}

fn shown(topology: &Topology, source: u32, target: u32, port: u16) -> String {
    let path = topology.path(flow(source, target, port));
    topology.describe(&path).join(" ")
}

#[test]
fn rnic_i_of_each_host_hangs_under_the_leaf_of_rail_i() {
    let topology = Topology::new(Shape::on(8, 1), 1).expect("eight rails");
    assert_eq!((topology.hosts().len(), topology.rnics().len()), (16, 128));
    let rnic = topology.rnic(RnicId(8 * 9 + 5));
    assert_eq!(
        (rnic.host.as_str(), rnic.index, rnic.tor.as_str()),
        ("host9", 5, "leaf1-r5")
    );
    assert_eq!(topology.rnic_by_gid(rnic.gid), Some(RnicId(8 * 9 + 5)));
    assert_eq!(topology.link_count(), 2 * (128 + 16 * 4));
    // Under one leaf, on one rail, from rail to rail, and from one RNIC of a host to another.
    let lines = [(5, 13), (5, 69), (5, 70), (5, 6)]
        .map(|(source, target)| shown(&topology, source, target, 50_000));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn planes_share_nothing_but_hosts() {
    for shape in [
        Shape::on(1, 2),
        Shape::on(4, 2),
        Shape {
            pods: 2,
            ..Shape::on(1, 2)
        },
    ] {
        let topology = Topology::new(shape, 1).expect("two planes");
        let mut used: BTreeMap<NodeId, u32> = BTreeMap::new();
        let count = u32::try_from(topology.rnics().len()).expect("few");
        for (source, target) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))) {
            let path = topology.path(flow(source, target, 50_000));
            let plane = source % 2;
            assert!(path.links().is_empty() || plane == target % 2);
            for link in path.links() {
                let node = topology.ends(*link).1;
                if topology.is_switch(node) {
                    let first = *used.entry(node).or_insert(plane);
                    assert_eq!(first, plane, "{}", topology.node_name(node));
                }
            }
        }
        let spines = (0..shape.spines).filter(|spine| used.contains_key(&NodeId(*spine)));
        assert_eq!(spines.count(), shape.spines as usize, "{shape:?}");
    }
}

#[test]
fn a_bond_sends_and_is_reached_over_both_its_leaves() {
    let shape = Shape {
        bonds: true,
        ..Shape::on(1, 1)
    };
    let topology = Topology::new(shape, 1).expect("bonds");
    let mut ways: BTreeMap<(String, String), u32> = BTreeMap::new();
    for port in 49_152..=65_535 {
        let nodes = topology.describe(&topology.path(flow(0, 127, port)));
        let way = (nodes[1].clone(), nodes[3].clone());
        *ways.entry(way).or_default() += 1;
    }
    let leaves: Vec<_> = ways.keys().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let expected = [
        ("leaf0a", "leaf7a"),
        ("leaf0a", "leaf7b"),
        ("leaf0b", "leaf7a"),
        ("leaf0b", "leaf7b"),
    ];
    assert_eq!(leaves, expected);
    assert!(ways.values().all(|count| (3_700..4_500).contains(count)));
    let near = topology.describe(&topology.path(flow(0, 3, 50_000)));
    assert_eq!(near.len(), 3, "{near:?}");
}

proptest! {
    /// Every path is connected, ends where it must, and its way back is the reverse.
    #[test]
    fn paths_are_connected(
        spines in 1_u32..6, tors in 1_u32..6, hosts in 1_u32..4, rnics in 1_u32..3, pods in 0_u32..3,
        rails in 1_u32..4, planes in 1_u32..3, bonds: bool,
        seed: u64, source: u32, target: u32, port: u16,
    ) {
        let shape = Shape {
            spines: spines * 2,
            tors: tors * pods.max(1),
            hosts,
            rnics: rnics * rails * planes,
            // Each plane has whole rails.
            rails: if rails == 1 { 1 } else { rails * planes },
            planes,
            bonds,
            pods,
            aggs: 2,
            one_hash: false,
        };
        let topology = Topology::new(shape, seed).expect("possible shape");
        let count = u32::try_from(topology.rnics().len()).expect("few");
        let flow = flow(source % count, target % count, port);
        let path = topology.path(flow);
        let links = path.links();
        if flow.source == flow.target || !topology.connects(flow.source, flow.target) {
            prop_assert!(links.is_empty());
            return Ok(());
        }
        prop_assert_eq!(topology.ends(links[0]).0, topology.rnic_node(flow.source));
        prop_assert_eq!(topology.ends(links[links.len() - 1]).1, topology.rnic_node(flow.target));
        for pair in links.windows(2) {
            prop_assert_eq!(topology.ends(pair[0]).1, topology.ends(pair[1]).0);
        }
        let back = path.back(links.len());
        prop_assert_eq!(topology.ends(back.links()[0]).0, topology.rnic_node(flow.target));
        prop_assert_eq!(back.back(links.len()), path);
    }
}
