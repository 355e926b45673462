//! The lab with programs of the agent on emulated RNICs: the verbs code, the controller and the analyzer together.

use serde_json::Value;

use crate::support::program::{OPERATOR, command};

/// The lines that a lab of 4 hosts with one RNIC each prints in this time, the summary last.
fn lab(duration: &str, faults: &[&str]) -> Vec<Value> {
    let common = [
        "lab",
        "--rnics",
        "emulated:1",
        "--spines",
        "2",
        "--tors",
        "2",
        "--hosts",
        "2",
        "--json",
        "--duration",
        duration,
    ];
    let faults = faults.iter().flat_map(|fault| ["--fault", fault]);
    let arguments: Vec<_> = common.into_iter().chain(faults).collect();
    let output = command(OPERATOR, &arguments).output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Round trips are those of the fabric, tens of microseconds, although each packet takes a millisecond of the lab's time: so
/// they come from the RNICs' clocks. What is lost is what the fabric has lost.
#[test]
fn the_lab_runs_the_verbs_code_on_clocks_that_drift() {
    let lines = lab("14s", &["rnic host3/0 loss=40% at=5s"]);
    let (summary, rest) = lines.split_last().expect("a summary");
    assert_eq!(
        (&summary["hosts"], &summary["rnics"]),
        (&4.into(), &4.into()),
        "{summary}"
    );
    assert!(summary["overall"]["sent"].as_u64() > Some(200), "{summary}");
    assert_eq!(summary["agrees"], true, "{summary:#}");
    assert!(
        summary["faults"][0]["observed"]["lost"].as_u64() > Some(5),
        "{summary:#}"
    );
    let medians: Vec<_> = rest
        .iter()
        .filter_map(|line| line["rtt_p50_ns"].as_i64())
        .collect();
    assert!(medians.len() >= 5, "{rest:#?}");
    assert!(
        medians.iter().all(|rtt| (1_000..500_000).contains(rtt)),
        "{medians:?}"
    );
}
