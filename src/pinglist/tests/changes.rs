//! From one list to the next: versions and deltas.

use proptest::collection::vec;

use super::sparse::rails;
use super::*;
use crate::pinglist::delta::{Misfit, PinglistDelta};
use crate::topology::Peer;

fn lists(plan: &PinglistPlan, agents: &[Announcement]) -> Vec<Pinglist> {
    agents.iter().map(|agent| plan.pinglist(agent)).collect()
}

#[test]
fn the_version_of_a_list_is_what_it_says() {
    let agents = rails(10, 16, 8);
    let once = plan(&agents, with_paths(16), 0).pinglist(&agents[0]);
    let again = plan(&agents, with_paths(16), 0).pinglist(&agents[0]);
    assert_eq!(once.version(), again.version());
    assert_ne!(Pinglist::default().version(), 0);
    // A new queue pair of one target, one target less, another rate, another order of RNICs.
    let mut others = [once.clone(), once.clone(), once.clone(), once.clone()];
    let targets = &mut others[0].rnics[3].groups[1].targets;
    let mut peer = Peer::clone(&targets[7].peer);
    peer.address.qpn = Qpn::from_lower_bits(0x99);
    targets[7].peer = Arc::new(peer);
    others[1].rnics[3].groups[1].targets.remove(7);
    others[2].rnics[3].groups[1].probes_per_second += 0.5;
    others[3].rnics.swap(0, 1);
    let versions: HashSet<u64> = others
        .iter()
        .chain([&once])
        .map(Pinglist::version)
        .collect();
    assert_eq!(versions.len(), 5);
}

#[test]
fn a_plan_that_succeeds_another_says_the_same_as_one_made_from_nothing() {
    let agents = rails(10, 16, 8);
    let policy = Arc::new(with_paths(16));
    let older = PinglistPlan::new(
        &topology(&agents[1..]),
        policy.clone(),
        WallTime::from_nanos(0),
    );
    let _ = lists(&older, &agents[1..]);
    for hours in [0, 1] {
        let now = WallTime::from_nanos(hours * HOUR);
        let all = topology(&agents);
        let newer = PinglistPlan::succeeding(Some(&older), &all, &policy, now);
        let fresh = PinglistPlan::new(&all, policy.clone(), now);
        assert_eq!(lists(&newer, &agents), lists(&fresh, &agents));
    }
}

#[test]
fn an_agent_that_joins_costs_the_others_a_small_part_of_their_lists() {
    let agents = rails(10, 16, 8);
    let before = plan(&agents[1..], with_paths(16), 0);
    let after = plan(&agents, with_paths(16), 0);
    let (mut changed, mut sent) = (0, 0);
    for agent in &agents[1..] {
        let (old, new) = (before.pinglist(agent), after.pinglist(agent));
        let delta = PinglistDelta::between(&old, &new);
        if old.version() == new.version() {
            assert_eq!(delta.added(), 0);
        } else {
            changed += 1;
            sent += delta.added();
        }
        assert_eq!(delta.apply(&old), Ok(new));
    }
    assert!(changed > 0);
    // A list has some 500 targets.
    assert!(sent <= changed * 50, "{sent} targets to {changed} agents");
}

/// Lists whose targets are few, so that two of them have some in common.
fn any_list() -> impl Strategy<Value = Pinglist> {
    let target = (0_u8..12).prop_map(|number| Target {
        peer: Arc::new(Peer {
            address: rnic(
                std::net::Ipv4Addr::new(10, 0, 0, number).into(),
                "t",
                SourcePortSteering::Driver,
            )
            .address,
            tor: "t".into(),
            host: "h".into(),
            device: "d".into(),
        }),
        flow_label: FlowLabel::new(7).expect("a label"),
    });
    let group = |kind| {
        (vec(target.clone(), 0..12), 1.0_f64..9.0).prop_map(move |(targets, rate)| Group {
            kind,
            probes_per_second: rate,
            targets,
        })
    };
    let groups = (
        proptest::option::of(group(GroupKind::TorMesh)),
        proptest::option::of(group(GroupKind::InterTor)),
    );
    vec(groups, 0..3).prop_map(|rnics| Pinglist {
        rnics: (0..)
            .zip(rnics)
            .map(|(at, (mesh, far))| RnicPinglist {
                source: std::net::Ipv4Addr::new(10, 1, 0, at).into(),
                groups: mesh.into_iter().chain(far).collect(),
            })
            .collect(),
        shortfalls: Vec::new(),
    })
}

proptest! {
    #[test]
    fn a_delta_leads_from_any_list_to_any_other(old in any_list(), new in any_list()) {
        let delta = PinglistDelta::between(&old, &new);
        prop_assert_eq!(delta.apply(&old), Ok(new));
    }

    #[test]
    fn a_delta_on_another_list_gives_an_error_or_another_version(
        old in any_list(), new in any_list(), third in any_list(),
    ) {
        match PinglistDelta::between(&old, &new).apply(&third) {
            Err(Misfit) => {}
            Ok(made) => prop_assert_eq!(made == new, made.version() == new.version()),
        }
    }
}
