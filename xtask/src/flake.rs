//! `cargo xtask flake`: verifies the Nix flake where nothing of nixpkgs can be downloaded or built.
//!
//! Nix itself comes from Debian. The stand-ins of `nix/check` replace the flake's three inputs; they have only verified
//! names. So this finds errors in our files, but not in the inputs.

mod checkout;
mod commands;
mod images;
mod lock;
mod modules;
mod mutations;
mod nix;
mod outputs;
mod phases;
mod report;
mod sandbox;
mod scripts;
mod shell;
mod style;

use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::cache::Cache;
use checkout::Checkout;
use nix::Nix;
use report::Report;

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
    /// Also run tests in a sandbox like Nix's, with the files that the flake lets through; builds them unless they are built.
    #[arg(long, value_enum, value_name = "TESTS", num_args = 0..=1, default_missing_value = "all")]
    sandbox: Option<sandbox::Tests>,
    /// Instead break the flake in every way that must be found, and see that it is.
    #[arg(long, conflicts_with_all = ["phases", "sandbox"])]
    self_test: bool,
}

/// Whose command lines are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Phases {
    /// Everything that crane builds.
    All,
    /// Packages, formatting and licences: the parts that CI does not run on all sources.
    Builds,
}

impl Options {
    /// What CI runs.
    pub(crate) fn for_test(self_test: bool) -> Self {
        Self {
            phases: None,
            sandbox: (!self_test).then_some(sandbox::Tests::Reading),
            self_test,
        }
    }
}

/// Runs the checks and returns whether all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let cache = Cache::open()?;
    let nix = Nix::provide(&cache)?;
    let programs = modules::programs()?;
    let checks = Checks {
        cache: &cache,
        nix: &nix,
        programs: &programs,
    };
    if options.self_test {
        return mutations::run(&checks);
    }
    let checkout = Checkout::of_workspace()?;
    let mut passed = verify(&checks, &checkout, options.sandbox.as_ref());
    if let (true, Some(which)) = (passed, options.phases) {
        passed = phases::run(&cache, &nix, &report::evaluate(&nix, &checkout)?, which);
    }
    Ok(passed)
}

/// What the checks need besides a copy of the repository.
#[derive(Clone, Copy)]
struct Checks<'a> {
    cache: &'a Cache,
    nix: &'a Nix,
    programs: &'a modules::Programs,
}

/// Name, and what it found out.
type Check<'a> = (&'static str, Box<dyn Fn() -> Result<String> + 'a>);

impl Checks<'_> {
    /// Those that look at files and at whether the flake evaluates.
    fn of_files<'a>(&'a self, checkout: &'a Checkout) -> Vec<Check<'a>> {
        vec![
            ("format", Box::new(|| style::format(self.cache, checkout))),
            (
                "deadcode",
                Box::new(|| style::dead_code(self.cache, checkout)),
            ),
            ("lock", Box::new(|| lock::check(checkout))),
            ("commands", Box::new(|| commands::check(checkout))),
            ("evaluate", Box::new(|| outputs::check(self.nix, checkout))),
        ]
    }

    /// Those that look into the evaluated flake.
    fn of_report<'a>(&'a self, report: &'a Report, checkout: &'a Checkout) -> Vec<Check<'a>> {
        vec![
            ("next", Box::new(|| outputs::next(report))),
            ("shell", Box::new(|| outputs::developers(report))),
            ("readme", Box::new(|| outputs::documented(report, checkout))),
            ("images", Box::new(|| images::check(report, checkout))),
            (
                "modules",
                Box::new(|| modules::check(report, checkout, self.programs)),
            ),
            ("units", Box::new(|| modules::units(report, checkout))),
            (
                "scripts",
                Box::new(|| scripts::check(self.cache, report, checkout)),
            ),
        ]
    }
}

/// Every check on one copy of the repository. Prints a line for each, and why one failed.
fn verify(checks: &Checks<'_>, checkout: &Checkout, sandbox: Option<&sandbox::Tests>) -> bool {
    let mut passed = true;
    let mut run = |(name, check): Check<'_>| {
        let started = Instant::now();
        let outcome = check();
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(detail) => println!("ok     {name:9} {seconds:5.1} s  {detail}"),
            Err(error) => {
                passed = false;
                println!("FAILED {name:9} {seconds:5.1} s  {error:#}");
            }
        }
    };
    checks.of_files(checkout).into_iter().for_each(&mut run);
    // What follows looks into the evaluated flake: without it there is nothing to see.
    match report::evaluate(checks.nix, checkout) {
        Err(error) => run((
            "report",
            Box::new(move || Err(anyhow::anyhow!("{error:#}"))),
        )),
        Ok(report) => {
            checks
                .of_report(&report, checkout)
                .into_iter()
                .for_each(&mut run);
            if let Some(tests) = sandbox {
                run((
                    "sandbox",
                    Box::new(|| sandbox::run(checks.cache, checks.nix, &report, checkout, tests)),
                ));
            }
        }
    }
    passed
}
