//! `cargo xtask dist`: Debian packages of the three roles, and a check of what is in them.

mod contents;
mod guest;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::cache::Cache;
use crate::cargo::{cargo, workspace};
use crate::process::{describe, output};
use crate::test::tools;
use crate::vm::Arch;

/// The variants of `package.metadata.deb` in Cargo.toml.
const ROLES: &[&str] = &["agent", "controller", "analyzer"];

/// What a stripped agent may measure, in bytes.
const LARGEST_AGENT: u64 = 15 << 20;

/// Builds Debian packages of agent, controller and analyzer into target/dist, and checks them.
///
/// The agent embeds the eBPF object that RPINGMESH_EBPF_OBJECT names.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Processor [default: the host's]. Another one needs its linker and standard library: see `cargo xtask cross`.
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// Package the programs that are in the release folder already.
    #[arg(long)]
    no_build: bool,
    /// Also install the packages in a Debian guest with systemd, start the units, and remove them.
    #[arg(long)]
    boot: bool,
}

impl Options {
    /// What CI runs.
    pub(crate) fn for_test() -> Self {
        Self {
            arch: None,
            no_build: false,
            boot: true,
        }
    }
}

/// Builds, checks and lists the packages.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let arch = options.arch.unwrap_or_else(Arch::host);
    let cache = Cache::open()?;
    let cargo_deb = tools::CARGO_DEB.provide(&cache)?;
    let target = (arch != Arch::host()).then(|| arch.rust_target());
    if !options.no_build {
        let mut command = cargo();
        command.args(["build", "--locked", "--release", "--package", "rpingmesh"]);
        command.args(["--bins"]);
        if let Some(target) = target {
            command.args(["--target", target]);
        }
        let status = command.status().with_context(|| describe(&command))?;
        ensure!(
            status.success(),
            "{} ended with {status}",
            describe(&command)
        );
    }
    let folder = workspace().join("target/dist");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut packages = Vec::new();
    for role in ROLES {
        let package = package(&cargo_deb, role, arch, target, &folder)?;
        contents::check(&package, role, arch)
            .with_context(|| format!("package {}", package.display()))?;
        let size = fs::metadata(&package)?.len();
        println!("{}  {:.1} MB", package.display(), megabytes(size));
        packages.push(package);
    }
    if options.boot {
        guest::check(&cache, &packages, arch)?;
    }
    let agent = release_folder(target).join("rpingmesh-agent");
    let size = fs::metadata(&agent)
        .with_context(|| format!("look at {}", agent.display()))?
        .len();
    println!("rpingmesh-agent alone: {:.1} MB", megabytes(size));
    ensure!(
        size <= LARGEST_AGENT,
        "{} has {size} bytes, more than {LARGEST_AGENT}",
        agent.display()
    );
    Ok(true)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn release_folder(target: Option<&str>) -> PathBuf {
    let mut folder =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    folder.extend(target);
    folder.join("release")
}

/// The name that Debian's tools expect.
fn package(
    cargo_deb: &Path,
    role: &str,
    arch: Arch,
    target: Option<&str>,
    folder: &Path,
) -> Result<PathBuf> {
    let version = env!("CARGO_PKG_VERSION");
    let file = folder.join(format!("rpingmesh-{role}_{version}_{}.deb", arch.debian()));
    let mut command = Command::new(cargo_deb);
    command
        .current_dir(workspace())
        // Called without cargo, hence with the subcommand's name.
        .arg("deb")
        .args(["--package", "rpingmesh", "--variant", role])
        .args(["--no-build", "--no-strip", "--locked"])
        .arg("--output")
        .arg(&file);
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    output(&mut command)?;
    Ok(file)
}
