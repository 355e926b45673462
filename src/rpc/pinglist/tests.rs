use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::rpc::registry::tests::{any_address, any_gid, any_name};

fn any_target() -> impl Strategy<Value = Target> {
    (
        any_address(),
        any_name(),
        any_name(),
        any_name(),
        1..=FlowLabel::MAX,
    )
        .prop_filter_map("a label", |(address, tor, host, device, label)| {
            let peer = Arc::new(Peer {
                address,
                tor: tor.into(),
                host: host.into(),
                device: device.into(),
            });
            let flow_label = FlowLabel::new(label)?;
            Some(Target { peer, flow_label })
        })
}

fn any_group() -> impl Strategy<Value = Group> {
    (any::<bool>(), 0.0_f64..1e6, vec(any_target(), 0..8)).prop_map(|(mesh, rate, targets)| Group {
        kind: if mesh {
            GroupKind::TorMesh
        } else {
            GroupKind::InterTor
        },
        probes_per_second: rate,
        targets,
    })
}

fn any_shortfall() -> impl Strategy<Value = Shortfall> {
    let limits = [
        Limit::Tuples,
        Limit::Rate,
        Limit::SourcePorts,
        Limit::AddressFamily,
    ];
    (
        any_name(),
        any_name(),
        prop::sample::select(limits.to_vec()),
        any::<[u32; 3]>(),
        0.0_f64..1.0,
        0.0_f64..100.0,
    )
        .prop_map(
            |(source, target, limit, numbers, coverage, link_rate)| Shortfall {
                source: source.into(),
                target: target.into(),
                limit,
                paths: numbers[0],
                tuples: numbers[1],
                wanted_tuples: numbers[2],
                coverage,
                link_rate,
            },
        )
}

proptest! {
    #[test]
    fn pinglists_survive_the_wire(
        rnics in vec((any_gid(), vec(any_group(), 0..3)), 0..4), shortfalls in vec(any_shortfall(), 0..3),
    ) {
        let rnics = rnics.into_iter().map(|(source, groups)| RnicPinglist { source, groups }).collect();
        let list = Pinglist { rnics, shortfalls };
        prop_assert_eq!(Pinglist::try_from(v1::Pinglist::from(&list)), Ok(list));
    }
}

proptest! {
    #[test]
    fn deltas_survive_the_wire(
        rnics in vec((any_gid(), vec(any_group(), 0..3)), 0..4), others in vec(vec(any_group(), 0..3), 4),
    ) {
        let list = |groups: Vec<(crate::id::Gid, Vec<Group>)>| Pinglist {
            rnics: groups.into_iter().map(|(source, groups)| RnicPinglist { source, groups }).collect(),
            shortfalls: Vec::new(),
        };
        let old = list(rnics.iter().map(|(gid, _)| *gid).zip(others).collect());
        let delta = PinglistDelta::between(&old, &list(rnics));
        prop_assert_eq!(PinglistDelta::try_from(v1::PinglistDelta::from(&delta)), Ok(delta));
    }
}

#[test]
fn a_delta_whose_places_do_not_fit_to_its_targets_is_refused() {
    let group = v1::GroupDelta {
        kind: v1::ProbeKind::InterTor.into(),
        probes_per_second: 1.0,
        removed: Vec::new(),
        added: Vec::new(),
        added_at: vec![1],
    };
    let delta = v1::PinglistDelta {
        rnics: vec![v1::RnicDelta {
            source_gid: vec![2; 16].into(),
            groups: vec![group],
        }],
        shortfalls: Vec::new(),
    };
    let error = PinglistDelta::try_from(delta).expect_err("no target");
    assert_eq!(
        error.to_string(),
        "rnics[0].groups[0].added_at: has 1 places for 0 targets"
    );
}

#[test]
fn what_is_wrong_is_named_and_peers_are_shared() {
    let good = v1::ProbeTarget {
        address: Some(v1::RnicAddress {
            gid: vec![1; 16].into(),
            qpn: 17,
            q_key: 1,
        }),
        tor: "t0".to_owned(),
        host: "h".to_owned(),
        device: "rxe0".to_owned(),
        flow_label: 1,
    };
    let list = |targets| v1::Pinglist {
        rnics: vec![v1::RnicPinglist {
            source_gid: vec![2; 16].into(),
            groups: vec![v1::ProbeGroup {
                kind: v1::ProbeKind::InterTor.into(),
                probes_per_second: 1.0,
                targets,
            }],
        }],
        shortfalls: Vec::new(),
    };
    let mut bad = good.clone();
    bad.flow_label = 0;
    let error = Pinglist::try_from(list(vec![good.clone(), bad])).expect_err("label 0");
    assert!(
        error
            .to_string()
            .starts_with("rnics[0].groups[0].targets[1].flow_label: `0` is not"),
        "{error}"
    );
    let two = Pinglist::try_from(list(vec![good.clone(), good])).expect("valid");
    let targets = &two.rnics[0].groups[0].targets;
    assert!(Arc::ptr_eq(&targets[0].peer, &targets[1].peer));
}
