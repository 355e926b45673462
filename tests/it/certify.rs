//! Certifications of the emulated fabric in virtual time: what is wrong is named, what is healthy is accepted; and the command against
//! a running lab.

use std::collections::{BTreeSet, HashMap};
use std::process::Output;
use std::time::Instant;

use rpingmesh::analysis::certify::{FaultKind, LinkState, Question, Report, Verdict};
use rpingmesh::fabric::Scenario;
use rpingmesh::id::{Gid, TorId};
use rpingmesh::lab::virtual_time::certified::{Plan, certify_in_virtual_time};
use rpingmesh::topology::wiring::Wiring;
use serde_json::Value;

use crate::support::lab::Lab;
use crate::support::program::{OPERATOR, command};

const CLOS: &str = "spines = 4\ntors = 4\nhosts = 3\nrnics = 2\n";
const RAILS: &str = "spines = 4\ntors = 1\nhosts = 6\nrnics = 4\nrails = 4\n";
const PLANES: &str = "spines = 4\ntors = 2\nhosts = 3\nrnics = 2\nplanes = 2\n";

fn scenario(fabric: &str, seconds: u64, seed: u64, faults: &[String]) -> Scenario {
    Scenario::parse(&format!(
        "duration = \"{seconds}s\"\nseed = {seed}\nfaults = {faults:?}\n[fabric]\n{fabric}\
         [probing]\ntor_mesh = 10\ninter_tor = 40\ntargets = 16\n"
    ))
    .expect("a scenario")
}

fn certify(scenario: &Scenario, plan: &Plan, loss: f64) -> Report {
    let question = Question {
        loss,
        hosts: BTreeSet::new(),
    };
    certify_in_virtual_time(scenario, plan, &question).expect("it ends")
}

fn texts(report: &Report) -> Vec<&str> {
    report.faults.iter().map(|fault| &*fault.text).collect()
}

/// The wiring of the fabric as JSON, changed.
fn file_of(fabric: &str, change: impl FnOnce(&mut Value)) -> Wiring {
    let wiring = rpingmesh::lab::virtual_time::certified::file(&scenario(fabric, 10, 1, &[]))
        .expect("a file");
    let mut value = serde_json::to_value(wiring).expect("JSON");
    change(&mut value);
    Wiring::parse(&value.to_string()).expect("a file")
}

/// Seeds of the healthy runs of a fabric: `RPINGMESH_CERTIFY_RUNS` asks for more.
fn seeds() -> std::ops::Range<u64> {
    let runs = std::env::var("RPINGMESH_CERTIFY_RUNS").ok();
    1..1 + runs.and_then(|runs| runs.parse().ok()).unwrap_or(1)
}

fn is_accepted(fabric: &str) {
    for seed in seeds() {
        let report = certify(&scenario(fabric, 300, seed, &[]), &Plan::default(), 5e-3);
        assert_eq!(texts(&report), [""; 0], "seed {seed}");
        assert_eq!(
            report.verdict,
            Verdict::Accepted,
            "seed {seed}: {:?}",
            &report.links[..3]
        );
        assert_eq!(report.proven, report.links.len());
        assert!(
            report
                .links
                .iter()
                .all(|link| link.sent >= 598 && link.lost == 0)
        );
    }
}

#[test]
fn a_healthy_clos_is_accepted_without_any_fault() {
    is_accepted(CLOS);
}

#[test]
fn healthy_rails_are_accepted_without_any_fault() {
    is_accepted(RAILS);
}

#[test]
fn healthy_planes_are_accepted_without_any_fault() {
    is_accepted(PLANES);
}

/// Of a seeded fault these are right: incidents of this category about this subject, and nothing that does not touch it.
fn is_named(fabric: &str, fault: &str, category: &str, subject: &str) {
    let scenario = scenario(fabric, 60, 10, &[format!("{fault} at=15s")]);
    let report = certify(&scenario, &Plan::default(), 1e-4);
    assert_eq!(report.verdict, Verdict::Faults, "{fault}");
    let right = report.faults.iter().any(|found| {
        found.suspects.contains(subject) && found.category.as_deref() == Some(category)
    });
    assert!(right, "{fault}: {:?}", report.faults);
    let place = subject.split("->").last().expect("a name");
    for found in &report.faults {
        let touches = found.subjects.iter().any(|one| one.contains(place));
        assert!(touches, "{fault}: {:?}", texts(&report));
    }
}

/// A test for each seeded fault.
macro_rules! named {
    ($($name:ident: $fabric:expr, $fault:expr, $category:expr, $subject:expr;)*) => {$(
        #[test]
        fn $name() {
            is_named($fabric, $fault, $category, $subject);
        }
    )*};
}

named! {
    a_link_that_is_down_is_named: CLOS, "link tor1->spine2 down", "link_down", "tor1->spine2";
    a_link_that_loses_is_named: CLOS, "link spine0->tor3 loss=5%", "link_loss", "spine0->tor3";
    a_link_that_corrupts_is_named: CLOS, "link tor0->spine1 corrupt=5%", "link_loss", "tor0->spine1";
    a_cable_that_loses_both_ways_is_named: CLOS, "link tor2-spine3 loss=5%", "link_loss", "tor2->spine3";
    a_switch_that_is_down_is_named: CLOS, "switch spine1 down", "switch_down", "spine1";
    a_switch_that_loses_is_named: CLOS, "switch spine2 loss=5%", "switch_loss", "spine2";
    a_switch_with_a_blackhole_is_named: CLOS, "switch spine3 blackhole=20%", "blackhole", "spine3";
    an_rnic_that_is_down_is_named: CLOS, "rnic host4/1 down", "rnic_down", "host4/rnic1";
    an_rnic_that_loses_is_named: CLOS, "rnic host3/0 loss=10%", "rnic_loss", "host3/rnic0";
    an_rnic_that_is_slow_is_named: CLOS, "rnic host2/1 delay=200us", "rnic_slow", "host2/rnic1";
    a_host_that_is_down_is_named: CLOS, "host host7 down", "host_down", "host7";
    a_host_that_stalls_is_named: CLOS, "host host5 stall=300ms every=1s", "cpu_overload", "host5";
    a_slow_link_is_named: CLOS, "link tor1->spine0 delay=50us", "congestion", "tor1->spine0";
    a_link_with_pauses_is_named: CLOS, "link spine1->tor3 pause=40ms every=50ms", "pause_storm", "spine1->tor3";
    a_link_of_a_rail_is_named: RAILS, "link leaf0-r2->spine1 down", "link_down", "leaf0-r2->spine1";
}

#[test]
fn gray_loss_is_named_and_the_others_are_shown_without_it() {
    let scenario = scenario(CLOS, 100, 3, &["link tor1->spine2 loss=0.6%".to_owned()]);
    let report = certify(&scenario, &Plan::default(), 2e-3);
    assert_eq!(report.verdict, Verdict::Faults);
    for fault in &report.faults {
        assert!(
            fault.suspects.contains("tor1->spine2"),
            "{:?}",
            texts(&report)
        );
    }
    let state = |state| {
        report
            .links
            .iter()
            .filter(|link| link.state == state)
            .count()
    };
    assert_eq!(state(LinkState::Faulty), 1, "{:?}", texts(&report));
    assert!(report.left_out > 0);
}

#[test]
fn too_few_probes_decide_nothing() {
    let report = certify(&scenario(CLOS, 40, 1, &[]), &Plan::default(), 1e-5);
    assert_eq!((report.verdict, report.proven), (Verdict::Open, 0));
    let left = report.left_ns.expect("a time").0 / 1_000_000_000;
    // 299 572 probes at some 200 a second and link.
    assert!((600..20_000).contains(&left), "{left} s");
}

fn exchange(entries: &mut Value, a: (usize, &str), b: (usize, &str)) {
    let (x, y) = (entries[a.0][a.1].clone(), entries[b.0][b.1].clone());
    entries[a.0][a.1] = y;
    entries[b.0][b.1] = x;
}

/// The place of a cable in the file.
fn cable(file: &Value, a: &str, b: &str) -> usize {
    let links = file["links"].as_array().expect("links");
    let is_it =
        |link: &Value| (link["a"] == a && link["b"] == b) || (link["a"] == b && link["b"] == a);
    links
        .iter()
        .position(is_it)
        .unwrap_or_else(|| panic!("no {a}-{b} in {links:?}"))
}

#[test]
fn swapped_uplinks_are_named_on_a_clos_and_on_planes() {
    for (fabric, first, second) in [
        (CLOS, ("tor0", "spine0"), ("tor1", "spine1")),
        (PLANES, ("leaf0-p0", "spine0"), ("leaf1-p1", "spine2")),
    ] {
        let file = file_of(fabric, |file| {
            let (x, y) = (
                cable(file, first.0, first.1),
                cable(file, second.0, second.1),
            );
            let end = |place: usize, name: &str| {
                if file["links"][place]["a"] == name {
                    "a"
                } else {
                    "b"
                }
            };
            let (at_x, at_y) = (end(x, first.1), end(y, second.1));
            exchange(&mut file["links"], (x, at_x), (y, at_y));
        });
        let plan = Plan {
            file: Some(file),
            ..Plan::default()
        };
        let report = certify(&scenario(fabric, 40, 2, &[]), &plan, 1e-2);
        let texts = texts(&report);
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert_eq!(report.faults[0].kind, FaultKind::Swapped, "{texts:?}");
        for name in [first.0, first.1, second.0, second.1] {
            assert!(texts[0].contains(name), "{texts:?}");
        }
    }
}

#[test]
fn a_cable_that_the_file_lacks_and_one_that_is_not_there_are_named() {
    let file = file_of(CLOS, |file| {
        let place = cable(file, "tor2", "spine3");
        file["links"].as_array_mut().expect("links").remove(place);
    });
    let plan = Plan {
        file: Some(file),
        ..Plan::default()
    };
    let report = certify(&scenario(CLOS, 40, 2, &[]), &plan, 1e-2);
    assert_eq!(report.faults.len(), 1, "{:?}", texts(&report));
    assert_eq!(report.faults[0].kind, FaultKind::CableUnknown);
    assert_eq!(report.faults[0].subjects, ["tor2-spine3"]);
    // The plan has a fifth spine that is not cabled yet to one ToR.
    let file = file_of(CLOS, |file| {
        let links = file["links"].as_array_mut().expect("links");
        links.push(serde_json::json!({"a": "tor0", "b": "spine9"}));
    });
    let plan = Plan {
        file: Some(file),
        ..Plan::default()
    };
    let report = certify(&scenario(CLOS, 40, 2, &[]), &plan, 1e-2);
    assert_eq!(report.faults.len(), 1, "{:?}", texts(&report));
    assert_eq!(report.faults[0].kind, FaultKind::CableUnused);
    assert_eq!(report.faults[0].subjects, ["tor0-spine9"]);
}

fn gid(text: &str) -> Gid {
    text.parse().expect("a GID")
}

#[test]
fn swapped_rnics_are_named_where_the_plan_is_believed_and_where_lldp_says_otherwise() {
    // Device 0 and 1 of host2 are in each other's leaf, by the file: what is reported (by LLDP) is where they are.
    let file = file_of(RAILS, |file| {
        let hosts = file["hosts"].as_array_mut().expect("hosts");
        let host = hosts
            .iter_mut()
            .find(|host| host["name"] == "host2")
            .expect("host2");
        exchange(&mut host["rnics"], (0, "tor"), (1, "tor"));
    });
    let plan = Plan {
        file: Some(file),
        ..Plan::default()
    };
    let report = certify(&scenario(RAILS, 40, 2, &[]), &plan, 1e-2);
    let swapped = |report: &Report| {
        assert_eq!(report.faults.len(), 1, "{:?}", texts(report));
        assert_eq!(report.faults[0].kind, FaultKind::Swapped);
        assert_eq!(report.faults[0].subjects, ["host2/rnic0", "host2/rnic1"]);
    };
    swapped(&report);
    // The same without LLDP: agents take their ToR from a file, traces show where the cables go.
    let reported = HashMap::from([
        (gid("10.0.2.1"), TorId::new("leaf0-r1")),
        (gid("10.0.2.2"), TorId::new("leaf0-r0")),
    ]);
    let plan = Plan {
        reported,
        without_file: true,
        ..Plan::default()
    };
    let report = certify(&scenario(RAILS, 40, 2, &[]), &plan, 1e-2);
    swapped(&report);
}

#[test]
fn an_rnic_under_a_wrong_tor_and_a_host_that_is_not_there_are_named() {
    let file = file_of(CLOS, |file| {
        let hosts = file["hosts"].as_array_mut().expect("hosts");
        let host = hosts
            .iter_mut()
            .find(|host| host["name"] == "host1")
            .expect("host1");
        assert_eq!(host["tor"], "tor0");
        host["tor"] = "tor3".into();
        hosts.push(serde_json::json!({"name": "host99", "tor": "tor0"}));
    });
    let plan = Plan {
        file: Some(file),
        ..Plan::default()
    };
    let report = certify(&scenario(CLOS, 40, 2, &[]), &plan, 1e-2);
    let found: BTreeSet<_> = report
        .faults
        .iter()
        .map(|fault| (fault.kind, &*fault.subjects[0]))
        .collect();
    let expected = [
        (FaultKind::Missing, "host99"),
        (FaultKind::WrongTor, "host1/rnic0"),
        (FaultKind::WrongTor, "host1/rnic1"),
    ];
    assert_eq!(found, expected.into());
}

fn run(lab: &Lab, options: &[&str]) -> Output {
    let analyzer = format!("http://{}", lab.web);
    let arguments = [&["certify", "--analyzer", &analyzer], options].concat();
    command(OPERATOR, &arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn the_command_certifies_a_running_lab_and_goes_on_from_its_file() {
    let lab = Lab::start(&[
        "--spines",
        "2",
        "--tors",
        "2",
        "--hosts",
        "2",
        "--rnics",
        "2",
        "--duration",
        "5m",
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state.json");
    let page = folder.path().join("report.html");
    let (state, page) = (state.to_str().expect("text"), page.to_str().expect("text"));
    // Nothing is counted yet, or too little.
    let output = run(&lab, &["--for", "1s", "--every", "1s", "--state", state]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).starts_with("NOT DECIDED"),
        "{}",
        text(&output.stdout)
    );
    let begun = Instant::now();
    let options = [
        "--loss", "0.05", "--every", "2s", "--for", "150s", "--html", page, "--json",
    ];
    let output = run(&lab, &options);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(0),
        "after {:?}: {err}{out}",
        begun.elapsed()
    );
    let report: Report = serde_json::from_str(out).expect("a report");
    assert_eq!(report.verdict, Verdict::Accepted);
    assert_eq!((report.rnics, report.links.len()), (8, 24));
    assert!(
        err.contains("24 links, each to be shown to lose at most 5e-2"),
        "{err}"
    );
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("ACCEPTED") && page.contains("<svg"));
    // Another question needs another file.
    let output = run(&lab, &["--for", "1s", "--loss", "0.01", "--state", state]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("is of another certification"),
        "{}",
        text(&output.stderr)
    );
    let output = run(&lab, &["--hosts", "nobody", "--for", "1s"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("`nobody` reports nothing"),
        "{}",
        text(&output.stderr)
    );
    // A part, from its file.
    let part = [
        "--hosts", "host0", "--loss", "0.05", "--every", "2s", "--for", "150s",
    ];
    let output = run(&lab, &part);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("2 RNICs, 8 links"),
        "{}",
        text(&output.stdout)
    );
    lab.stop();
}

#[test]
fn an_analyzer_that_does_not_answer_decides_nothing() {
    let output = command(OPERATOR, &["certify", "--analyzer", "http://127.0.0.1:1"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).starts_with("error: "),
        "{}",
        text(&output.stderr)
    );
}
