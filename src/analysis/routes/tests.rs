use std::net::Ipv4Addr;

use super::*;
use crate::id::UdpSourcePort;
use crate::topology::wiring::Link;
use crate::topology::wiring::file::{File, HostEntry};

const NOW: WallTime = WallTime::from_nanos(0);

fn wiring(links: &[(&str, &str)], hosts: &[(&str, &str)]) -> Wiring {
    File {
        links: links.iter().map(|(a, b)| Link::new(*a, *b)).collect(),
        hosts: hosts
            .iter()
            .map(|(name, tor)| HostEntry::new(*name, *tor))
            .collect(),
        switches: Vec::new(),
    }
    .check()
    .expect("a topology")
}

fn text(leg: &Leg) -> String {
    let mut lines: Vec<_> = leg
        .shares
        .iter()
        .map(|(component, share)| format!("{component} {share:.2}"))
        .collect();
    lines.sort();
    format!("{:?} {} links: {}", leg.origin, leg.links, lines.join(", "))
}

const PODS: &[(&str, &str)] = &[
    ("t0", "a0"),
    ("t0", "a1"),
    ("t1", "b0"),
    ("t1", "b1"),
    ("a0", "s0"),
    ("a0", "s1"),
    ("a1", "s2"),
    ("b0", "s0"),
    ("b0", "s1"),
    ("b1", "s2"),
];

fn flow(port: u16) -> Tuple {
    Tuple {
        source: Ipv4Addr::new(10, 0, 0, 1).into(),
        target: Ipv4Addr::new(10, 1, 0, 1).into(),
        port: UdpSourcePort(port),
    }
}

#[test]
fn candidates_have_the_shares_that_even_hashing_gives() {
    let mut routes = Routes::new(Some(&wiring(PODS, &[("h0", "t0"), ("h1", "t1")])));
    let leg = routes.leg(&"t0".into(), &"t1".into(), Some(flow(50_000)));
    insta::assert_snapshot!(text(&leg), @"Candidates 4 links: link a0->s0 0.25, link a0->s1 0.25, link a1->s2 0.50, link b0->t1 0.50, link b1->t1 0.50, link s0->b0 0.25, link s1->b0 0.25, link s2->b1 0.50, link t0->a0 0.50, link t0->a1 0.50, switch a0 0.50, switch a1 0.50, switch b0 0.50, switch b1 0.50, switch s0 0.25, switch s1 0.25, switch s2 0.50");
}

#[test]
fn a_trace_is_better_than_candidates_and_these_better_than_nothing() {
    let mut routes = Routes::default();
    let (t0, t1) = (TorId::from("t0"), TorId::from("t1"));
    insta::assert_snapshot!(text(&routes.leg(&t0, &t1, Some(flow(1)))), @"Cloud 2 links: link fabric->t1 1.00, link t0->fabric 1.00");
    let path = |spine: &str| ["t0", spine, "t1"].map(str::to_owned).to_vec();
    assert!(routes.learn(flow(1), path("s0"), NOW) && routes.learn(flow(2), path("s1"), NOW));
    assert!(routes.learn(flow(2), path("s1"), NOW), "the same again");
    insta::assert_snapshot!(text(&routes.leg(&t0, &t1, Some(flow(1)))), @"Traced 2 links: link s0->t1 1.00, link t0->s0 1.00, switch s0 1.00");
    insta::assert_snapshot!(text(&routes.leg(&t0, &t1, Some(flow(3)))), @"Candidates 2 links: link s0->t1 0.50, link s1->t1 0.50, link t0->s0 0.50, link t0->s1 0.50, switch s0 0.50, switch s1 0.50");
    assert!(!routes.learn(flow(4), path("t0"), NOW), "a loop");
    assert_eq!(routes.traced(), 2);
}

#[test]
fn a_sprayed_5_tuple_crosses_each_path_by_its_share() {
    let mut routes = Routes::new(Some(&wiring(
        &[("t0", "s0"), ("t0", "s1"), ("s0", "t1"), ("s1", "t1")],
        &[("h0", "t0"), ("h1", "t1")],
    )));
    let (t0, t1) = (TorId::from("t0"), TorId::from("t1"));
    for (minute, spine) in (0..).zip(["s0", "s1", "s0", "s1"]) {
        let path = ["t0", spine, "t1"].map(str::to_owned).to_vec();
        assert!(routes.learn(flow(1), path, WallTime::from_nanos(minute)));
    }
    assert_eq!((routes.traced(), routes.sprayed()), (1, 1));
    assert_eq!(routes.traced_leg(flow(1)), None);
    insta::assert_snapshot!(text(&routes.leg(&t0, &t1, Some(flow(1)))), @"Candidates 2 links: link s0->t1 0.50, link s1->t1 0.50, link t0->s0 0.50, link t0->s1 0.50, switch s0 0.50, switch s1 0.50");
}

#[test]
fn a_trace_that_lacks_its_last_switches_is_not_taken() {
    let path = |switches: &[&str]| switches.iter().map(|name| (*name).to_owned()).collect();
    let mut unknown = Routes::default();
    assert!(!unknown.learn(flow(1), path(&["t0", "t1"]), NOW));
    assert_eq!(unknown.traced(), 0);

    let mut wired = Routes::new(Some(&wiring(PODS, &[("h0", "t0"), ("h1", "t1")])));
    // The real path has a spine and another switch of the pod before t1.
    assert!(!wired.learn(flow(1), path(&["t0", "a0", "t1"]), NOW));
    assert!(wired.learn(flow(1), path(&["t0", "a0", "s0", "b0", "t1"]), NOW));
    assert!(!wired.learn(flow(1), path(&["t0", "a0", "s0", "t1"]), NOW));
    let leg = wired.leg(&TorId::from("t0"), &TorId::from("t1"), Some(flow(1)));
    assert_eq!(
        leg.path.as_deref().map(<[_]>::len),
        Some(5),
        "what was known stays"
    );
}

#[test]
fn reports_that_differ_from_the_topology_are_listed() {
    let routes = Routes::new(Some(&wiring(PODS, &[("h0", "t0"), ("h1", "t1")])));
    let end = |host: &str, tor: &str| End {
        gid: Ipv4Addr::new(10, 0, 0, 1).into(),
        qpn: crate::id::Qpn::from_lower_bits(7),
        host: host.into(),
        tor: tor.into(),
        device: "rnic0".into(),
    };
    let ends = [
        end("h0", "t0"),
        end("h1", "t0"),
        end("h9", "t1"),
        end("h9", "t9"),
    ];
    insta::assert_snapshot!(routes.differences(ends.iter()).join("\n"), @r"
    host `h1` reports the ToR `t0`, the topology file says `t1`
    reports name the ToR `t9`, the topology file does not
    ");
}

#[test]
fn rnics_under_their_own_tors_are_no_difference() {
    let file = r#"{"links":[{"a":"l0","b":"s"},{"a":"l1","b":"s"}],
        "hosts":[{"name":"h0","rnics":[{"device":"m0","tor":"l0"},{"device":"m1","tor":"l1"},
                                       {"device":"bond","tors":["l0","l1"]}]}]}"#;
    let routes = Routes::new(Some(&Wiring::parse(file).expect("a topology")));
    let end = |device: &str, tor: &str| End {
        gid: Ipv4Addr::new(10, 0, 0, 1).into(),
        qpn: crate::id::Qpn::from_lower_bits(7),
        host: "h0".into(),
        tor: tor.into(),
        device: device.into(),
    };
    let right = [
        end("m0", "l0"),
        end("m1", "l1"),
        end("bond", "l0"),
        end("bond", "l1"),
    ];
    assert_eq!(routes.differences(right.iter()), [""; 0]);
    let wrong = [end("m0", "l1"), end("m7", "l1")];
    insta::assert_snapshot!(routes.differences(wrong.iter()).join("\n"), @r"
    RNIC `h0/m0` reports the ToR `l1`, the topology file says `l0`
    reports name the RNIC `h0/m7`, the topology file lists other ones of its host
    ");
}

#[test]
fn hops_are_remembered_by_switch_and_only_where_a_path_is() {
    let wiring = wiring(
        &[("t0", "s0"), ("t1", "s0"), ("t1", "s0"), ("t2", "s1")],
        &[("h0", "t0"), ("h1", "t1"), ("h2", "t2")],
    );
    let fabric = Fabric::new(&wiring);
    assert_eq!(fabric.distance("t0", "t1"), Some(2));
    assert_eq!(fabric.distance("t0", "t0"), Some(0));
    assert_eq!(fabric.distance("t0", "t2"), None, "no path");
    assert_eq!(fabric.distance("t0", "t9"), None, "not known");
    assert_eq!(
        fabric.next_hops("s0", "t1").into_iter().collect::<Vec<_>>(),
        [("t1", 2)]
    );
    assert!(fabric.next_hops("t0", "t2").is_empty());
    assert_eq!(fabric.leg("t0", "t2"), None);
}
