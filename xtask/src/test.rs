//! `cargo xtask test`: everything that has to pass, in order, with a table of times at the end.

mod compiled;
mod deploy;
mod lanes;
mod macos;
mod node;
pub(crate) mod packages;
pub(crate) mod python;
mod steps;
pub(crate) mod tools;
mod workflows;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum as _};

use crate::cache::Cache;
use crate::process::processor_time;
use lanes::{Outcome, Row};
use steps::Step;

/// Runs everything that has to pass, two steps at a time; ends with a table of times.
///
/// As root on Debian the system packages that are missing get installed; elsewhere they are named. Every step runs even
/// when an earlier one failed. Nothing is skipped: a step that cannot run fails. What a step prints comes when it ends; while it
/// runs it is in target/steps.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these steps, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STEP")]
    only: Vec<Step>,
    /// Print the steps and exit.
    #[arg(long)]
    list: bool,
    /// When all passed, keep the compiled crates of others in this folder, for the next checkout's `target`.
    #[arg(long, value_name = "DIR")]
    keep_compiled: Option<PathBuf>,
    /// Run the one step of `--only`, and write what became of it into this file.
    #[arg(long, value_name = "FILE", hide = true)]
    outcome: Option<PathBuf>,
}

/// Runs the steps and returns whether all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if options.list {
        for step in Step::value_variants() {
            println!("{:13} {}", step.name(), step.purpose());
        }
        return Ok(true);
    }
    let cache = Cache::open()?;
    if let (Some(file), [step]) = (&options.outcome, &options.only[..]) {
        return inside(*step, &cache, file);
    }
    println!("cache folder: {}", cache.path("").display());
    let started = Instant::now();
    let chosen: Vec<Step> = Step::value_variants()
        .iter()
        .copied()
        .filter(|step| options.only.is_empty() || options.only.contains(step))
        .collect();
    let mut rows = match chosen[..] {
        [step] => vec![alone(step, &cache)],
        _ => lanes::run(&chosen)?,
    };
    rows.sort_by_key(|row| chosen.iter().position(|&step| step == row.step));
    let passed = print_table(&rows, started.elapsed());
    // A part of the steps would keep a part of the crates.
    if passed
        && options.only.is_empty()
        && let Some(folder) = &options.keep_compiled
    {
        compiled::keep(folder)?;
    }
    Ok(passed)
}

/// One step, with its output shown as it comes.
fn alone(step: Step, cache: &Cache) -> Row {
    println!("\n##### {}: {}", step.name(), step.purpose());
    let started = Instant::now();
    let failure = step.run(cache).err().map(|error| format!("{error:#}"));
    if let Some(failure) = &failure {
        println!("##### {} failed: {failure}", step.name());
    }
    Row {
        step,
        elapsed: started.elapsed(),
        processor: processor_time(),
        failure,
    }
}

/// One step for a `cargo xtask test` that runs several side by side.
fn inside(step: Step, cache: &Cache, file: &Path) -> Result<bool> {
    let failure = step.run(cache).err().map(|error| format!("{error:#}"));
    let passed = failure.is_none();
    let outcome = Outcome {
        processor_ms: processor_time().and_then(|time| u64::try_from(time.as_millis()).ok()),
        failure,
    };
    fs::write(file, serde_json::to_vec(&outcome)?)
        .with_context(|| format!("write {}", file.display()))?;
    Ok(passed)
}

/// Elapsed times overlap: steps run side by side. The processor times add up.
fn print_table(table: &[Row], elapsed: Duration) -> bool {
    let line = |name: &str, elapsed: Duration, processor: Option<Duration>, verdict: &str| {
        let processor =
            processor.map_or_else(String::new, |time| format!("{:.0}", time.as_secs_f64()));
        println!(
            "{name:13} {:>8.1} {processor:>9}  {verdict}",
            elapsed.as_secs_f64()
        );
    };
    println!("\n{:13} {:>8} {:>9}", "step", "seconds", "processor");
    for row in table {
        let verdict = row.failure.as_ref().map_or("passed", |_| "FAILED");
        line(&row.step.name(), row.elapsed, row.processor, verdict);
    }
    line(
        "total",
        elapsed,
        table.iter().map(|row| row.processor).sum(),
        "",
    );
    let mut failed = 0;
    for row in table {
        if let Some(failure) = &row.failure {
            failed += 1;
            println!("{} failed: {failure}", row.step.name());
        }
    }
    println!("{} of {} steps passed", table.len() - failed, table.len());
    failed == 0
}
