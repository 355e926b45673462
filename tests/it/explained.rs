//! What an operator reads about the scenarios of `tests/scenarios`: every incident with its explanation, in virtual time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use rpingmesh::analysis::incident::{Change, Incident};
use rpingmesh::config::HumanDuration;
use rpingmesh::fabric::Scenario;
use rpingmesh::lab::virtual_time::run_in_virtual_time;

/// The scenarios last too short to say much about mild faults; their faults begin after 5 s at the latest.
const AT_LEAST: Duration = Duration::from_secs(40);

fn told(name: &str) -> (String, BTreeMap<u64, Incident>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let path = match name {
        // Nothing is lost there: only what is said about it tells.
        "ecmp_polarised" => folder.join("explained/ecmp_polarised.toml"),
        _ => folder.join(format!("{name}.toml")),
    };
    let mut scenario = Scenario::load(&path).expect("a scenario");
    scenario.duration = HumanDuration(scenario.duration.0.max(AT_LEAST));
    let outcome = run_in_virtual_time(&scenario, true).expect("the run ends");
    let mut text = format!("{}\n\n", scenario.title);
    for fault in &scenario.faults {
        let _ = writeln!(text, "injected: {fault}");
    }
    let mut incidents = BTreeMap::new();
    for event in &outcome.events {
        let (what, incident) = match &event.change {
            Change::Opened(incident) => ("opened ", incident),
            Change::Updated(incident) => ("changed", incident),
            Change::Closed(incident) => ("closed ", incident),
            // Newer figures alone are no line.
            Change::Refined(incident) => {
                incidents.insert(incident.id, incident.clone());
                continue;
            }
        };
        let _ = writeln!(
            text,
            "{:>3} s {what} {}: {}",
            event.at.as_secs(),
            incident.id,
            incident.title()
        );
        incidents.insert(incident.id, incident.clone());
    }
    if incidents.is_empty() {
        text.push_str("no incident\n");
    }
    for incident in incidents.values() {
        let _ = writeln!(
            text,
            "\n{} {} {}, confidence {:.3}",
            incident.id,
            incident.severity.name(),
            incident.category.name(),
            incident.confidence
        );
        for line in &incident.evidence {
            let _ = writeln!(text, "  {line}");
        }
    }
    for (reason, counts) in &outcome.set_aside {
        let _ = writeln!(
            text,
            "\nset aside for {}: {} lost of {} probes, summed over the runs that looked at them",
            reason.name(),
            counts.lost,
            counts.sent
        );
    }
    (text, incidents)
}

/// The categories of the incidents, each once; the text is shown when they differ.
fn check(name: &str, categories: &[&str]) {
    let (text, incidents) = told(name);
    let mut found: Vec<_> = incidents
        .values()
        .map(|incident| incident.category.name())
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, categories, "{text}");
}

macro_rules! explained {
    ($($name:ident: $($category:literal)*;)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), &[$($category),*]);
        })*
    };
}

explained! {
    clock_steps: "pause_storm";
    concurrent: "link_loss" "rnic_loss";
    ecmp_polarised: "uneven_ecmp";
    healthy: ;
    host_down: "host_down";
    host_stall: "cpu_overload";
    host_stall_long: ;
    link_congested: "congestion";
    link_corrupt: "link_loss";
    link_down: "link_down";
    link_flap: "link_loss";
    link_loss: "link_loss";
    link_narrow: "rnic_loss";
    link_slow: "congestion";
    pause_storm: "pause_storm";
    pods: "undecided";
    responder_restart: ;
    rnic_down: "rnic_down";
    rnic_drops: "rnic_loss";
    rnic_flap: "flapping";
    rnic_slow: "rnic_slow";
    switch_blackhole: "blackhole";
    switch_down: "switch_down";
}
