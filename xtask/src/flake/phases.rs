//! The cargo command lines of packages and checks, run once with the host's toolchain on the sources that the
//! derivations see: a file that is missing there, a misspelt flag or a package that does not exist shows here.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::nix::Nix;
use super::report::{Phase, Report};
use crate::cache::Cache;
use crate::cargo::workspace;
use crate::process::describe;
use crate::test::tools;

/// Need what the host has not: bpf-linker and the standard library's sources (`cargo xtask ebpf`), zig.
const ELSEWHERE: &[&str] = &[
    "agent-aarch64-linux",
    "ebpf-bpfel-aarch64",
    "ebpf-bpfel-x86_64",
    "macos-stub",
];

/// Runs all and returns whether each passed.
pub(crate) fn run(cache: &Cache, nix: &Nix, report: &Report) -> bool {
    let mut passed = true;
    for phase in &report.phases {
        let started = Instant::now();
        if ELSEWHERE.contains(&phase.name.as_str()) {
            println!("other  phases of {}: run by other commands", phase.name);
            continue;
        }
        match run_one(cache, nix, phase) {
            Ok(()) => println!(
                "ok     {:6.1} s  phases of {}",
                started.elapsed().as_secs_f64(),
                phase.name
            ),
            Err(error) => {
                passed = false;
                println!("FAILED phases of {}: {error:#}", phase.name);
            }
        }
    }
    passed
}

fn run_one(cache: &Cache, nix: &Nix, phase: &Phase) -> Result<()> {
    let folder = tempfile::tempdir().context("make a scratch folder")?;
    // The same path for every phase: cargo then compiles what they share once.
    let sources = workspace().join("target/flake/source");
    renew(&sources)?;
    copy(&nix.real_path(&phase.source), &sources)?;
    for tool in [&tools::CARGO_DENY, &tools::CARGO_NEXTEST] {
        let path = tool.provide(cache)?;
        if path.is_absolute()
            && let Some(name) = path.file_name()
        {
            std::os::unix::fs::symlink(&path, folder.path().join(name))?;
        }
    }
    let path = std::env::var("PATH").unwrap_or_default();
    for line in &phase.commands {
        let mut command = Command::new("bash");
        command
            .args(["-euc", line])
            .current_dir(&sources)
            .env("PATH", format!("{}:{path}", folder.path().display()))
            .env("CARGO_TARGET_DIR", workspace().join("target/flake/target"))
            .env("CARGO_NET_OFFLINE", "true")
            // Not the programs of the workspace that started us.
            .env_remove("CARGO_MANIFEST_DIR")
            .envs(
                phase
                    .env
                    .iter()
                    .filter(|(name, _)| *name != "RPINGMESH_EBPF_OBJECT"),
            );
        let status = command.status().with_context(|| describe(&command))?;
        ensure!(status.success(), "`{line}` ended with {status}");
    }
    Ok(())
}

fn renew(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

/// With the time stamps, so that cargo sees what did not change.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    command
        .args(["--recursive", "--no-preserve=mode", "--preserve=timestamps"])
        .arg(from.join("."))
        .arg(to);
    let status = command.status().with_context(|| describe(&command))?;
    ensure!(status.success(), "{} failed", describe(&command));
    Ok(())
}
