//! `cargo xtask test`: everything that has to pass, in order, with a table of times at the end.

mod deploy;
mod macos;
pub(crate) mod packages;
pub(crate) mod tools;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::cache::Cache;
use crate::cargo::{cargo, program, target_folder, workspace};
use crate::process::{processor_time, succeed};
use crate::{cross, dist, ebpf, flake, vm};

/// Runs everything that has to pass, in order; ends with a table of times.
///
/// As root on Debian the system packages that are missing get installed; elsewhere they are named. Every step runs even
/// when an earlier one failed. Nothing is skipped: a step that cannot run fails.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these steps, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STEP")]
    only: Vec<Step>,
    /// Print the steps and exit.
    #[arg(long)]
    list: bool,
}

/// A step, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// System packages are there (as root on Debian: installs them).
    Packages,
    /// The sources are formatted.
    Fmt,
    /// Clippy has no warning.
    Clippy,
    /// Rustdoc has no warning.
    Doc,
    /// Licenses, sources and banned crates (cargo-deny).
    Deny,
    /// The fuzz targets compile.
    Fuzz,
    /// Tests that need no privilege.
    Unit,
    /// Tests that need root.
    Root,
    /// Tests with programs of others: Alertmanager, Prometheus.
    External,
    /// Deployment examples: manifests, Compose files and the configuration in them (Python packages in the cache folder).
    Deploy,
    /// Tests of the dashboard in Chromium; pictures under target/screenshots.
    Browser,
    /// The eBPF objects build, twice to the same bytes, and their events' tests pass.
    Ebpf,
    /// Programs and tests for aarch64; the tests run under QEMU's user emulation.
    Cross,
    /// The code and its tests compile for macOS, without a warning: x86_64.
    Macos,
    /// Programs and an archive of the tests link for macOS (cargo-zigbuild, no SDK): aarch64.
    MacosLink,
    /// The Nix flake, as far as it can be verified without nixpkgs.
    Flake,
    /// Debian packages: built with the release profile, contents and size checked.
    Dist,
    /// soft-RoCE guests on kernel 6.12.
    #[value(name = "vm-6.12")]
    Vm612,
    /// soft-RoCE guests on kernel 6.1.
    #[value(name = "vm-6.1")]
    Vm61,
    /// soft-RoCE guests on kernel 7.3: the scenarios that depend on it most.
    #[value(name = "vm-7.3")]
    Vm73,
    /// Services on soft-RoCE guests on kernel 6.12 and what the agent's tracer sees of them; programs with the release profile.
    VmServices,
    /// soft-RoCE guests on an arm64 kernel, emulated.
    VmAarch64,
}

/// What CI boots on the kernels of Debian's releases.
const SCENARIOS: &[&str] = &["boot", "soft-roce", "interop"];

/// What takes longest, by itself. `localize` is not among them: its guest must keep up, on a busy host it does not.
const SERVICES: &[&str] = &["service-tracing"];

/// What CI boots on the kernel of Debian's next release.
const SCENARIOS_NEXT: &[&str] = &["verbs", "interop"];

/// What of it once more on the other processor, where emulation takes longest.
const SCENARIOS_AARCH64: &[&str] = &["soft-roce"];

/// Runs the steps and returns whether all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if options.list {
        for step in Step::value_variants() {
            println!("{:10} {}", step.name(), step.purpose());
        }
        return Ok(true);
    }
    let chosen: Vec<Step> = Step::value_variants()
        .iter()
        .copied()
        .filter(|step| options.only.is_empty() || options.only.contains(step))
        .collect();
    let cache = Cache::open()?;
    println!("cache folder: {}", cache.path("").display());
    let mut table = Vec::new();
    for step in chosen {
        println!("\n##### {}: {}", step.name(), step.purpose());
        let started = Instant::now();
        let before = processor_time();
        let outcome = step.run(&cache);
        let failure = outcome.err().map(|error| format!("{error:#}"));
        if let Some(failure) = &failure {
            println!("##### {} failed: {failure}", step.name());
        }
        table.push(Row {
            step,
            elapsed: started.elapsed(),
            processor: processor_time()
                .zip(before)
                .map(|(after, before)| after.saturating_sub(before)),
            failure,
        });
    }
    Ok(print_table(&table))
}

/// What became of a step.
struct Row {
    step: Step,
    elapsed: Duration,
    /// Of all processors together.
    processor: Option<Duration>,
    /// Why it failed.
    failure: Option<String>,
}

fn print_table(table: &[Row]) -> bool {
    let line = |name: &str, elapsed: Duration, processor: Option<Duration>, verdict: &str| {
        let processor =
            processor.map_or_else(String::new, |time| format!("{:.0}", time.as_secs_f64()));
        println!(
            "{name:10} {:>8.1} {processor:>9}  {verdict}",
            elapsed.as_secs_f64()
        );
    };
    println!("\n{:10} {:>8} {:>9}", "step", "seconds", "processor");
    for row in table {
        let verdict = row.failure.as_ref().map_or("passed", |_| "FAILED");
        line(&row.step.name(), row.elapsed, row.processor, verdict);
    }
    line(
        "total",
        table.iter().map(|row| row.elapsed).sum(),
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

impl Step {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    fn purpose(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }

    fn run(self, cache: &Cache) -> Result<()> {
        match self {
            Self::Packages => packages::provide(cache, packages::Purpose::Everything),
            Self::Fmt => succeed(cargo().args(["fmt", "--all", "--check"])),
            Self::Clippy => succeed(cargo().args([
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])),
            Self::Doc => succeed(cargo().env("RUSTDOCFLAGS", "-D warnings").args([
                "doc",
                "--locked",
                "--workspace",
                "--no-deps",
            ])),
            Self::Deny => deny(cache),
            Self::Fuzz => fuzz(),
            Self::Unit => unit(cache),
            Self::Root => root(cache),
            Self::External => nextest(cache, "external"),
            Self::Deploy => deploy::check(cache),
            Self::Browser => nextest(cache, "browser"),
            Self::Ebpf => ebpf(),
            Self::Cross => cross::run(&cross::Options::for_test()).map(drop),
            Self::Macos => macos::check(),
            Self::MacosLink => macos::link(cache),
            Self::Flake => flake(),
            Self::Dist => debian_packages(),
            Self::Vm612 => guests(SCENARIOS, vm::Series::V6_12, vm::Arch::host()),
            Self::Vm61 => guests(SCENARIOS, vm::Series::V6_1, vm::Arch::host()),
            Self::Vm73 => guests(SCENARIOS_NEXT, vm::Series::V7_3, vm::Arch::host()),
            // With the programs that `dist` packs.
            Self::VmServices => boot(&vm::Options {
                release: true,
                ..vm::Options::for_test(SERVICES, vm::Series::V6_12, vm::Arch::host())
            }),
            Self::VmAarch64 => guests(SCENARIOS_AARCH64, vm::Series::V6_12, vm::Arch::Aarch64),
        }
    }
}

fn deny(cache: &Cache) -> Result<()> {
    let tool = tools::CARGO_DENY.provide(cache)?;
    succeed(program(tool).args(["--locked", "check", "bans", "licenses", "sources"]))
}

/// The fuzz targets are a workspace of their own, linked against a sanitizer only when they are run.
fn fuzz() -> Result<()> {
    let folder = workspace().join("fuzz");
    ensure!(folder.is_dir(), "{} is missing", folder.display());
    succeed(
        cargo()
            .current_dir(folder)
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["check", "--locked", "--target-dir", "../target/fuzz"]),
    )
}

/// Many of these tests wait, for uploads or for time to pass, and use no processor then: two at a time on each.
fn unit(cache: &Cache) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = nextest_run(cache, "default")?;
    succeed(command.args(["--test-threads", &(2 * processors).to_string()]))
}

fn nextest(cache: &Cache, profile: &str) -> Result<()> {
    succeed(&mut nextest_run(cache, profile)?)
}

fn nextest_run(cache: &Cache, profile: &str) -> Result<Command> {
    let tool = tools::CARGO_NEXTEST.provide(cache)?;
    let mut command = program(tool);
    // A profile in which nothing ran is a mistake in its filter.
    command
        .args(["nextest", "run", "--locked", "--workspace"])
        .args(["--no-tests", "fail", "--profile", profile]);
    Ok(command)
}

fn root(cache: &Cache) -> Result<()> {
    if !packages::is_root()? {
        bail!("needs root (network namespaces): run `cargo xtask test --only root` as root");
    }
    nextest(cache, "root")
}

/// The eBPF workspace is none of `--workspace`'s: its formatting and the tests of what both sides share run here.
fn ebpf() -> Result<()> {
    let folder = workspace().join("ebpf");
    succeed(
        cargo()
            .current_dir(&folder)
            .args(["fmt", "--all", "--check"]),
    )?;
    succeed(
        cargo()
            .current_dir(&folder)
            .args(["test", "--locked", "--package", "rpingmesh-ebpf-event"])
            .arg("--target-dir")
            .arg(target_folder().join("ebpf-host")),
    )?;
    let same = ebpf::run(ebpf::Options {
        check_reproducible: true,
    })?;
    ensure!(same, "two builds of the eBPF objects differ");
    Ok(())
}

/// The flake passes, and what is broken in it is found.
fn flake() -> Result<()> {
    for self_test in [false, true] {
        let passed = flake::run(&flake::Options::for_test(self_test))?;
        ensure!(passed, "a check of the flake failed");
    }
    Ok(())
}

fn debian_packages() -> Result<()> {
    let passed = dist::run(&dist::Options::for_test())?;
    ensure!(passed, "a package is not what it should be");
    Ok(())
}

fn guests(scenarios: &[&str], kernel: vm::Series, arch: vm::Arch) -> Result<()> {
    boot(&vm::Options::for_test(scenarios, kernel, arch))
}

fn boot(options: &vm::Options) -> Result<()> {
    let failures = vm::failures(options)?;
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}
