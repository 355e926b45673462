//! Programs from the crates registry, compiled once into the cache folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cache::Cache;
use crate::process::in_path;

/// A program and the version that is known to work.
pub(crate) struct Tool {
    /// The package on the registry.
    name: &'static str,
    /// What it installs.
    program: &'static str,
    version: &'static str,
    /// Whether one that is already installed will do.
    any_version: bool,
    /// Arguments of `cargo install` beyond the usual ones.
    arguments: &'static [&'static str],
    /// Variables that its compilation needs, where they are not set.
    environment: &'static [(&'static str, &'static str)],
    /// Said when it does not compile.
    needs: &'static str,
}

/// Test runner.
pub(crate) const CARGO_NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    program: "cargo-nextest",
    version: "0.9.143",
    any_version: true,
    arguments: &[],
    environment: &[],
    needs: "",
};

/// Checks licenses and sources. Its configuration changes between versions, so always this one.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    program: "cargo-deny",
    version: "0.20.2",
    any_version: false,
    arguments: &[],
    environment: &[],
    needs: "",
};

/// Runs fuzz targets.
pub(crate) const CARGO_FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    program: "cargo-fuzz",
    version: "0.13.2",
    any_version: false,
    arguments: &[],
    environment: &[],
    needs: "",
};

/// Links BPF objects. Its LLVM has to be at least as new as the compiler's.
pub(crate) const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    program: "bpf-linker",
    version: "0.13.0",
    any_version: false,
    arguments: &["--no-default-features", "--features", "llvm-22"],
    environment: &[
        ("LLVM_PREFIX", "/usr/lib/llvm-22"),
        ("LLVM_SYS_221_PREFIX", "/usr/lib/llvm-22"),
    ],
    needs: ": it needs LLVM 22 with its headers (Debian: llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev; elsewhere \
            name its folder in LLVM_PREFIX and LLVM_SYS_221_PREFIX)",
};

/// Builds Debian packages.
pub(crate) const CARGO_DEB: Tool = Tool {
    name: "cargo-deb",
    program: "cargo-deb",
    version: "3.8.0",
    any_version: false,
    arguments: &[],
    environment: &[],
    needs: "",
};

/// Formats Nix files.
pub(crate) const NIXFMT: Tool = Tool {
    name: "nixfmt_rs",
    program: "nixfmt",
    version: "0.5.3",
    any_version: false,
    arguments: &[],
    environment: &[],
    needs: "",
};

/// Finds unused names in Nix files.
pub(crate) const DEADNIX: Tool = Tool {
    name: "deadnix",
    program: "deadnix",
    version: "1.3.1",
    any_version: false,
    arguments: &[],
    environment: &[],
    needs: "",
};

/// They run for seconds: compiling them as their authors release them takes longer than that saves.
const QUICK: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
];

impl Tool {
    /// The program's path, after compiling it if need be.
    pub(crate) fn provide(&self, cache: &Cache) -> Result<PathBuf> {
        if self.any_version && in_path(self.program) {
            return Ok(PathBuf::from(self.program));
        }
        let folder = cache.folder(&format!("tools/{}-{}", self.name, self.version), |root| {
            eprintln!("compiling {} {}", self.name, self.version);
            let unset = self
                .environment
                .iter()
                .filter(|(name, _)| std::env::var_os(name).is_none());
            let status = Command::new("cargo")
                .envs(QUICK)
                .envs(unset.copied())
                // Not in the checkout: its lock file and settings are not for tools.
                .current_dir(root)
                .args([
                    "install",
                    self.name,
                    "--version",
                    self.version,
                    "--locked",
                    "--root",
                ])
                .arg(root)
                .args(self.arguments)
                .arg("--target-dir")
                .arg(root.join("target"))
                .status()
                .context("run cargo install")?;
            ensure!(
                status.success(),
                "{} {} did not compile{}",
                self.name,
                self.version,
                self.needs
            );
            std::fs::remove_dir_all(root.join("target")).context("remove what the compilation left")
        })?;
        Ok(folder.join("bin").join(self.program))
    }
}
