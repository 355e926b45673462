//! Bounds against published values, and reports of made-up evidence.

use std::collections::BTreeSet;

use super::*;
use crate::analysis::localize::Component;
use crate::id::{Gid, RnicName};
use crate::time::{Nanos, WallTime};

fn close(value: f64, expected: f64) {
    assert!((value / expected - 1.0).abs() < 1e-3, "{value} {expected}");
}

#[test]
fn bounds_agree_with_published_values() {
    // One-sided 95 %: −ln 0.05 = 2.9957 for none of many; 4.744, 6.296 and 15.705 for 1, 2 and 9 (Poisson, Garwood 1936).
    close(upper_bound(1_000_000, 0), 2.9957e-6);
    close(upper_bound(1_000_000, 1), 4.7439e-6);
    close(upper_bound(1_000_000, 2), 6.2958e-6);
    close(upper_bound(1_000_000, 9), 15.705e-6);
    // Exact binomial: 1 of 10 (Hahn and Meeker, table A.23a).
    close(upper_bound(10, 1), 0.394_2);
    close(upper_bound(10, 0), 0.258_9);
}

#[test]
fn bounds_of_extremes_stay_between_zero_and_one() {
    for (sent, lost) in [
        (0, 0),
        (1, 1),
        (5, 9),
        (u64::MAX, 0),
        (u64::MAX, u64::MAX),
        (40_000, 20_000),
    ] {
        let bound = upper_bound(sent, lost);
        assert!((0.0..=1.0).contains(&bound), "{sent} {lost} {bound}");
        assert!(
            sent == 0 || bound * 1.0001 >= (lost as f64 / sent as f64).min(1.0),
            "{sent} {lost} {bound}"
        );
    }
    // Where the approximation begins it meets the exact bound.
    close(
        upper_bound(10_000_000, 1_001),
        upper_bound(10_000_000, 1_000) * 1.000_95,
    );
}

#[test]
fn as_many_probes_are_needed_as_reach_the_bound() {
    assert_eq!(needed(1e-5, 0), 299_572);
    for lost in [0, 1, 7] {
        let needed = needed(1e-3, lost);
        assert!(upper_bound(needed, lost) <= 1e-3);
        assert!(upper_bound(needed - 1, lost) > 1e-3);
    }
    assert_eq!(needed(0.0, 0), u64::MAX);
    assert_eq!(needed(1.0, 0), 1);
}

fn rnic(host: usize, device: usize) -> String {
    format!("h{host}/mlx5_{device}")
}

fn count(evidence: &mut Evidence, link: &LinkName, tally: Tally) {
    let known = evidence.links.entry(link.clone()).or_default();
    known.tally.add(tally);
    known.paths += 20;
}

/// Four hosts with two RNICs, `mlx5_0` under `leaf0` and `mlx5_1` under `leaf1`; both leaves under `spine0` and `spine1`. Each
/// link was crossed by `sent` probes or more.
fn fabric(sent: u64) -> Evidence {
    let mut evidence = Evidence::new(WallTime::from_nanos(0)..WallTime::from_nanos(60_000_000_000));
    evidence.covered = Nanos(60_000_000_000);
    evidence.has_file = true;
    evidence.counted.sent = sent;
    for host in 0..4 {
        for device in 0..2 {
            let tor = format!("leaf{device}");
            let known = RnicEvidence {
                gid: Some(Gid::from(std::net::Ipv4Addr::new(10, 0, host, device))),
                tor: tor.clone(),
                file_tors: vec![tor.clone()],
                first_switches: [(tor.clone(), 5)].into(),
                rtt: Level {
                    count: 100,
                    median: Nanos(4_000),
                },
                prober_delay: Level {
                    count: 100,
                    median: Nanos(20_000),
                },
                responder_delay: Level {
                    count: 100,
                    median: Nanos(15_000),
                },
                ..RnicEvidence::default()
            };
            let name = rnic(host.into(), device.into());
            evidence.rnics.insert(name.parse().expect("a name"), known);
            let up = LinkName::new(name, tor);
            count(&mut evidence, &up.reverse(), Tally { sent, lost: 0 });
            count(&mut evidence, &up, Tally { sent, lost: 0 });
        }
    }
    for leaf in ["leaf0", "leaf1"] {
        for spine in ["spine0", "spine1"] {
            let up = LinkName::new(leaf, spine);
            for link in [up.reverse(), up] {
                count(&mut evidence, &link, Tally { sent, lost: 0 });
                evidence.links.entry(link).or_default().cables = 1;
            }
        }
    }
    evidence
}

fn report(evidence: &Evidence, known: &[Fault]) -> Report {
    assess(&Assessed {
        evidence,
        loss: 1e-3,
        hosts: &BTreeSet::new(),
        known,
        unusable: &[],
    })
    .expect("counts that fit")
}

fn texts(evidence: &Evidence) -> Vec<String> {
    let faults = report(evidence, &[]).faults.into_iter();
    faults.map(|fault| fault.text).collect()
}

#[test]
fn a_healthy_fabric_is_accepted_once_there_are_enough_probes() {
    let accepted = report(&fabric(3_000), &[]);
    assert_eq!((accepted.verdict, accepted.proven), (Verdict::Accepted, 24));
    assert_eq!(accepted.faults, []);
    assert_eq!(accepted.left_ns, Some(Nanos(0)));
    let open = report(&fabric(1_000), &[]);
    assert_eq!((open.verdict, open.proven), (Verdict::Open, 0));
    // 2 995 probes are needed, 1 000 come in 60 s.
    assert_eq!(open.left_ns.map(|left| left.0 / 1_000_000_000), Some(119));
}

#[test]
fn nothing_counted_is_nothing_said() {
    let nothing = Evidence::new(WallTime::from_nanos(0)..WallTime::from_nanos(0));
    let report = report(&nothing, &[]);
    assert_eq!((report.verdict, report.left_ns), (Verdict::Open, None));
    let mut unseen = fabric(3_000);
    unseen
        .links
        .insert(LinkName::new("leaf0", "spine2"), LinkEvidence::default());
    let report = self::report(&unseen, &[]);
    assert_eq!(report.verdict, Verdict::Open);
    assert_eq!(report.links[0].state, LinkState::Unseen);
}

#[test]
fn a_gray_link_is_named_and_its_losses_no_longer_count_for_others() {
    let mut lossy = fabric(100_000);
    let gray = LinkName::new("leaf0", "spine1");
    for host in 0..4 {
        let path = [
            LinkName::new(rnic(host, 0), "leaf0"),
            gray.clone(),
            LinkName::new("spine1", "leaf1"),
            LinkName::new("leaf1", rnic((host + 1) % 4, 1)),
        ];
        let tally = Tally {
            sent: 5_000,
            lost: 40,
        };
        for link in &path {
            lossy
                .links
                .entry(link.clone())
                .or_default()
                .tally
                .add(tally);
        }
        lossy.lossy.insert(path.to_vec(), tally);
        // As many probes cross the second half of the path and are not lost.
        let other = LinkName::new("spine1", "leaf1");
        lossy.links.entry(other).or_default().tally.sent += 50_000;
    }
    lossy.links.entry(gray.clone()).or_default().tally.sent = 20_000;
    let mut progress = Progress::default();
    let question = Question {
        loss: 1e-3,
        hosts: BTreeSet::new(),
    };
    let found = progress
        .take(&lossy, &Beside::default(), &question)
        .expect("counts that fit");
    assert_eq!(found.verdict, Verdict::Faults);
    let subjects: Vec<_> = found
        .faults
        .iter()
        .flat_map(|fault| &fault.subjects)
        .collect();
    assert_eq!(subjects, ["leaf0->spine1"], "{:?}", found.faults);
    assert_eq!(progress.without, [gray.to_string()].into());
    // The next interval leaves it out; all others are proven then.
    let mut later = fabric(3_000);
    later.links.entry(gray).or_default().tally = Tally::default();
    let report = progress
        .take(&later, &Beside::default(), &question)
        .expect("counts that fit");
    assert_eq!((report.verdict, report.proven), (Verdict::Faults, 23));
    assert_eq!(report.links[0].state, LinkState::Faulty);
}

#[test]
fn swapped_cables_between_switches_are_named() {
    // The file has leaf0-spine0 twice and leaf1-spine1 twice: both leaves' second cables are exchanged.
    let mut swapped = fabric(3_000);
    for (a, b, cables) in [
        ("leaf0", "spine1", 0),
        ("leaf1", "spine0", 0),
        ("leaf0", "spine0", 2),
        ("leaf1", "spine1", 2),
    ] {
        let up = LinkName::new(a, b);
        for link in [up.reverse(), up] {
            swapped.links.entry(link).or_default().cables = cables;
        }
    }
    assert_eq!(
        texts(&swapped),
        [
            "the cables leaf0-spine0 and leaf1-spine1 of the topology file are swapped: paths go leaf0-spine1 and leaf1-spine0"
        ]
    );
}

#[test]
fn a_cable_that_no_path_crosses_and_one_that_the_file_lacks_are_named() {
    let mut unused = fabric(3_000);
    let up = LinkName::new("leaf0", "spine9");
    for link in [up.reverse(), up] {
        unused.links.entry(link).or_default().cables = 1;
    }
    assert_eq!(
        texts(&unused),
        [
            "the topology file has a cable between leaf0 and spine9; no path crosses it, though many could"
        ]
    );
    // Few paths say nothing about a cable that is not crossed.
    for link in unused.links.values_mut() {
        link.paths = link.paths.min(3);
    }
    assert_eq!(texts(&unused), [""; 0]);
    let mut unknown = fabric(3_000);
    let up = LinkName::new("leaf0", "spine1");
    for link in [up.reverse(), up] {
        unknown.links.entry(link).or_default().cables = 0;
    }
    assert_eq!(
        texts(&unknown),
        ["paths cross a link between leaf0 and spine1, which the topology file does not have"]
    );
}

fn at<'a>(evidence: &'a mut Evidence, name: &str) -> &'a mut RnicEvidence {
    let name: RnicName = name.parse().expect("a name");
    evidence.rnics.get_mut(&name).expect("an RNIC")
}

#[test]
fn rnics_in_each_others_place_are_named_by_file_by_traces_and_by_their_siblings() {
    let swap = "the cables of RNIC h2/mlx5_0 and RNIC h2/mlx5_1 are swapped: h2/mlx5_0 is under leaf1, h2/mlx5_1 under leaf0";
    let names = [("h2/mlx5_0", "leaf1"), ("h2/mlx5_1", "leaf0")];
    let mut by_traces = fabric(3_000);
    let mut by_siblings = fabric(3_000);
    for (name, found) in names {
        at(&mut by_traces, name).first_switches = [(found.to_owned(), 5)].into();
        let rnic = at(&mut by_siblings, name);
        rnic.tor = found.to_owned();
        rnic.file_tors.clear();
        rnic.first_switches.clear();
    }
    let mut by_file = by_siblings.clone();
    for (name, planned) in [("h2/mlx5_0", "leaf0"), ("h2/mlx5_1", "leaf1")] {
        at(&mut by_file, name).file_tors = vec![planned.to_owned()];
    }
    assert_eq!(texts(&by_traces), [swap]);
    assert_eq!(texts(&by_siblings), [swap]);
    assert_eq!(texts(&by_file), [swap]);
}

#[test]
fn an_rnic_alone_in_a_wrong_place_is_named() {
    let mut wrong = fabric(3_000);
    at(&mut wrong, "h1/mlx5_0").file_tors = vec!["leaf7".to_owned()];
    assert_eq!(
        texts(&wrong),
        ["RNIC h1/mlx5_0 reports the ToR leaf0, the topology file has leaf7"]
    );
    // Switches that answer with an address of the port that a packet came in by tell nothing.
    let mut addresses = fabric(3_000);
    for (at, rnic) in addresses.rnics.values_mut().enumerate() {
        rnic.first_switches = [(format!("192.0.2.{at}"), 5)].into();
    }
    assert_eq!(texts(&addresses), [""; 0]);
}

#[test]
fn slow_rnics_slow_hosts_and_odd_gids_are_named() {
    let mut slow = fabric(3_000);
    at(&mut slow, "h0/mlx5_0").rtt.median = Nanos(40_000);
    at(&mut slow, "h1/mlx5_0").responder_delay.median = Nanos(900_000);
    at(&mut slow, "h2/mlx5_0").prober_delay.median = Nanos(900_000);
    at(&mut slow, "h3/mlx5_1").gid = Some("fe80::1".parse().expect("a GID"));
    slow.missing.push("h9".to_owned());
    insta::assert_snapshot!(texts(&slow).join("\n"));
}

#[test]
fn only_what_is_asked_for_is_judged() {
    let mut wrong = fabric(3_000);
    at(&mut wrong, "h0/mlx5_0").rtt.median = Nanos(40_000);
    let hosts = BTreeSet::from(["h1".into()]);
    let report = assess(&Assessed {
        evidence: &wrong,
        loss: 1e-3,
        hosts: &hosts,
        known: &[Fault::of_incident("link_loss", &[], false, "many")],
        unusable: &[("h1/mlx5_1".parse().expect("a name"), "no GID".to_owned())],
    })
    .expect("counts that fit");
    let texts: Vec<_> = report.faults.iter().map(|fault| &*fault.text).collect();
    assert_eq!(texts, ["many", "RNIC h1/mlx5_1 cannot be used: no GID"]);
    // Two RNICs, and both leaves' cables.
    assert_eq!((report.rnics, report.links.len()), (2, 12));
}

#[test]
fn what_does_not_report_is_asked_for_by_its_name() {
    let mut fabric = fabric(3_000);
    fabric.missing = ["h1/mlx5_7", "host h2", "h3/mlx5_0"]
        .map(str::to_owned)
        .to_vec();
    let link = Component::Link {
        from: "far".to_owned(),
        to: "away".to_owned(),
    };
    let mut left_out = BTreeSet::new();
    let mut faults = |host: &str| {
        let report = assess(&Assessed {
            evidence: &fabric,
            loss: 1e-3,
            hosts: &BTreeSet::from([host.into()]),
            known: &[Fault::of_incident(
                "link_loss",
                std::slice::from_ref(&link),
                true,
                "elsewhere",
            )],
            unusable: &[("h1/mlx5_8".parse().expect("a name"), "port down".to_owned())],
        })
        .expect("counts that fit");
        left_out = report.suspects();
        report.faults.len()
    };
    assert_eq!(["h1", "h2", "h3", "h0"].map(&mut faults), [2, 1, 1, 0]);
    // A fault elsewhere is not listed for this part. Probes that crossed it do not count here.
    assert!(left_out.contains("far->away"), "{left_out:?}");
}

#[test]
fn evidence_of_two_intervals_adds_up() {
    let mut sum = fabric(1_000);
    let mut later = fabric(2_000);
    later.interval = WallTime::from_nanos(60_000_000_000)..WallTime::from_nanos(120_000_000_000);
    at(&mut later, "h0/mlx5_0").rtt = Level {
        count: 300,
        median: Nanos(8_000),
    };
    sum.add(&later);
    assert_eq!(sum.covered, Nanos(120_000_000_000));
    assert_eq!(
        sum.links[&LinkName::new("leaf0", "spine0")].tally.sent,
        3_000
    );
    assert_eq!(
        at(&mut sum, "h0/mlx5_0").rtt,
        Level {
            count: 400,
            median: Nanos(7_000)
        }
    );
}
