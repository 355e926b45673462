//! Scenario files: which nodes there are and which steps run on them. `tests/vm/README.md` is their documentation.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::cargo::workspace;

const DEFAULT_STEP_TIMEOUT: Duration = Duration::from_mins(1);

/// `scenario.toml`, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scenario {
    /// Name of its folder.
    #[serde(skip)]
    pub(crate) name: String,
    /// One sentence.
    pub(crate) description: String,
    /// How long all of it may take, boot included.
    #[serde(with = "humantime_serde")]
    pub(crate) timeout: Duration,
    /// Programs that the steps call beyond a POSIX shell, the usual utilities and `ip`.
    #[serde(default)]
    pub(crate) programs: Vec<String>,
    /// Programs of this workspace that the steps call.
    #[serde(default)]
    pub(crate) binaries: Vec<String>,
    /// Examples of rdma-core-sys that the steps call.
    #[serde(default)]
    pub(crate) examples: Vec<String>,
    /// Programs of this workspace whose unit tests the steps call, as `PROGRAM-tests`.
    #[serde(default)]
    pub(crate) tests: Vec<String>,
    /// Whether the agent must have the eBPF object for the guests' processor.
    #[serde(default)]
    pub(crate) ebpf: bool,
    /// Kernel modules beyond those of the network and of soft-RoCE.
    #[serde(default)]
    pub(crate) modules: Vec<String>,
    /// The guests.
    #[serde(rename = "node")]
    pub(crate) nodes: Vec<Node>,
    /// What runs on them, in this order.
    #[serde(rename = "step")]
    pub(crate) steps: Vec<Step>,
}

/// One guest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Node {
    /// Host name.
    pub(crate) name: String,
    /// Address on the common segment, prefix length 24.
    pub(crate) address: Ipv4Addr,
    /// Whether it has a soft-RoCE device.
    #[serde(default)]
    pub(crate) rxe: bool,
    /// Memory in MiB.
    #[serde(default = "default_memory")]
    pub(crate) memory: u32,
}

fn default_memory() -> u32 {
    512
}

/// One script on one node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Step {
    /// The node it runs on.
    pub(crate) node: String,
    /// File below the scenario's `steps` folder, without `.sh`.
    pub(crate) run: String,
    /// How long it may take.
    #[serde(with = "humantime_serde", default = "default_step_timeout")]
    pub(crate) timeout: Duration,
}

fn default_step_timeout() -> Duration {
    DEFAULT_STEP_TIMEOUT
}

impl Scenario {
    /// Reads and checks the scenario of that name.
    pub(crate) fn load(name: &str) -> Result<Self> {
        let file = scenarios_folder().join(name).join("scenario.toml");
        if !file.is_file() {
            bail!("no scenario `{name}`; there are: {}", names()?.join(", "));
        }
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let scenario =
            Self::parse(name, &text).with_context(|| format!("in {}", file.display()))?;
        for step in &scenario.steps {
            let script = scenario
                .folder()
                .join("steps")
                .join(format!("{}.sh", step.run));
            ensure!(
                script.is_file(),
                "step `{}`: {} is missing",
                step.run,
                script.display()
            );
        }
        Ok(scenario)
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text)?;
        name.clone_into(&mut scenario.name);
        let names: BTreeSet<_> = scenario.nodes.iter().map(|node| &node.name).collect();
        let addresses: BTreeSet<_> = scenario.nodes.iter().map(|node| node.address).collect();
        ensure!(!names.is_empty(), "a scenario needs a node");
        ensure!(
            names.len() == scenario.nodes.len(),
            "two nodes have the same name"
        );
        ensure!(
            addresses.len() == scenario.nodes.len(),
            "two nodes have the same address"
        );
        for node in names {
            ensure!(
                !node.is_empty()
                    && node
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "node `{node}`: a name has lower-case letters, digits and dashes"
            );
        }
        for step in &scenario.steps {
            ensure!(
                scenario.nodes.iter().any(|node| node.name == step.node),
                "step `{}` runs on `{}`, which is no node",
                step.run,
                step.node
            );
        }
        Ok(scenario)
    }

    /// The folder with its files.
    pub(crate) fn folder(&self) -> PathBuf {
        scenarios_folder().join(&self.name)
    }

    /// The variables that every step on `node` finds in its environment, as a shell fragment.
    pub(crate) fn environment(&self, node: &Node) -> String {
        let mut text = format!("export NODE={} INTERFACE=eth0", node.name);
        if node.rxe {
            text.push_str(" RXE=rxe0");
        }
        for node in &self.nodes {
            let variable = node.name.replace('-', "_");
            // Writing to a string cannot fail.
            let _ = write!(text, " ADDRESS_{variable}={}", node.address);
        }
        text.push('\n');
        text
    }
}

/// `tests/vm`.
pub(crate) fn scenarios_folder() -> PathBuf {
    workspace().join("tests/vm")
}

/// All scenarios.
pub(crate) fn names() -> Result<Vec<String>> {
    let folder = scenarios_folder();
    let mut names: Vec<_> = fs::read_dir(&folder)
        .with_context(|| format!("read {}", folder.display()))?
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("scenario.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
