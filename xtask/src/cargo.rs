//! Calls of cargo on this workspace.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::test::packages;
use crate::vm::Arch;
use crate::{cross, process};

/// The top of the checkout.
pub(crate) fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// The cargo that started us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Where cargo builds.
pub(crate) fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Builds the root package's programs and rdma-core-sys' examples for a guest. Returns the folder that holds the programs
/// and the folder `examples`.
pub(crate) fn build_programs(
    names: &[String],
    examples: &[String],
    arch: Arch,
    release: bool,
) -> Result<PathBuf> {
    if arch != Arch::host() {
        return cross::build(arch, release, examples);
    }
    if !examples.is_empty() {
        build("rdma-core-sys", "--example", examples, release)?;
    }
    build("rpingmesh", "--bin", names, release)
}

fn build(package: &str, kind: &str, names: &[String], release: bool) -> Result<PathBuf> {
    let mut folder = target_folder();
    let mut command = cargo();
    command.args(["build", "--package", package]);
    for name in names {
        command.args([kind, name]);
    }
    if release {
        command.arg("--release");
    }
    folder.push(if release { "release" } else { "debug" });
    if !command.status()?.success() {
        bail!("the programs for the guests did not build");
    }
    Ok(folder)
}

/// A cargo whose compiler has the standard library's sources: rustup's `rust-src`, or Debian's rust-web packages.
pub(crate) fn cargo_with_sources() -> Result<Command> {
    let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let library = "lib/rustlib/src/rust/library/std";
    if Path::new(sysroot.trim()).join(library).is_dir() {
        return Ok(cargo());
    }
    let debian = Path::new("/usr").join(library).is_dir()
        || Path::new("/usr/lib/rustlib/src/rust/library/std").is_dir();
    ensure!(
        debian && Path::new("/usr/bin/cargo").exists(),
        "the standard library's sources are missing: `rustup component add rust-src`, or Debian's packages {}",
        packages::RUST_SOURCES.join(" ")
    );
    let path = env::var("PATH").unwrap_or_default();
    let mut command = Command::new("/usr/bin/cargo");
    command
        .env("PATH", format!("/usr/bin:{path}"))
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTDOC", "/usr/bin/rustdoc");
    // Set by the cargo that started us, for its own compiler.
    for variable in [
        "LD_LIBRARY_PATH",
        "RUSTUP_TOOLCHAIN",
        "RUSTC_WRAPPER",
        "CARGO",
    ] {
        command.env_remove(variable);
    }
    Ok(command)
}
