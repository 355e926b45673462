use crate::analysis::localize::{
    Component, Diagnosis, PathObservation, Problem, Settings, localize,
};

/// ToRs with two hosts each, cabled to two spines. Each pair of hosts under different ToRs has 5-tuples over both spines;
/// `lost` says how many of 50 probes from one ToR to another over a spine are lost.
fn problem(tors: u32, known: bool, lost: impl Fn(u32, u32, u32, u32) -> u64) -> Problem {
    let mut problem = Problem::new();
    let names = |host: u32, spine: u32, target: u32| {
        vec![
            format!("h{host}"),
            format!("tor{}", host / 2),
            format!("spine{spine}"),
            format!("tor{}", target / 2),
            format!("h{target}"),
        ]
    };
    for source in 0..2 * tors {
        for target in (0..2 * tors).filter(|target| target / 2 != source / 2) {
            for port in 0..8 {
                let spine = port % 2;
                let paths = if known {
                    vec![names(source, spine, target)]
                } else {
                    vec![names(source, 0, target), names(source, 1, target)]
                };
                let observation = PathObservation {
                    paths: paths
                        .iter()
                        .map(|path| path.iter().map(String::as_str).collect())
                        .collect(),
                    sent: 50,
                    lost: lost(source / 2, spine, target / 2, port),
                };
                problem.add(&observation).expect("a valid path");
            }
        }
    }
    problem
}

fn answer(problem: &Problem) -> Diagnosis {
    localize(problem, &Settings::default())
}

fn link(from: &str, to: &str) -> Component {
    Component::Link {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

/// All that crosses a spine between two ToRs crosses one cable of each, this way or that.
#[test]
fn with_two_tors_a_dead_cable_may_be_the_switch_or_a_cable() {
    let diagnosis = answer(&problem(2, true, |_, spine, _, _| {
        50 * u64::from(spine == 1)
    }));
    let [suspect] = diagnosis.suspects.as_slice() else {
        panic!("{:?}", diagnosis.suspects);
    };
    let group = [
        Component::Switch {
            name: "spine1".to_owned(),
        },
        link("tor0", "spine1"),
        link("spine1", "tor0"),
        link("tor1", "spine1"),
        link("spine1", "tor1"),
    ];
    for component in &group {
        assert!(
            suspect.component == *component || suspect.or.contains(component),
            "{component}: {suspect:?}"
        );
    }
    assert!(suspect.confidence < 0.5, "{suspect:?}");
    assert!(suspect.group_confidence > 0.95, "{suspect:?}");
}

#[test]
fn with_more_tors_the_switch_is_certain() {
    let diagnosis = answer(&problem(4, true, |_, spine, _, _| {
        50 * u64::from(spine == 1)
    }));
    let [suspect] = diagnosis.suspects.as_slice() else {
        panic!("{:?}", diagnosis.suspects);
    };
    assert_eq!(suspect.component.to_string(), "switch spine1");
    assert!(
        suspect.or.is_empty() && suspect.confidence > 0.95,
        "{suspect:?}"
    );
}

/// Half of the 5-tuples of a ToR lose a fifth each and the others nothing: one of its two uplinks, not the ToR.
#[test]
fn without_traces_a_lossy_uplink_is_no_lossy_tor() {
    let diagnosis = answer(&problem(4, false, |from, spine, _, _| {
        10 * u64::from(from == 0 && spine == 0)
    }));
    let [suspect] = diagnosis.suspects.as_slice() else {
        panic!("{:?}", diagnosis.suspects);
    };
    for component in [link("tor0", "spine0"), link("tor0", "spine1")] {
        assert!(
            suspect.component == component || suspect.or.contains(&component),
            "{suspect:?}"
        );
    }
    assert!((suspect.loss_rate - 0.2).abs() < 0.03, "{suspect:?}");
    let [low, high] = suspect.loss_interval;
    assert!(
        low > 0.15 && low < 0.2 && high > 0.2 && high < 0.25,
        "{suspect:?}"
    );
}

/// Every eighth 5-tuple to ToR 1 takes another path than the one that was told.
#[test]
fn paths_that_are_out_of_date_convict_nobody() {
    let diagnosis = answer(&problem(4, true, |from, spine, to, port| {
        let spine = if port == 1 && to == 1 { 0 } else { spine };
        15 * u64::from(from == 0 && spine == 0)
    }));
    let [suspect] = diagnosis.suspects.as_slice() else {
        panic!("{:?}", diagnosis.suspects);
    };
    assert_eq!(suspect.component, link("tor0", "spine0"));
}

#[test]
fn what_loses_less_than_the_least_rate_is_not_named() {
    let problem = problem(4, true, |from, spine, _, _| {
        u64::from(from == 0 && spine == 0)
    });
    let settings = |least_rate| Settings {
        least_rate,
        ..Settings::default()
    };
    let named = |least_rate| localize(&problem, &settings(least_rate)).suspects.len();
    assert_eq!((named(0.01), named(0.03)), (1, 0));
}

#[test]
fn a_search_without_work_left_says_so() {
    let problem = problem(4, true, |from, _, _, _| u64::from(from == 0));
    let settings = Settings {
        most_work: 100,
        ..Settings::default()
    };
    let diagnosis = localize(&problem, &settings);
    assert!(!diagnosis.complete);
    assert!(answer(&problem).complete && answer(&problem).work > diagnosis.work);
}
