//! A copy of the repository's files: what a flake in a git repository sees, without `target`.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::workspace;
use crate::process::describe;

/// A copy in its own folder; dropping the value removes it.
pub(crate) struct Checkout {
    folder: tempfile::TempDir,
}

impl Checkout {
    /// Copies all files that git tracks or would track.
    pub(crate) fn of_workspace() -> Result<Self> {
        let mut command = Command::new("git");
        command.current_dir(workspace()).args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ]);
        let listed = command.output().with_context(|| describe(&command))?;
        ensure!(
            listed.status.success(),
            "{} failed: {}",
            describe(&command),
            String::from_utf8_lossy(&listed.stderr)
        );
        let copy = Self {
            folder: tempfile::Builder::new()
                .prefix("rpingmesh-flake-")
                .tempdir()
                .context("make a scratch folder")?,
        };
        for name in listed.stdout.split(|byte| *byte == 0) {
            let name = Path::new(std::ffi::OsStr::from_bytes(name));
            let source = workspace().join(name);
            // Listed, but deleted and not yet committed.
            if name.as_os_str().is_empty() || !source.is_file() {
                continue;
            }
            let target = copy.root().join(name);
            fs::create_dir_all(target.parent().unwrap_or(copy.root()))
                .with_context(|| format!("copy {}", name.display()))?;
            fs::copy(&source, &target).with_context(|| format!("copy {}", name.display()))?;
        }
        Ok(copy)
    }

    /// The folder.
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Content of one of its files.
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        let path = self.root().join(name);
        fs::read_to_string(&path).with_context(|| format!("read {name}"))
    }

    /// Replaces the only occurrence of `from` in a file.
    pub(crate) fn replace(&self, name: &str, from: &str, to: &str) -> Result<()> {
        let text = self.read(name)?;
        let found = text.matches(from).count();
        ensure!(
            found == 1,
            "{name} has `{from}` {found} times, expected once"
        );
        self.write(name, &text.replace(from, to))
    }

    /// Gives one of its files this content.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.root().join(name), text).with_context(|| format!("write {name}"))
    }

    /// All Nix files, relative to the folder.
    pub(crate) fn nix_files(&self) -> Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::from("flake.nix")];
        let mut folders = vec![PathBuf::from("nix")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.root().join(&folder))? {
                let entry = entry?;
                let path = folder.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "nix") {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}
