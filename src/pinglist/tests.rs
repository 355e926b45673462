use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use proptest::prelude::*;

use super::coverage::tuples_for;
use super::*;
use crate::id::{QKey, Qpn, UdpSourcePort};
use crate::time::WallTime;
use crate::topology::{Announcement, Rnic, Topology};
use crate::transport::{Address, CompletionClock};

mod changes;
mod sparse;

const HOUR: i64 = 3_600_000_000_000;

fn rnic(gid: Gid, tor: &str, steering: SourcePortSteering) -> Rnic {
    Rnic {
        address: Address {
            gid,
            qpn: Qpn::from_lower_bits(0x11),
            q_key: QKey(0x1111_1111),
        },
        device: "mlx5_0".into(),
        port: 1,
        tor: tor.into(),
        gid_index: 3,
        clock: CompletionClock::HardwareWall,
        steering,
    }
}

/// One agent per host; host `h` under ToR `t` has `rails` RNICs there.
fn fabric(tors: u16, hosts: u16, rails: u8) -> Vec<Announcement> {
    let mut agents = Vec::new();
    for tor in 0..tors {
        for host in 0..hosts {
            let [high, low] = (tor * hosts + host).to_be_bytes();
            let name = format!("h{tor}-{host}");
            agents.push(Announcement {
                agent: name.as_str().into(),
                incarnation: 1,
                host: name.into(),
                version: String::new(),
                rnics: (0..rails)
                    .map(|rail| {
                        let gid = std::net::Ipv4Addr::new(10, high, low, rail).into();
                        rnic(gid, &format!("t{tor:03}"), SourcePortSteering::FlowLabel)
                    })
                    .collect(),
            });
        }
    }
    agents
}

pub(super) fn topology(agents: &[Announcement]) -> Topology {
    let mut topology = Topology::default();
    for agent in agents {
        topology.insert(agent);
    }
    topology
}

fn plan(agents: &[Announcement], policy: Policy, hours: i64) -> PinglistPlan {
    PinglistPlan::new(
        &topology(agents),
        Arc::new(policy),
        WallTime::from_nanos(hours * HOUR),
    )
}

fn with_paths(paths: u32) -> Policy {
    Policy {
        paths: Paths::Uniform(paths),
        ..Policy::default()
    }
}

type Tuple = (Gid, Gid, UdpSourcePort);
type ByPair = BTreeMap<(TorId, TorId), Vec<Tuple>>;

/// All inter-ToR 5-tuples by ordered pair of ToRs, and the rate of each source ToR.
fn tuples(agents: &[Announcement], plan: &PinglistPlan) -> (ByPair, BTreeMap<TorId, f64>) {
    let mut pairs = ByPair::new();
    let mut rates = BTreeMap::new();
    for agent in agents {
        let list = plan.pinglist(agent);
        for (rnic, own) in list.rnics.iter().zip(&agent.rnics) {
            for group in rnic
                .groups
                .iter()
                .filter(|group| group.kind == GroupKind::InterTor)
            {
                *rates.entry(own.tor.clone()).or_insert(0.0) += group.probes_per_second;
                for target in &group.targets {
                    let pair = (own.tor.clone(), target.peer.tor.clone());
                    let port = target.flow_label.source_port();
                    pairs.entry(pair).or_default().push((
                        rnic.source,
                        target.peer.address.gid,
                        port,
                    ));
                }
            }
        }
    }
    (pairs, rates)
}

fn render(list: &Pinglist) -> String {
    let mut text = String::new();
    for rnic in &list.rnics {
        for group in &rnic.groups {
            let _ = writeln!(
                text,
                "{} {:?} {:.3}/s",
                rnic.source, group.kind, group.probes_per_second
            );
            for target in &group.targets {
                let _ = writeln!(
                    text,
                    "  {} {} {} port {}",
                    target.peer.tor,
                    target.peer.host,
                    target.peer.address,
                    target.flow_label.source_port()
                );
            }
        }
    }
    for s in &list.shortfalls {
        let _ = writeln!(
            text,
            "short {} -> {}: {:?}, {} of {} tuples for {} paths, coverage {:.3}",
            s.source, s.target, s.limit, s.tuples, s.wanted_tuples, s.paths, s.coverage
        );
    }
    text
}

#[test]
fn small_topology() {
    let agents = fabric(2, 2, 1);
    let plan = plan(&agents, with_paths(2), 0);
    insta::assert_snapshot!(render(&plan.pinglist(&agents[0])), @r"
    10.0.0.0 TorMesh 10.000/s
      t000 h0-1 10.0.1.0%0x000011 port 64142
    10.0.0.0 InterTor 10.000/s
      t001 h1-1 10.0.3.0%0x000011 port 52838
      t001 h1-0 10.0.2.0%0x000011 port 53119
      t001 h1-1 10.0.3.0%0x000011 port 54149
      t001 h1-0 10.0.2.0%0x000011 port 57458
    ");
}

#[test]
fn one_tor_has_no_inter_tor_list_and_one_rnic_has_no_list() {
    let agents = fabric(1, 3, 1);
    let list = plan(&agents, Policy::default(), 0).pinglist(&agents[0]);
    assert_eq!(list.rnics[0].groups.len(), 1);
    assert_eq!(list.rnics[0].groups[0].targets.len(), 2);
    let agents = fabric(1, 1, 1);
    let list = plan(&agents, Policy::default(), 0).pinglist(&agents[0]);
    assert!(list.rnics[0].groups.is_empty() && list.shortfalls.is_empty());
}

#[test]
fn every_pair_has_the_tuples_of_equation_1_spread_over_the_rnics() {
    let agents = fabric(3, 4, 2);
    let plan = plan(&agents, with_paths(16), 5);
    let (pairs, rates) = tuples(&agents, &plan);
    assert_eq!(pairs.len(), 6);
    for tuples in pairs.values() {
        assert_eq!(tuples.len(), 115);
        let ports: HashSet<_> = tuples.iter().map(|(_, _, port)| port).collect();
        assert_eq!(ports.len(), 115, "distinct UDP source ports");
        for gid in [0, 1].map(|end| {
            tuples
                .iter()
                .map(|tuple| if end == 0 { tuple.0 } else { tuple.1 })
                .fold(BTreeMap::<_, u32>::new(), |mut counts, gid| {
                    *counts.entry(gid).or_default() += 1;
                    counts
                })
        }) {
            assert_eq!(gid.len(), 8, "all RNICs take part");
            assert!(
                gid.values().all(|count| (13..=16).contains(count)),
                "{gid:?}"
            );
        }
    }
    for rate in rates.values() {
        assert!(
            (rate - 160.0).abs() < 1e-6,
            "10 per second on each of 16 links: {rate}"
        );
    }
    assert!(plan.shortfalls().is_empty());
}

#[test]
fn budget_that_cannot_reach_the_coverage_is_reported() {
    let agents = fabric(3, 1, 1);
    let policy = Policy {
        max_tuples: 128,
        ..with_paths(16)
    };
    let plan = plan(&agents, policy, 0);
    let (pairs, _) = tuples(&agents, &plan);
    assert!(pairs.values().all(|tuples| tuples.len() == 64));
    let short = plan.shortfalls();
    assert_eq!(short.len(), 6);
    assert_eq!(short[0].limit, Limit::Tuples);
    assert_eq!((short[0].tuples, short[0].wanted_tuples), (64, 115));
    assert!((short[0].coverage - 0.765).abs() < 0.001);
    assert_eq!(
        plan.pinglist(&agents[0]).shortfalls.len(),
        2,
        "the agent's own pairs"
    );
    // One RNIC cannot send 160 probes per second either.
    assert_eq!(plan.slow_tors().count(), 3);
    assert!(
        plan.slow_tors()
            .all(|(_, rate)| (rate - 10.0 * 90.0 / 160.0).abs() < 1e-9)
    );
}

#[test]
fn rate_that_cannot_send_all_tuples_between_rotations_is_reported() {
    let agents = fabric(2, 1, 1);
    let policy = Policy {
        rnic_budget: 10.0102,
        ..with_paths(16)
    };
    let short = plan(&agents, policy, 0).shortfalls();
    assert_eq!(short[0].limit, Limit::Rate);
    assert_eq!(short[0].tuples, 36, "0.0102 per second for an hour");
}

#[test]
fn few_queue_pairs_are_used_as_they_are_and_reported() {
    let mut agents = fabric(2, 1, 1);
    let ports: Vec<_> = [50_000, 51_000, 52_000].map(UdpSourcePort).into();
    for agent in &mut agents {
        agent.rnics[0].steering = SourcePortSteering::QueuePair(ports.clone());
    }
    let plan = plan(&agents, with_paths(4), 0);
    let list = plan.pinglist(&agents[0]);
    let group = &list.rnics[0].groups[0];
    let used: HashSet<_> = group
        .targets
        .iter()
        .map(|target| target.flow_label.source_port())
        .collect();
    assert_eq!(used, ports.into_iter().collect());
    assert_eq!(group.targets.len(), 3);
    assert!(
        (group.probes_per_second - 40.0).abs() < 1e-9,
        "links keep their rate"
    );
    assert_eq!(list.shortfalls[0].limit, Limit::SourcePorts);
    assert_eq!(list.shortfalls[0].tuples, 3);
}

#[test]
fn address_families_do_not_mix() {
    let mut agents = fabric(2, 2, 1);
    agents[3].rnics[0].address.gid = "fd00::4".parse().expect("GID");
    let plan = plan(&agents, with_paths(2), 0);
    let lists: Vec<_> = agents.iter().map(|agent| plan.pinglist(agent)).collect();
    assert!(
        lists[3].rnics[0].groups.is_empty(),
        "nobody of its family is there"
    );
    assert!(
        lists[2].rnics[0]
            .groups
            .iter()
            .all(|group| group.kind == GroupKind::InterTor)
    );
    assert!(plan.shortfalls().is_empty());

    agents[2].rnics[0].address.gid = "fe80::3".parse().expect("GID");
    let short = self::plan(&agents, with_paths(2), 0).shortfalls();
    assert_eq!(short.len(), 2);
    assert!(
        short
            .iter()
            .all(|short| short.limit == Limit::AddressFamily)
    );
    assert!(short[0].coverage.abs() < f64::EPSILON);
}

#[test]
fn probers_of_an_rnic_are_exactly_those_that_list_it() {
    let agents = fabric(4, 3, 2);
    let plan = plan(&agents, with_paths(2), 9);
    for target in agents.iter().flat_map(|agent| &agent.rnics) {
        let gid = target.address.gid;
        let listing: std::collections::BTreeSet<_> = agents
            .iter()
            .filter(|agent| {
                plan.pinglist(agent).rnics.iter().any(|rnic| {
                    let mut groups = rnic.groups.iter();
                    groups.any(|group| group.targets.iter().any(|t| t.peer.address.gid == gid))
                })
            })
            .map(|agent| agent.agent.clone())
            .collect();
        assert_eq!(plan.probers_of(&target.tor, gid), listing);
    }
}

#[test]
fn ten_thousand_rnics_without_a_bound_on_the_interval() {
    let agents = fabric(313, 4, 8);
    let policy = Policy {
        tuple_interval: Duration::from_hours(1),
        ..with_paths(16)
    };
    let plan = plan(&agents, policy, 0);
    assert_eq!(plan.matrix(), Matrix::Complete);
    let list = plan.pinglist(&agents[17]);
    assert_eq!(list.rnics.len(), 8);
    let targets: usize = list.rnics[0]
        .groups
        .iter()
        .map(|group| group.targets.len())
        .sum();
    assert!((1000..1300).contains(&targets), "{targets}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rotation_changes_a_fifth_and_keeps_the_rest(
        seed: u64, hour in 0_i64..500_000, hosts in 1_u16..6, rails in 1_u8..4, paths in 2_u32..=32,
    ) {
        let agents = fabric(2, hosts, rails);
        let policy = Policy { seed, rnic_budget: 1e6, ..with_paths(paths) };
        let wanted = tuples_for(paths, policy.coverage) as usize;
        let mut last: Option<BTreeMap<_, Vec<Tuple>>> = None;
        for hour in hour..hour + 6 {
            let plan = plan(&agents, policy.clone(), hour);
            prop_assert!(plan.shortfalls().is_empty());
            let (pairs, _) = tuples(&agents, &plan);
            for (pair, tuples) in &pairs {
                let now: HashSet<_> = tuples.iter().collect();
                prop_assert_eq!(now.len(), wanted, "coverage holds");
                let ports: HashSet<_> = tuples.iter().map(|(_, _, port)| port).collect();
                prop_assert_eq!(ports.len(), wanted);
                if let Some(before) = last.as_ref().and_then(|last| last.get(pair)) {
                    let fresh = before.iter().filter(|tuple| !now.contains(tuple)).count();
                    let fifth = wanted as f64 / 5.0;
                    prop_assert!((fresh as f64 - fifth).abs() <= 3.0, "{} of {}", fresh, wanted);
                }
            }
            last = Some(pairs);
        }
    }

    #[test]
    fn lists_are_the_same_whatever_the_order_of_arrival(order in Just((0..8).collect::<Vec<usize>>()).prop_shuffle()) {
        let agents = fabric(2, 4, 1);
        let shuffled: Vec<_> = order.iter().map(|index| agents[*index].clone()).collect();
        let (a, b) = (plan(&agents, with_paths(8), 3), plan(&shuffled, with_paths(8), 3));
        for agent in &agents {
            prop_assert_eq!(a.pinglist(agent), b.pinglist(agent));
        }
    }
}
