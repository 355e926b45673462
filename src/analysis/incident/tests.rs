use super::super::judge::{Counts, Finding, Horizon, Judgement, Recent};
use super::super::windows::Slot;
use super::tracker::MOST_OPEN;
use super::*;
use crate::time::WallTime;

fn at(seconds: i64) -> WallTime {
    WallTime::from_nanos((1_800_000_000 + seconds) * 1_000_000_000)
}

fn link(to: &str) -> Component {
    Component::Link {
        from: "spine1".to_owned(),
        to: to.to_owned(),
    }
}

fn rnic(name: &str) -> Component {
    Component::rnic(name.parse().expect("HOST/DEVICE"))
}

fn host(name: &str) -> Component {
    Component::Host {
        name: name.to_owned(),
    }
}

fn finding(subject: Component, category: Category, nats: f64) -> Finding {
    Finding {
        subject,
        category,
        horizon: Horizon::Middle,
        confidence: 0.99,
        nats,
        recent: None,
        both_directions: false,
        shares: Vec::new(),
        or: Vec::new(),
        share: 0.01,
        loss_interval: None,
        deciding: false,
        probes: Counts {
            sent: 1_000,
            lost: 10,
        },
        hard: false,
        services: BTreeMap::new(),
        perhaps: BTreeMap::new(),
        evidence: vec!["why".to_owned()],
    }
}

fn run(tracker: &mut Tracker, seconds: i64, findings: Vec<Finding>) -> Vec<String> {
    let judgement = Judgement {
        findings,
        ..Judgement::default()
    };
    tracker
        .step(&judgement, at(seconds))
        .iter()
        .map(|change| {
            let incident = change.incident();
            let what = match change {
                Change::Opened(_) => "opened",
                Change::Updated(_) => "updated",
                Change::Refined(_) => "refined",
                Change::Closed(_) => "closed",
            };
            format!(
                "{what} {} {}: {}",
                incident.id,
                incident.severity.name(),
                incident.title()
            )
        })
        .collect()
}

fn new() -> Tracker {
    Tracker::new(Vec::new(), 1, at(0))
}

#[test]
fn strong_evidence_opens_after_three_runs_and_absence_closes() {
    let mut tracker = new();
    let seen = || vec![finding(link("tor3"), Category::LinkLoss, 20.0)];
    assert!(run(&mut tracker, 1, seen()).is_empty());
    assert!(run(&mut tracker, 2, seen()).is_empty());
    let opened = run(&mut tracker, 3, seen());
    assert_eq!(opened, ["opened 1 P2: link spine1->tor3 loses 1.0 %"]);
    assert!(
        run(&mut tracker, 4, seen()).is_empty(),
        "nothing new to tell"
    );
    assert!(
        run(&mut tracker, 33, vec![]).is_empty(),
        "29 s are no end yet"
    );
    assert_eq!(
        run(&mut tracker, 34, vec![]),
        ["closed 1 P2: link spine1->tor3 loses 1.0 %"]
    );
    assert!(tracker.open().is_empty());
}

/// A bunch of losses that windows slide over is one observation.
#[test]
fn the_same_losses_confirm_nothing_however_often_they_are_seen() {
    let seen = |second: i64, now, short| Finding {
        hard: true,
        recent: Some(Recent::new(Slot::of(at(second)), now, short)),
        ..finding(rnic("host2/rnic0"), Category::Undecided, 20.0)
    };
    let mut tracker = new();
    for second in 1..5 {
        let again = seen(second, 4, 4);
        assert!(run(&mut tracker, second, vec![again]).is_empty());
    }
    assert!(run(&mut tracker, 5, vec![seen(5, 0, 4)]).is_empty());
    // A gap does not make them new.
    assert!(run(&mut tracker, 6, vec![]).is_empty());
    for second in 7..10 {
        let again = seen(second, 0, 4);
        assert!(run(&mut tracker, second, vec![again]).is_empty());
    }
    let others = run(&mut tracker, 10, vec![seen(10, 3, 3)]);
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(run(&mut tracker, 11, vec![seen(11, 5, 5)]).len(), 1);
}

#[test]
fn weak_evidence_needs_two_windows_that_share_no_probe() {
    let mut tracker = new();
    let seen = || vec![finding(link("tor3"), Category::LinkLoss, 3.0)];
    for second in 1..25 {
        assert!(run(&mut tracker, second, seen()).is_empty(), "{second} s");
    }
    assert_eq!(run(&mut tracker, 26, seen()).len(), 1);
    // Once in a while is chance.
    let mut tracker = new();
    for second in (1..2_000).step_by(100) {
        assert!(run(&mut tracker, second, seen()).is_empty(), "{second} s");
    }
}

/// A link is called down. Then it loses most packets, but not all of them: it is not down. After a real outage no new losses come.
#[test]
fn what_goes_on_to_lose_a_part_is_not_down() {
    let seen = |second: i64, category, lost: u64| Finding {
        hard: true,
        horizon: Horizon::Short,
        share: if category == Category::LinkDown {
            1.0
        } else {
            0.85
        },
        recent: Some(Recent::new(Slot::of(at(second)), lost, lost)),
        ..finding(link("tor3"), category, 50.0)
    };
    let lines = |loses_more: bool| {
        let mut tracker = new();
        let mut lines = Vec::new();
        for second in 1..40_i64 {
            let is_down = second < 4;
            let category = if is_down {
                Category::LinkDown
            } else {
                Category::LinkLoss
            };
            let lost = if is_down || loses_more {
                second.unsigned_abs()
            } else {
                3
            };
            for line in run(&mut tracker, second, vec![seen(second, category, lost)]) {
                lines.push(format!("{second:>2} s {line}"));
            }
        }
        lines
    };
    assert_eq!(
        lines(true),
        [
            " 2 s opened 1 P2: link spine1->tor3 is down",
            "14 s updated 1 P2: link spine1->tor3 loses 85 %",
        ]
    );
    assert_eq!(
        lines(false),
        [" 2 s opened 1 P2: link spine1->tor3 is down"]
    );
}

/// An RNIC loses packets, loses none for ten seconds, and loses packets again. That is not one long loss.
#[test]
fn what_came_back_and_goes_down_again_is_called_down() {
    let seen = |second: i64, category| Finding {
        hard: true,
        horizon: Horizon::Short,
        recent: Some(Recent::new(
            Slot::of(at(second)),
            second.unsigned_abs(),
            second.unsigned_abs(),
        )),
        ..finding(rnic("host3/rnic0"), category, 50.0)
    };
    let mut tracker = new();
    let mut lines = Vec::new();
    for second in 1..20_i64 {
        let found = match second {
            1..4 | 15.. => vec![seen(second, Category::RnicDown)],
            4 | 14 => vec![seen(second, Category::RnicLoss)],
            _ => Vec::new(),
        };
        lines.extend(run(&mut tracker, second, found));
    }
    assert_eq!(lines, ["opened 1 P2: RNIC host3/rnic0 is down"]);
}

/// The incident of a link that is down for one second in five never closes: it is the link's going down again that is counted.
#[test]
fn a_link_that_goes_down_again_and_again_flaps() {
    let lines = |back: f64| {
        let mut tracker = new();
        let mut lines = Vec::new();
        for second in 1..30 {
            let is_down = second % 5 < 2;
            let category = if is_down {
                Category::LinkDown
            } else {
                Category::LinkLoss
            };
            let seen = Finding {
                hard: true,
                share: if is_down { 1.0 } else { back },
                ..finding(link("tor3"), category, 50.0)
            };
            lines.extend(run(&mut tracker, second, vec![seen]));
        }
        lines
    };
    let flaps = lines(0.2);
    assert_eq!(
        flaps.last().map(String::as_str),
        Some("updated 1 P2: link spine1->tor3 comes and goes"),
        "{flaps:?}"
    );
    // One that loses nearly everything all the time is down.
    let down = lines(0.85);
    assert!(
        down.iter().all(|line| !line.contains("comes and goes")),
        "{down:?}"
    );
}

#[test]
fn doubt_becomes_certainty_in_the_same_incident() {
    let mut tracker = new();
    let doubt = || Finding {
        or: vec![link("tor4")],
        hard: true,
        ..finding(link("tor3"), Category::Undecided, 20.0)
    };
    run(&mut tracker, 1, vec![doubt()]);
    assert_eq!(
        run(&mut tracker, 2, vec![doubt()]),
        ["opened 1 P2: link spine1->tor3 or link spine1->tor4 loses 1.0 %"]
    );
    let certain = finding(link("tor4"), Category::LinkLoss, 20.0);
    assert_eq!(
        run(&mut tracker, 3, vec![certain]),
        ["updated 1 P2: link spine1->tor4 loses 1.0 %"]
    );
    assert!(
        run(&mut tracker, 4, vec![doubt()]).is_empty(),
        "what was certain stays so"
    );
    assert_eq!(tracker.open().len(), 1);
}

#[test]
fn the_worst_impact_stays_and_names_the_services() {
    let mut tracker = new();
    let hit = |suffers| Finding {
        hard: true,
        services: [(crate::id::ServiceName::new("train"), suffers)].into(),
        ..finding(link("tor3"), Category::LinkLoss, 20.0)
    };
    run(&mut tracker, 1, vec![hit(false)]);
    assert_eq!(
        run(&mut tracker, 2, vec![hit(false)])[0][..11],
        *"opened 1 P1"
    );
    assert_eq!(
        run(&mut tracker, 3, vec![hit(true)])[0][..12],
        *"updated 1 P0"
    );
    assert!(run(&mut tracker, 4, vec![hit(false)]).is_empty());
    assert_eq!(tracker.open()[0].severity, Severity::P0);
}

#[test]
fn a_service_whose_probes_take_other_paths_weighs_less() {
    let name = || crate::id::ServiceName::new("train");
    let hit = |services: &[bool], perhaps: &[bool]| Finding {
        hard: true,
        services: services.iter().map(|suffers| (name(), *suffers)).collect(),
        perhaps: perhaps.iter().map(|suffers| (name(), *suffers)).collect(),
        ..finding(link("tor3"), Category::LinkLoss, 20.0)
    };
    let mut tracker = new();
    let mut at = 0;
    let mut severity = |services: &[bool], perhaps: &[bool]| {
        for _ in 0..2 {
            at += 1;
            run(&mut tracker, at, vec![hit(services, perhaps)]);
        }
        let incident = &tracker.open()[0];
        (
            incident.severity,
            incident.services.len(),
            incident.perhaps.len(),
        )
    };
    assert_eq!(severity(&[], &[false]), (Severity::P2, 0, 1));
    assert_eq!(severity(&[], &[true]), (Severity::P1, 0, 1));
    // Then its own paths cross it, too. Now it is certain.
    assert_eq!(severity(&[false], &[true]), (Severity::P1, 1, 0));
    assert_eq!(severity(&[true], &[]), (Severity::P0, 1, 0));
}

#[test]
fn rnics_of_a_host_that_is_down_are_part_of_its_incident() {
    let mut tracker = new();
    let hard = |subject, category| Finding {
        hard: true,
        ..finding(subject, category, f64::INFINITY)
    };
    let dead = || hard(rnic("host3/rnic0"), Category::RnicDown);
    run(&mut tracker, 1, vec![dead()]);
    assert_eq!(run(&mut tracker, 2, vec![dead()]).len(), 1);
    let down = || hard(host("host3"), Category::HostDown);
    run(&mut tracker, 3, vec![dead(), down()]);
    let changes = run(&mut tracker, 4, vec![dead(), down()]);
    assert_eq!(
        changes,
        [
            "opened 2 P2: host host3 is down",
            "closed 1 P2: RNIC host3/rnic0 is down",
            "refined 2 P2: host host3 is down",
        ]
    );
    let open = tracker.open();
    assert_eq!(open.len(), 1);
    let explains: Vec<_> = open[0]
        .explains
        .iter()
        .map(|one| (one.title.as_str(), one.incident))
        .collect();
    assert_eq!(explains, [("RNIC host3/rnic0 is down", Some(1))]);
}

#[test]
fn an_rnic_that_loses_after_its_host_came_back_has_one_incident_of_its_own() {
    let mut tracker = new();
    let hard = |subject, category| Finding {
        hard: true,
        ..finding(subject, category, f64::INFINITY)
    };
    let dead = || hard(rnic("host3/rnic0"), Category::RnicDown);
    let down = || hard(host("host3"), Category::HostDown);
    for second in 1..3 {
        run(&mut tracker, second, vec![dead(), down()]);
    }
    assert_eq!(tracker.open().len(), 1);
    let mut changes = Vec::new();
    for second in 3..40 {
        changes.push(run(&mut tracker, second, vec![dead()]));
    }
    let quiet: Vec<String> = Vec::new();
    // For a while it is the aftermath of the host's fault.
    assert!(changes[..4].iter().all(|now| *now == quiet), "{changes:?}");
    let all: Vec<_> = changes.concat();
    assert_eq!(
        all,
        [
            "opened 2 P2: RNIC host3/rnic0 is down",
            "closed 1 P2: host host3 is down"
        ]
    );
}

#[test]
fn what_comes_and_goes_flaps() {
    let mut tracker = new();
    let mut titles = Vec::new();
    for round in 0..3 {
        for second in 1..4 {
            let seen = finding(rnic("host3/rnic0"), Category::RnicDown, 20.0);
            titles.extend(run(&mut tracker, round * 100 + second, vec![seen]));
        }
        titles.extend(run(&mut tracker, round * 100 + 50, vec![]));
    }
    assert_eq!(titles.len(), 6, "{titles:?}");
    assert_eq!(titles[4], "opened 3 P2: host3/rnic0 comes and goes");
}

#[test]
fn a_host_that_goes_down_again_and_again_is_not_the_networks() {
    let mut tracker = new();
    let mut titles = Vec::new();
    for round in 0..3 {
        for second in 1..3 {
            let seen = Finding {
                hard: true,
                ..finding(host("host3"), Category::HostDown, f64::INFINITY)
            };
            titles.extend(run(&mut tracker, round * 100 + second, vec![seen]));
        }
        if round == 2 {
            let open = tracker.open();
            assert_eq!(open[0].category, Category::HostDown);
            assert!(
                open[0]
                    .evidence
                    .iter()
                    .any(|line| line.contains("opened 3 times"))
            );
        }
        titles.extend(run(&mut tracker, round * 100 + 50, vec![]));
    }
    assert_eq!(titles[4], "opened 3 P2: host host3 is down");
}

#[test]
fn a_restart_goes_on_with_what_was_open() {
    let mut tracker = new();
    let seen = || Finding {
        hard: true,
        ..finding(link("tor3"), Category::LinkDown, 20.0)
    };
    run(&mut tracker, 1, vec![seen()]);
    run(&mut tracker, 2, vec![seen()]);
    let open: Vec<_> = tracker.open().into_iter().cloned().collect();
    let mut restarted = Tracker::new(open, 2, at(100));
    assert!(run(&mut restarted, 101, vec![seen()]).is_empty());
    assert_eq!(restarted.open()[0].opened_unix_ns, at(2).nanos());
    assert_eq!(run(&mut restarted, 200, vec![]).len(), 1);
}

#[test]
fn both_directions_of_a_cable_are_one_incident() {
    let down = |from: &str, to: &str| Finding {
        hard: true,
        ..finding(
            Component::Link {
                from: from.to_owned(),
                to: to.to_owned(),
            },
            Category::LinkDown,
            30.0,
        )
    };
    let mut tracker = Tracker::new(Vec::new(), 1, at(0));
    run(&mut tracker, 1, vec![down("tor1", "spine2")]);
    run(&mut tracker, 2, vec![down("tor1", "spine2")]);
    assert_eq!(tracker.open().len(), 1);
    for second in 3..6 {
        run(&mut tracker, second, vec![down("spine2", "tor1")]);
    }
    let open = tracker.open();
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0].both_directions);
    assert_eq!(open[0].title(), "cable tor1-spine2 is down");
    assert_eq!(open[0].subject.to_string(), "link tor1->spine2");
}

/// Each direction is seen alone before one of them is confirmed.
#[test]
fn directions_that_were_watched_apart_become_one_incident() {
    let lossy = |from: &str, to: &str| {
        let link = Component::Link {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        finding(link, Category::LinkLoss, 30.0)
    };
    let mut tracker = Tracker::new(Vec::new(), 1, at(0));
    run(&mut tracker, 1, vec![lossy("tor1", "spine2")]);
    run(&mut tracker, 2, vec![lossy("spine2", "tor1")]);
    for second in 3..6 {
        run(&mut tracker, second, vec![lossy("tor1", "spine2")]);
    }
    assert_eq!(tracker.open().len(), 1);
    for second in 6..12 {
        run(&mut tracker, second, vec![lossy("spine2", "tor1")]);
    }
    let open = tracker.open();
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0].both_directions);
}

fn silent(count: usize) -> Vec<Finding> {
    let name = |number| host(&format!("h{number:04}"));
    (0..count)
        .map(|number| finding(name(number), Category::AgentSilent, f64::INFINITY))
        .collect()
}

/// Eight thousand silent agents and a dead RNIC: two incidents, the RNIC's after two runs.
#[test]
fn silent_agents_are_one_incident_and_hide_no_network_fault() {
    let mut tracker = new();
    for second in 1..6 {
        run(&mut tracker, second, silent(8_000));
    }
    let mut changes = Vec::new();
    for second in 6..8 {
        let dead = Finding {
            hard: true,
            ..finding(rnic("h0001/mlx5_0"), Category::RnicDown, 30.0)
        };
        let all = silent(8_000).into_iter().chain([dead]).collect();
        changes.extend(run(&mut tracker, second, all));
    }
    assert_eq!(changes, ["opened 2 P2: RNIC h0001/mlx5_0 is down"]);
    let open: Vec<_> = tracker.open().iter().map(|one| one.title()).collect();
    assert_eq!(
        open,
        ["8000 agents are silent", "RNIC h0001/mlx5_0 is down"]
    );
    let group = tracker.open()[0];
    assert_eq!(group.explains.len(), MOST_EXPLAINED);
    assert_eq!(
        group.evidence[0],
        "8000 at once: h0000, h0001, h0002, h0003, h0004, h0005, h0006, h0007 and 7992 more"
    );
}

/// Single hosts come first; the group takes them over, follows their number, and ends with the last one.
#[test]
fn a_group_takes_single_incidents_over_and_lasts_until_its_last_subject_has_gone() {
    let mut tracker = new();
    let mut said = Vec::new();
    let mut steps = |seconds: std::ops::Range<i64>, count: usize| {
        for second in seconds {
            for line in run(&mut tracker, second, silent(count)) {
                said.push(format!("{second:>3} s {line}"));
            }
        }
    };
    steps(1..6, 2);
    steps(6..20, 5);
    steps(20..40, 31);
    steps(40..60, 1);
    steps(60..95, 0);
    insta::assert_snapshot!(said.join("\n"));
}

/// Links of a bad switch that the judge no longer finds are the switch's; one that it finds beside it is not.
#[test]
fn links_of_a_bad_switch_are_explained_by_it() {
    let hard = |subject, category| Finding {
        hard: true,
        ..finding(subject, category, 30.0)
    };
    let switch = || {
        let name = "spine1".to_owned();
        hard(Component::Switch { name }, Category::SwitchDown)
    };
    let gone = || hard(link("tor3"), Category::LinkDown);
    let stays = || hard(link("tor4"), Category::LinkDown);
    let mut tracker = new();
    for second in 1..3 {
        run(&mut tracker, second, vec![gone(), stays()]);
    }
    let mut changes = Vec::new();
    for second in 3..6 {
        changes.extend(run(&mut tracker, second, vec![switch(), stays()]));
    }
    assert_eq!(
        changes,
        [
            "opened 3 P2: switch spine1 is down",
            "closed 1 P2: link spine1->tor3 is down",
            "refined 3 P2: switch spine1 is down",
        ]
    );
    assert_eq!(tracker.open().len(), 2);
}

/// Room is by severity and kind, and a full table is an incident itself.
#[test]
fn a_full_table_is_said_and_keeps_no_worse_fault_out() {
    let mut tracker = new();
    let many = || {
        (0..=MOST_OPEN).map(|number| Finding {
            hard: true,
            ..finding(rnic(&format!("h{number}/mlx5_0")), Category::RnicDown, 30.0)
        })
    };
    let hit = || Finding {
        hard: true,
        services: [(crate::id::ServiceName::new("train"), true)].into(),
        ..finding(link("tor3"), Category::LinkLoss, 20.0)
    };
    for second in 1..7 {
        run(&mut tracker, second, many().chain([hit()]).collect());
    }
    let open = tracker.open();
    assert_eq!(open.len(), MOST_OPEN + 2);
    let first: Vec<_> = open
        .iter()
        .take(2)
        .map(|one| format!("{} {}", one.severity.name(), one.title()))
        .collect();
    assert_eq!(
        first,
        [
            "P0 link spine1->tor3 loses 1.0 %",
            "P1 the table of incidents is full: 1 finding waits",
        ]
    );
}

/// The one to look at first: severity, then suffering services, then those that are hit, then time.
#[test]
fn incidents_are_ranked_by_what_they_hit() {
    let hard = |subject: Component, services: &[(&str, bool)]| Finding {
        hard: true,
        services: services
            .iter()
            .map(|(name, suffers)| (crate::id::ServiceName::new(*name), *suffers))
            .collect(),
        ..finding(subject, Category::LinkDown, 30.0)
    };
    let mut tracker = new();
    for second in 1..3 {
        let seen = vec![
            hard(link("tor1"), &[]),
            hard(link("tor2"), &[("a", false)]),
            hard(link("tor3"), &[("a", true)]),
            hard(link("tor4"), &[("a", true), ("b", false)]),
            hard(link("tor5"), &[("a", true), ("b", true)]),
        ];
        run(&mut tracker, second, seen);
    }
    let order: Vec<_> = tracker.open().iter().map(|one| one.id).collect();
    assert_eq!(order, [5, 4, 3, 2, 1]);
}

#[test]
fn a_title_follows_the_longest_horizon_that_the_incident_has_filled() {
    let seen = || Finding {
        horizon: Horizon::Short,
        share: 0.17,
        loss_interval: Some([0.1, 0.28]),
        shares: vec![(Horizon::Middle, 0.05), (Horizon::Long, 0.01)],
        hard: true,
        ..finding(link("tor3"), Category::LinkLoss, 30.0)
    };
    let mut tracker = Tracker::new(Vec::new(), 1, at(0));
    let mut told = Vec::new();
    for second in 1..60 {
        told.extend(run(&mut tracker, second, vec![seen()]));
    }
    assert_eq!(
        tracker.open()[0].title(),
        "link spine1->tor3 loses 5.0 % (2.7 to 9.0 %)"
    );
    assert_eq!(told.len(), 2, "opened, and told once more: {told:?}");
}
