//! Calls of cargo on this workspace.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::vm::Arch;

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

/// Builds the root package's programs for a guest and returns the folder that holds them.
pub(crate) fn build_programs(names: &[String], arch: Arch, release: bool) -> Result<PathBuf> {
    let mut folder =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let mut command = cargo();
    command.args(["build", "--package", "rpingmesh"]);
    for name in names {
        command.args(["--bin", name]);
    }
    if arch != Arch::host() {
        command.args(["--target", arch.rust_target()]);
        folder.push(arch.rust_target());
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
