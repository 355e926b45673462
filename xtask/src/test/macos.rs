//! macOS on a machine that is none: everything compiles, and links by zig.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cache::Cache;
use crate::cargo::{self, program};
use crate::cross;
use crate::process::succeed;

/// The versions that are known to link this.
const CARGO_ZIGBUILD: &str = "0.24.1";
const ZIG: &str = "0.17.1";
/// What is linked.
const LINKED: &str = "aarch64-apple-darwin";
/// Compiled without linking, and without warnings. The linker always warns about the missing SDK.
const CHECKED: &str = "x86_64-apple-darwin";
/// How 64-bit Mach-O files begin (`MH_MAGIC_64`, `mach-o/loader.h`).
const MACH_O: [u8; 4] = 0xfeed_facf_u32.to_le_bytes();
/// What they are called.
const PROGRAMS: [&str; 4] = [
    "rpingmesh",
    "rpingmesh-agent",
    "rpingmesh-analyzer",
    "rpingmesh-controller",
];

/// Checks, does not link: no SDK is needed. The standard library comes from its sources.
pub(super) fn check() -> Result<()> {
    let mut command = cross::cargo_for_others()?;
    let variable = CHECKED.replace('-', "_");
    command
        // Build scripts of C code ask for a compiler; nothing is linked, so nothing has to come out of it.
        .env(format!("CC_{variable}"), "/bin/true")
        .env(format!("AR_{variable}"), "/bin/true")
        .args(["check", "--locked", "--package", "rpingmesh"])
        .args(["--bins", "--tests", "-Zbuild-std"])
        // Not by RUSTFLAGS, which would compile everything again.
        .args(["-Zwarnings", "--config", "build.warnings='deny'"])
        .args(["--target", CHECKED, "--target-dir", cross::TARGET_FOLDER]);
    succeed(&mut command)?;
    println!("{CHECKED}: compiles");
    Ok(())
}

/// Links every program to Mach-O. That the tests compile is what [`check`] sees; linking them, too, would take twice as long.
pub(super) fn link(cache: &Cache) -> Result<()> {
    let bin = zigbuild(cache)?;
    let sources = cross::cargo_for_others()?;
    let folder = cross::target_folder();
    let mut command = program(bin.join("cargo-zigbuild"));
    for (name, value) in sources.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env("CARGO_ZIGBUILD_PYTHON_PATH", bin.join("python"))
        .env("CARGO", sources.get_program())
        .args(["zigbuild", "--locked"])
        .args(cargo::PROGRAMS)
        .args(["-Zbuild-std", "--target", LINKED, "--target-dir"])
        .arg(&folder);
    succeed(&mut command)?;
    for name in PROGRAMS {
        is_mach_o(&folder.join(LINKED).join("debug").join(name))?;
    }
    println!("{LINKED}: programs link");
    Ok(())
}

/// The folder with cargo-zigbuild, and a Python that has zig, which brings the system's interfaces; both from PyPI.
fn zigbuild(cache: &Cache) -> Result<PathBuf> {
    let name = format!("tools/cargo-zigbuild-{CARGO_ZIGBUILD}-zig-{ZIG}");
    let root = cache.folder(&name, |root| {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(root))
            .context("make a virtual environment (Debian: python3-venv)")?;
        succeed(
            Command::new(root.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet"])
                .arg(format!("cargo-zigbuild=={CARGO_ZIGBUILD}"))
                .arg(format!("ziglang=={ZIG}")),
        )
    })?;
    Ok(root.join("bin"))
}

fn is_mach_o(file: &Path) -> Result<()> {
    let mut magic = [0; 4];
    fs::File::open(file)
        .and_then(|mut file| file.read_exact(&mut magic))
        .with_context(|| format!("read {}", file.display()))?;
    ensure!(magic == MACH_O, "{} is no Mach-O file", file.display());
    Ok(())
}
