//! Certifies emulated fabrics in virtual time and says how long that takes: `healthy RUNS` runs of three small fabrics without a fault,
//! `large` 1 024 RNICs, `faults` the faults below on a Clos and on rails of 128 RNICs, `fault SPEC` one fault of your own on the Clos, `bound`
//! the smallest fabric until each link is shown to lose at most 10⁻⁵; without a word `large` and 50 healthy runs.
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

const TINY: &str = "spines = 2\ntors = 2\nhosts = 1\nrnics = 1\n";
/// 128 RNICs.
const CLOS: &str = "spines = 4\ntors = 8\nhosts = 4\nrnics = 4\n";
const RAILS: &str = "spines = 4\ntors = 2\nhosts = 8\nrnics = 8\nrails = 8\n";

/// Faults of each kind, with the categories of which one names them. `tor1` and `tor3` stand for leaves of rails there.
const FAULTS: [(&str, &[&str]); 20] = [
    ("link tor1->spine2 down", &["link_down"]),
    ("link spine2->tor1 down", &["link_down"]),
    ("link spine0->tor3 loss=5%", &["link_loss"]),
    ("link tor1-spine3 loss=5%", &["link_loss"]),
    ("link tor1->spine1 corrupt=5%", &["link_loss"]),
    (
        "link tor1->spine1 blackhole=25%",
        &["blackhole", "link_loss"],
    ),
    ("link tor1->spine0 delay=50us", &["congestion"]),
    ("link spine1->tor3 pause=40ms every=50ms", &["pause_storm"]),
    ("switch spine1 down", &["switch_down"]),
    ("switch spine2 loss=5%", &["switch_loss"]),
    ("switch spine3 blackhole=20%", &["blackhole"]),
    ("switch tor3 loss=5%", &["switch_loss"]),
    ("rnic host4/1 down", &["rnic_down"]),
    ("rnic host3/0 loss=10%", &["rnic_loss"]),
    ("rnic host3/2 corrupt=10%", &["rnic_loss"]),
    ("rnic host2/1 delay=200us", &["rnic_slow"]),
    ("host host7 down", &["host_down"]),
    ("host host5 stall=300ms every=1s", &["cpu_overload"]),
    ("link spine0->tor1 loss=1%", &["link_loss"]),
    (
        "link spine2->tor3 queue=2KiB load=90%",
        &["link_loss", "congestion"],
    ),
];

fn certify(fabric: &str, probing: &str, seed: u64, loss: f64) -> Result<Report, Box<dyn Error>> {
    certify_with(fabric, (probing, "10m", ""), seed, loss)
}

/// With a duration and faults.
fn certify_with(
    fabric: &str,
    (probing, duration, fault): (&str, &str, &str),
    seed: u64,
    loss: f64,
) -> Result<Report, Box<dyn Error>> {
    let faults: Vec<&str> = Some(fault)
        .filter(|fault| !fault.is_empty())
        .into_iter()
        .collect();
    let text = format!(
        "duration = \"{duration}\"\nseed = {seed}\nfaults = {faults:?}\n[fabric]\n{fabric}[probing]\n{probing}"
    );
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

/// A certification with a fault; what it found, and whether it is named rightly and nothing else is.
fn with_fault(fabric: &str, fault: &str, right: &[&str]) -> Result<bool, Box<dyn Error>> {
    let begun = Instant::now();
    let probing = "tor_mesh = 2\ninter_tor = 12\ntargets = 16\n";
    let report = certify_with(
        fabric,
        (probing, "60s", &format!("{fault} at=15s")),
        10,
        1e-4,
    )?;
    let target = fault.split(' ').nth(1).unwrap_or_default();
    let target = target
        .replace('/', "/rnic")
        .replace("->", " ")
        .replace('-', " ");
    let place = target.split(' ').next_back().unwrap_or_default();
    let named = |category: &Option<String>| {
        category
            .as_deref()
            .is_some_and(|category| right.contains(&category))
    };
    let is_named = report.faults.iter().any(|found| {
        named(&found.category) && found.subjects.iter().any(|one| one.contains(place))
    });
    let is_alone = report
        .faults
        .iter()
        .all(|found| found.subjects.iter().any(|one| one.contains(place)));
    let words = match (is_named, is_alone) {
        (true, true) => "named",
        (true, false) => "named, and others",
        (false, _) => "NOT NAMED",
    };
    println!("{words}: {fault} ({:?})", begun.elapsed());
    for found in &report.faults {
        println!("    {}", found.text);
    }
    Ok(is_named && is_alone)
}

fn faults() -> Result<(), Box<dyn Error>> {
    let mut right = 0;
    for (fault, categories) in FAULTS {
        right += u32::from(with_fault(CLOS, fault, categories)?);
        let on_rails = fault
            .replace("tor1", "leaf0-r1")
            .replace("tor3", "leaf1-r3");
        right += u32::from(with_fault(RAILS, &on_rails, categories)?);
    }
    println!("{right} of {} named, and nothing else", 2 * FAULTS.len());
    Ok(())
}

fn bound() -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let probing = "tor_mesh = 1\ninter_tor = 400\ntargets = 16\n";
    let report = certify_with(TINY, (probing, "3h", ""), 1, 1e-5)?;
    let worst = report.links.iter().map(|link| link.sent).min();
    println!(
        "{} of {} links shown to lose at most 1e-5 after {} s of virtual time, {} probes, at least {} for each link, {} faults, {:?}",
        report.proven,
        report.links.len(),
        report.covered_ns / 1_000_000_000,
        report.probes,
        worst.unwrap_or_default(),
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
        ["faults"] => faults(),
        ["fault", fault] => with_fault(CLOS, fault, &[]).map(drop),
        ["bound"] => bound(),
        _ => Err("certify [healthy RUNS | large | faults | fault SPEC | bound]".into()),
    }
}
