//! Planes that nobody knows of: no topology file, and agents that probe across all the same.

use rpingmesh::analysis::incident::{Change, Incident};
use rpingmesh::fabric::Scenario;
use rpingmesh::lab::virtual_time::run_in_virtual_time;

/// Two planes of four leaves and two spines each; what opens, and when.
fn opened(seconds: u64, seed: u64, faults: &[&str]) -> Vec<(u64, Incident)> {
    let scenario = Scenario::parse(&format!(
        "duration = \"{seconds}s\"\nseed = {seed}\nfaults = {faults:?}\n[fabric]\nspines = 4\ntors = 4\nhosts = 2\nrnics = 2\n\
         planes = 2\n[probing]\ntor_mesh = 10\ninter_tor = 20\ntargets = 20\nacross_planes = true\n"
    ))
    .expect("a scenario");
    let outcome = run_in_virtual_time(&scenario, true).expect("the run ends");
    assert!(outcome.probes > 0);
    let events = outcome.events.into_iter();
    events
        .filter_map(|event| match event.change {
            Change::Opened(incident) => Some((event.at.as_secs(), incident)),
            Change::Updated(_) | Change::Refined(_) | Change::Closed(_) => None,
        })
        .collect()
}

#[test]
fn what_was_never_connected_is_blamed_on_nothing() {
    for seed in 1..=2 {
        let titles: Vec<_> = opened(60, seed, &[])
            .iter()
            .map(|(at, incident)| format!("{at} s: {}", incident.title()))
            .collect();
        assert_eq!(titles, [""; 0], "seed {seed}");
    }
}

#[test]
fn what_was_connected_and_breaks_is_an_incident() {
    for seed in 1..=2 {
        let faults = [
            "link spine0-leaf1-p0 down at=20s",
            "link spine1-leaf1-p0 down at=20s",
        ];
        let opened = opened(40, seed, &faults);
        assert!(!opened.is_empty(), "seed {seed}");
        for (at, incident) in opened {
            let title = incident.title();
            assert!(
                (20..=25).contains(&at),
                "seed {seed}: after {at} s: {title}"
            );
            assert!(title.contains("leaf1-p0"), "seed {seed}: {title}");
        }
    }
}
