//! Schemathesis, a fuzzer that reads the OpenAPI document, against a running lab: no answer is an error of the server, each
//! is as the document says, and what the document forbids is refused.

use std::process::Command;

use rpingmesh::api::OPENAPI;

use crate::support::lab::Lab;

/// Names a Python that has the package, where that in the path does not: `cargo xtask test` makes one in the cache folder.
const PYTHON: &str = "RPINGMESH_SCHEMATHESIS";
/// For the fuzzing, in seconds; what the document's bounds suggest is tried before.
const BUDGET: &str = "20";
/// What the document cannot say: parameters of trends that do not go together are refused, though each is as it should be.
const CONFIG: &str = r#"
[[operations]]
include-path = "/api/v1/trends"
[operations.checks]
positive_data_acceptance = { expected-statuses = ["2xx", "400"] }
"#;

#[test]
#[ignore = "needs Schemathesis: cargo xtask test --only external"]
fn the_api_keeps_what_its_document_promises() {
    let lab = Lab::start(&[
        "--spines",
        "2",
        "--tors",
        "2",
        "--hosts",
        "2",
        "--rnics",
        "1",
        "--duration",
        "3m",
    ]);
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("schemathesis.toml"), CONFIG).expect("written");
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python)
        .current_dir(folder.path())
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("http://{}{OPENAPI}", lab.web))
        .args(["--no-color", "--max-time", BUDGET, "--seed", "1"])
        .args(["--phases", "coverage,fuzzing", "--continue-on-failure"])
        .args(["--checks", "all", "--generation-database", "none"])
        .output()
        .unwrap_or_else(|error| panic!("{python}: {error}; {PYTHON} names a Python"));
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    // It has found the document and asked for every resource.
    assert!(text.contains("12 selected / 12 total"), "{text}");
    lab.stop();
}
