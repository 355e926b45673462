//! The cargo command lines of packages and checks, run once with the host's tools on the sources that the derivations
//! see: a file that is missing there, a misspelt flag or a package that does not exist shows here.
//!
//! They run with the profile `dev` instead of `release`, so that the dependencies are those that other commands have
//! compiled already: how well the compiler optimises is not what is checked.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use super::Phases;
use super::nix::Nix;
use super::report::{Phase, Report};
use crate::cache::Cache;
use crate::cargo::{cargo_with_sources, target_folder, workspace};
use crate::cross;
use crate::process::describe;
use crate::test::tools;
use crate::vm::Arch;

/// Compile and run the whole workspace once more.
const LONG: &[&str] = &["clippy", "doc", "nextest"];

/// Runs them and returns whether each passed.
pub(crate) fn run(cache: &Cache, nix: &Nix, report: &Report, which: Phases) -> bool {
    let mut passed = true;
    for phase in &report.phases {
        if which == Phases::Builds && LONG.contains(&phase.name.as_str()) {
            println!("other           phases of {}: `--phases all`", phase.name);
            continue;
        }
        let started = Instant::now();
        if phase.name == "macos-stub" {
            println!(
                "other           phases of macos-stub: `cargo xtask test --only macos-link` has the recipe"
            );
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

/// What a derivation's builder has beside the sources.
struct Tools {
    environment: Vec<(OsString, Option<OsString>)>,
    target: PathBuf,
    /// What crane and nixpkgs say by variables.
    arguments: &'static str,
}

impl Tools {
    fn of(phase: &Phase) -> Result<Self> {
        if phase.name.starts_with("ebpf-") {
            let mut tools = Self::from(&cargo_with_sources()?, target_folder(), "");
            // Nothing is vendored here: the registry's copies are where cargo keeps them.
            let home = std::env::var_os("CARGO_HOME")
                .or_else(|| std::env::home_dir().map(|home| home.join(".cargo").into_os_string()))
                .context("neither CARGO_HOME nor HOME is set")?;
            tools.environment.extend([
                ("cargoVendorDir".into(), Some("/vendor".into())),
                ("CARGO_HOME".into(), Some(home)),
            ]);
            return Ok(tools);
        }
        if !phase.name.ends_with("-aarch64-linux") || Arch::host() == Arch::Aarch64 {
            return Ok(Self {
                environment: Vec::new(),
                target: target_folder(),
                arguments: "",
            });
        }
        Ok(Self::from(
            &cross::command(Arch::Aarch64)?,
            cross::target_folder(),
            "-Zbuild-std --target aarch64-unknown-linux-gnu",
        ))
    }

    /// The variables of a command that is not run itself.
    fn from(command: &Command, target: PathBuf, arguments: &'static str) -> Self {
        Self {
            environment: command
                .get_envs()
                .map(|(name, value)| (name.to_owned(), value.map(OsString::from)))
                .collect(),
            target,
            arguments,
        }
    }
}

fn run_one(cache: &Cache, nix: &Nix, phase: &Phase) -> Result<()> {
    let tools = Tools::of(phase)?;
    // The same path for every phase: cargo then compiles what they share once.
    let sources = workspace().join("target/flake/source");
    renew(&sources)?;
    copy(&nix.real_path(&phase.source), &sources)?;
    let programs = programs(cache, &phase.name)?;
    for line in &phase.commands {
        let line = if phase.name.starts_with("ebpf-") {
            line.clone()
        } else {
            format!("{} {}", with_profile_dev(line)?, tools.arguments)
        };
        let mut command = Command::new("bash");
        command
            .args(["-euc", &line])
            .current_dir(&sources)
            .env("CARGO_TARGET_DIR", &tools.target)
            .env("CARGO_NET_OFFLINE", "true")
            // Not the programs of the workspace that started us.
            .env_remove("CARGO_MANIFEST_DIR")
            .envs(
                phase
                    .env
                    .iter()
                    .filter(|(name, _)| *name != "RPINGMESH_EBPF_OBJECT"),
            );
        for (name, value) in &tools.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let path = tools
            .environment
            .iter()
            .find(|(name, _)| name == "PATH")
            .and_then(|(_, value)| value.clone())
            .or_else(|| std::env::var_os("PATH"))
            .unwrap_or_default();
        let folders =
            std::iter::once(programs.path().to_owned()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders)?);
        let status = command.status().with_context(|| describe(&command))?;
        ensure!(status.success(), "`{line}` ended with {status}");
    }
    Ok(())
}

/// A folder with the developer tools that the line may call.
fn programs(cache: &Cache, phase: &str) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().context("make a scratch folder")?;
    let mut wanted = vec![&tools::CARGO_DENY, &tools::CARGO_NEXTEST];
    if phase.starts_with("ebpf-") {
        wanted.push(&tools::BPF_LINKER);
    }
    for tool in wanted {
        let path = tool.provide(cache)?;
        if path.is_absolute()
            && let Some(name) = path.file_name()
        {
            symlink(&path, folder.path().join(name))?;
        }
    }
    Ok(folder)
}

/// The line without what makes it a release build; formatting and cargo-deny know no profile.
fn with_profile_dev(line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let changed = line
        .replace("--cargo-profile release", "--cargo-profile dev")
        .replace(" --release", "");
    let knows_profiles = !words.contains(&"fmt") && !words.contains(&"deny");
    if knows_profiles && changed == line {
        bail!("`{line}` does not ask for the release profile");
    }
    Ok(changed)
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

#[cfg(test)]
mod tests {
    use super::with_profile_dev;

    #[test]
    fn release_builds_become_development_builds() {
        let of = |line| with_profile_dev(line).map_err(|error| error.to_string());
        assert_eq!(
            of("cargo build --release --locked"),
            Ok("cargo build --locked".to_owned())
        );
        assert_eq!(
            of("cargo nextest run --cargo-profile release --locked"),
            Ok("cargo nextest run --cargo-profile dev --locked".to_owned())
        );
        assert_eq!(
            of("cargo fmt --all -- --check"),
            Ok("cargo fmt --all -- --check".to_owned())
        );
        assert!(of("cargo build --locked").unwrap_err().contains("release"));
    }
}
