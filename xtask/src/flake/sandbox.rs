//! The tests in what Nix builds in: an ordinary user, loopback and no other network, no /sys, no programs of the host, and of
//! the repository only the files that `nix/sources.nix` lets through.
//!
//! Nothing is compiled for it: the test binaries are those of `cargo nextest run --workspace`, and the filtered sources are
//! mounted where the checkout is, which is where the binaries look for files.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use super::checkout::Checkout;
use super::nix::Nix;
use super::report::Report;
use crate::cache::Cache;
use crate::cargo::{TESTS, cargo, program, target_folder, workspace};
use crate::process::{describe, in_path, output};
use crate::test::tools;

/// The flake's check whose sources are used.
const CHECK: &str = "nextest";

/// Which tests are run.
#[derive(Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tests {
    /// Those of modules that read files of the repository beyond `src` and `tests`, which are there as a whole: seconds.
    Reading,
    /// All of the flake's check.
    All,
    /// Those that a filter of nextest names.
    #[value(skip)]
    Filter(String),
}

/// Programs that a builder of nixpkgs has in its PATH (stdenv's initialPath), as far as tests may call them.
const PROGRAMS: &[&str] = &[
    "bash", "cat", "chmod", "cp", "cut", "date", "env", "find", "grep", "head", "id", "ln", "ls",
    "mkdir", "mkfifo", "mktemp", "mv", "rm", "sed", "seq", "sh", "sleep", "sort", "tail", "tee",
    "timeout", "touch", "tr", "true", "uname", "wc",
];

/// Runs them; an error names what failed.
pub(crate) fn run(
    cache: &Cache,
    nix: &Nix,
    report: &Report,
    checkout: &Checkout,
    tests: &Tests,
) -> Result<String> {
    let bubblewrap = "bwrap";
    ensure!(in_path(bubblewrap), "bwrap is missing (Debian: bubblewrap)");
    let nextest = tools::CARGO_NEXTEST.provide(cache)?;
    let nextest = if nextest.is_absolute() {
        nextest
    } else {
        tools::find_in_path("cargo-nextest").context("cargo-nextest is not in PATH")?
    };
    let scratch = tempfile::tempdir().context("make a scratch folder")?;
    describe_binaries(&nextest, scratch.path())?;
    let sources = scratch.path().join("source");
    copy_sources(nix, report, &sources)?;
    let filter = match tests {
        Tests::All => "not package(xtask)".to_owned(),
        Tests::Reading => reading(checkout)?,
        Tests::Filter(filter) => filter.clone(),
    };
    let mut command = Command::new(bubblewrap);
    walls(&mut command, scratch.path(), &sources)?;
    command
        .arg("--ro-bind")
        .args([&nextest, Path::new("/tools/cargo-nextest")])
        .args(["--chdir".as_ref(), workspace().as_os_str()])
        .args(["--", "/tools/cargo-nextest", "nextest", "run"])
        .args(["--no-tests", "fail", "--profile", "default"])
        .args([
            "--hide-progress-bar",
            "--status-level",
            "fail",
            "--final-status-level",
            "fail",
        ])
        .args(["--binaries-metadata", "/build/binaries.json"])
        .args(["--cargo-metadata", "/build/cargo.json"])
        .args(["--filterset", &filter]);
    let run = command.output().with_context(|| describe(&command))?;
    let said = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        bail!(
            "tests fail with the sources of the flake's check `{CHECK}` (nix/sources.nix), as an ordinary user without /sys, network \
             and /usr/bin:\n{said}"
        );
    }
    let summary = said
        .lines()
        .rev()
        .find(|line| line.contains("Summary"))
        .unwrap_or("no summary");
    Ok(format!(
        "in a sandbox:{}",
        summary.split(']').next_back().unwrap_or(summary)
    ))
}

/// Writes what nextest has to know of the binaries into files of a folder. Builds the tests unless they are built, with what
/// the step `unit` asks for, so that cargo compiles nothing twice.
fn describe_binaries(nextest: &Path, folder: &Path) -> Result<()> {
    let mut list = program(nextest);
    list.args(["nextest", "list"]).args(TESTS).args([
        "--list-type",
        "binaries-only",
        "--message-format",
        "json",
    ]);
    fs::write(folder.join("binaries.json"), output(&mut list)?)
        .context("write the list of binaries")?;
    let mut metadata = cargo();
    metadata.args(["metadata", "--locked", "--format-version", "1"]);
    fs::write(folder.join("cargo.json"), output(&mut metadata)?).context("write cargo's metadata")
}

/// The sources of the flake's check, with a folder for the binaries.
fn copy_sources(nix: &Nix, report: &Report, to: &Path) -> Result<()> {
    let phase = report
        .phases
        .iter()
        .find(|phase| phase.name == CHECK)
        .with_context(|| format!("the flake has no check `{CHECK}`"))?;
    let from = nix.real_path(&phase.source);
    let mut command = Command::new("cp");
    command
        .args(["--recursive", "--no-preserve=mode"])
        .args([&from, to]);
    output(&mut command)?;
    fs::create_dir_all(to.join("target")).context("make a folder for the binaries")
}

/// Everything that the tests see of the machine.
fn walls(command: &mut Command, scratch: &Path, sources: &Path) -> Result<()> {
    let etc = scratch.join("etc");
    fs::create_dir_all(&etc).context("make /etc")?;
    let files = [
        (
            "passwd",
            "root:x:0:0:Nix build user:/build:/noshell\nnixbld:x:1000:100:Nix build user:/build:/noshell\n\
             nobody:x:65534:65534:Nobody:/:/noshell\n",
        ),
        ("group", "root:x:0:\nnixbld:!:100:\nnogroup:x:65534:\n"),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ];
    for (name, text) in files {
        fs::write(etc.join(name), text).with_context(|| format!("write /etc/{name}"))?;
    }
    command
        .args([
            "--unshare-all",
            "--die-with-parent",
            "--new-session",
            "--clearenv",
        ])
        .args([
            "--uid",
            "1000",
            "--gid",
            "100",
            "--cap-drop",
            "ALL",
            "--hostname",
            "localhost",
        ])
        .args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"])
        .args([
            "--setenv",
            "HOME",
            "/homeless-shelter",
            "--setenv",
            "TMPDIR",
            "/build",
        ])
        .args([
            "--setenv",
            "PATH",
            "/tools",
            "--setenv",
            "NEXTEST_SHOW_PROGRESS",
            "counter",
        ])
        // The C library, which belongs to each program under Nix.
        .args([
            "--ro-bind",
            "/usr/lib",
            "/usr/lib",
            "--symlink",
            "usr/lib",
            "/lib",
        ]);
    if Path::new("/usr/lib64").is_dir() {
        command.args([
            "--ro-bind",
            "/usr/lib64",
            "/usr/lib64",
            "--symlink",
            "usr/lib64",
            "/lib64",
        ]);
    }
    command.arg("--ro-bind").args([&etc, Path::new("/etc")]);
    command.args(["--dir", "/build"]);
    for name in ["binaries.json", "cargo.json"] {
        command
            .arg("--ro-bind")
            .args([scratch.join(name), Path::new("/build").join(name)]);
    }
    for name in PROGRAMS {
        let path = tools::find_in_path(name).with_context(|| format!("{name} is not in PATH"))?;
        let path = fs::canonicalize(&path).with_context(|| path.display().to_string())?;
        command
            .arg("--ro-bind")
            .args([&path, &Path::new("/tools").join(name)]);
    }
    // The one program that every builder has by its path.
    command.args(["--symlink", "/tools/sh", "/bin/sh"]);
    let target = target_folder();
    command
        .arg("--bind")
        .args([sources, &workspace()])
        .arg("--bind")
        .args([&target, &target]);
    Ok(())
}

/// A filter for the tests of every module that names the checkout's folder and reads more of it than `tests`.
fn reading(checkout: &Checkout) -> Result<String> {
    let mut modules = Vec::new();
    for (folder, prefix) in [("tests/it", "tests/it/"), ("src", "src/")] {
        for file in rust_files(checkout.root(), Path::new(folder))? {
            let name = file.to_string_lossy().into_owned();
            if reads_beyond_tests(&checkout.read(&name)?) {
                let module = name.trim_start_matches(prefix).trim_end_matches(".rs");
                modules.push(module.replace('/', "::"));
            }
        }
    }
    ensure!(
        !modules.is_empty(),
        "no test names CARGO_MANIFEST_DIR: look at what reads the repository's files"
    );
    Ok(format!(
        "not package(xtask) and test(/^({})::/)",
        modules.join("|")
    ))
}

/// Whether some path from the checkout's folder leads elsewhere than to `tests/…`.
fn reads_beyond_tests(text: &str) -> bool {
    text.split("CARGO_MANIFEST_DIR").skip(1).any(|rest| {
        // The string after the macro's own.
        let path = rest.split('"').nth(2).unwrap_or_default();
        !path.starts_with("tests/")
    })
}

fn rust_files(root: &Path, below: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(root.join(&folder)).with_context(|| folder.display().to_string())?
        {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.as_os_str().as_bytes().ends_with(b".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_into_tests_are_told_from_others() {
        let within = r#"Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")"#;
        let beyond = r#"concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")"#;
        let whole = r#"let root = Path::new(env!("CARGO_MANIFEST_DIR"));"#;
        assert!(!reads_beyond_tests("fn f() {}"));
        assert!(!reads_beyond_tests(within));
        assert!(reads_beyond_tests(beyond));
        assert!(reads_beyond_tests(whole));
        assert!(reads_beyond_tests(&format!("{within};{beyond}")));
    }
}
