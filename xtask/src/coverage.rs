//! `cargo xtask coverage`: which lines of the agent's verbs code the tests run.
//!
//! The compiler instruments the agent's crate alone; everything else is compiled as ever and shared with other builds. Each process
//! of the agent maps a file of its own for its counters (continuous mode of LLVM's profiles), so that those which a test kills
//! count too. LLVM's own programs merge the files and write the counts of each line, which [`lines`] reads.

mod lines;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::cache::Cache;
use crate::cargo::{cargo, program, target_folder, workspace};
use crate::process::{in_path, output, succeed};
use crate::test::tools::CARGO_NEXTEST;

/// The code that is measured.
const MEASURED: [&str; 2] = [
    "src/bin/rpingmesh-agent/verbs.rs",
    "src/bin/rpingmesh-agent/verbs/",
];

/// The tests that run it, of the default profile: unit tests of the agent's program, and its program on emulated RNICs.
const TESTS: &str = "binary(rpingmesh-agent) & test(/^verbs::/) | test(/^emulated::/)";

/// What is built: the agent and its tests, and the tests on emulated RNICs.
const BUILT: [&str; 6] = [
    "--locked",
    "--workspace",
    "--bin",
    "rpingmesh-agent",
    "--test",
    "it",
];

/// Instruments the agent's crate and calls the compiler as it is for others. Not for sh: Debian's drops variables with a dash in
/// their name, as cargo's `CARGO_BIN_EXE_rpingmesh-agent` is.
const WRAPPER: &str = "\
#!/usr/bin/env bash
case \" $* \" in
*' --crate-name rpingmesh_agent '*)
    exec \"$@\" -Cinstrument-coverage -Cllvm-args=-runtime-counter-relocation ;;
*) exec \"$@\" ;;
esac
";

/// Prints how many lines of each file of the agent's verbs code are run by the tests of the default profile on emulated RNICs.
///
/// Needs LLVM's programs llvm-profdata and llvm-cov of the compiler's own version: rustup's `llvm-tools`, or Debian's package
/// `llvm-22`. Tests and comments do not count as lines.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Fails where a smaller part of all lines was run, in percent.
    #[arg(long, default_value_t = 85, value_name = "PERCENT")]
    least: u32,
    /// Prints the numbers of the lines that were not run, too.
    #[arg(long)]
    missing: bool,
}

/// Runs the tests and counts; returns whether the tests passed and enough lines were run.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let tools = Tools::find()?;
    let folder = target_folder().join("coverage");
    let raw = folder.join("raw");
    if raw.exists() {
        fs::remove_dir_all(&raw).with_context(|| format!("empty {}", raw.display()))?;
    }
    fs::create_dir_all(&raw).with_context(|| format!("make {}", raw.display()))?;
    let wrapper = wrapper(&folder)?;
    let instrumented = |command: &mut Command| {
        command.env("RUSTC_WORKSPACE_WRAPPER", &wrapper);
    };
    let mut build = cargo();
    build.args([
        "test",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    instrumented(build.args(BUILT));
    let programs = executables(&output(&mut build)?);
    ensure!(programs.len() >= 2, "cargo names no programs of the agent");

    let mut tests = program(CARGO_NEXTEST.provide(&Cache::open()?)?);
    tests
        .args(["nextest", "run"])
        .args(BUILT)
        .args(["-E", TESTS]);
    instrumented(tests.env("LLVM_PROFILE_FILE", raw.join("%c%p.profraw")));
    succeed(&mut tests)?;

    let report = tools.report(&folder, &raw, &programs)?;
    let files = lines::read(&report, is_measured)?;
    ensure!(!files.is_empty(), "no line of the verbs code was counted");
    let (total, text) = lines::table(&files, options.missing);
    print!("{text}");
    Ok(total >= f64::from(options.least))
}

/// A file of the measured code, by its place in the checkout. Files of tests alone are left out, as is what other systems have.
fn is_measured(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(workspace()).ok()?.to_str()?;
    let is_ours = MEASURED.iter().any(|place| inside.starts_with(place));
    let is_test = inside.ends_with("tests.rs") || inside.ends_with("/unsupported.rs");
    (is_ours && !is_test).then(|| inside.to_owned())
}

fn wrapper(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("rustc");
    // Written only where it differs: cargo looks at its time.
    if fs::read_to_string(&path).ok().as_deref() != Some(WRAPPER) {
        fs::write(&path, WRAPPER).with_context(|| format!("write {}", path.display()))?;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} a program", path.display()))?;
    Ok(path)
}

/// The agent's program and its unit tests, in cargo's messages.
fn executables(messages: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "rpingmesh-agent")
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}

/// LLVM's programs.
struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

impl Tools {
    /// Rustup's, else the system's of the compiler's major version.
    fn find() -> Result<Self> {
        let about = output(Command::new("rustc").arg("-vV"))?;
        let field = |name: &str| {
            let line = about.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
                .with_context(|| format!("rustc -vV has no line `{name}`"))
        };
        let (host, version) = (field("host:")?, field("LLVM version:")?);
        let major = version.split('.').next().unwrap_or(version);
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let own = Path::new(sysroot.trim()).join(format!("lib/rustlib/{host}/bin"));
        let tool = |name: &str| -> Result<PathBuf> {
            let path = own.join(name);
            if path.is_file() {
                return Ok(path);
            }
            let versioned = format!("{name}-{major}");
            if in_path(&versioned) {
                return Ok(versioned.into());
            }
            bail!(
                "there is no {name} of LLVM {major}: `rustup component add llvm-tools`, or Debian's package llvm-{major}"
            );
        };
        Ok(Self {
            profdata: tool("llvm-profdata")?,
            cov: tool("llvm-cov")?,
        })
    }

    /// The counts of all lines, as LCOV has them.
    fn report(&self, folder: &Path, raw: &Path, programs: &[PathBuf]) -> Result<String> {
        let list = folder.join("raw.txt");
        let merged = folder.join("merged.profdata");
        let mut names = String::new();
        for entry in fs::read_dir(raw).with_context(|| format!("read {}", raw.display()))? {
            names.push_str(&entry?.path().display().to_string());
            names.push('\n');
        }
        fs::write(&list, names).with_context(|| format!("write {}", list.display()))?;
        output(
            Command::new(&self.profdata)
                .args(["merge", "--sparse", "--failure-mode=all", "--output"])
                .arg(&merged)
                .arg("--input-files")
                .arg(&list),
        )?;
        let mut export = Command::new(&self.cov);
        export.args(["export", "--format=lcov", "--instr-profile"]);
        export.arg(&merged);
        for program in programs {
            export.arg("--object").arg(program);
        }
        output(&mut export)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verbs_code_is_measured_and_tests_are_not() {
        let place = |inside: &str| is_measured(&workspace().join(inside));
        for inside in [
            "src/bin/rpingmesh-agent/verbs.rs",
            "src/bin/rpingmesh-agent/verbs/queue.rs",
            "src/bin/rpingmesh-agent/verbs/endpoint/completed.rs",
        ] {
            assert!(workspace().join(inside).is_file(), "{inside}");
            assert_eq!(place(inside).as_deref(), Some(inside));
        }
        for inside in [
            "src/bin/rpingmesh-agent/verbs/device_tests.rs",
            "src/bin/rpingmesh-agent/verbs/address/tests.rs",
            "src/bin/rpingmesh-agent/verbs/unsupported.rs",
            "src/bin/rpingmesh-agent/tracer.rs",
            "src/lib.rs",
        ] {
            assert!(workspace().join(inside).is_file(), "{inside}");
            assert_eq!(place(inside), None);
        }
        assert_eq!(is_measured(Path::new("/elsewhere/verbs.rs")), None);
    }

    #[test]
    fn programs_are_those_of_the_agent() {
        let messages = r#"{"target":{"name":"rpingmesh-agent"},"executable":"/t/a"}
{"target":{"name":"it"},"executable":"/t/it"}
{"target":{"name":"rpingmesh-agent"},"executable":null}
no JSON"#;
        assert_eq!(executables(messages), [PathBuf::from("/t/a")]);
    }
}
