use super::*;
use crate::analysis::localize::Component;
use crate::fabric::truth::{FaultTruth, LinkTruth};
use crate::lab::verdict::{Compared, Crossing, LinkReport};

fn stats(sent: u64, lost: u64, rtts: &[i64]) -> Stats {
    let mut stats = Stats {
        counts: Counts {
            sent,
            lost,
            invalid: 0,
        },
        ..Stats::default()
    };
    for rtt in rtts {
        stats.rtts.add(Nanos(*rtt));
    }
    stats
}

fn progress() -> Progress {
    let pairs = BTreeMap::from([
        ((0, 0), stats(1_000, 0, &[3_000, 3_100])),
        ((1, 3), stats(400, 8, &[7_000, 90_000])),
        ((2, 3), stats(400, 4, &[7_000])),
    ]);
    let fault = FaultProgress {
        fault: "link spine1-tor3 loss=1%".to_owned(),
        exposed: 4_000,
        lost: 41,
    };
    let tor = |number| format!("tor{number}");
    Progress::new(Duration::from_secs(3), (60, 64), &pairs, &tor, vec![fault])
}

fn started() -> Started {
    Started {
        web: ([127, 0, 0, 1], 7_472).into(),
        metrics: None,
        hosts: 64,
        rnics: 128,
        links: 320,
        faults: vec!["link spine1-tor3 loss=1%".to_owned()],
    }
}

fn summary() -> Summary {
    let verdict = Verdict {
        fault: "link spine1-tor3 loss=1%".to_owned(),
        truth: FaultTruth {
            exposed: 4_000,
            lost: 41,
        },
        links: vec![LinkReport {
            link: "spine1->tor3".to_owned(),
            truth: LinkTruth {
                sent: 4_500,
                loss: 41,
                ..LinkTruth::default()
            },
        }],
        observed: Crossing {
            paths: 30,
            sent: 2_000,
            lost: 27,
            invalid: 1,
            rtt_p50_ns: Some(7_000),
            rtt_p99_ns: None,
        },
        compared: Compared {
            sent: 1_900,
            lost: 26,
        },
        expected_lost: 27.5,
        tolerance: 24.0,
        agrees: Check::Right,
    };
    let overall = Overall {
        sent: 10_000,
        lost: 27,
        invalid: 1,
        compared: Compared {
            sent: 9_900,
            lost: 26,
        },
        expected_lost: 27.5,
        tolerance: 24.0,
        agrees: true,
    };
    Summary {
        duration_ns: 30_000_000_000,
        hosts: 64,
        rnics: 128,
        first_results_ns: Some(1_200_000_000),
        cpu_ns: 9_000_000_000,
        agrees: Summary::all_agree(&overall, std::slice::from_ref(&verdict)),
        overall,
        packets: Totals {
            sent: 30_000,
            lost: 41,
            ..Totals::default()
        },
        faults: vec![verdict],
        services: Vec::new(),
        located: vec![LocatedJson {
            subject: Component::Link {
                from: "spine1".to_owned(),
                to: "tor3".to_owned(),
            },
            or: Vec::new(),
            category: "link_loss",
            severity: "P2",
            title: "link spine1->tor3 loses 1.0 %".to_owned(),
            confidence: 0.998,
            opened_ns: 22_300_000_000,
            closed_ns: None,
            fault: Some("link spine1->tor3 loss=1% at=10s".to_owned()),
            delay_ns: Some(12_300_000_000),
            right: Check::Right,
            explains: vec!["RNIC host3/rnic0 is down".to_owned()],
            subjects: 0,
            evidence: vec!["over the last 20 s".to_owned()],
        }],
        missed: vec![
            MissedJson {
                fault: "switch spine2 down at=10s".to_owned(),
                must_show: true,
            },
            MissedJson {
                fault: "link spine0->tor1 loss=0.01%".to_owned(),
                must_show: false,
            },
        ],
        starved_hosts: 3,
        locations_right: Check::Right,
    }
}

#[test]
fn lines_for_people() {
    let (started, progress, summary) = (started(), progress(), summary());
    let lines = [
        Line::Started(&started),
        Line::Progress(&progress),
        Line::Summary(&summary),
    ];
    insta::assert_snapshot!(lines.map(|line| line.text()).join("\n"));
}

#[test]
fn objects_for_programs() {
    let objects = [
        serde_json::to_value(Line::Started(&started())).expect("JSON"),
        serde_json::to_value(Line::Progress(&progress())).expect("JSON"),
        serde_json::to_value(Line::Summary(&summary())).expect("JSON"),
    ];
    insta::assert_json_snapshot!(objects);
}

#[test]
fn one_disagreement_is_one_too_many() {
    let mut summary = summary();
    summary.faults[0].agrees = Check::NotComparable;
    assert!(Summary::all_agree(&summary.overall, &summary.faults));
    summary.faults[0].agrees = Check::Wrong;
    assert!(!Summary::all_agree(&summary.overall, &summary.faults));
}
