//! Programs from the crates registry, compiled once into the cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cache::Cache;

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
    ///
    /// One that is in `PATH` is taken if it is of the version that is known to work, or if [`FROM_PATH`] says that whoever
    /// set `PATH` answers for it.
    pub(crate) fn provide(&self, cache: &Cache) -> Result<PathBuf> {
        let trusted = self.any_version || is_path_trusted();
        if let Some(path) = find_in_path(self.program)
            && (trusted || self.is_version_of(&path))
        {
            return Ok(path);
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

    /// Whether that program says that it is of this version: `cargo-deny 0.20.2`.
    fn is_version_of(&self, program: &Path) -> bool {
        Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|said| self.is_in(&String::from_utf8_lossy(&said.stdout)))
    }

    /// Another program is also called nixfmt, with other versions, so the name is checked too.
    fn is_in(&self, said: &str) -> bool {
        let mut words = said.split_whitespace();
        let name = words.next().unwrap_or_default().replace('_', "-");
        name == self.name.replace('_', "-") && words.next() == Some(self.version)
    }
}

/// Set to `path` where `PATH` has all tools in versions that belong together: in the flake's development shell.
pub(crate) const FROM_PATH: &str = "RPINGMESH_TOOLS";

/// Packages of nixpkgs with the tools that are taken from `PATH`: the flake's development shell has them.
pub(crate) const IN_SHELL: &[&str] = &[
    "bpf-linker",
    "cargo-deb",
    "cargo-deny",
    "cargo-nextest",
    "deadnix",
    "mypy",
    "nixfmt",
    "python3",
];

/// Whether tools are taken from `PATH` whatever their version.
pub(crate) fn is_path_trusted() -> bool {
    std::env::var_os(FROM_PATH).is_some_and(|value| value == "path")
}

/// Where the program that `PATH` finds is.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_of_path_is_known_by_name_and_version() {
        assert!(CARGO_DENY.is_in("cargo-deny 0.20.2\n"));
        assert!(!CARGO_DENY.is_in("cargo-deny 0.19.0\n"));
        assert!(NIXFMT.is_in("nixfmt-rs 0.5.3"));
        assert!(!NIXFMT.is_in("nixfmt 0.5.3"));
        assert!(!NIXFMT.is_in(""));
    }
}
