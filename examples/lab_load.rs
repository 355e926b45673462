//! What the lab costs with its defaults, 64 hosts with 2 RNICs each at the paper's rates in real time: when the first
//! results are there, processor time. `cargo run --release --example lab_load [SECONDS]`

use std::time::Duration;

use rpingmesh::config::HumanDuration;
use rpingmesh::config::lab::LabSettings;
use rpingmesh::lab::plan::LabPlan;
use rpingmesh::lab::run::run;
use tokio_util::sync::CancellationToken;

fn main() {
    let seconds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(30);
    let settings = LabSettings {
        duration: Some(HumanDuration(Duration::from_secs(seconds))),
        ..LabSettings::default()
    };
    let plan = LabPlan::new(settings).expect("the defaults are valid");
    let summary = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(run(&plan, CancellationToken::new(), |_| {}))
        .expect("the lab runs");
    let span = summary.duration_ns as f64 / 1e9;
    let processor = summary.cpu_ns as f64 / 1e9;
    let rnics = summary.rnics as f64;
    match summary.first_results_ns {
        Some(first) => println!(
            "first results after {:.2} s (goal: 3 s)",
            first as f64 / 1e9
        ),
        None => println!("no results"),
    }
    println!(
        "{} RNICs, {} probes in {span:.1} s ({:.0} per second and RNIC), {} lost, {} not measured",
        summary.rnics,
        summary.overall.sent,
        summary.overall.sent as f64 / span / rnics,
        summary.overall.lost,
        summary.overall.invalid,
    );
    println!(
        "CPU: {:.0} % of a core for all agents, controller, analyzer and fabric together; {} packets, {:.1} us each",
        processor / span * 100.0,
        summary.packets.sent,
        processor * 1e6 / summary.packets.sent.max(1) as f64,
    );
}
