//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, each for some time.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Deserialize;

use crate::cache::Cache;
use crate::cargo::{program, workspace};
use crate::process;
use crate::test::tools::CARGO_FUZZ;

/// Runs fuzz targets one after another, all of them or those named.
///
/// They begin with the inputs of fuzz/seeds and with the repository's own files of the kind. Inputs that reach new code are kept in
/// fuzz/corpus, inputs that fail in fuzz/artifacts. Needs a C++ compiler; cargo-fuzz
/// is compiled once into the cache folder.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which ones [default: all]
    #[arg(value_name = "TARGET")]
    names: Vec<String>,
    /// How long each runs, in seconds.
    #[arg(long, default_value_t = 60, value_name = "S")]
    seconds: u32,
}

/// Runs them; returns whether none found an input that fails.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let all = targets()?;
    for name in &options.names {
        ensure!(
            all.contains(name),
            "no fuzz target is called {name}; there are {}",
            all.join(", ")
        );
    }
    let chosen = if options.names.is_empty() {
        &all
    } else {
        &options.names
    };
    let tool = CARGO_FUZZ.provide(&Cache::open()?)?;
    let mut failed = Vec::new();
    for name in chosen {
        println!("##### {name}");
        let mut command = program(&tool);
        command
            // The instrumentation is an unstable option of the compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["run", "--target-dir", "target/fuzz", "--sanitizer", "none"])
            .arg(name)
            .args(inputs(name)?)
            .arg("--")
            .arg(format!("-max_total_time={}", options.seconds));
        let status = command
            .status()
            .with_context(|| process::describe(&command))?;
        if !status.success() {
            failed.push(name.as_str());
        }
    }
    if !failed.is_empty() {
        println!(
            "failed, inputs are in fuzz/artifacts: {}",
            failed.join(", ")
        );
    }
    Ok(failed.is_empty())
}

/// Folders with inputs of a target. New ones go into the first.
fn inputs(target: &str) -> Result<Vec<PathBuf>> {
    let corpus = workspace().join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("make {}", corpus.display()))?;
    let own = match target {
        "agent_config" | "server_config" => "docs/config",
        "scenario" => "tests/scenarios",
        _ => "",
    };
    let seeds = workspace().join("fuzz/seeds").join(target);
    let given = [seeds, workspace().join(own)];
    let given = given
        .into_iter()
        .filter(|folder| folder.is_dir() && *folder != workspace());
    Ok(std::iter::once(corpus).chain(given).collect())
}

/// The names in `fuzz/Cargo.toml`.
fn targets() -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Manifest {
        bin: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let file = workspace().join("fuzz/Cargo.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let manifest: Manifest =
        toml::from_str(&text).with_context(|| format!("read {}", file.display()))?;
    Ok(manifest.bin.into_iter().map(|bin| bin.name).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fuzz_target_is_in_the_manifest() {
        let folder = workspace().join("fuzz/fuzz_targets");
        let files: BTreeSet<String> = fs::read_dir(folder)
            .expect("fuzz targets")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| path.file_stem().expect("a name").to_string_lossy().into())
            .collect();
        let named: BTreeSet<String> = targets().expect("names").into_iter().collect();
        assert_eq!(named, files);
    }

    #[test]
    fn an_unknown_target_is_refused_with_the_known_ones() {
        let error = run(&Options {
            names: vec!["nonesuch".to_owned()],
            seconds: 1,
        })
        .expect_err("no such target")
        .to_string();
        assert!(
            error.contains("no fuzz target is called nonesuch"),
            "{error}"
        );
        assert!(error.contains("wire"), "{error}");
    }
}
