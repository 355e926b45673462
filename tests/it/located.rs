//! Faults of the emulated fabric, located in virtual time: what becomes an incident, when, and what must not.

use std::collections::BTreeSet;
use std::time::Duration;

use rpingmesh::analysis::incident::{Change, Incident};
use rpingmesh::analysis::judge::Category;
use rpingmesh::fabric::Scenario;
use rpingmesh::lab::virtual_time::{Outcome, run_in_virtual_time};

fn scenario(seconds: u64, seed: u64, faults: &[String]) -> Scenario {
    let faults: Vec<_> = faults.iter().map(|fault| format!("{fault:?}")).collect();
    Scenario::parse(&format!(
        "duration = \"{seconds}s\"\nseed = {seed}\nfaults = [{}]\n[fabric]\nspines = 4\ntors = 4\nhosts = 3\nrnics = 2\n[probing]\ntor_mesh = 10\ninter_tor = 40\ntargets = 16\n",
        faults.join(", ")
    ))
    .expect("a scenario")
}

fn run(seconds: u64, seed: u64, faults: &[&str]) -> Outcome {
    let faults: Vec<_> = faults.iter().map(|fault| (*fault).to_owned()).collect();
    run_in_virtual_time(&scenario(seconds, seed, &faults), true).expect("the run ends")
}

fn opened(outcome: &Outcome) -> Vec<(Duration, &Incident)> {
    outcome
        .events
        .iter()
        .filter_map(|event| match &event.change {
            Change::Opened(incident) => Some((event.at, incident)),
            Change::Updated(_) | Change::Refined(_) | Change::Closed(_) => None,
        })
        .collect()
}

fn lines(outcome: &Outcome) -> String {
    let lines: Vec<_> = outcome
        .events
        .iter()
        .filter_map(|event| {
            let (what, incident) = match &event.change {
                Change::Opened(incident) => ("opened", incident),
                Change::Updated(incident) => ("updated", incident),
                Change::Closed(incident) => ("closed", incident),
                // Newer figures alone are no line.
                Change::Refined(_) => return None,
            };
            Some(format!(
                "{:>4} s {what} {} [{}]",
                event.at.as_secs(),
                incident.title(),
                incident.category.name()
            ))
        })
        .collect();
    lines.join("\n")
}

/// When faults begin, in seconds: what was healthy before fills windows of 5 s thrice.
const BEGINS: u64 = 15;

/// The first incident about a fault, and that there is no other, neither before it nor soon after.
fn located(seed: u64, fault: &str, subject: &str, within: u64) {
    let outcome = run(
        BEGINS + within + 5,
        seed,
        &[&format!("{fault} at={BEGINS}s")],
    );
    let found = opened(&outcome);
    let text = lines(&outcome);
    let first = found
        .iter()
        .find(|(_, incident)| incident.subject.to_string() == subject);
    let Some((at, _)) = first else {
        panic!("{fault}, seed {seed}: {subject} is not named:\n{text}");
    };
    assert!(
        at.as_secs() <= BEGINS + within,
        "{fault}, seed {seed}:\n{text}"
    );
    assert_eq!(
        found.len(),
        1,
        "{fault}, seed {seed}: nothing else is named:\n{text}"
    );
}

/// On two fabrics each.
fn located_within(seconds: u64, fault: &str, subject: &str) {
    for seed in 1..=2 {
        located(seed, fault, subject, seconds);
    }
}

#[test]
fn a_link_that_is_down_is_located_within_five_seconds() {
    located_within(5, "link tor1->spine2 down", "link tor1->spine2");
}

#[test]
fn a_link_that_loses_half_is_located_within_five_seconds() {
    located_within(5, "link spine0->tor3 loss=50%", "link spine0->tor3");
}

#[test]
fn an_rnic_that_is_down_is_located_within_five_seconds() {
    located_within(5, "rnic host4/1 down", "RNIC host4/rnic1");
}

#[test]
fn a_switch_that_is_down_is_located_within_five_seconds() {
    located_within(5, "switch spine1 down", "switch spine1");
}

#[test]
fn a_host_that_is_down_is_located_within_five_seconds() {
    located_within(5, "host host7 down", "host host7");
}

#[test]
fn loss_of_two_per_cent_is_located_within_twenty_seconds() {
    located(1, "link tor1->spine2 loss=2%", "link tor1->spine2", 20);
}

#[test]
fn loss_of_five_per_cent_is_located_within_twenty_seconds() {
    located(1, "link spine3->tor0 loss=5%", "link spine3->tor0", 20);
}

#[test]
fn what_comes_and_goes_is_called_flapping() {
    let mut scenario = scenario(
        130,
        3,
        &["link tor1->spine2 flap=8s every=40s at=20s".to_owned()],
    );
    // Between two ToRs alone, tor1->spine2 and spine2->tor0 carry the same packets.
    scenario.fabric.tors = 3;
    scenario.fabric.hosts = 2;
    scenario.fabric.rnics = 1;
    let outcome = run_in_virtual_time(&scenario, true).expect("the run ends");
    let found = opened(&outcome);
    let subjects: BTreeSet<_> = found
        .iter()
        .map(|(_, incident)| incident.subject.to_string())
        .collect();
    assert_eq!(
        subjects,
        ["link tor1->spine2".to_owned()].into(),
        "{}",
        lines(&outcome)
    );
    let categories: Vec<_> = found
        .iter()
        .map(|(_, incident)| incident.category)
        .collect();
    let expected = [Category::LinkDown, Category::LinkDown, Category::Flapping];
    assert_eq!(categories, expected, "{}", lines(&outcome));
}

/// Stalls, restarts and changed queue pairs all over a small fabric: what is said about hosts is right, about the network
/// nothing is.
#[test]
fn host_noise_is_no_network_incident() {
    let mut faults = Vec::new();
    for (number, host) in [0, 2, 5].into_iter().enumerate() {
        let at = 20 + 15 * number;
        faults.push(format!("host host{host} restart at={at}s"));
        faults.push(format!(
            "host host{host} stall=300ms every=5s at={}s for=15s",
            at + 80
        ));
        faults.push(format!("host host{host} stall=3s at={}s", at + 160));
        faults.push(format!("host host{host} down at={}s for=12s", at + 220));
    }
    let mut scenario = scenario(420, 5, &faults);
    scenario.fabric.spines = 2;
    scenario.fabric.tors = 3;
    scenario.fabric.hosts = 2;
    scenario.fabric.rnics = 1;
    scenario.probing.inter_tor = 20.0;
    scenario.probing.targets = 8;
    let outcome = run_in_virtual_time(&scenario, true).expect("the run ends");
    let network: Vec<_> = opened(&outcome)
        .into_iter()
        .filter(|(_, incident)| incident.category.is_network())
        .collect();
    assert!(network.is_empty(), "{}", lines(&outcome));
    assert!(!outcome.set_aside.is_empty());
    // A host that is starved first and then goes down has one incident, which says so in the end.
    let down: BTreeSet<_> = outcome
        .events
        .iter()
        .map(|event| event.change.incident())
        .filter(|incident| incident.category == Category::HostDown)
        .map(|incident| incident.subject.to_string())
        .collect();
    let expected = ["host host0", "host host2", "host host5"].map(str::to_owned);
    assert_eq!(down, expected.into(), "{}", lines(&outcome));
}
