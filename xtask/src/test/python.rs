//! Python packages of fixed versions in the cache folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cache::Cache;
use crate::process::output;

/// An environment with these packages (`NAME==VERSION`); its programs are in `bin`.
pub(crate) fn environment(cache: &Cache, packages: &[&str]) -> Result<PathBuf> {
    let name = format!("python-{}", packages.join("-").replace("==", "-"));
    cache.folder(&name, |folder| {
        output(Command::new("python3").args(["-m", "venv"]).arg(folder))
            .context("make a Python environment; Debian has it in python3-venv")?;
        let mut install = Command::new(folder.join("bin/python"));
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        output(install.args(packages))?;
        Ok(())
    })
}
