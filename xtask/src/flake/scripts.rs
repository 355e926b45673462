//! The VM tests' scripts are what the test driver's build accepts: Python whose types agree with the driver's.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::checkout::Checkout;
use super::report::{Report, Script};
use crate::cache::Cache;
use crate::test::{python, tools};

/// As the driver's build calls it (nixos/lib/testing/driver.nix).
const ARGUMENTS: &[&str] = &[
    "--no-implicit-optional",
    "--no-color-output",
    "--no-error-summary",
];

/// The type checker, and what it imports.
const PACKAGES: &[&str] = &["mypy==2.4.1"];

/// The driver's types, in the checkout.
const DRIVER: &str = "nix/check/driver";

pub(crate) fn check(cache: &Cache, report: &Report, checkout: &Checkout) -> Result<String> {
    ensure!(!report.scripts.is_empty(), "the flake has no VM test");
    let prepended = checkout.read(&format!("{DRIVER}/prepend.py"))?;
    let folder = tempfile::tempdir().context("make a scratch folder")?;
    let mut command = mypy(cache)?;
    command
        .args(ARGUMENTS)
        .arg("--cache-dir")
        .arg(cache.path("mypy"))
        .current_dir(folder.path())
        .env("MYPYPATH", checkout.root().join(DRIVER));
    for (test, script) in &report.scripts {
        let file = format!("testScript_of_{}.py", variable(test));
        write(&folder.path().join(&file), &prepended, script)?;
        command.arg(file);
    }
    // It does not share the folder of its results.
    let _lock = cache.lock("mypy")?;
    let run = command.output().context("run mypy")?;
    ensure!(
        run.status.success(),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    Ok(format!(
        "{} testScripts have the driver's types (mypy)",
        report.scripts.len()
    ))
}

fn mypy(cache: &Cache) -> Result<Command> {
    if tools::is_path_trusted()
        && let Some(path) = tools::find_in_path("mypy")
    {
        return Ok(Command::new(path));
    }
    let mut command = Command::new(python::environment(cache, PACKAGES)?.join("bin/python"));
    command.args(["-m", "mypy"]);
    Ok(command)
}

/// The script below what the driver's build puts before it. One node alone is also called `machine`.
fn write(file: &Path, prepended: &str, script: &Script) -> Result<()> {
    let mut text = prepended.to_owned();
    let single = (script.nodes.len() == 1).then_some("machine");
    let names = script.nodes.iter().map(String::as_str).chain(single);
    for name in names {
        let _ = writeln!(text, "{}: QemuMachine", variable(name));
    }
    text.push_str(&script.test_script);
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

/// A name as Python has it.
fn variable(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}
