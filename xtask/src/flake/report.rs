//! The evaluated flake, as `nix/check/report.nix` reports it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::checkout::Checkout;
use super::nix::Nix;

/// Everything that is looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    /// Names of outputs.
    pub(crate) outputs: Outputs,
    /// Configurations of the NixOS modules.
    pub(crate) samples: Vec<Sample>,
    /// Typed keys of `settings`, by role.
    pub(crate) options: BTreeMap<String, Vec<String>>,
    /// What packages and checks run.
    pub(crate) phases: Vec<Phase>,
    /// Scripts of the VM tests, by test.
    pub(crate) scripts: BTreeMap<String, Script>,
    /// Names of the programs that `nix fmt` calls, by system.
    pub(crate) formatters: BTreeMap<String, String>,
    /// Development shells, by system.
    pub(crate) shells: BTreeMap<String, Shell>,
    /// Container images, by output.
    pub(crate) images: BTreeMap<String, Image>,
    /// Derivations of every package with a nixpkgs that has no Intel Macs any more, by system.
    pub(crate) next: BTreeMap<String, BTreeMap<String, String>>,
}

/// What `nix develop` opens.
#[derive(Debug, Deserialize)]
pub(crate) struct Shell {
    /// Names of packages.
    pub(crate) packages: Vec<String>,
    /// Variables.
    pub(crate) variables: BTreeMap<String, String>,
}

/// What the test driver runs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Script {
    /// Names of the machines.
    pub(crate) nodes: Vec<String>,
    /// Python.
    pub(crate) test_script: String,
}

/// A container image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Image {
    /// `rpingmesh/agent`
    #[serde(rename = "name")]
    pub(crate) name: String,
    /// The version.
    #[serde(rename = "tag")]
    pub(crate) tag: String,
    /// The program.
    pub(crate) entrypoint: Vec<String>,
    /// Its arguments.
    pub(crate) cmd: Vec<String>,
    /// Who runs it; root where absent.
    pub(crate) user: Option<String>,
}

/// Names by kind and system.
#[derive(Debug, Deserialize)]
pub(crate) struct Outputs {
    /// `packages.<system>`
    pub(crate) packages: BTreeMap<String, Vec<String>>,
    /// `checks.<system>`
    pub(crate) checks: BTreeMap<String, Vec<String>>,
    /// `apps.<system>`
    pub(crate) apps: BTreeMap<String, Vec<String>>,
}

/// One configuration of one role.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    /// What it is called.
    pub(crate) name: String,
    /// `agent`, `controller` or `analyzer`.
    pub(crate) role: String,
    /// Part of the error that the program must give; accepted where absent.
    pub(crate) refused: Option<String>,
    /// Content of the file.
    pub(crate) settings: serde_json::Value,
    /// What is checked when a system is built.
    pub(crate) build_settings: serde_json::Value,
    /// Directives of the unit's `[Service]`.
    pub(crate) unit: BTreeMap<String, String>,
}

/// A derivation made by crane.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Phase {
    /// The output's name.
    pub(crate) name: String,
    /// Shell commands that call cargo.
    pub(crate) commands: Vec<String>,
    /// Variables.
    pub(crate) env: BTreeMap<String, String>,
    /// Folder with the sources.
    pub(crate) source: String,
}

/// Evaluates everything, deeply.
pub(crate) fn evaluate(nix: &Nix, checkout: &Checkout) -> Result<Report> {
    let text = nix.run(
        &["eval", "--json", "--file", "nix/check/report.nix"],
        checkout.root(),
    )?;
    serde_json::from_str(&text).context("read what nix/check/report.nix says")
}
