//! Compiled dependencies, kept for the next checkout. What cargo built of this repository's own packages is not kept.
//!
//! `.ci/run` copies a kept folder to `target` where there is none yet; cargo then takes these crates as fresh, because
//! it identifies them by version, features, flags and compiler, not by the place of the checkout. Our own packages are
//! always compiled from the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo::{cargo, target_folder, workspace};
use crate::process::{output, succeed};

/// Workspaces whose packages are ours.
const WORKSPACES: [&str; 3] = [".", "ebpf", "fuzz"];

/// The parts of a profile's folder that hold compiled crates.
const PARTS: [&str; 3] = [".fingerprint", "build", "deps"];

/// How deep below `target` the folders of profiles are: `debug`, `cross/TARGET/debug`.
const DEPTH: usize = 4;

/// Copies the crates of others from `target` to `folder`, which is complete or not there at all. Folders beside it of earlier lock
/// files and compilers go.
pub(super) fn keep(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let ours = ours()?;
    let scratch = folder.with_extension("partial");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    }
    let target = target_folder();
    for profile in profiles(&target, DEPTH)? {
        let below = profile.strip_prefix(&target).unwrap_or(&profile);
        for part in PARTS {
            copy_foreign(&profile.join(part), &scratch.join(below).join(part), &ours)?;
        }
    }
    fs::rename(&scratch, folder).with_context(|| format!("finish {}", folder.display()))?;
    for earlier in earlier(folder)? {
        fs::remove_dir_all(&earlier).with_context(|| format!("remove {}", earlier.display()))?;
    }
    println!("kept the compiled crates of others in {}", folder.display());
    Ok(())
}

/// Folders beside this one that are named as `.ci/run` names them, by 16 digits of a hash: those of earlier lock files and
/// compilers. Nothing else is touched.
fn earlier(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_key = |name: &str| name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parent = folder.parent().context("the folder has a parent")?;
    let mut found = Vec::new();
    for entry in fs::read_dir(parent).with_context(|| format!("read {}", parent.display()))? {
        let entry = entry?;
        let path = entry.path();
        let is_earlier = is_key(&entry.file_name().to_string_lossy()) && path != folder;
        if is_earlier && entry.file_type()?.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Names of our packages and of all their targets, with dashes and with underscores.
fn ours() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for folder in WORKSPACES {
        let mut command = cargo();
        command.current_dir(workspace().join(folder));
        command.args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ]);
        let metadata: serde_json::Value = serde_json::from_str(&output(&mut command)?)
            .with_context(|| format!("read cargo's description of {folder}"))?;
        names.extend(names_in(&metadata));
    }
    Ok(names)
}

fn names_in(metadata: &serde_json::Value) -> BTreeSet<String> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let mut names = BTreeSet::new();
    for package in list(&metadata["packages"]) {
        let targets = list(&package["targets"]);
        for named in targets.iter().chain([&package]) {
            let name = named["name"].as_str().unwrap_or_default();
            // Build scripts are all called alike; they are in folders with their package's name.
            if !name.is_empty() && name != "build-script-build" {
                names.insert(name.to_owned());
                names.insert(name.replace('-', "_"));
            }
        }
    }
    names
}

/// Folders in which cargo has built with some profile.
fn profiles(folder: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if folder.join(".fingerprint").is_dir() {
        found.push(folder.to_owned());
    } else if depth > 0 && folder.is_dir() {
        for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.extend(profiles(&entry.path(), depth - 1)?);
            }
        }
    }
    Ok(found)
}

/// Copies entries that are called `NAME-HASH…` or `libNAME-HASH…` with a name that is not ours.
fn copy_foreign(from: &Path, to: &Path, ours: &BTreeSet<String>) -> Result<()> {
    let mut entries = Vec::new();
    if from.is_dir() {
        for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
            let entry = entry?;
            if is_foreign(&entry.file_name().to_string_lossy(), ours) {
                entries.push(entry.path());
            }
        }
    }
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for some in entries.chunks(500) {
        // Times stay: cargo compares them.
        succeed(Command::new("cp").arg("-a").args(some).arg(to))?;
    }
    Ok(())
}

fn is_foreign(file: &str, ours: &BTreeSet<String>) -> bool {
    let stem = file.split('.').next().unwrap_or_default();
    let Some((name, _hash)) = stem.rsplit_once('-') else {
        return false;
    };
    let is_ours = |name: &str| ours.contains(name);
    !is_ours(name) && !name.strip_prefix("lib").is_some_and(is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeSet<String> {
        names_in(&serde_json::json!({"packages": [{
            "name": "rdma-core-sys",
            "targets": [{"name": "rdma-core-sys"}, {"name": "qp-churn"}, {"name": "build-script-build"}],
        }, {"name": "rpingmesh", "targets": [{"name": "it"}]}]}))
    }

    #[test]
    fn what_is_ours_stays_behind() {
        let names = names();
        for ours in [
            "librdma_core_sys-0123.rlib",
            "rdma-core-sys-0123",
            "qp_churn-0123",
            "it-0123.d",
            "librpingmesh-0123.rmeta",
            "lock",
        ] {
            assert!(!is_foreign(ours, &names), "{ours}");
        }
        for others in [
            "libtokio-0123.rlib",
            "tokio-0123",
            "itoa-0123.d",
            "libc-0123",
        ] {
            assert!(is_foreign(others, &names), "{others}");
        }
    }

    #[test]
    fn folders_are_found_where_cargo_has_built() {
        let folder = tempfile::tempdir().expect("a folder");
        for profile in ["debug", "cross/aarch64-unknown-linux-gnu/debug"] {
            fs::create_dir_all(folder.path().join(profile).join(".fingerprint")).expect("made");
        }
        fs::create_dir_all(folder.path().join("steps")).expect("made");
        let mut found = profiles(folder.path(), DEPTH).expect("read");
        found.sort();
        assert_eq!(
            found,
            [
                folder.path().join("cross/aarch64-unknown-linux-gnu/debug"),
                folder.path().join("debug")
            ]
        );
    }

    #[test]
    fn only_folders_of_earlier_keys_are_removed() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        for name in ["0123456789abcdef", "fedcba9876543210", "work", "Photos"] {
            fs::create_dir(at(name)).expect("made");
        }
        fs::write(at("00112233aabbccdd"), "a file").expect("written");
        let found = earlier(&at("0123456789abcdef")).expect("read");
        assert_eq!(found, [at("fedcba9876543210")]);
    }

    #[test]
    fn a_kept_folder_is_whole_and_alone() {
        let root = tempfile::tempdir().expect("a folder");
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(&from).expect("made");
        for name in ["libtokio-1.rlib", "librpingmesh-1.rlib"] {
            fs::write(from.join(name), name).expect("written");
        }
        copy_foreign(&from, &to, &names()).expect("copied");
        let kept: Vec<_> = fs::read_dir(&to)
            .expect("read")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(kept, ["libtokio-1.rlib"]);
    }
}
