use std::collections::BTreeMap;

use super::*;
use crate::analysis::filter::Reason;
use crate::analysis::judge::SilentHost;

fn at(seconds: i64) -> WallTime {
    WallTime::from_nanos((1_800_000_000 + seconds) * 1_000_000_000)
}

fn snapshot() -> Snapshot {
    Snapshot {
        now: at(0),
        judged: Counts {
            sent: 1_000,
            lost: 0,
        },
        ..Snapshot::empty()
    }
}

/// A host that is silent for so many seconds and has lost so many of ten probes.
fn silent(number: usize, seconds: u64, lost: u64) -> SilentHost {
    SilentHost {
        host: HostName::new(format!("h{number:02}")),
        since: Duration::from_secs(seconds),
        overdue: false,
        is_announced: false,
        probes: Counts { sent: 10, lost },
    }
}

/// What the judge says of these hosts.
fn of_silent(snapshot: &Snapshot) -> Vec<Finding> {
    let finding = |silent: &SilentHost| {
        let name = silent.host.as_str().to_owned();
        let category = if silent.is_down() {
            Category::HostDown
        } else {
            Category::AgentSilent
        };
        Finding::of_state(Component::Host { name }, category, 1.0)
    };
    snapshot.silent.iter().map(finding).collect()
}

fn said(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        lines.push(format!(
            "{} {}: {} of {}",
            finding.category.name(),
            finding.subject,
            finding.probes.lost,
            finding.probes.sent
        ));
        lines.extend(finding.evidence.iter().map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

fn judged(snapshot: &Snapshot, health: &Health) -> Vec<Finding> {
    let mut findings = of_silent(snapshot);
    add_to(&mut findings, snapshot, health);
    findings
}

#[test]
fn a_healthy_monitoring_says_nothing() {
    let health = Health {
        hosts: 64,
        run: Duration::from_millis(900),
        ..Health::default()
    };
    assert_eq!(said(&judged(&snapshot(), &health)), "");
}

#[test]
fn hosts_that_fall_silent_at_once_are_the_monitorings() {
    let health = Health {
        hosts: 64,
        ..Health::default()
    };
    let all = Snapshot {
        silent: (0..50).map(|number| silent(number, 5, 10)).collect(),
        ..snapshot()
    };
    insta::assert_snapshot!(said(&judged(&all, &health)));
}

#[test]
fn few_hosts_or_hosts_that_fell_one_after_the_other_are_down() {
    let health = Health {
        hosts: 64,
        ..Health::default()
    };
    let down = |snapshot: &Snapshot| {
        let findings = judged(snapshot, &health);
        let down = |finding: &&Finding| finding.category == Category::HostDown;
        (findings.iter().filter(down).count(), findings.len())
    };
    let rack = Snapshot {
        silent: (0..8).map(|number| silent(number, 5, 10)).collect(),
        ..snapshot()
    };
    assert_eq!(down(&rack), (8, 8), "a rack of 8 among 64");
    let slowly = Snapshot {
        silent: (0..12)
            .map(|number| silent(number, 5 + 40 * number as u64, 10))
            .collect(),
        ..snapshot()
    };
    assert_eq!(down(&slowly), (12, 12), "one every 40 s");
    let answering = Snapshot {
        silent: (0..50).map(|number| silent(number, 5, 0)).collect(),
        ..snapshot()
    };
    assert_eq!(down(&answering), (0, 50), "their RNICs answer");
}

#[test]
fn blindness_is_said_of_the_fabric_or_of_tors() {
    let counts = |sent, lost| Counts { sent, lost };
    let fabric = Snapshot {
        judged: counts(70, 0),
        set_aside: BTreeMap::from([
            (Reason::ResponderStarved, counts(800, 90)),
            (Reason::AgentSilent, counts(130, 0)),
            // Says nothing about what is seen: the host is known to be down.
            (Reason::HostDown, counts(5_000, 5_000)),
        ]),
        ..snapshot()
    };
    let tor = Snapshot {
        set_aside: BTreeMap::from([(Reason::ResponderStarved, counts(90, 0))]),
        blind: vec![("tor5".into(), counts(100, 90))],
        ..snapshot()
    };
    let few = Snapshot {
        judged: counts(0, 0),
        set_aside: BTreeMap::from([(Reason::AgentSilent, counts(99, 0))]),
        ..snapshot()
    };
    let health = Health::default();
    let said = [fabric, tor, few].map(|snapshot| said(&judged(&snapshot, &health)));
    insta::assert_snapshot!(said.join("\n--\n"));
}

#[test]
fn each_trouble_of_the_analyzer_is_named() {
    let clock = |host: &str, seconds: i64, corrected| WrongClock {
        host: HostName::new(host),
        ahead: Nanos(seconds * 1_000_000_000),
        corrected,
    };
    let health = Health {
        hosts: 64,
        clocks: vec![
            clock("h1", 3_600, true),
            clock("h2", -3_600, true),
            clock("h3", 864_000, false),
        ],
        expected: 128,
        missing: (0..10).map(|number| format!("h{number}/mlx5_0")).collect(),
        evicted: 300,
        unlisted: 7,
        shortfall: Some(
            "the pinglists have 9 5-tuples, and 4 paths are kept: raise memory_limit".to_owned(),
        ),
        refused: 2,
        damaged: vec!["database a.db was damaged: it is kept as a.db.damaged-7".to_owned()],
        run: Duration::from_millis(3_200),
    };
    insta::assert_snapshot!(said(&judged(&snapshot(), &health)));
}

#[test]
fn a_rise_is_told_for_a_minute() {
    let mut rise = Rise::default();
    assert_eq!(rise.take(100, at(0)), 0, "what was before is not known");
    assert_eq!(rise.take(103, at(1)), 3);
    assert_eq!(rise.take(103, at(60)), 3);
    assert_eq!(rise.take(103, at(62)), 0);
    assert_eq!(rise.take(104, at(63)), 1);
}
