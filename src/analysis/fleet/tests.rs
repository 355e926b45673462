use super::*;
use crate::analysis::incident::{Change, Severity, Tracker};
use crate::analysis::judge::{Category, Finding, Judgement};
use crate::analysis::localize::Component;

const RETENTION: Duration = Duration::from_hours(24);
/// The wall clock at the start: 2026-11-26T13:00:00Z.
const EPOCH: i64 = 1_795_698_000 * 1_000_000_000;

fn at(seconds: i64) -> Now {
    let nanos = seconds * 1_000_000_000;
    Now {
        host: HostTime::from_nanos(nanos),
        wall: WallTime::from_nanos(EPOCH + nanos),
    }
}

fn fleet() -> Fleet {
    Fleet::restored(Vec::new(), RETENTION, at(0).host)
}

/// Devices that can be used, and those that cannot with `!` before their names.
fn state(devices: &str) -> AgentState {
    let rnic = |name: &str| RnicState {
        clock: None,
        device: name.trim_start_matches('!').into(),
        closed: name.starts_with('!').then(|| "the port is down".to_owned()),
    };
    AgentState {
        rnics: devices.split_whitespace().map(rnic).collect(),
        ..AgentState::default()
    }
}

fn tell(fleet: &mut Fleet, host: &str, devices: &str, seconds: i64) {
    let agent = AgentId::new(format!("agent-{host}"));
    fleet.tell(&host.into(), &agent, &state(devices), at(seconds));
}

/// The agents of these hosts upload every second; then what is missing, by name.
fn missing(fleet: &mut Fleet, hosts: &[&str], from: i64, to: i64) -> Vec<String> {
    for second in from..=to {
        for host in hosts {
            fleet.hear(&(*host).into(), at(second).host);
        }
        fleet.step(at(second));
    }
    names(fleet)
}

fn names(fleet: &Fleet) -> Vec<String> {
    fleet.missing().iter().map(Missing::name).collect()
}

#[test]
fn an_rnic_that_is_withdrawn_is_missing_until_it_returns() {
    let mut fleet = fleet();
    tell(&mut fleet, "h", "a b", 0);
    assert!(missing(&mut fleet, &["h"], 1, 100).is_empty());
    tell(&mut fleet, "h", "a !b", 100);
    assert!(
        missing(&mut fleet, &["h"], 101, 159).is_empty(),
        "too short a time"
    );
    assert_eq!(missing(&mut fleet, &["h"], 160, 161), ["h/b"]);
    // The agent starts again and does not find it at all.
    tell(&mut fleet, "h", "a", 200);
    assert_eq!(missing(&mut fleet, &["h"], 201, 202), ["h/b"]);
    let one = &fleet.missing()[0];
    assert_eq!(one.since, at(100).wall);
    assert_eq!(one.reason, "its agent does not find it any more");
    tell(&mut fleet, "h", "a b", 300);
    assert!(names(&fleet).is_empty());
}

#[test]
fn a_restart_is_no_withdrawal_and_an_rnic_that_was_never_there_is_not_missing() {
    let mut fleet = fleet();
    tell(&mut fleet, "h", "a !unplugged", 0);
    missing(&mut fleet, &["h"], 1, 100);
    tell(&mut fleet, "h", "", 100);
    missing(&mut fleet, &["h"], 101, 130);
    tell(&mut fleet, "h", "a !unplugged", 130);
    assert!(missing(&mut fleet, &["h"], 131, 400).is_empty());
}

#[test]
fn a_host_is_gone_after_ten_minutes_and_its_rnics_are_not_named() {
    let mut fleet = fleet();
    tell(&mut fleet, "h", "a !b", 0);
    tell(&mut fleet, "h", "a b", 1);
    tell(&mut fleet, "h", "a !b", 2);
    assert_eq!(missing(&mut fleet, &["other"], 3, 599), ["h/b"]);
    assert_eq!(missing(&mut fleet, &["other"], 600, 603), ["h"]);
    assert_eq!(
        fleet.missing()[0].since,
        at(2).wall,
        "when it was heard of last"
    );
    fleet.hear(&"h".into(), at(700).host);
    assert_eq!(names(&fleet), ["h/b"]);
}

#[test]
fn what_an_operator_acknowledges_is_missing_again_when_it_goes_again() {
    let mut fleet = fleet();
    tell(&mut fleet, "h", "a b", 0);
    tell(&mut fleet, "h", "a !b", 1);
    assert_eq!(missing(&mut fleet, &["h"], 2, 100), ["h/b"]);
    let rnic = |device: &str| RnicName::new("h", device);
    let forget = |fleet: &mut Fleet, name: RnicName| fleet.forget(&name.host, Some(&name.device));
    let errors = [
        forget(&mut fleet, rnic("a"))
            .expect_err("it is there")
            .to_string(),
        forget(&mut fleet, rnic("c"))
            .expect_err("unknown")
            .to_string(),
        fleet
            .forget(&"x".into(), None)
            .expect_err("unknown")
            .to_string(),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r"
    h/a is there: only what is missing can be forgotten
    h/c is not known: nothing of this name was there and is missing
    x is not known: nothing of this name was there and is missing
    ");
    // Of a host that is there its missing RNICs are meant.
    assert_eq!(fleet.forget(&"h".into(), None), Ok(vec!["h/b".to_owned()]));
    assert!(missing(&mut fleet, &["h"], 101, 200).is_empty());
    tell(&mut fleet, "h", "a b", 201);
    tell(&mut fleet, "h", "a !b", 202);
    assert_eq!(missing(&mut fleet, &["h"], 203, 300), ["h/b"]);
    // A host that was drained need not be waited for.
    assert!(missing(&mut fleet, &[], 301, 330).contains(&"h/b".to_owned()));
    assert_eq!(fleet.forget(&"h".into(), None), Ok(vec!["h".to_owned()]));
    assert!(names(&fleet).is_empty(), "nor its RNICs");
    assert!(missing(&mut fleet, &[], 331, 2_000).is_empty());
}

#[test]
fn what_is_missing_for_too_long_is_forgotten() {
    let mut fleet = fleet();
    tell(&mut fleet, "h", "a b", 0);
    tell(&mut fleet, "h", "a !b", 1);
    assert_eq!(missing(&mut fleet, &["h"], 2, 100), ["h/b"]);
    let day = i64::try_from(RETENTION.as_secs()).expect("small");
    assert_eq!(missing(&mut fleet, &["h"], day, day), ["h/b"]);
    assert!(missing(&mut fleet, &["h"], day + 1, day + 1).is_empty());
    assert_eq!(missing(&mut fleet, &[], day + 601, day + 601), ["h"]);
    assert!(missing(&mut fleet, &[], 2 * day + 1, 2 * day + 1).is_empty());
    assert_eq!(fleet.take_changes()[&HostName::from("h")], None);
    assert_eq!(fleet.rnics, 0);
}

#[test]
fn an_agent_speaks_of_its_own_rnics_alone() {
    let mut fleet = fleet();
    let host = HostName::new("h");
    let (mine, other) = (AgentId::new("mine"), AgentId::new("other"));
    fleet.tell(&host, &mine, &state("a"), at(0));
    fleet.tell(&host, &other, &state("b"), at(0));
    // The other's words about `a` are nothing, neither that it is down nor that it is not named.
    fleet.tell(&host, &other, &state("!a b"), at(1));
    fleet.tell(&host, &mine, &state("a"), at(2));
    assert!(missing(&mut fleet, &["h"], 3, 200).is_empty());
    // An RNIC moves to the other agent.
    fleet.tell(&host, &other, &state("a b"), at(201));
    fleet.tell(&host, &mine, &state(""), at(202));
    assert!(missing(&mut fleet, &["h"], 203, 400).is_empty());
}

#[test]
fn what_was_missing_before_a_restart_is_missing_after_it() {
    let mut before = fleet();
    tell(&mut before, "h", "a b", 0);
    tell(&mut before, "gone", "a", 0);
    tell(&mut before, "restarts", "a", 0);
    tell(&mut before, "h", "a !b", 1);
    assert_eq!(
        missing(&mut before, &["h", "restarts"], 2, 700),
        ["gone", "h/b"]
    );
    missing(&mut before, &["h"], 701, 730);
    let stored = before.take_changes();
    assert!(
        before.take_changes().is_empty(),
        "each change is taken once"
    );
    let records: Vec<_> = stored.into_values().flatten().collect();
    let text = serde_json::to_string(&records).expect("JSON");
    let records: Vec<HostRecord> = serde_json::from_str(&text).expect("records");

    // The monotonic clock begins anew, the wall clock goes on.
    let mut after = Fleet::restored(records, RETENTION, at(0).host);
    assert_eq!(names(&after), ["gone", "h/b"]);
    assert_eq!(
        missing(&mut after, &["h", "restarts"], 1, 700),
        ["gone", "h/b"]
    );
    assert_eq!(
        missing(&mut after, &["h", "restarts", "gone"], 701, 702),
        ["h/b"]
    );
}

#[test]
fn what_is_known_is_bounded() {
    let mut fleet = fleet();
    fleet.rnics = MOST_RNICS - 1;
    tell(&mut fleet, "h", "a b c", 0);
    assert_eq!((fleet.rnics, fleet.unlisted()), (MOST_RNICS, 2));
    fleet.hear(&"".into(), at(0).host);
    assert_eq!(fleet.hosts.len(), 1, "an agent that does not name its host");
}

/// The findings of one run, with what is missing.
fn judged(fleet: &Fleet, mut findings: Vec<Finding>) -> Judgement {
    missing::add_to(&mut findings, &fleet.missing());
    Judgement {
        findings,
        ..Judgement::default()
    }
}

fn opened(tracker: &mut Tracker, judgement: &Judgement) -> Vec<(Severity, String)> {
    let mut opened = Vec::new();
    for run in 0..5 {
        for change in tracker.step(judgement, at(1_000 + run).wall) {
            if let Change::Opened(incident) = change {
                opened.push((incident.severity, incident.title()));
            }
        }
    }
    opened
}

#[test]
fn what_a_service_used_is_p1_and_nothing_that_is_missing_is_p0() {
    let mut fleet = fleet();
    for host in ["drained", "h", "idle"] {
        tell(&mut fleet, host, "a b", 0);
    }
    for host in ["h", "idle"] {
        tell(&mut fleet, host, "a !b", 1);
    }
    assert!(fleet.needs_services());
    let (host, device, service) = ("h".into(), "b".into(), "train".into());
    fleet.note_services(std::iter::once((&host, &device, &service)));
    assert!(!fleet.needs_services());
    missing(&mut fleet, &["h", "idle"], 2, 700);
    let judgement = judged(&fleet, Vec::new());
    let texts: Vec<_> = judgement
        .findings
        .iter()
        .flat_map(|finding| finding.evidence.clone())
        .collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    missing since 2026-11-26T13:00:00Z: none of its agents uploads
    reported until it returns; `rpingmesh forget drained` says that this is known
    missing since 2026-11-26T13:00:01Z: the port is down
    reported until it returns; `rpingmesh forget h/b` says that this is known
    missing since 2026-11-26T13:00:01Z: the port is down
    reported until it returns; `rpingmesh forget idle/b` says that this is known
    ");
    let mut tracker = Tracker::new(Vec::new(), 1, at(0).wall);
    assert_eq!(
        opened(&mut tracker, &judgement),
        [
            (Severity::P2, "host drained is gone".to_owned()),
            (Severity::P1, "RNIC h/b is withdrawn".to_owned()),
            (Severity::P2, "RNIC idle/b is withdrawn".to_owned()),
        ]
    );
}

#[test]
fn a_worse_finding_about_the_same_rnic_stands_alone_and_many_are_one_incident() {
    let mut fleet = fleet();
    for number in 0..6 {
        let host = format!("h{number}");
        tell(&mut fleet, &host, "a", 0);
        tell(&mut fleet, &host, "!a", 1);
    }
    let hosts = ["h0", "h1", "h2", "h3", "h4", "h5"];
    missing(&mut fleet, &hosts, 2, 100);
    let subject = Component::rnic(RnicName::new("h0", "a"));
    let down = Finding::of_state(subject, Category::RnicDown, 1.0);
    let mut tracker = Tracker::new(Vec::new(), 1, at(0).wall);
    let titles = opened(&mut tracker, &judged(&fleet, vec![down]));
    assert_eq!(
        titles,
        [
            (Severity::P2, "5 hosts and RNICs are missing".to_owned()),
            (Severity::P2, "RNIC h0/a is down".to_owned()),
        ]
    );
}
