//! Calls of cargo on this workspace.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::test::packages;
use crate::vm::Arch;
use crate::{cross, process};

/// The top of the checkout.
///
/// What `cargo xtask` says when it starts us comes first: a copied or shared target folder may hold the program of another
/// checkout.
pub(crate) fn workspace() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// The cargo that started us.
pub(crate) fn cargo() -> Command {
    program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program that calls cargo, in the checkout.
///
/// Without what cargo tells us about the package `xtask`: build scripts that look at those variables (ring's) would run
/// again, and with them half of the dependencies, whenever cargo is called by us after it was called by hand.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(workspace());
    for (variable, _) in env::vars_os() {
        if is_about_a_package(&variable.to_string_lossy()) {
            command.env_remove(variable);
        }
    }
    command
}

fn is_about_a_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_")
        || ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"].contains(&variable)
}

/// Where cargo builds.
pub(crate) fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// How programs are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Not optimised: compiled fastest.
    Dev,
    /// Optimised, but not across crates: for CI.
    Ci,
    /// Optimised for people: for measurements.
    Release,
}

impl Profile {
    /// The folder of its results, below a target folder.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Ci => "ci",
            Self::Release => "release",
        }
    }

    /// The arguments that choose it.
    pub(crate) fn arguments(self) -> [&'static str; 2] {
        match self {
            Self::Dev => ["--profile", "dev"],
            Self::Ci => ["--profile", "ci"],
            Self::Release => ["--profile", "release"],
        }
    }
}

/// All programs of the root package: one selection wherever they are built, because the features of the crates below follow from
/// it, and other features would compile them again.
pub(crate) const PROGRAMS: [&str; 3] = ["--package", "rpingmesh", "--bins"];

/// All tests, and no examples, which plain `cargo test` compiles too: clippy has looked at them, and linking them takes minutes.
pub(crate) const TESTS: [&str; 3] = ["--locked", "--workspace", "--tests"];

/// A program for guests that makes and destroys queue pairs.
const EXAMPLE: [&str; 4] = ["--package", "rdma-core-sys", "--example", "qp-churn"];

/// Builds all programs of the host, for guests and packages.
pub(crate) fn build_all(profile: Profile) -> Result<()> {
    for what in [&PROGRAMS[..], &EXAMPLE] {
        let mut command = cargo();
        command
            .args(["build", "--locked"])
            .args(profile.arguments());
        process::succeed(command.args(what))?;
    }
    Ok(())
}

/// Builds the programs for a guest. Returns the folder that holds the programs and the folder `examples`.
pub(crate) fn build_programs(arch: Arch, profile: Profile) -> Result<PathBuf> {
    if arch != Arch::host() {
        return cross::build(arch, profile);
    }
    build_all(profile)?;
    Ok(target_folder().join(profile.folder()))
}

/// Builds the unit tests of the root package's programs `names`. Returns what each is called in a guest and where it is.
///
/// # Errors
/// Also where the guests have another processor: those tests are built for the host only.
pub(crate) fn build_tests(names: &[String], arch: Arch) -> Result<Vec<(String, PathBuf)>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    ensure!(
        arch == Arch::host(),
        "the scenario runs unit tests of {}, which are built for the host's processor only",
        names.join(", ")
    );
    let mut command = cargo();
    // Of the whole workspace, as where all tests are built: with the same features below.
    command.args(["test", "--no-run", "--locked", "--workspace"]);
    command.arg("--message-format=json-render-diagnostics");
    for name in names {
        command.args(["--bin", name]);
    }
    let messages = process::output(&mut command)?;
    names
        .iter()
        .map(|name| {
            let built = messages.lines().find_map(|line| test_binary(line, name));
            let path = built.with_context(|| format!("cargo names no test binary of {name}"))?;
            Ok((format!("{name}-tests"), path))
        })
        .collect()
}

/// The path in one of cargo's messages, if it is about the unit tests of `name`.
fn test_binary(message: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_wanted = message["reason"] == "compiler-artifact"
        && message["target"]["name"] == name
        && message["profile"]["test"] == true;
    is_wanted.then(|| message["executable"].as_str().map(PathBuf::from))?
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
    let mut command = program("/usr/bin/cargo");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_binary_is_found_among_cargos_messages() {
        let message = |name: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"{name}"}},"profile":{{"test":{test}}},"executable":"/t/a"}}"#
            )
        };
        let found = |line: &str| test_binary(line, "agent");
        assert_eq!(found(&message("agent", true)), Some(PathBuf::from("/t/a")));
        assert_eq!(found(&message("agent", false)), None);
        assert_eq!(found(&message("other", true)), None);
        assert_eq!(found(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(found("no JSON"), None);
    }
}
