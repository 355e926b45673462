//! One archive with everything for distributions without packages, and the checksums of all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::contents::{self, Format};
use super::layout::{self, LICENSES};
use super::rpm::Roles;
use super::{Build, ROLES, VERSION};
use crate::cargo::workspace;
use crate::process::{describe, output};
use crate::vm::Arch;

/// The file that `sha256sum --check` reads.
const CHECKSUMS: &str = "SHA256SUMS";

/// Licences, and what to do with the rest.
const AT_THE_TOP: [&str; 3] = [LICENSES[0], LICENSES[1], "README.md"];

/// The name of the archive without its ending, and of the folder in it.
fn name(arch: Arch) -> String {
    format!("rpingmesh-{VERSION}-{}-linux", arch.gnu())
}

/// Where a file of a package is in the archive: `usr` is what people copy to `/usr` or `/usr/local`. `None` for the licences,
/// which the archive has once.
fn path_in_archive(path: &str) -> Option<&str> {
    if path.starts_with("/usr/share/licenses/") {
        return None;
    }
    Some(
        path.strip_prefix("/usr/")
            .unwrap_or(path)
            .trim_start_matches('/'),
    )
}

/// Packs all programs and files.
pub(super) fn build(build: &Build, roles: &Roles, folder: &Path) -> Result<PathBuf> {
    let name = name(build.arch);
    let scratch = tempfile::tempdir().context("make a scratch folder")?;
    let top = scratch.path().join(&name);
    for file in roles.values().flatten() {
        if let Some(path) = path_in_archive(&file.path) {
            layout::place(&file.source, &top.join(path), file.mode)?;
        }
    }
    for license in LICENSES {
        layout::place(&workspace().join(license), &top.join(license), 0o644)?;
    }
    let readme = workspace().join("packaging/archive.md");
    layout::place(&readme, &top.join("README.md"), 0o644)?;
    let archive = folder.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(&archive);
    // The same bytes on every machine.
    tar.args(["--use-compress-program", "gzip -n"])
        .args(["--sort=name", "--format=gnu", "--numeric-owner"])
        .args(["--owner=0", "--group=0", "--mode=u=rwX,go=rX"]);
    if let Some((_, seconds)) = super::source_date() {
        tar.arg(format!("--mtime=@{seconds}"));
    }
    output(tar.arg("--directory").arg(scratch.path()).arg(&name))?;
    Ok(archive)
}

/// Whether the archive has what the packages have, and its programs start where this machine can run them.
pub(super) fn check(archive: &Path, arch: Arch) -> Result<()> {
    let name = name(arch);
    let mut expected: BTreeSet<String> = AT_THE_TOP
        .iter()
        .map(|file| format!("-rw-r--r-- {name}/{file}"))
        .collect();
    for role in ROLES {
        for file in contents::expected(role, Format::Rpm)? {
            let (mode, path) = file.split_once(' ').context("mode and path")?;
            expected.extend(path_in_archive(path).map(|path| format!("{mode} {name}/{path}")));
        }
    }
    let mut list = Command::new("tar");
    list.arg("--list")
        .arg("--verbose")
        .arg("--file")
        .arg(archive);
    contents::compare(&files(&output(&mut list)?)?, &expected)?;

    let scratch = tempfile::tempdir().context("make a scratch folder")?;
    let mut unpack = Command::new("tar");
    unpack.arg("--extract").arg("--file").arg(archive);
    output(unpack.arg("--directory").arg(scratch.path()))?;
    let top = scratch.path().join(&name);
    for file in expected.iter().filter_map(|file| {
        let (mode, path) = file.split_once(' ')?;
        (mode == "-rwxr-xr-x" && arch == Arch::host()).then_some(path)
    }) {
        let mut command = Command::new(scratch.path().join(file));
        let said = output(command.arg("--version"))?;
        ensure!(
            said.contains(VERSION),
            "{} says {said:?}, not {VERSION}",
            describe(&command)
        );
    }
    for role in ROLES {
        let path = format!("lib/systemd/system/rpingmesh-{role}.service");
        let unit = fs::read_to_string(top.join(&path)).with_context(|| format!("read {path}"))?;
        let starts =
            format!("ExecStart=/usr/bin/rpingmesh-{role} run --config /etc/rpingmesh/{role}.toml");
        ensure!(
            unit.lines().any(|line| line == starts),
            "{path} does not have the line {starts}"
        );
    }
    Ok(())
}

/// Mode and path of each file in a listing of tar's; all belong to root.
fn files(listing: &str) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for line in listing.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, .., path] = words[..] else {
            anyhow::bail!("tar says {line:?}");
        };
        ensure!(owner == "0/0", "{path} belongs to {owner}");
        if !mode.starts_with('d') {
            files.insert(format!("{mode} {path}"));
        }
    }
    Ok(files)
}

/// Writes the checksums of the files into their folder, and checks them with sha256sum.
pub(super) fn checksums(files: &[PathBuf], folder: &Path) -> Result<PathBuf> {
    let mut names = Vec::new();
    for file in files {
        names.push(file.file_name().context("a file without a name")?);
    }
    names.sort_unstable();
    let sums = output(Command::new("sha256sum").current_dir(folder).args(names))?;
    let path = folder.join(CHECKSUMS);
    fs::write(&path, sums).with_context(|| format!("write {}", path.display()))?;
    let mut check = Command::new("sha256sum");
    output(
        check
            .current_dir(folder)
            .args(["--check", "--strict", "--quiet", CHECKSUMS]),
    )?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_of_tar() {
        let listing = "drwxr-xr-x 0/0  0 2026-01-01 00:00 a/\n\
                       -rwxr-xr-x 0/0  9 2026-01-01 00:00 a/bin/b\n";
        let found: Vec<String> = files(listing).unwrap().into_iter().collect();
        assert_eq!(found, ["-rwxr-xr-x a/bin/b"]);
        let error = files("-rw-r--r-- ada/ada 9 2026-01-01 00:00 a/x\n").unwrap_err();
        assert_eq!(error.to_string(), "a/x belongs to ada/ada");
    }

    #[test]
    fn files_below_usr_lose_it() {
        assert_eq!(path_in_archive("/usr/bin/a"), Some("bin/a"));
        assert_eq!(path_in_archive("/etc/a/b.toml"), Some("etc/a/b.toml"));
        assert_eq!(path_in_archive("/usr/share/licenses/a/LICENSE-MIT"), None);
    }

    #[test]
    fn checksums_are_those_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b.deb");
        fs::write(&file, "abc").unwrap();
        let sums = checksums(&[file], folder.path()).unwrap();
        assert_eq!(
            fs::read_to_string(sums).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b.deb\n"
        );
    }
}
