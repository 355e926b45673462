//! Two Slurm jobs on the same hosts and RNICs, and a link that loses packets: whether each incident names exactly the jobs whose
//! connections cross the link, there or back. In virtual time, so many runs (100 without a number), each with wiring and routes of
//! connections of its own.
//!
//!     cargo run --release --example jobs -- 100

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rpingmesh::analysis::incident::Change;
use rpingmesh::fabric::Scenario;
use rpingmesh::fabric::topology::{Flow, Topology};
use rpingmesh::lab::virtual_time::run_in_virtual_time;

const JOBS: [&str; 2] = ["slurm-4711", "slurm-4712"];
const HOSTS: usize = 8;
/// Connections of each job, each between two hosts.
const CONNECTIONS: usize = 4;

/// A fabric of 8 hosts under 4 ToRs with 4 spines, both jobs on all hosts, and a link that loses 2 % from 10 s on.
fn scenario(seed: u64) -> Result<(Scenario, (String, String)), Box<dyn Error>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (spine, tor) = (random.random_range(0..4), random.random_range(0..4));
    let (spine, tor) = (format!("spine{spine}"), format!("tor{tor}"));
    let link = if random.random_bool(0.5) {
        (spine, tor)
    } else {
        (tor, spine)
    };
    let mut text = format!(
        "duration = \"60s\"\nseed = {seed}\nfaults = [\"link {}->{} loss=2% at=10s\"]\n\
         [fabric]\nspines = 4\ntors = 4\nhosts = 2\nrnics = 1\n[probing]\ninter_tor = 25\n",
        link.0, link.1
    );
    for (number, job) in JOBS.into_iter().enumerate() {
        for _ in 0..CONNECTIONS {
            let from = random.random_range(0..HOSTS);
            let to = (from + random.random_range(1..HOSTS)) % HOSTS;
            // Labels of one job are odd, those of the other even: no two connections are the same.
            let label = 2 * random.random_range(1..50_000) + number;
            write!(
                text,
                "[[service]]\nname = \"{job}\"\nfrom = \"host{from}/0\"\nto = \"host{to}/0\"\nflow_label = {label}\n"
            )?;
        }
    }
    Ok((Scenario::parse(&text)?, link))
}

/// The jobs with a connection of which the packets or those of the reverse path cross the link.
fn crossing(
    scenario: &Scenario,
    topology: &Topology,
    link: &(String, String),
) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let mut jobs = BTreeSet::new();
    for service in &scenario.services {
        let there = service.flow(topology)?;
        let back = Flow {
            source: there.target,
            target: there.source,
            port: there.port,
        };
        for flow in [there, back] {
            let nodes = topology.describe(&topology.path(flow));
            if nodes
                .windows(2)
                .any(|two| two == [link.0.as_str(), link.1.as_str()])
            {
                jobs.insert(service.name.to_string());
            }
        }
    }
    Ok(jobs)
}

#[derive(Debug, Default)]
struct Score {
    incidents: usize,
    right: usize,
    /// Runs by how many jobs cross the link.
    runs: BTreeMap<usize, usize>,
}

fn run(seed: u64, score: &mut Score) -> Result<(), Box<dyn Error>> {
    let (scenario, link) = scenario(seed)?;
    let truth = crossing(&scenario, &scenario.topology()?, &link)?;
    *score.runs.entry(truth.len()).or_default() += 1;
    let outcome = run_in_virtual_time(&scenario, true)?;
    let mut newest = BTreeMap::new();
    for event in outcome.events {
        let (Change::Opened(incident)
        | Change::Updated(incident)
        | Change::Refined(incident)
        | Change::Closed(incident)) = event.change;
        newest.insert(incident.id, incident);
    }
    for incident in newest.values() {
        let named: BTreeSet<String> = incident.services.keys().cloned().collect();
        score.incidents += 1;
        if named == truth {
            score.right += 1;
        } else {
            println!(
                "seed {seed}, {}: {named:?} instead of {truth:?}",
                incident.title()
            );
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let runs = std::env::args().nth(1);
    let runs: u64 = runs.map_or(Ok(100), |text| text.parse())?;
    let begun = Instant::now();
    let mut score = Score::default();
    for seed in 1..=runs {
        run(seed, &mut score)?;
    }
    println!(
        "{runs} runs, {} incidents, {} name exactly the jobs that cross ({:.1} %); runs by the number of these jobs: {:?}; {:?}",
        score.incidents,
        score.right,
        100.0 * score.right as f64 / score.incidents.max(1) as f64,
        score.runs,
        begun.elapsed()
    );
    Ok(())
}
