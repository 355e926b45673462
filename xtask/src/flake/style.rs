//! Format and dead code of the Nix files.

use std::process::Command;

use anyhow::Result;

use super::checkout::Checkout;
use crate::cache::Cache;
use crate::process::output;
use crate::test::tools;

pub(crate) fn format(cache: &Cache, checkout: &Checkout) -> Result<String> {
    let files = checkout.nix_files()?;
    output(
        Command::new(tools::NIXFMT.provide(cache)?)
            .current_dir(checkout.root())
            .arg("--check")
            .args(&files),
    )?;
    Ok(format!("{} files", files.len()))
}

pub(crate) fn dead_code(cache: &Cache, checkout: &Checkout) -> Result<String> {
    output(
        Command::new(tools::DEADNIX.provide(cache)?)
            .current_dir(checkout.root())
            .args(["--fail", "--output-format", "json", "flake.nix", "nix"]),
    )?;
    Ok("no unused name".to_owned())
}
