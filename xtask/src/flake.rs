//! `cargo xtask flake`: verifies the Nix flake where nothing of nixpkgs can be downloaded or built.
//!
//! Nix itself comes from Debian. The flake's three inputs are replaced by the stand-ins of `nix/check`, which know only
//! names that were verified. So this finds what is wrong in our files, and nothing that is wrong in the inputs.

mod checkout;
mod lock;
mod modules;
mod mutations;
mod nix;
mod outputs;
mod phases;
mod report;
mod scripts;
mod style;

use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::cache::Cache;
use checkout::Checkout;
use nix::Nix;

/// Verifies the Nix flake without nixpkgs: format, lock, evaluation for every system, modules, VM scripts.
///
/// Nix is downloaded from Debian, the formatter and the linter are compiled, once, into the cache folder. What this
/// cannot see is in docs/nix.md.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Also run the cargo command lines of the packages and checks, with the host's toolchain (minutes): all, or without
    /// clippy, doc and nextest.
    #[arg(long, value_enum, value_name = "WHICH", num_args = 0..=1, default_missing_value = "all")]
    phases: Option<Phases>,
    /// Instead break the flake in every way that must be found, and see that it is.
    #[arg(long, conflicts_with = "phases")]
    self_test: bool,
}

/// Whose command lines are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Phases {
    /// Everything that crane builds.
    All,
    /// Packages, formatting and licenses: what CI does not run on all sources anyway.
    Builds,
}

impl Options {
    /// What CI runs.
    pub(crate) fn for_test(self_test: bool) -> Self {
        Self {
            phases: None,
            self_test,
        }
    }
}

/// Runs the checks and returns whether all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let cache = Cache::open()?;
    let nix = Nix::provide(&cache)?;
    let programs = modules::programs()?;
    if options.self_test {
        return mutations::run(&cache, &nix, &programs);
    }
    let checkout = Checkout::of_workspace()?;
    let mut passed = verify(&cache, &nix, &checkout, &programs, true);
    if let (true, Some(which)) = (passed, options.phases) {
        passed = phases::run(&cache, &nix, &report::evaluate(&nix, &checkout)?, which);
    }
    Ok(passed)
}

/// Every check on one copy of the repository. Prints a line for each, and why one failed.
fn verify(
    cache: &Cache,
    nix: &Nix,
    checkout: &Checkout,
    programs: &modules::Programs,
    complete: bool,
) -> bool {
    let mut passed = true;
    let mut check = |name: &str, run: &mut dyn FnMut() -> Result<String>| {
        let started = Instant::now();
        let outcome = run();
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(detail) => println!("ok     {name:9} {seconds:5.1} s  {detail}"),
            Err(error) => {
                passed = false;
                println!("FAILED {name:9} {seconds:5.1} s  {error:#}");
            }
        }
    };
    if complete {
        check("format", &mut || style::format(cache, checkout));
        check("deadcode", &mut || style::dead_code(cache, checkout));
    }
    check("lock", &mut || lock::check(checkout));
    check("evaluate", &mut || outputs::check(nix, checkout));
    // What follows looks into the evaluated flake: without it there is nothing to see.
    match report::evaluate(nix, checkout) {
        Err(error) => check("report", &mut || Err(anyhow::anyhow!("{error:#}"))),
        Ok(report) => {
            if complete {
                check("readme", &mut || outputs::documented(&report, checkout));
            }
            check("modules", &mut || {
                modules::check(&report, checkout, programs)
            });
            if complete {
                check("units", &mut || modules::units(&report, checkout));
            }
            check("scripts", &mut || scripts::check(&report, checkout));
        }
    }
    passed
}
