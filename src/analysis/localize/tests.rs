use super::files::{Topology, read_observations};
use super::*;
use crate::analysis::simulate::{FaultKind, FaultPlan, Score, Shape, SimulationPlan, World};

mod rails;

fn problem(world: &World) -> Problem {
    let mut problem = Problem::new();
    for seen in &world.observed {
        let paths = seen
            .candidates
            .clone()
            .unwrap_or_else(|| vec![seen.path.clone()]);
        let paths = paths
            .iter()
            .map(|path| path.iter().map(String::as_str).collect())
            .collect();
        problem
            .add(&PathObservation {
                paths,
                sent: seen.sent,
                lost: seen.lost,
            })
            .expect("valid");
    }
    problem
}

fn score(plan: &SimulationPlan, seeds: std::ops::Range<u64>) -> Score {
    let mut all = Score::default();
    for seed in seeds {
        let world = World::draw(plan, seed).expect("valid");
        let answer = localize(&problem(&world), &Settings::default());
        all.add(Score::of(
            &world.truth,
            answer.suspects.iter().map(|suspect| &suspect.component),
        ));
    }
    all
}

fn links(count: usize, loss: f64) -> Vec<FaultPlan> {
    vec![FaultPlan::drawn(FaultKind::Link, count, loss..=loss)]
}

fn small() -> SimulationPlan {
    SimulationPlan {
        shape: Shape::LeafSpine {
            spines: 4,
            tors: 8,
            hosts: 4,
        },
        ..SimulationPlan::default()
    }
}

#[test]
fn one_bad_link_is_named_with_its_direction() {
    let plan = SimulationPlan {
        faults: links(1, 0.01),
        ..small()
    };
    let world = World::draw(&plan, 5).expect("valid");
    let answer = localize(&problem(&world), &Settings::default());
    assert_eq!(answer.suspects.len(), 1);
    let suspect = &answer.suspects[0];
    assert_eq!(suspect.component, world.truth[0].component);
    assert!(suspect.confidence > 0.99, "{suspect:?}");
    assert!((0.005..0.02).contains(&suspect.loss_rate), "{suspect:?}");
}

/// Two faults in each window.
fn both_are_found(faults: &[&str], windows: u64) {
    for fault in faults {
        let score = score(
            &SimulationPlan {
                faults: vec![fault.parse().expect("a fault")],
                ..small()
            },
            0..windows,
        );
        assert!(
            score.right >= 2 * windows - 1 && score.wrong <= 1,
            "{fault}: {score:?}"
        );
    }
}

#[test]
fn every_kind_of_fault_is_found() {
    both_are_found(
        &[
            "link count=2 loss=1%..3%",
            "switch count=2 loss=1%..3%",
            "host count=2 loss=1%..3%",
            "link count=2 down",
        ],
        10,
    );
}

#[test]
fn two_blackholes_are_found() {
    both_are_found(&["switch count=2 blackhole=20%..40%"], 5);
}

#[test]
fn a_healthy_fabric_has_no_suspects() {
    assert_eq!(
        score(
            &SimulationPlan {
                faults: Vec::new(),
                ..small()
            },
            0..20
        )
        .wrong,
        0
    );
}

#[test]
fn nothing_observed_is_nothing_suspected() {
    assert!(
        localize(&Problem::new(), &Settings::default())
            .suspects
            .is_empty()
    );
}

/// Without traces the uplinks of one ToR look alike: the answer must name one of them and say which others it may be.
#[test]
fn candidate_paths_narrow_a_fault_down_and_say_how_far() {
    let plan = SimulationPlan {
        faults: links(1, 0.05),
        known_paths: false,
        ..small()
    };
    for seed in 0..5 {
        let world = World::draw(&plan, seed).expect("valid");
        let answer = localize(&problem(&world), &Settings::default());
        assert_eq!(answer.suspects.len(), 1, "{answer:?}");
        let suspect = &answer.suspects[0];
        let truth = &world.truth[0].component;
        assert!(
            suspect.component == *truth || suspect.or.contains(truth),
            "{truth} not in {suspect:?}"
        );
        assert!(suspect.confidence < 0.5, "{suspect:?}");
    }
}

#[test]
fn voting_names_one_or_many() {
    let plan = SimulationPlan {
        faults: links(3, 0.02),
        ..small()
    };
    let world = World::draw(&plan, 2).expect("valid");
    let problem = problem(&world);
    let first = vote::max_vote(&problem).expect("losses");
    assert_eq!(Score::of(&world.truth, [&first]).right, 1);
    let named = vote::vote_007(&problem, 0.01);
    assert!(Score::of(&world.truth, &named).right >= 2, "{named:?}");
}

#[test]
fn symptoms_are_told_apart() {
    let symptom = |fault: &str| {
        let world = World::draw(
            &SimulationPlan {
                faults: vec![fault.parse().expect("a fault")],
                ..small()
            },
            1,
        )
        .expect("valid");
        let answer = localize(&problem(&world), &Settings::default());
        answer
            .suspects
            .iter()
            .map(|suspect| suspect.symptom)
            .collect::<Vec<_>>()
    };
    assert_eq!(symptom("link loss=2%"), [Symptom::Loss]);
    assert_eq!(symptom("link down"), [Symptom::Down]);
    assert_eq!(symptom("switch down"), [Symptom::Down]);
    assert_eq!(symptom("switch blackhole=30%"), [Symptom::Blackhole]);
}

const TOPOLOGY: &str = r#"{"links":[{"a":"tor0","b":"spine0"},{"a":"tor1","b":"spine0"}],
    "hosts":[{"name":"h0","tor":"tor0"},{"name":"h1","tor":"tor1"}]}"#;

fn bad_line(line: &str) -> String {
    let topology = Topology::parse(TOPOLOGY).expect("valid");
    let good =
        r#"{"src":"h0","dst":"h1","path":["h0","tor0","spine0","tor1","h1"],"sent":10,"lost":0}"#;
    let text = format!("{good}\n\n{line}\n");
    read_observations(&topology, &text, None)
        .map(|_| ())
        .expect_err("bad")
        .to_string()
}

#[test]
fn bad_lines_are_named_with_their_number() {
    insta::assert_snapshot!([
        bad_line("{"),
        bad_line(r#"{"src":"h0","dst":"h1","sent":1,"lost":0}"#),
        bad_line(r#"{"src":"h0","dst":"h1","path":["h0","tor0","spine0","tor1","h1"],"sent":1,"lost":2}"#),
        bad_line(r#"{"src":"h0","dst":"h1","path":["h0","tor0","tor1","h1"],"sent":1,"lost":0}"#),
        bad_line(r#"{"src":"h0","dst":"h9","path":["h0","tor0","h9"],"sent":1,"lost":0}"#),
        bad_line(r#"{"src":"h1","dst":"h0","path":["h0","tor0","spine0","tor1","h1"],"sent":1,"lost":0}"#),
        bad_line(r#"{"src":"h0","dst":"h1","path":["h0","tor0","spine0","tor0","spine0","tor1","h1"],"sent":1,"lost":0}"#),
        bad_line(r#"{"src":"h0","dst":"h1","path":[],"sent":1,"lost":0}"#),
        bad_line(r#"{"src":"h0","dst":"h1","paths":[],"sent":1,"lost":0}"#),
        bad_line(r#"{"src":"h0","dst":"h1","path":["h0"],"sent":-1,"lost":0}"#),
    ].join("\n"));
}

/// Three leaves under two spines: two rails of two hosts, and two hosts whose RNICs are not listed.
const RAILS: &str = r#"{"links":[{"a":"l0","b":"s0"},{"a":"l0","b":"s1"},{"a":"l1","b":"s0"},{"a":"l1","b":"s1"},
                                 {"a":"l2","b":"s0"},{"a":"l2","b":"s1"}],
    "hosts":[{"name":"h0","rnics":[{"device":"m0","tor":"l0"},{"device":"m1","tor":"l1"}]},
             {"name":"h1","rnics":[{"device":"m0","tor":"l0"},{"device":"m1","tor":"l1"}]},
             {"name":"h2","tor":"l2"},{"name":"h3","tor":"l2"}]}"#;

/// What all RNICs observe over all pairs of spines, one way or as round trips; `lost` decides by the nodes that probe and
/// ACK cross.
fn observed(is_round_trip: bool, lost: impl Fn(&[&str], &[&str]) -> u64) -> Problem {
    let topology = Topology::parse(RAILS).expect("valid");
    let ends = [
        ("h0/m0", "l0"),
        ("h0/m1", "l1"),
        ("h1/m0", "l0"),
        ("h1/m1", "l1"),
        ("h2/m0", "l2"),
        ("h3", "l2"),
    ];
    let mut text = String::new();
    for (src, from) in ends {
        for (dst, to) in ends.iter().filter(|(dst, _)| *dst != src) {
            for (up, down) in [("s0", "s0"), ("s0", "s1"), ("s1", "s0"), ("s1", "s1")] {
                let (there, back) = if from == *to {
                    (vec![src, from, *dst], vec![*dst, from, src])
                } else {
                    (
                        vec![src, from, up, *to, *dst],
                        vec![*dst, *to, down, from, src],
                    )
                };
                let lost = lost(&there, &back);
                let mut line = serde_json::json!({
                    "src": src, "dst": dst, "path": there, "sent": 500, "lost": lost,
                });
                if is_round_trip {
                    line["back"] = serde_json::json!(back);
                }
                text.push_str(&line.to_string());
                text.push('\n');
            }
        }
    }
    read_observations(&topology, &text, None).expect("valid")
}

#[test]
fn round_trips_tell_the_directions_of_a_link_apart() {
    let crosses = |path: &[&str]| {
        u64::from(
            path.windows(2)
                .any(|pair| pair[0] == "s1" && pair[1] == "l1"),
        )
    };
    let problem = observed(true, |there, back| 50 * (crosses(there) + crosses(back)));
    let answer = localize(&problem, &Settings::default());
    let link = Component::Link {
        from: "s1".to_owned(),
        to: "l1".to_owned(),
    };
    assert_eq!(answer.suspects.len(), 1, "{answer:?}");
    assert_eq!(answer.suspects[0].component, link);
    assert!(
        (answer.suspects[0].loss_rate - 0.1).abs() < 0.02,
        "{answer:?}"
    );
}

#[test]
fn an_rnic_is_named_as_an_rnic_whatever_form_the_file_has() {
    for bad in ["h1/m1", "h2/m0"] {
        let lost = |there: &[&str], _: &[&str]| 100 * u64::from(there.contains(&bad));
        let rnic = Component::rnic(bad.parse().expect("HOST/DEVICE"));
        // All round trips of an RNIC cross both directions of its cable: they tell it from none of them.
        let answer = localize(&observed(true, lost), &Settings::default());
        let first = &answer.suspects[0];
        assert_eq!(first.or.len(), 2, "{answer:?}");
        assert!(
            first.component == rnic || first.or.contains(&rnic),
            "{answer:?}"
        );
        let answer = localize(&observed(false, lost), &Settings::default());
        assert_eq!(answer.suspects.len(), 1, "{answer:?}");
        assert_eq!(answer.suspects[0].component, rnic);
        assert!(
            (answer.suspects[0].loss_rate - 0.2).abs() < 0.02,
            "{answer:?}"
        );
    }
}

#[test]
fn candidates_of_a_bond_leave_by_both_of_its_leaves() {
    let text = RAILS.replace(
        r#""tor":"l2""#,
        r#""rnics":[{"device":"b","tors":["l2","l1"]}]"#,
    );
    let topology = Topology::parse(&text).expect("valid");
    let paths = |src: &str, dst: &str| {
        let mut paths: Vec<_> = topology
            .candidates(src, dst, 9)
            .iter()
            .map(|path| path.join(" "))
            .collect();
        paths.sort();
        paths
    };
    assert_eq!(
        paths("h2/b", "h0/m0"),
        [
            "h2/b l1 s0 l0 h0/m0",
            "h2/b l1 s1 l0 h0/m0",
            "h2/b l2 s0 l0 h0/m0",
            "h2/b l2 s1 l0 h0/m0"
        ]
    );
    assert_eq!(paths("h2/b", "h0/m1"), ["h2/b l1 h0/m1"]);
}

#[test]
fn lines_about_rnics_and_round_trips_are_checked() {
    let topology = Topology::parse(RAILS).expect("valid");
    let bad = |line: &str| {
        read_observations(&topology, line, None)
            .map(|_| ())
            .expect_err("bad")
            .to_string()
    };
    insta::assert_snapshot!([
        bad(r#"{"src":"h0","dst":"h2","path":["h0","l0","s0","l2","h2"],"sent":1,"lost":0}"#),
        bad(r#"{"src":"h0/m9","dst":"h2","path":["h0/m9","l0","s0","l2","h2"],"sent":1,"lost":0}"#),
        bad(r#"{"src":"h0/m0","dst":"h2","path":["h0/m0","l1","s0","l2","h2"],"sent":1,"lost":0}"#),
        bad(r#"{"src":"h0/m0","dst":"h2","path":["h0/m0","l0","s0","l2","h2"],"back":["h0/m0","l0","s0","l2","h2"],"sent":1,"lost":0}"#),
        bad(r#"{"src":"h0/m0","dst":"h2","path":["h0/m0","l0","s0","l2","h2"],"backs":[],"sent":1,"lost":0}"#),
        bad(r#"{"src":"h0/m0","dst":"h2","path":["h0/m0","l0","s0","l2","h2"],"back":["h2","l2","s0","l0","h0/m0"],"backs":[],"sent":1,"lost":0}"#),
    ].join("\n"));
}

#[test]
fn impossible_topologies_are_named() {
    let bad = |text: &str| {
        Topology::parse(text)
            .map(|_| ())
            .expect_err("bad")
            .to_string()
    };
    insta::assert_snapshot!(
        [
            bad(r#"{"links":[{"a":"x","b":"x"}],"hosts":[]}"#),
            bad(r#"{"links":[],"hosts":[{"name":"h0","tor":"t0"},{"name":"h0","tor":"t1"}]}"#),
            bad(r#"{"links":[],"hosts":[{"name":"h0","tor":"h1"},{"name":"h1","tor":"t1"}]}"#),
            bad(r#"{"cables":[]}"#),
        ]
        .join("\n")
    );
}

/// Two RNICs under one ToR: all of the ToR's paths lose probes, and only those from elsewhere tell which of the two is bad.
#[test]
fn round_trips_given_as_shares_tell_two_rnics_apart() {
    let mut problem = Problem::new();
    let mut host = |name: &str| {
        let name = name.to_owned();
        problem.intern(Component::Host { name }).expect("room")
    };
    let (bad, good, far) = (host("bad"), host("good"), host("far"));
    let mut add = |shares: &[_], lost| problem.add_shares(shares, 4.0, 100, lost).expect("valid");
    add(&[(bad, 1.0), (good, 1.0)], 30);
    add(&[(bad, 1.0), (far, 1.0)], 30);
    add(&[(good, 1.0), (far, 1.0)], 0);
    let answer = localize(&problem, &Settings::default());
    let named: Vec<_> = answer
        .suspects
        .iter()
        .map(|s| s.component.to_string())
        .collect();
    assert_eq!(named, ["host bad"]);
    assert_eq!(
        problem.add_shares(&[(bad, 1.0)], 1.0, 1, 2),
        Err(ProblemError::LostMoreThanSent { lost: 2, sent: 1 })
    );
    assert_eq!(
        problem.add_shares(&[], 1.0, 1, 0),
        Err(ProblemError::NoPath)
    );
}

/// Late packets instead of lost ones: the counts mean something else, the search is the same.
#[test]
fn a_slow_link_is_found_like_a_lossy_one() {
    let plan = SimulationPlan {
        faults: links(1, 0.3),
        ..small()
    };
    let world = World::draw(&plan, 4).expect("valid");
    let mut slow = Problem::of(Signal::Slow);
    for seen in &world.observed {
        let path = seen.path.iter().map(String::as_str).collect();
        slow.add(&PathObservation {
            paths: vec![path],
            sent: seen.sent,
            lost: seen.lost,
        })
        .expect("valid");
    }
    let answer = localize(&slow, &Settings::default());
    assert_eq!(answer.suspects.len(), 1, "{answer:?}");
    assert_eq!(answer.suspects[0].component, world.truth[0].component);
    assert_eq!(answer.suspects[0].symptom, Symptom::Slow);
    let told = answer::Answer::new(&slow, answer).to_string();
    assert!(told.contains("delays"), "{told}");
}

#[test]
fn candidates_are_all_shortest_paths_through_switches() {
    let fabric = crate::analysis::simulate::Fabric::new(Shape::FatTree { k: 4 }).expect("valid");
    let topology = Topology::new(fabric.topology().check().expect("valid"));
    assert_eq!((topology.hosts(), topology.cables()), (16, 48));
    for (src, dst) in [(0, 1), (0, 2), (0, 15), (9, 4)] {
        let (from, to) = (format!("h{src}"), format!("h{dst}"));
        let mut found = topology.candidates(&from, &to, 100);
        found.sort_unstable();
        let mut expected: Vec<Vec<String>> = (0..fabric.path_count(src, dst))
            .map(|choice| fabric.path(src, dst, choice))
            .collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
    assert_eq!(topology.candidates("h0", "h15", 3).len(), 3);
    assert!(topology.candidates("h0", "h0", 9).is_empty());
    assert!(topology.candidates("h0", "nobody", 9).is_empty());
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever the faults: probabilities are probabilities, nobody is named twice, and what is said to be
        /// explained was lost.
        #[test]
        fn answers_are_sane(
            seed in 0_u64..1000,
            kind in prop::sample::select(vec![
                "link loss", "switch loss", "host loss", "switch blackhole", "link blackhole",
            ]),
            count in 0_usize..4,
            loss in prop::sample::select(vec![0.001, 0.01, 0.1, 0.5, 1.0]),
            known_paths: bool,
        ) {
            let plan = SimulationPlan {
                shape: Shape::LeafSpine { spines: 3, tors: 4, hosts: 2 },
                faults: vec![format!("{kind}={loss} count={count}").parse().expect("a fault")],
                tuples_per_host: 30,
                known_paths,
                ..SimulationPlan::default()
            };
            let problem = problem(&World::draw(&plan, seed).expect("valid"));
            let answer = localize(&problem, &Settings::default());
            let lost = problem.lost() as f64;
            for (index, suspect) in answer.suspects.iter().enumerate() {
                prop_assert!((0.0..=1.0).contains(&suspect.confidence), "{suspect:?}");
                prop_assert!((0.0..=1.0).contains(&suspect.loss_rate), "{suspect:?}");
                prop_assert!(suspect.explains_lost >= 0.0 && suspect.explains_lost <= lost * 1.001);
                prop_assert!(!suspect.or.contains(&suspect.component));
                let again = answer.suspects[..index]
                    .iter()
                    .any(|other| other.component == suspect.component && other.trials == suspect.trials);
                prop_assert!(!again, "{suspect:?} named twice");
            }
            let written = serde_json::to_string(&answer).expect("JSON");
            let read: Diagnosis = serde_json::from_str(&written).expect("reads its own answer");
            prop_assert_eq!(read.suspects.len(), answer.suspects.len());
        }

        /// Any text is read or refused; what is refused names the line.
        #[test]
        fn any_observations_are_read_or_refused(text in "[ -~\n]{0,200}") {
            let topology = Topology::parse(TOPOLOGY).expect("valid");
            if let Err(error) = read_observations(&topology, &text, None) {
                prop_assert!(error.to_string().starts_with("observations"), "{error}");
            }
        }

        /// A line made of the topology's names, right or wrong, never breaks anything, and counts add up.
        #[test]
        fn lines_of_known_names_are_counted(
            path in prop::collection::vec(prop::sample::select(vec!["h0", "h1", "tor0", "tor1", "spine0"]), 0..7),
            sent: u64,
            lost: u64,
        ) {
            let topology = Topology::parse(TOPOLOGY).expect("valid");
            let line = serde_json::json!({
                "src": path.first().unwrap_or(&"h0"), "dst": path.last().unwrap_or(&"h1"),
                "path": path, "sent": sent, "lost": lost,
            });
            match read_observations(&topology, &line.to_string(), None) {
                Ok(problem) => {
                    prop_assert!(lost <= sent);
                    prop_assert_eq!((problem.sent(), problem.lost()), (sent, lost));
                    localize(&problem, &Settings::default());
                }
                Err(error) => prop_assert!(error.to_string().contains("line 1"), "{error}"),
            }
        }
    }
}
