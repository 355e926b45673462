//! macOS on a machine that is none: everything compiles, and links by zig.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::tools;
use crate::cache::Cache;
use crate::cargo::program;
use crate::cross;
use crate::process::succeed;

/// The version of zig that is known to link this.
const ZIG: &str = "0.17.1";
/// What is linked; the other processor's code is checked.
const LINKED: &str = "aarch64-apple-darwin";
/// How 64-bit Mach-O files begin (`MH_MAGIC_64`, `mach-o/loader.h`).
const MACH_O: [u8; 4] = 0xfeed_facf_u32.to_le_bytes();
/// The programs that are packed beside the tests.
const PROGRAMS: [&str; 4] = [
    "rpingmesh",
    "rpingmesh-agent",
    "rpingmesh-analyzer",
    "rpingmesh-controller",
];

/// Checks, does not link: no SDK is needed. The standard library comes from its sources.
pub(super) fn check() -> Result<()> {
    for target in ["aarch64-apple-darwin", "x86_64-apple-darwin"] {
        let mut command = cross::cargo_for_others()?;
        let variable = target.replace('-', "_");
        command
            // Build scripts of C code ask for a compiler; nothing is linked, so nothing has to come out of it.
            .env(format!("CC_{variable}"), "/bin/true")
            .env(format!("AR_{variable}"), "/bin/true")
            .args(["check", "--locked", "--package", "rpingmesh"])
            .args(["--bins", "--tests", "-Zbuild-std"])
            // Not by RUSTFLAGS, which would compile everything again.
            .args(["-Zwarnings", "--config", "build.warnings='deny'"])
            .args(["--target", target, "--target-dir", cross::TARGET_FOLDER]);
        succeed(&mut command)?;
        println!("{target}: compiles");
    }
    Ok(())
}

/// Links every program and every test binary to Mach-O and packs them into an archive that nextest runs on a Mac.
///
/// One command for all: programs alone would have other features of their dependencies, which were then compiled twice.
pub(super) fn link(cache: &Cache) -> Result<()> {
    let zigbuild = tools::CARGO_ZIGBUILD.provide(cache)?;
    let nextest = tools::CARGO_NEXTEST.provide(cache)?;
    let zig = zig(cache)?;
    let sources = cross::cargo_for_others()?;
    let folder = cross::target_folder();
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let cargo = folder.join("cargo");
    let script = linking_cargo(Path::new(sources.get_program()), &zigbuild);
    fs::write(&cargo, script).with_context(|| format!("write {}", cargo.display()))?;
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755))?;

    let archive = folder.join("tests.tar.zst");
    let mut command = program(nextest);
    for (name, value) in sources.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env("CARGO_ZIGBUILD_PYTHON_PATH", zig.join("bin/python"))
        .env("CARGO", &cargo)
        .args(["nextest", "archive", "--archive-file"])
        .arg(&archive)
        .args(["--locked", "--package", "rpingmesh", "-Zbuild-std"])
        .args(["--target", LINKED, "--target-dir"])
        .arg(&folder);
    succeed(&mut command)?;
    for name in PROGRAMS {
        is_mach_o(&folder.join(LINKED).join("debug").join(name))?;
    }
    let size = fs::metadata(&archive)?.len();
    println!(
        "{LINKED}: programs and tests link; on a Mac, in this checkout: cargo nextest run --archive-file {} --workspace-remap . ({} MiB)",
        archive.display(),
        size >> 20
    );
    Ok(())
}

/// Zig from PyPI, which brings the system's interfaces.
fn zig(cache: &Cache) -> Result<PathBuf> {
    cache.folder(&format!("tools/ziglang-{ZIG}"), |root| {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(root))
            .context("make a virtual environment (Debian: python3-venv)")?;
        succeed(
            Command::new(root.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet"])
                .arg(format!("ziglang=={ZIG}")),
        )
    })
}

fn is_mach_o(file: &Path) -> Result<()> {
    let mut magic = [0; 4];
    fs::File::open(file)
        .and_then(|mut file| file.read_exact(&mut magic))
        .with_context(|| format!("read {}", file.display()))?;
    ensure!(magic == MACH_O, "{} is no Mach-O file", file.display());
    Ok(())
}

/// A script in cargo's place for nextest, which has no option for it: tests are compiled through zig.
fn linking_cargo(cargo: &Path, zigbuild: &Path) -> String {
    let (cargo, zigbuild) = (cargo.display(), zigbuild.display());
    format!(
        "#!/bin/sh\n\
         # Nextest puts --color before the command, where cargo-zigbuild does not take it.\n\
         case \"$1 $2\" in\n\
         --color=*\\ test) shift ;;\n\
         esac\n\
         case \"$1\" in\n\
         test) CARGO='{cargo}' exec '{zigbuild}' \"$@\" ;;\n\
         *) exec '{cargo}' \"$@\" ;;\n\
         esac\n"
    )
}
