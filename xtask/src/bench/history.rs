//! The history of benchmarks: one JSON object per run and line, in the order in which they were recorded.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::cargo::workspace;
use crate::process::output;

/// The file, in the checkout.
pub(super) const FILE: &str = "docs/bench-history.jsonl";

/// One run of one benchmark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// When it ended: UTC, RFC 3339, whole seconds.
    date: String,
    /// The commit that was checked out.
    commit: String,
    /// Whether tracked files differed from that commit.
    modified: bool,
    /// Processors that this program could use.
    cores: usize,
    /// The name that `cargo xtask bench` knows.
    bench: String,
    /// What it printed, without empty lines and without spaces at the ends of lines.
    printed: Vec<String>,
}

impl Run {
    /// The run that printed `text` and ended at `now`.
    fn new(bench: &str, text: &str, now: SystemTime) -> Result<Self> {
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            output(command.current_dir(workspace()).args(arguments))
        };
        let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
        Ok(Self {
            date: humantime::format_rfc3339_seconds(now).to_string(),
            commit: git(&["rev-parse", "HEAD"])?.trim().to_owned(),
            // The history itself is written by the run before.
            modified: changes.lines().any(|line| !line.ends_with(FILE)),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            bench: bench.to_owned(),
            printed: text
                .lines()
                .map(|line| line.trim_end().to_owned())
                .filter(|line| !line.is_empty())
                .collect(),
        })
    }
}

/// Appends a run of `bench` that printed `text` and has just ended.
pub(super) fn append(bench: &str, text: &str) -> Result<()> {
    let run = Run::new(bench, text, SystemTime::now())?;
    append_to(&workspace().join(FILE), &run)?;
    println!("recorded in {FILE}");
    Ok(())
}

fn append_to(file: &Path, run: &Run) -> Result<()> {
    let line = serde_json::to_string(run).context("write a run as JSON")? + "\n";
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("append to {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use clap::ValueEnum as _;

    use super::super::Bench;
    use super::*;

    fn runs(file: &Path) -> Vec<Run> {
        let text = fs::read_to_string(file).expect("the history");
        text.lines()
            .enumerate()
            .map(|(number, line)| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("line {}: {error}", number + 1))
            })
            .collect()
    }

    #[test]
    fn runs_are_appended_and_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("history.jsonl");
        let ended = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let first = Run::new("probe", "fastest  \n\n  686 000/s\n", ended).expect("a run");
        assert_eq!(first.date, "2026-09-21T14:13:20Z");
        assert_eq!(first.printed, ["fastest", "  686 000/s"]);
        assert_eq!(first.commit.len(), 40, "{}", first.commit);
        assert!(first.cores > 0);
        let second = Run {
            bench: "ingest".to_owned(),
            ..first.clone()
        };
        append_to(&file, &first).expect("appended");
        append_to(&file, &second).expect("appended");
        assert_eq!(runs(&file), [first, second]);
    }

    #[test]
    fn the_history_holds_runs_of_known_benchmarks() {
        let file = workspace().join(FILE);
        // The first run that is recorded creates it.
        let recorded = if file.exists() {
            runs(&file)
        } else {
            Vec::new()
        };
        for run in recorded {
            let name = &run.bench;
            assert!(
                Bench::from_str(name, false).is_ok(),
                "no benchmark is called {name}"
            );
            assert!(!run.printed.is_empty(), "{name} of {} is empty", run.date);
        }
    }
}
