//! `cargo xtask cross`: the programs for another processor, and the tests that run them under QEMU's user emulation.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::cache::Cache;
use crate::cargo::{self, Profile, cargo_with_sources, workspace};
use crate::process;
use crate::test::tools;
use crate::vm::Arch;

/// Where the results are: the compiler may be another one than that of `target`.
pub(crate) const TARGET_FOLDER: &str = "target/cross";

/// Tests that are built for another processor: those inside the library and the programs. The integration tests run natively
/// on the public CI's arm64 machine; here they would take most of the time and say the same as on this processor.
///
/// The example and the test of rdma-core-sys are in both commands that build: so both have the crates below with the same
/// features, and a standard library with its test crate, and neither compiles them again.
const TESTS: [&str; 7] = [
    "--lib",
    "--package",
    "rdma-core-sys",
    "--example",
    "qp-churn",
    "--test",
    "headers",
];

/// Builds all programs for another processor, with `--test` runs the tests that can differ there, under QEMU's user emulation.
///
/// The standard library comes from its sources. Needs Debian's packages gcc-aarch64-linux-gnu, g++-aarch64-linux-gnu and
/// libc6-dev-arm64-cross, and qemu-user-static for the tests.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Processor to build for.
    #[arg(value_enum)]
    arch: Arch,
    /// Run the tests that can differ by processor, too.
    #[arg(long)]
    test: bool,
    /// Profile of the programs.
    #[arg(long, value_enum, default_value = "dev", conflicts_with = "test")]
    profile: Profile,
}

impl Options {
    /// What CI runs.
    pub(crate) fn for_test() -> Self {
        Self {
            arch: Arch::Aarch64,
            test: true,
            profile: Profile::Dev,
        }
    }
}

/// Builds and tests; an error says what failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let folder = build(options.arch, options.profile)?;
    println!(
        "programs for {}: {}",
        options.arch.rust_target(),
        folder.display()
    );
    if options.test {
        test(&Cache::open()?, options.arch)?;
    }
    Ok(true)
}

/// Where cargo builds for other processors.
pub(crate) fn target_folder() -> PathBuf {
    workspace().join(TARGET_FOLDER)
}

/// Builds all programs and returns their folder.
///
/// With the tests in the profile dev: so the crates below have the same features as those that the tests are linked with, and
/// are compiled once.
pub(crate) fn build(arch: Arch, profile: Profile) -> Result<PathBuf> {
    let mut command = command(arch)?;
    command
        .args(["build", "--locked"])
        .args(profile.arguments());
    command.args(cargo::PROGRAMS);
    if profile == Profile::Dev {
        command.args(TESTS);
    }
    command.args(target_options(arch));
    process::succeed(&mut command)?;
    Ok(target_folder()
        .join(arch.rust_target())
        .join(profile.folder()))
}

/// Builds all programs with one of the profiles that `cargo xtask dist` knows.
pub(crate) fn build_to_ship(arch: Arch, profile: &str) -> Result<()> {
    let mut command = command(arch)?;
    command.args(["build", "--locked", "--profile", profile]);
    command.args(["--package", "rpingmesh", "--bins"]);
    process::succeed(command.args(target_options(arch)))
}

/// Runs the tests of the profile `cross` under emulation.
pub(crate) fn test(cache: &Cache, arch: Arch) -> Result<()> {
    let runner = format!("qemu-{}-static", arch.gnu());
    ensure!(
        process::in_path(&runner),
        "{runner} is missing: install the package qemu-user-static"
    );
    let tool = tools::CARGO_NEXTEST.provide(cache)?;
    // Same environment as the build, so that nothing is compiled twice.
    let mut command = command(arch)?;
    command.env_remove("CARGO");
    let mut nextest = cargo::program(tool);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nextest.env(name, value),
            None => nextest.env_remove(name),
        };
    }
    nextest
        .env("RPINGMESH_TEST_RUNNER", emulator(arch))
        // Of the programs, those that the profile's filter lets run: linking the others takes minutes.
        .args(["nextest", "run", "--locked", "--package", "rpingmesh"])
        .args(["--bin", "rpingmesh-agent"])
        .args(TESTS)
        .args(["--no-tests", "fail", "--profile", "cross"])
        .args(target_options(arch));
    process::succeed(&mut nextest)
}

fn target_options(arch: Arch) -> [&'static str; 5] {
    [
        "-Zbuild-std",
        "--target",
        arch.rust_target(),
        "--target-dir",
        TARGET_FOLDER,
    ]
}

/// A cargo that builds the standard library for other targets. All such builds share a folder and these settings: macros
/// and build scripts, which run on this machine, are then compiled once.
pub(crate) fn cargo_for_others() -> Result<Command> {
    let mut command = cargo_with_sources()?;
    command
        .env("RUSTC_BOOTSTRAP", "1")
        // Nobody debugs these.
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        // Without it cargo strips what has no debug information, for macOS by a program that Debian's compiler lacks.
        .env("CARGO_PROFILE_DEV_STRIP", "none");
    Ok(command)
}

/// A cargo that compiles, links and runs for `arch`.
pub(crate) fn command(arch: Arch) -> Result<Command> {
    let gnu = arch.gnu();
    let compiler = format!("{gnu}-linux-gnu-gcc");
    ensure!(
        process::in_path(&compiler),
        "{compiler} is missing: install gcc-{gnu}-linux-gnu, g++-{gnu}-linux-gnu and libc6-dev-{}-cross",
        arch.debian()
    );
    let mut command = cargo_for_others()?;
    let variable = arch.rust_target().replace('-', "_");
    let upper = variable.to_uppercase();
    command
        .env(format!("CC_{variable}"), &compiler)
        .env(format!("CARGO_TARGET_{upper}_LINKER"), &compiler)
        .env(format!("CARGO_TARGET_{upper}_RUNNER"), emulator(arch));
    Ok(command)
}

/// The command line that runs a program of `arch`, whatever its environment.
fn emulator(arch: Arch) -> String {
    let gnu = arch.gnu();
    format!("qemu-{gnu}-static -L /usr/{gnu}-linux-gnu")
}
