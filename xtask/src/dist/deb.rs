//! Debian packages: made by cargo-deb, looked into with dpkg-deb.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::contents::{self, Format};
use super::linked::{self, Glibc};
use super::{Build, VERSION};
use crate::cache::Cache;
use crate::cargo::workspace;
use crate::process::output;
use crate::test::tools;
use crate::vm::Arch;

/// Packs a role's programs, under the name that Debian's tools expect.
pub(super) fn build(cache: &Cache, build: &Build, role: &str, folder: &Path) -> Result<PathBuf> {
    let cargo_deb = tools::CARGO_DEB.provide(cache)?;
    let name = format!("rpingmesh-{role}_{VERSION}_{}.deb", build.arch.debian());
    let file = folder.join(name);
    let mut command = Command::new(cargo_deb);
    command
        .current_dir(workspace())
        .env("CARGO_TARGET_DIR", &build.target)
        .envs(super::source_date())
        // Called without cargo, hence with the subcommand's name.
        .arg("deb")
        .args(["--package", "rpingmesh", "--variant", role])
        .args(["--profile", build.profile.name()])
        .args(["--no-build", "--no-strip", "--locked"])
        .arg("--output")
        .arg(&file);
    if build.arch != Arch::host() {
        command.args(["--target", build.arch.rust_target()]);
    }
    output(&mut command)?;
    Ok(file)
}

/// Whether a package is what it should be.
pub(super) fn check(package: &Path, role: &str, arch: Arch, declared: Glibc) -> Result<()> {
    let name = format!("rpingmesh-{role}");
    let field = |field: &str| -> Result<String> {
        let mut command = Command::new("dpkg-deb");
        command.arg("--field").arg(package).arg(field);
        Ok(output(&mut command)?.trim().to_owned())
    };
    for (key, value) in [
        ("Package", name.as_str()),
        ("Architecture", arch.debian()),
        ("Version", VERSION),
    ] {
        let found = field(key)?;
        ensure!(found == value, "{key} is {found}, expected {value}");
    }
    linked::check_depends(&field("Depends")?, declared)?;

    let mut listing = Command::new("dpkg-deb");
    listing.arg("--contents").arg(package);
    let found = files(&output(&mut listing)?)?;
    contents::compare(&found, &contents::expected(role, Format::Deb)?)?;

    let folder = tempfile::tempdir().context("make a scratch folder")?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--control").arg(package).arg(folder.path());
    output(&mut unpack)?;
    let read = |file: &str| -> Result<String> {
        std::fs::read_to_string(folder.path().join(file)).with_context(|| format!("read {file}"))
    };
    let configuration = format!("/etc/rpingmesh/{role}.toml");
    ensure!(
        read("conffiles")?.lines().any(|line| line == configuration),
        "{configuration} is no conffile: an update would overwrite what people edited"
    );
    for script in ["postinst", "prerm", "postrm"] {
        ensure!(
            read(script)?.contains("systemd"),
            "{script} does nothing about the unit"
        );
        output(Command::new("sh").arg("-n").arg(folder.path().join(script)))
            .with_context(|| format!("{script} is not shell"))?;
    }
    Ok(())
}

/// Mode and path of each file; all belong to root.
fn files(listing: &str) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        let mode = words.next().unwrap_or_default();
        let owner = words.next().unwrap_or_default();
        let path = line.rfind(" ./").map_or("", |at| &line[at + 2..]);
        ensure!(
            ["0/0", "root/root"].contains(&owner),
            "{path} belongs to {owner}"
        );
        if !mode.starts_with('d') {
            files.insert(format!("{mode} {path}"));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_of_dpkg_deb() {
        let listing = "drwxr-xr-x root/root 0 2026-01-01 00:00 ./usr/\n\
                       -rwxr-xr-x root/root 9 2026-01-01 00:00 ./usr/bin/rpingmesh-agent\n";
        assert_eq!(
            files(listing).unwrap().into_iter().collect::<Vec<_>>(),
            ["-rwxr-xr-x /usr/bin/rpingmesh-agent"]
        );
        let error = files("-rw-r--r-- ada/ada 9 2026-01-01 00:00 ./etc/x\n").unwrap_err();
        assert_eq!(error.to_string(), "/etc/x belongs to ada/ada");
    }
}
