//! The steps: their order, what each needs, and what it does.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use super::lanes::Load;
use super::{deploy, macos, node, packages, python, tools, workflows};
use crate::cache::Cache;
use crate::cargo::{self, Profile, cargo, program, target_folder, workspace};
use crate::process::succeed;
use crate::{cross, dist, ebpf, flake, vm};

/// A step, in the order in which they start where nothing else decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// System packages are there (as root on Debian: installs them).
    Packages,
    /// The sources are formatted.
    Fmt,
    /// The eBPF objects build, and their events' tests pass.
    Ebpf,
    /// Tests that need no privilege, as an ordinary user; plain `cargo test` runs none that needs more.
    Unit,
    /// Programs for guests and packages: profile ci.
    Programs,
    /// Tests that need root.
    Root,
    /// Packages (.deb, .rpm) and archive: built with the profile ci, looked into; the .deb started in a guest.
    Dist,
    /// Clippy has no warning, in the fuzz targets neither.
    Clippy,
    /// Tests with programs of others: Alertmanager, Prometheus, Schemathesis and DuckDB (Python packages in the cache folder).
    External,
    /// Programs for aarch64, and the tests that can differ there; they run under QEMU's user emulation.
    Cross,
    /// Tests of the dashboard in Chromium, with axe-core (npm) for accessibility; pictures under target/screenshots.
    Browser,
    /// Services on soft-RoCE guests on kernel 6.12 and what the agent's tracer sees of them.
    VmServices,
    /// soft-RoCE guests on kernel 6.12.
    #[value(name = "vm-6.12")]
    Vm612,
    /// soft-RoCE guests on kernel 6.1.
    #[value(name = "vm-6.1")]
    Vm61,
    /// soft-RoCE guests on kernel 7.3: the scenarios that depend on it most.
    #[value(name = "vm-7.3")]
    Vm73,
    /// soft-RoCE guests on an arm64 kernel, emulated.
    VmAarch64,
    /// The Nix flake, as far as it can be verified without nixpkgs.
    Flake,
    /// Rustdoc has no warning.
    Doc,
    /// A second build of the eBPF objects, in another folder, gives the same bytes.
    Reproducible,
    /// Licenses, sources and banned crates (cargo-deny).
    Deny,
    /// Deployment examples: manifests, Compose files, images, what they agree on, the configuration in them (Python packages in
    /// the cache folder).
    Deploy,
    /// The code and its tests compile for macOS, without a warning: x86_64.
    Macos,
    /// Programs link for macOS (cargo-zigbuild, no SDK): aarch64.
    MacosLink,
    /// GitHub's workflows and forms follow their schemas; those of their commands run that can run here.
    Workflows,
}

/// What CI boots on the kernels of Debian's releases.
const SCENARIOS: &[&str] = &["boot", "soft-roce", "interop", "kernels"];

/// What takes longest, by itself. `localize` is not among them: its guest must keep up, on a busy host it does not.
const SERVICES: &[&str] = &["service-tracing", "offsets"];

/// What CI boots on the kernel of Debian's next release.
const SCENARIOS_NEXT: &[&str] = &["verbs", "interop", "kernels"];

/// What of it once more on the other processor, where emulation takes longest.
const SCENARIOS_AARCH64: &[&str] = &["soft-roce", "kernels"];

impl Step {
    pub(super) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    pub(super) fn purpose(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }

    /// What it does to the machine.
    pub(super) fn load(self) -> Load {
        match self {
            Self::Packages => Load::Alone,
            Self::Fmt
            | Self::Clippy
            | Self::Doc
            | Self::Deny
            | Self::Deploy
            | Self::Ebpf
            | Self::Reproducible
            | Self::Programs
            | Self::Cross
            | Self::Macos
            | Self::MacosLink
            | Self::Flake => Load::Compiles,
            Self::Unit
            | Self::Root
            | Self::External
            | Self::Browser
            | Self::Workflows
            | Self::Dist
            | Self::Vm612
            | Self::Vm61
            | Self::Vm73
            | Self::VmServices
            | Self::VmAarch64 => Load::Watches,
        }
    }

    /// Steps whose results it uses. They may have failed: then it fails by itself, or builds what is missing.
    pub(super) fn after(self) -> &'static [Self] {
        match self {
            Self::Packages | Self::Fmt | Self::Ebpf | Self::Deny => &[],
            // The agent embeds the object; built before it is there, it would be built twice.
            Self::Unit | Self::Programs | Self::Cross | Self::Macos | Self::MacosLink => {
                &[Self::Ebpf]
            }
            Self::Reproducible => &[Self::Ebpf],
            // They wait for the same folder's lock.
            Self::Clippy | Self::Doc | Self::Root | Self::External | Self::Browser => &[Self::Unit],
            Self::Dist
            | Self::Workflows
            | Self::Deploy
            | Self::Vm612
            | Self::Vm61
            | Self::VmServices => &[Self::Programs],
            // They run test binaries of the default profile, too.
            Self::Vm73 | Self::Flake => &[Self::Programs, Self::Unit],
            Self::VmAarch64 => &[Self::Cross],
        }
    }

    /// Runs the step; an error says what is wrong.
    pub(super) fn run(self, cache: &Cache) -> Result<()> {
        match self {
            Self::Packages => packages::provide(cache, packages::Purpose::Everything),
            Self::Fmt => fmt(),
            Self::Clippy => clippy(),
            Self::Doc => succeed(cargo().env("RUSTDOCFLAGS", "-D warnings").args([
                "doc",
                "--locked",
                "--workspace",
                "--no-deps",
            ])),
            Self::Deny => deny(cache),
            Self::Unit => unit(cache),
            Self::Root => root(cache),
            Self::External => external(cache),
            Self::Deploy => deploy::check(cache),
            Self::Workflows => workflows::check(cache),
            Self::Browser => browser(cache),
            Self::Ebpf => ebpf(),
            Self::Reproducible => reproducible(),
            Self::Programs => cargo::build_all(Profile::Ci),
            Self::Cross => cross::run(&cross::Options::for_test()).map(drop),
            Self::Macos => macos::check(),
            Self::MacosLink => macos::link(cache),
            Self::Flake => flake(),
            Self::Dist => debian_packages(),
            Self::Vm612 => guests(SCENARIOS, vm::Series::V6_12),
            Self::Vm61 => guests(SCENARIOS, vm::Series::V6_1),
            Self::Vm73 => guests(SCENARIOS_NEXT, vm::Series::V7_3),
            Self::VmServices => guests(SERVICES, vm::Series::V6_12),
            Self::VmAarch64 => boot(&vm::Options::for_test(
                SCENARIOS_AARCH64,
                vm::Series::V6_12,
                vm::Arch::Aarch64,
                Profile::Dev,
            )),
        }
    }
}

/// The eBPF workspace and the fuzz targets are none of `--workspace`'s.
fn fmt() -> Result<()> {
    for folder in [".", "ebpf", "fuzz"] {
        let mut command = cargo();
        command.current_dir(workspace().join(folder));
        succeed(command.args(["fmt", "--all", "--check"]))?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let warnings = ["--", "-D", "warnings"];
    let mut command = cargo();
    command.args(["clippy", "--locked", "--workspace", "--all-targets"]);
    succeed(command.args(warnings))?;
    fuzz()
}

/// The fuzz targets are a workspace of their own, linked against a sanitizer only when they are run.
fn fuzz() -> Result<()> {
    let folder = workspace().join("fuzz");
    ensure!(folder.is_dir(), "{} is missing", folder.display());
    succeed(
        cargo()
            .current_dir(folder)
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["check", "--locked", "--target-dir"])
            .arg(target_folder().join("fuzz")),
    )
}

fn deny(cache: &Cache) -> Result<()> {
    let tool = tools::CARGO_DENY.provide(cache)?;
    succeed(program(tool).args(["--locked", "check", "bans", "licenses", "sources"]))
}

/// Many of these tests wait, for uploads or for time to pass, and use no processor then: two at a time on each.
///
/// They run as an ordinary user, who owns the checkout and has no privilege. Plain `cargo test` then has to leave alone
/// whatever needs more: of the modules that do, it runs none.
fn unit(cache: &Cache) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = as_ordinary_user(nextest_run(cache, "default")?)?;
    succeed(command.args(["--test-threads", &(2 * processors).to_string()]))?;
    let mut command = cargo();
    command.arg("test").args(cargo::TESTS);
    command.args(["--quiet", "--", "root::", "external::", "browser::"]);
    succeed(&mut as_ordinary_user(command)?)
}

/// For an ordinary user `command` itself; for root `command` in a user namespace without privileges.
fn as_ordinary_user(command: Command) -> Result<Command> {
    if !packages::is_root()? {
        return Ok(command);
    }
    let mut wrapped = Command::new("unshare");
    wrapped
        .args(["--user", "--map-user=1000", "--map-group=1000", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    Ok(wrapped)
}

fn root(cache: &Cache) -> Result<()> {
    ensure!(
        packages::is_root()?,
        "needs root (network namespaces): run `cargo xtask test --only root` as root"
    );
    privileged(cache, "root")
}

/// Tests that plain `cargo test` ignores.
fn privileged(cache: &Cache, profile: &str) -> Result<()> {
    succeed(nextest_run(cache, profile)?.args(["--run-ignored", "only"]))
}

/// With the Pythons that have the fuzzer of the JSON API and DuckDB: the environment's own scripts name a folder that was renamed.
fn external(cache: &Cache) -> Result<()> {
    let environment = python::environment(cache, &["schemathesis==4.32.0"])?;
    let duckdb = python::environment(cache, &["duckdb==2.0.1"])?;
    succeed(
        nextest_run(cache, "external")?
            .args(["--run-ignored", "only"])
            .env("RPINGMESH_SCHEMATHESIS", environment.join("bin/python"))
            .env("RPINGMESH_DUCKDB", duckdb.join("bin/python")),
    )
}

/// With axe-core, which looks for what keeps people from using a page.
fn browser(cache: &Cache) -> Result<()> {
    let modules = node::modules(cache, &workspace().join("tests/browser"))?;
    succeed(
        nextest_run(cache, "browser")?
            .args(["--run-ignored", "only"])
            .env("RPINGMESH_AXE", modules.join("axe-core/axe.min.js")),
    )
}

fn nextest_run(cache: &Cache, profile: &str) -> Result<Command> {
    let tool = tools::CARGO_NEXTEST.provide(cache)?;
    let mut command = program(tool);
    // A profile in which nothing ran is a mistake in its filter.
    command.args(["nextest", "run"]).args(cargo::TESTS).args([
        "--no-tests",
        "fail",
        "--profile",
        profile,
    ]);
    Ok(command)
}

/// The eBPF workspace is none of `--workspace`'s: the tests of what both sides share run here.
fn ebpf() -> Result<()> {
    succeed(
        cargo()
            .current_dir(workspace().join("ebpf"))
            .args(["test", "--locked", "--package", "rpingmesh-ebpf-event"])
            .arg("--target-dir")
            .arg(target_folder().join("ebpf-host")),
    )?;
    ebpf::build().map(drop)
}

fn reproducible() -> Result<()> {
    let same = ebpf::run(ebpf::Options {
        check_reproducible: true,
    })?;
    ensure!(same, "two builds of the eBPF objects differ");
    Ok(())
}

/// The flake passes, and inserted errors are found.
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

/// Guests of this processor, with the programs that are also packed.
fn guests(scenarios: &[&str], kernel: vm::Series) -> Result<()> {
    boot(&vm::Options::for_test(
        scenarios,
        kernel,
        vm::Arch::host(),
        Profile::Ci,
    ))
}

fn boot(options: &vm::Options) -> Result<()> {
    let failures = vm::failures(options)?;
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}
