//! Runs steps at the same time. Each is a separate process; its output goes to a file, and is shown when the process
//! ends.
//!
//! Two steps run at a time, one of each [`Load`]: compilers fill what tests and guests leave idle, and run with a lower
//! priority, because tests and guests watch the clock. Where no test can start, two compilers run; two tests never do.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Step;
use crate::cargo::target_folder;
use crate::process::Owned;

/// How many steps run at a time.
const LANES: usize = 2;

/// What a step does to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Changes what all others see (packages of the system): nothing runs at the same time.
    Alone,
    /// Compiles: takes all processors it gets, and does not mind waiting.
    Compiles,
    /// Tests and guests: they wait a lot, and fail when they are kept from running for long.
    Watches,
}

/// What became of a step.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) step: Step,
    pub(super) elapsed: Duration,
    /// Of all its processes together.
    pub(super) processor: Option<Duration>,
    /// Why it failed.
    pub(super) failure: Option<String>,
}

/// What a step's process leaves in a file for the one that started it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) processor_ms: Option<u64>,
    pub(super) failure: Option<String>,
}

/// Steps that wait, run and have ended.
#[derive(Debug, Default)]
struct Progress {
    waiting: Vec<Step>,
    running: Vec<Step>,
    ended: Vec<Row>,
}

impl Progress {
    /// The first step in order that may start now.
    fn next(&mut self) -> Option<Step> {
        let index = (0..self.waiting.len()).find(|&index| self.may_start(self.waiting[index]))?;
        let step = self.waiting.remove(index);
        self.running.push(step);
        Some(step)
    }

    /// Whether all that it builds upon has ended.
    fn is_ready(&self, step: Step) -> bool {
        let unfinished =
            |other: &Step| self.waiting.contains(other) || self.running.contains(other);
        !step.after().iter().any(unfinished)
    }

    fn may_start(&self, step: Step) -> bool {
        if !self.is_ready(step) {
            return false;
        }
        let beside = |load: Load| self.running.iter().any(|other| other.load() == load);
        let a_test_could = || {
            let mut waiting = self.waiting.iter().copied();
            waiting.any(|other| other.load() == Load::Watches && self.is_ready(other))
        };
        match step.load() {
            _ if beside(Load::Alone) => false,
            Load::Alone => self.running.is_empty(),
            Load::Watches => !beside(Load::Watches),
            Load::Compiles => !beside(Load::Compiles) || !(beside(Load::Watches) || a_test_could()),
        }
    }
}

/// Runs `steps` and returns what became of each, in the order in which they ended.
pub(super) fn run(steps: &[Step]) -> Result<Vec<Row>> {
    let folder = target_folder().join("steps");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let progress = Mutex::new(Progress {
        waiting: steps.to_vec(),
        ..Progress::default()
    });
    let changed = Condvar::new();
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| lane(&progress, &changed, &folder));
        }
    });
    let progress = progress
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(progress.ended)
}

fn lane(progress: &Mutex<Progress>, changed: &Condvar, folder: &Path) {
    let mut held = progress.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(step) = held.next() {
            drop(held);
            let row = one(step, folder);
            held = progress.lock().unwrap_or_else(PoisonError::into_inner);
            held.running.retain(|&other| other != step);
            held.ended.push(row);
            changed.notify_all();
        } else if held.waiting.is_empty() {
            return;
        } else {
            // A step that runs now will let another start when it ends.
            held = changed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs one step in a process of its own.
fn one(step: Step, folder: &Path) -> Row {
    let started = Instant::now();
    say(&format!(
        "##### {} started: {}",
        step.name(),
        step.purpose()
    ));
    let log = folder.join(format!("{}.log", step.name()));
    let result = folder.join(format!("{}.json", step.name()));
    let outcome = process(step, &log, &result).unwrap_or_else(|error| Outcome {
        failure: Some(format!("{error:#}")),
        ..Outcome::default()
    });
    let row = Row {
        step,
        elapsed: started.elapsed(),
        processor: outcome.processor_ms.map(Duration::from_millis),
        failure: outcome.failure,
    };
    show(&row, &log);
    row
}

fn process(step: Step, log: &Path, result: &Path) -> Result<Outcome> {
    let output = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let errors = output.try_clone()?;
    if result.exists() {
        fs::remove_file(result)?;
    }
    let program: PathBuf = std::env::current_exe().context("find this program")?;
    let mut command = match step.load() {
        Load::Compiles => {
            let mut command = Command::new("nice");
            command.args(["-n", "10"]).arg(program);
            command
        }
        Load::Alone | Load::Watches => Command::new(program),
    };
    command
        .args(["test", "--only", &step.name(), "--outcome"])
        .arg(result)
        .stdin(std::process::Stdio::null())
        .stdout(output)
        .stderr(errors);
    let status = Owned::run_to_end(&mut command)?;
    let text = fs::read(result).with_context(|| format!("the step left no outcome: {status}"))?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", result.display()))
}

/// One block for each step, so that what runs side by side can be read one after the other.
fn show(row: &Row, log: &Path) {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let name = row.step.name();
    let verdict = if row.failure.is_some() {
        "failed"
    } else {
        "passed"
    };
    say(&format!(
        "\n##### {name}: {}\n{}\n##### {name} {verdict} after {:.0} s",
        row.step.purpose(),
        text.trim_end(),
        row.elapsed.as_secs_f64()
    ));
}

/// A reader that went away (`.ci/run | head`) does not keep the steps from running; the end of the whole says so.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    fn progress(waiting: &[Step], running: &[Step]) -> Progress {
        Progress {
            waiting: waiting.to_vec(),
            running: running.to_vec(),
            ended: Vec::new(),
        }
    }

    #[test]
    fn a_compiler_and_a_test_run_side_by_side_but_no_two_tests() {
        let mut progress = progress(&[Step::Root, Step::External, Step::Clippy], &[]);
        assert_eq!(progress.next(), Some(Step::Root));
        assert_eq!(progress.next(), Some(Step::Clippy));
        assert_eq!(progress.next(), None);
        progress.running.clear();
        assert_eq!(progress.next(), Some(Step::External));
    }

    #[test]
    fn nothing_runs_beside_a_step_that_changes_the_system() {
        let mut progress = progress(&[Step::Packages, Step::Clippy, Step::Root], &[]);
        assert_eq!(progress.next(), Some(Step::Packages));
        assert_eq!(progress.next(), None);
    }

    #[test]
    fn a_step_waits_for_those_it_builds_upon() {
        let mut progress = progress(&[Step::Programs], &[Step::Ebpf]);
        assert_eq!(progress.next(), None);
        progress.running.clear();
        assert_eq!(progress.next(), Some(Step::Programs));
    }

    #[test]
    fn compilers_take_both_lanes_when_no_test_waits() {
        let mut progress = progress(&[Step::Clippy, Step::Deny], &[]);
        assert_eq!(progress.next(), Some(Step::Clippy));
        assert_eq!(progress.next(), Some(Step::Deny));
    }

    #[test]
    fn a_test_that_waits_for_a_compiler_keeps_no_other_compiler_waiting() {
        let mut progress = progress(&[Step::VmAarch64, Step::Deny], &[Step::Cross]);
        assert_eq!(progress.next(), Some(Step::Deny));
        assert_eq!(progress.next(), None);
        progress.running.clear();
        assert_eq!(progress.next(), Some(Step::VmAarch64));
    }

    #[test]
    fn every_order_ends() {
        // Whatever is chosen, no step waits for one that waits for it.
        let mut progress = progress(Step::value_variants(), &[]);
        let mut done = 0;
        while let Some(step) = progress.next() {
            progress.running.retain(|&other| other != step);
            done += 1;
        }
        assert_eq!(done, Step::value_variants().len());
    }
}
