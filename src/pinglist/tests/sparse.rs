//! The sparse matrix: fabrics with more 5-tuples than their RNICs could send within the interval.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::*;
use crate::topology::wiring::Link;
use crate::topology::wiring::file::{File, HostEntry};

/// Hosts with one RNIC per rail; leaf `P-R` has the RNICs of rail `R` of `hosts` hosts of pod `P`.
pub(super) fn rails(pods: u16, hosts: u16, rails: u8) -> Vec<Announcement> {
    let mut agents = Vec::new();
    for pod in 0..pods {
        for host in 0..hosts {
            let [high, low] = (pod * hosts + host).to_be_bytes();
            let name = format!("h{pod}-{host}");
            let own = (0..rails).map(|rail| Rnic {
                device: format!("mlx5_{rail}").into(),
                ..rnic(
                    std::net::Ipv4Addr::new(10 + rail, high, low, 1).into(),
                    &format!("leaf{pod:03}-{rail}"),
                    SourcePortSteering::FlowLabel,
                )
            });
            agents.push(Announcement {
                agent: name.as_str().into(),
                incarnation: 1,
                host: name.into(),
                version: String::new(),
                rnics: own.collect(),
            });
        }
    }
    agents
}

fn partners(plan: &PinglistPlan, agents: &[Announcement]) -> BTreeMap<TorId, BTreeSet<TorId>> {
    let (pairs, _) = tuples(agents, plan);
    let mut partners: BTreeMap<TorId, BTreeSet<TorId>> = BTreeMap::new();
    for (source, target) in pairs.into_keys() {
        partners.entry(source).or_default().insert(target);
    }
    partners
}

#[test]
fn a_large_fabric_has_partners_and_its_lists_do_not_grow() {
    for pods in [10, 40] {
        let agents = rails(pods, 16, 8);
        let plan = plan(&agents, with_paths(16), 0);
        assert_eq!(plan.matrix(), Matrix::Sparse { fewest: 8, most: 8 });
        for (tor, own) in partners(&plan, &agents) {
            assert_eq!(own.len(), 8, "{tor}");
        }
        let longest = agents
            .iter()
            .flat_map(|agent| plan.pinglist(agent).rnics)
            .map(|rnic| {
                rnic.groups
                    .iter()
                    .map(|group| group.targets.len())
                    .sum::<usize>()
            })
            .max();
        // 8 partners with 115 5-tuples each, over 16 RNICs: 57.5 on average, and a ToR-mesh of 6.
        assert!(longest.is_some_and(|most| most <= 100), "{longest:?}");
        assert!(plan.shortfalls().is_empty());
    }
}

#[test]
fn one_tor_with_few_rnics_does_not_make_the_matrix_sparse() {
    let mut agents = fabric(9, 32, 1);
    agents
        .retain(|agent| !agent.agent.as_str().starts_with("h0-") || agent.agent.as_str() == "h0-0");
    let plan = plan(&agents, with_paths(16), 0);
    assert_eq!(plan.matrix(), Matrix::Complete);
    let lonely = plan.pinglist(&agents[0]);
    assert_eq!(lonely.rnics[0].groups[0].targets.len(), 8 * 115);
}

#[test]
fn each_tuple_is_probed_within_the_interval_and_links_keep_their_rate() {
    let agents = rails(10, 16, 8);
    let plan = plan(&agents, with_paths(16), 0);
    let (pairs, rates) = tuples(&agents, &plan);
    for (tor, rate) in &rates {
        assert!((rate - 160.0).abs() < 1e-6, "{tor}: {rate}");
        let own = pairs.iter().filter(|((source, _), _)| source == tor);
        let count: usize = own.map(|(_, tuples)| tuples.len()).sum();
        assert!(count as f64 / rate <= 10.0, "{tor}: {count} 5-tuples");
    }
    for tuples in pairs.values() {
        assert_eq!(tuples.len(), 115, "Eq. (1)");
        assert_eq!(
            tuples
                .iter()
                .map(|(.., port)| port)
                .collect::<HashSet<_>>()
                .len(),
            115
        );
    }
}

#[test]
fn most_partners_are_of_the_own_rail_and_the_others_are_probed_too() {
    let agents = rails(30, 16, 4);
    let plan = plan(&agents, with_paths(16), 0);
    let rail = |tor: &TorId| tor.as_str().rsplit('-').next().map(str::to_owned);
    let mut of_rail = 0;
    for (tor, own) in partners(&plan, &agents) {
        let same = own.iter().filter(|other| rail(other) == rail(&tor)).count();
        assert!((6..=8).contains(&same), "{tor}: {same} of 8");
        of_rail += same;
    }
    // 6 of 8 by choice, and a quarter of the other two by chance: 780 of 960.
    assert!((730..830).contains(&of_rail), "{of_rail} of {}", 120 * 8);
}

#[test]
fn the_tor_mesh_is_bounded_and_everybody_is_probed_in_it() {
    let agents = rails(10, 16, 8);
    let plan = plan(&agents, with_paths(16), 0);
    let mut probed: HashMap<Gid, usize> = HashMap::new();
    for rnic in agents.iter().flat_map(|agent| plan.pinglist(agent).rnics) {
        let mesh = rnic
            .groups
            .iter()
            .find(|group| group.kind == GroupKind::TorMesh);
        let mesh = mesh.expect("each RNIC has a ToR-mesh");
        assert_eq!(mesh.targets.len(), MESH_PARTNERS);
        for target in &mesh.targets {
            *probed.entry(target.peer.address.gid).or_default() += 1;
        }
    }
    assert_eq!(probed.len(), 10 * 16 * 8);
    assert!(probed.values().all(|by| *by == MESH_PARTNERS));
}

#[test]
fn probers_of_an_rnic_are_those_that_list_it() {
    let agents = rails(8, 8, 4);
    let plan = plan(&agents, with_paths(16), 3);
    assert!(matches!(plan.matrix(), Matrix::Sparse { .. }));
    let mut listing: HashMap<Gid, BTreeSet<_>> = HashMap::new();
    for agent in &agents {
        for group in plan
            .pinglist(agent)
            .rnics
            .into_iter()
            .flat_map(|rnic| rnic.groups)
        {
            for target in group.targets {
                let by = listing.entry(target.peer.address.gid).or_default();
                by.insert(agent.agent.clone());
            }
        }
    }
    for target in agents.iter().flat_map(|agent| &agent.rnics) {
        let gid = target.address.gid;
        assert_eq!(plan.probers_of(&target.tor, gid), listing[&gid]);
    }
}

/// Two planes: RNIC 0 of each host under a leaf of the one, RNIC 1 of the other.
fn planes(pods: u16) -> (Vec<Announcement>, Policy) {
    let agents = rails(pods, 4, 2);
    let tors: BTreeSet<TorId> = agents
        .iter()
        .flat_map(|agent| agent.rnics.iter().map(|rnic| rnic.tor.clone()))
        .collect();
    let links = tors.iter().flat_map(|tor| {
        let plane = &tor.as_str()[tor.as_str().len() - 1..];
        (0..16).map(move |spine| Link::new(tor.as_str(), format!("spine{plane}-{spine}")))
    });
    let hosts = tors
        .iter()
        .map(|tor| HostEntry::new(format!("under-{tor}"), tor.as_str()));
    let file = File {
        links: links.collect(),
        hosts: hosts.collect(),
        switches: Vec::new(),
    };
    let policy = Policy {
        paths: Paths::PerPair {
            known: file.check().expect("a sound file").paths(),
            otherwise: 16,
        },
        ..Policy::default()
    };
    (agents, policy)
}

#[test]
fn nothing_is_probed_between_planes_nor_missed_there() {
    for pods in [3, 40] {
        let (agents, policy) = planes(pods);
        let plan = plan(&agents, policy, 0);
        assert_eq!(matches!(plan.matrix(), Matrix::Sparse { .. }), pods == 40);
        let (pairs, rates) = tuples(&agents, &plan);
        for (source, target) in pairs.keys() {
            assert_eq!(
                source.as_str().ends_with('1'),
                target.as_str().ends_with('1')
            );
        }
        assert_eq!(rates.len(), 2 * usize::from(pods), "all leaves probe");
        assert!(plan.shortfalls().is_empty(), "{:?}", plan.shortfalls());
    }
}

#[test]
fn a_tor_that_the_description_lacks_is_probed() {
    let (mut agents, policy) = planes(3);
    agents[0].rnics[0].tor = "new-leaf".into();
    let partners = partners(&plan(&agents, policy, 0), &agents);
    assert_eq!(partners[&"new-leaf".into()].len(), 6);
}

#[test]
fn one_rnic_that_joins_changes_few_lists() {
    let agents = rails(40, 16, 8);
    let (mut before, policy) = (topology(&agents[1..]), Arc::new(with_paths(16)));
    let older = PinglistPlan::new(&before, policy.clone(), WallTime::from_nanos(0));
    let mut joining = agents[0].clone();
    joining.rnics.truncate(1);
    before.insert(&joining);
    let newer = PinglistPlan::new(&before, policy, WallTime::from_nanos(0));
    let Changed::Agents(told) = newer.changed_since(&older) else {
        panic!("a sparse matrix changes in parts");
    };
    let differing: BTreeSet<_> = agents[1..]
        .iter()
        .filter(|agent| newer.pinglist(agent) != older.pinglist(agent))
        .map(|agent| agent.agent.clone())
        .collect();
    let told: BTreeSet<_> = told
        .into_iter()
        .filter(|agent| *agent != joining.agent)
        .collect();
    assert_eq!(told, differing);
    // Some 58 of its 5-tuples were others', some 58 that came to it others' targets, and its ToR has 15 other RNICs.
    assert!((30..200).contains(&told.len()), "{} of 640", told.len());
}

#[test]
fn what_cannot_be_compared_changes_all_lists() {
    let agents = rails(10, 16, 8);
    let (one, other) = (
        plan(&agents, with_paths(16), 0),
        plan(&agents, with_paths(16), 1),
    );
    assert_eq!(other.changed_since(&one), Changed::All, "another rotation");
    let small = plan(&agents[..2], with_paths(16), 0);
    assert_eq!(one.changed_since(&small), Changed::All);
    let same = plan(&agents, with_paths(16), 0);
    // Another topology object: nothing is known to be the same, yet no list differs.
    assert_eq!(same.changed_since(&one), Changed::Agents(BTreeSet::new()));
}
