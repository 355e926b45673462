//! The agent's verbs code on RNICs without hardware (`tests/emulated-rnic`): the real program loads a libibverbs.so.1 whose
//! devices stand in a text file that changes while it runs.

mod chaos;
mod clocks;
mod faults;
mod gids;
mod lab;
mod listing;
mod ping;
mod profiles;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::program::{AGENT, Program, command};

/// The variables that tests/emulated-rnic reads.
const TABLE: &str = "RPINGMESH_EMULATED_RNICS";
const LOG: &str = "RPINGMESH_EMULATED_LOG";

/// Two RNICs of one fabric, each with what stands for `OWN`.
const PAIR: &str = "\
dev mlx5_0 0 0 0
port 1 4 2 5 256 0
gid 1 3 10.0.0.1 2 1
OWN
dev mlx5_1 0 0 0
port 1 4 2 5 256 0
gid 1 5 10.0.0.2 2 1
OWN
";

/// Emulated RNICs and the folder in which programs find their library.
struct Rnics {
    folder: TempDir,
}

/// The library lies beside this test's own program: it is one of its dependencies.
fn library() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let folder = own.parent().expect("a folder");
    let path = folder.join("libemulated_rnic.so");
    assert!(path.exists(), "{} was not built", path.display());
    path
}

impl Rnics {
    fn new(table: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        std::os::unix::fs::symlink(library(), folder.path().join("libibverbs.so.1"))
            .expect("linked");
        let rnics = Self { folder };
        rnics.become_(table);
        rnics
    }

    /// Replaces the table at once, as programs that run see it.
    fn become_(&self, table: &str) {
        let new = self.path("new");
        fs::write(&new, table).expect("written");
        fs::rename(new, self.path("table")).expect("renamed");
    }

    fn path(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = command(AGENT, arguments);
        command
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env(TABLE, self.path("table"))
            .env(LOG, self.path("log"));
        command
    }

    /// What a command prints, whatever its exit status.
    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.agent(arguments).output().expect("runs");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The findings of `doctor` about RNICs, with their advice.
    fn doctor(&self, arguments: &[&str]) -> String {
        let words = [&["doctor", "--transport", "verbs"], arguments].concat();
        let mut ours = false;
        let mut found = String::new();
        for line in self.printed(&words).lines() {
            if !line.trim_start().starts_with("-> ") {
                let check = line.get(8..).unwrap_or_default();
                ours = [
                    "devices:",
                    "clocks:",
                    "ports:",
                    "gids:",
                    "gid:",
                    "libibverbs:",
                ]
                .iter()
                .any(|name| check.starts_with(name));
            }
            if ours {
                found += line;
                found.push('\n');
            }
        }
        found
    }

    /// `run` with this controller.
    fn run(&self, controller: &str, arguments: &[&str]) -> Program {
        let state = self.path("state");
        let common = [
            "run",
            "--transport",
            "verbs",
            "--tracing",
            "off",
            "--path-trace-mode",
            "off",
            "--tor",
            "tor1",
            "--host",
            "a1",
            "--analyzer",
            "http://127.0.0.1:1",
            "--state-dir",
            &state,
            "--controller",
            controller,
        ];
        Program::spawn(self.agent(&[&common[..], arguments].concat()))
    }
}
