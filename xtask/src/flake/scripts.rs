//! The VM tests' scripts are Python, and call nothing that nobody defined.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::checkout::Checkout;
use super::report::Report;

/// Reads a script from standard input and the names of the test driver's symbols from the arguments.
const CHECK: &str = r#"
import ast, builtins, sys

tree = ast.parse(sys.stdin.read(), "testScript")
compile(tree, "testScript", "exec")
known = set(dir(builtins)) | set(sys.argv[1:])
for node in ast.walk(tree):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        known.add(node.name)
    elif isinstance(node, ast.arg):
        known.add(node.arg)
    elif isinstance(node, ast.alias):
        known.add(node.asname or node.name)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        known.add(node.id)
unknown = sorted({
    f"{node.id} (line {node.lineno})"
    for node in ast.walk(tree)
    if isinstance(node, ast.Name) and node.id not in known
})
sys.exit(f"unknown names: {', '.join(unknown)}" if unknown else 0)
"#;

/// What nixos/lib/test-driver puts into the script's scope, as far as the tests use it.
const DRIVER: &[&str] = &["machines", "retry", "start_all", "subtest"];

pub(crate) fn check(report: &Report, checkout: &Checkout) -> Result<String> {
    ensure!(!report.scripts.is_empty(), "the flake has no VM test");
    for (test, script) in &report.scripts {
        // A scenario's nodes are in its file, those of other tests in the Nix file.
        let nodes = nodes(checkout, test)?;
        compile(script, &nodes).with_context(|| format!("testScript of {test}"))?;
    }
    Ok(format!("{} testScripts compile", report.scripts.len()))
}

/// The test driver's names of the machines.
fn nodes(checkout: &Checkout, test: &str) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Scenario {
        node: Vec<Node>,
    }
    #[derive(serde::Deserialize)]
    struct Node {
        name: String,
    }
    let file = format!("tests/vm/{test}/scenario.toml");
    if !checkout.root().join(&file).is_file() {
        return Ok(["alpha", "beta", "monitor"].map(str::to_owned).to_vec());
    }
    let scenario: Scenario = toml::from_str(&checkout.read(&file)?).context(file)?;
    Ok(scenario
        .node
        .into_iter()
        .map(|node| node.name.replace('-', "_"))
        .collect())
}

fn compile(script: &str, nodes: &[String]) -> Result<()> {
    let mut child = Command::new("python3")
        .args(["-c", CHECK])
        .args(DRIVER)
        .args(nodes)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run python3")?;
    child
        .stdin
        .take()
        .context("python3 takes no input")?
        .write_all(script.as_bytes())
        .context("hand the script to python3")?;
    let run = child.wait_with_output().context("run python3")?;
    let said = String::from_utf8_lossy(&run.stderr);
    ensure!(
        run.status.success(),
        "{}",
        said.lines().last().unwrap_or("python3 failed")
    );
    Ok(())
}
