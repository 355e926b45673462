//! The deployment examples, checked by `deploy/check.py` with Python packages of a fixed version in the cache folder.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cache::Cache;
use crate::cargo::{cargo, target_folder, workspace};
use crate::process::{output, succeed};

/// What the script imports.
const PACKAGES: &[&str] = &[
    "kubernetes-validate==1.37.0",
    "compose-spec==0.2.1",
    "PyYAML==6.0.4",
];

pub(super) fn check(cache: &Cache) -> Result<()> {
    let name = format!("python-{}", PACKAGES.join("-").replace("==", "-"));
    let environment = cache.folder(&name, |folder| {
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
        output(install.args(PACKAGES))?;
        Ok(())
    })?;
    succeed(cargo().args(["build", "--locked", "--package", "rpingmesh", "--bins"]))?;
    succeed(
        Command::new(environment.join("bin/python"))
            .current_dir(workspace())
            .arg("deploy/check.py")
            .arg(target_folder().join("debug")),
    )
}
