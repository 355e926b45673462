//! Nix from Debian's package, unpacked into the cache folder and never installed. In the flake's development shell the Nix that
//! opened it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::apt::Apt;
use crate::cache::Cache;
use crate::process::describe;
use crate::test::tools;
use crate::vm::Arch;

/// Debian 13 has Nix 2.26.
const SUITE: &str = "trixie";

/// Everything that could leave this machine or need privilege is off.
const CONFIG: &str = "experimental-features = nix-command flakes
sandbox = false
build-users-group =
substituters =
flake-registry =
warn-dirty = false
eval-cache = false
";

/// The three inputs of the flake, and the folders that replace them.
pub(crate) const INPUTS: &[&str] = &["nixpkgs", "rust-overlay", "crane"];

/// A Nix that evaluates and cannot reach the network.
pub(crate) struct Nix {
    program: Program,
    /// Store, state and caches, removed with this value.
    state: tempfile::TempDir,
}

enum Program {
    Installed(PathBuf),
    /// Debian's, with the loader and the libraries that it was built with.
    Unpacked {
        program: PathBuf,
        loader: PathBuf,
        libraries: PathBuf,
    },
}

impl Program {
    /// Downloads Nix, unless it is there.
    fn provide(cache: &Cache) -> Result<Self> {
        if tools::is_path_trusted()
            && let Some(path) = tools::find_in_path("nix")
        {
            return Ok(Self::Installed(path));
        }
        let arch = Arch::host();
        let root = cache.folder(&format!("nix/{SUITE}-{}", arch.debian()), |folder| {
            eprintln!("downloading Nix of Debian {SUITE}");
            Apt::update(cache, &[SUITE], arch)?.unpack_with_dependencies(&["nix-bin"], folder)
        })?;
        let (triplet, loader) = match arch {
            Arch::X86_64 => ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
            Arch::Aarch64 => ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
        };
        let libraries = root.join("usr/lib").join(triplet);
        let loader = libraries.join(loader);
        let program = root.join("usr/bin/nix");
        for file in [&loader, &program] {
            if !file.exists() {
                bail!("{} is missing: remove {}", file.display(), root.display());
            }
        }
        Ok(Self::Unpacked {
            program,
            loader,
            libraries,
        })
    }

    fn command(&self) -> Command {
        match self {
            Self::Installed(path) => Command::new(path),
            Self::Unpacked {
                program,
                loader,
                libraries,
            } => {
                let mut command = Command::new(loader);
                command
                    .args(["--argv0", "nix", "--library-path"])
                    .arg(libraries)
                    .arg(program);
                command
            }
        }
    }
}

impl Nix {
    /// A Nix with an empty store.
    pub(crate) fn provide(cache: &Cache) -> Result<Self> {
        let state = tempfile::Builder::new()
            .prefix("rpingmesh-nix-")
            .tempdir()
            .context("make a scratch folder")?;
        Ok(Self {
            program: Program::provide(cache)?,
            state,
        })
    }

    /// Runs `nix ARGUMENTS` and returns what it prints; an error carries its last error block only.
    pub(crate) fn run(&self, arguments: &[&str], folder: &Path) -> Result<String> {
        let state = self.state.path();
        let mut command = self.program.command();
        command
            .args(arguments)
            .arg("--store")
            .arg(state.join("store"))
            .current_dir(folder)
            .env("NIX_CONFIG", CONFIG)
            .env("NIX_STATE_DIR", state.join("var"))
            .env("NIX_LOG_DIR", state.join("log"))
            .env("NIX_CONF_DIR", state.join("etc"))
            .env("XDG_CACHE_HOME", state.join("cache"))
            .env("HOME", state.join("home"))
            .env("NO_COLOR", "1");
        let output = command.output().with_context(|| describe(&command))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(anyhow!(
            "{}",
            last_error(&String::from_utf8_lossy(&output.stderr))
        ))
    }

    /// Where a store path of this Nix really is.
    pub(crate) fn real_path(&self, store_path: &str) -> PathBuf {
        let store = self.state.path().join("store");
        store.join(store_path.trim_start_matches('/'))
    }

    /// Options that replace the inputs by the stand-ins.
    pub(crate) fn stand_ins(folder: &Path) -> Vec<String> {
        INPUTS
            .iter()
            .flat_map(|input| {
                [
                    "--override-input".to_owned(),
                    (*input).to_owned(),
                    format!("path:{}", folder.join("nix/check").join(input).display()),
                ]
            })
            .collect()
    }
}

/// The innermost error of a trace, with the place it points at; store paths shortened to the file's name in the flake.
fn last_error(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let begin = lines
        .iter()
        .rposition(|line| {
            line.trim_start()
                .strip_prefix("error:")
                .is_some_and(|rest| !rest.trim().is_empty())
        })
        .unwrap_or(0);
    let mut kept: Vec<String> = Vec::new();
    for line in &lines[begin..] {
        let line = match line.find("-source/") {
            Some(at) => {
                let start = line[..at].rfind(' ').map_or(0, |space| space + 1);
                format!("{}{}", &line[..start], &line[at + "-source/".len()..])
            }
            None => (*line).to_owned(),
        };
        kept.push(line.trim().to_owned());
    }
    kept.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::last_error;

    #[test]
    fn the_innermost_error_is_told_with_its_place() {
        let text = "warning: x\nerror:\n       … while checking flake output 'checks'\n         at /s/abc-source/flake.nix:49:7:\n\n       error: attribute 'mkIff' missing\n       at /s/nix/store/abc-source/nix/modules/agent.nix:64:12:\n";
        assert_eq!(
            last_error(text),
            "error: attribute 'mkIff' missing\nat nix/modules/agent.nix:64:12:"
        );
    }

    #[test]
    fn a_text_without_an_error_is_told_whole() {
        assert_eq!(last_error("killed\n"), "killed");
    }
}
