//! Certifies emulated fabrics in virtual time and says how long that takes: `healthy RUNS` runs of three small fabrics without a fault,
//! `large` 1 024 RNICs; without a word `large` and 50 healthy runs.
//!
//!     cargo run --example certify -- healthy 50

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Instant;

use rpingmesh::analysis::certify::{Question, Report};
use rpingmesh::fabric::Scenario;
use rpingmesh::lab::virtual_time::certified::{Plan, certify_in_virtual_time};

const SMALL: [&str; 3] = [
    "spines = 4\ntors = 4\nhosts = 3\nrnics = 2\n",
    "spines = 4\ntors = 1\nhosts = 6\nrnics = 4\nrails = 4\n",
    "spines = 4\ntors = 2\nhosts = 3\nrnics = 2\nplanes = 2\n",
];
const LARGE: &str = "spines = 8\ntors = 32\nhosts = 8\nrnics = 4\n";

fn certify(fabric: &str, probing: &str, seed: u64, loss: f64) -> Result<Report, Box<dyn Error>> {
    let text = format!("duration = \"10m\"\nseed = {seed}\n[fabric]\n{fabric}[probing]\n{probing}");
    let scenario = Scenario::parse(&text)?;
    let question = Question {
        loss,
        hosts: BTreeSet::new(),
    };
    Ok(certify_in_virtual_time(
        &scenario,
        &Plan::default(),
        &question,
    )?)
}

fn healthy(runs: u64) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let (mut accepted, mut faults) = (0, 0);
    for seed in 1..=runs {
        let fabric = SMALL[usize::try_from(seed % 3)?];
        let probing = "tor_mesh = 10\ninter_tor = 40\ntargets = 16\n";
        let report = certify(fabric, probing, seed, 5e-3)?;
        accepted += u64::from(report.proven == report.links.len());
        faults += report.faults.len();
    }
    println!(
        "{runs} healthy runs: {accepted} accepted, {faults} faults invented, {:?}",
        begun.elapsed()
    );
    Ok(())
}

fn large() -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let probing = "tor_mesh = 1\ninter_tor = 4\ntargets = 8\n";
    let report = certify(LARGE, probing, 1, 5e-2)?;
    println!(
        "{} RNICs, {} of {} links shown after {} s of virtual time, {} probes, {} faults, {:?}",
        report.rnics,
        report.proven,
        report.links.len(),
        report.covered_ns / 1_000_000_000,
        report.probes,
        report.faults.len(),
        begun.elapsed()
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => large().and_then(|()| healthy(50)),
        ["healthy", runs] => healthy(runs.parse()?),
        ["large"] => large(),
        _ => Err("certify [healthy RUNS | large]".into()),
    }
}
