//! GitHub's workflows and forms, checked without GitHub: by their schemas, by zizmor (permissions, injection of values into
//! commands), and by running those of their commands that can run here. `docs/ci.md` lists the commands; that it agrees
//! with the workflows is a unit test of this module.

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::python;
use crate::cache::Cache;
use crate::cargo::{program, workspace};
use crate::process::{describe, succeed};

/// Both carry what they need: the schemas, the rules.
const PACKAGES: &[&str] = &["check-jsonschema==0.39.0", "zizmor==1.32.0"];

/// The folder of the workflows, and that of the forms for new issues.
const WORKFLOWS: &str = ".github/workflows";
const FORMS: &str = ".github/ISSUE_TEMPLATE";

/// The document with the commands, and the headings of its two lists.
const DOCUMENT: &str = "docs/ci.md";
const RUN_BY_THIS_STEP: &str = "## Run by the step `workflows`";
const NOT_RUN: &str = "## Not run here";

pub(super) fn check(cache: &Cache) -> Result<()> {
    let bin = python::environment(cache, PACKAGES)?.join("bin");
    // check-jsonschema as a module: its script names the interpreter by a path that the folder had while it was filled.
    let python = bin.join("python");
    let workflows = yaml_files(WORKFLOWS)?;
    let (configuration, forms): (Vec<_>, Vec<_>) = yaml_files(FORMS)?
        .into_iter()
        .partition(|file| file.ends_with("config.yml"));
    for (schema, files) in [
        ("vendor.github-workflows", &workflows),
        ("custom.github-workflows-require-timeout", &workflows),
        ("vendor.github-issue-forms", &forms),
        ("vendor.github-issue-config", &configuration),
    ] {
        ensure!(
            !files.is_empty(),
            "there is no file for the schema {schema}"
        );
        succeed(validator(&python, schema).args(files))?;
    }
    unknown_keys_are_found(&python)?;
    succeed(
        program(bin.join("zizmor"))
            .args(["--offline", "--no-progress"])
            .args(["--config", ".github/zizmor.yml", WORKFLOWS]),
    )?;
    let document = fs::read_to_string(workspace().join(DOCUMENT))
        .with_context(|| format!("read {DOCUMENT}"))?;
    for row in rows(&document, RUN_BY_THIS_STEP) {
        println!("##### {}", row.command);
        succeed(program("bash").args(["-c", &row.command]))?;
    }
    for row in rows(&document, NOT_RUN) {
        println!("not run here: {}\n    {}", row.command, row.reason);
    }
    Ok(())
}

/// The YAML files of a folder of the checkout, sorted; paths from the top of the checkout.
fn yaml_files(folder: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let path = workspace().join(folder);
    for entry in fs::read_dir(&path).with_context(|| format!("read {}", path.display()))? {
        let file = Path::new(folder).join(entry?.file_name());
        if file
            .extension()
            .is_some_and(|extension| extension == "yml" || extension == "yaml")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// check-jsonschema with one of its schemas. `--verbose`: all that does not fit is printed, not only the likeliest.
fn validator(python: &Path, schema: &str) -> Command {
    let mut command = program(python);
    command.args([
        "-m",
        "check_jsonschema",
        "--verbose",
        "--builtin-schema",
        schema,
    ]);
    command
}

/// Where a key that the schema does not know can stand, and a file that has one there.
const UNKNOWN_KEYS: [(&str, &str); 3] = [
    (
        "jobz",
        "on: push\njobz: {}\njobs: {a: {runs-on: x, steps: [{run: 'true'}]}}\n",
    ),
    (
        "runs-in",
        "on: push\njobs: {a: {runs-on: x, runs-in: y, steps: [{run: 'true'}]}}\n",
    ),
    (
        "runn",
        "on: push\njobs: {a: {runs-on: x, steps: [{run: 'true', runn: y}]}}\n",
    ),
];

/// A workflow with an unknown key is refused, by a message that has the file's name and the key.
fn unknown_keys_are_found(python: &Path) -> Result<()> {
    let folder = tempfile::tempdir().context("make a scratch folder")?;
    for (key, text) in UNKNOWN_KEYS {
        let name = format!("unknown-{key}.yml");
        let file = folder.path().join(&name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let mut command = validator(python, "vendor.github-workflows");
        let run = command
            .arg(&file)
            .output()
            .with_context(|| describe(&command))?;
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        ensure!(
            !run.status.success() && said.contains(&name) && said.contains(&format!("'{key}'")),
            "a workflow with the unknown key `{key}` is not refused by name: {said}"
        );
    }
    println!("workflows with unknown keys are refused by file and key");
    Ok(())
}

/// One row of a list in the document.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// As it stands in the workflows.
    command: String,
    /// The last column.
    reason: String,
}

/// The rows of the first table below `heading`. A command is in backticks and holds no `|`.
fn rows(document: &str, heading: &str) -> Vec<Row> {
    document
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| {
            let line = line.trim().strip_prefix("| `")?.strip_suffix('|')?;
            let (command, rest) = line.split_once("` |")?;
            let reason = rest.rsplit('|').next()?.trim().to_owned();
            Some(Row {
                command: command.to_owned(),
                reason,
            })
        })
        .collect()
}
