use std::collections::{BTreeMap, BTreeSet};

use clap::Parser as _;
use yaml_rust2::{Yaml, YamlLoader};

use super::*;
use crate::Command as Xtask;

/// A workflow, read.
struct Workflow {
    file: String,
    text: Yaml,
}

fn read() -> Vec<Workflow> {
    let files = yaml_files(WORKFLOWS).expect("workflows");
    assert!(files.len() > 3, "only {files:?}");
    files
        .iter()
        .map(|file| {
            let text = fs::read_to_string(workspace().join(file)).expect("a workflow");
            Workflow {
                file: file.display().to_string(),
                text: parse(&text),
            }
        })
        .collect()
}

fn parse(text: &str) -> Yaml {
    YamlLoader::load_from_str(text).expect("YAML").remove(0)
}

/// The values of `key` in the steps of all jobs.
fn values<'a>(workflow: &'a Yaml, key: &'a str) -> impl Iterator<Item = &'a str> {
    let jobs = workflow["jobs"].as_hash().expect("jobs");
    jobs.values()
        .filter_map(|job| job["steps"].as_vec())
        .flatten()
        .filter_map(move |step| step[key].as_str())
}

/// The command lines of a workflow. One that ends with a backslash goes on in the next line.
fn commands(workflow: &Yaml) -> Vec<String> {
    values(workflow, "run")
        .map(|run| run.replace("\\\n", " "))
        .flat_map(|run| {
            run.lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn document() -> String {
    fs::read_to_string(workspace().join(DOCUMENT)).expect(DOCUMENT)
}

fn listed(document: &str) -> BTreeSet<String> {
    [RUN_BY_THIS_STEP, NOT_RUN]
        .iter()
        .flat_map(|heading| rows(document, heading))
        .map(|row| row.command)
        .collect()
}

/// The developer command that a line is: `cargo xtask …`, or `.ci/run …`, which is `cargo xtask test …`.
fn developer_command(line: &str) -> Option<Result<Xtask, String>> {
    let arguments = match line.strip_prefix("cargo xtask ") {
        Some(arguments) => arguments.to_owned(),
        None if line == ".ci/run" => "test".to_owned(),
        None => format!("test {}", line.strip_prefix(".ci/run ")?),
    };
    let words = ["xtask"].into_iter().chain(arguments.split_whitespace());
    Some(Xtask::try_parse_from(words).map_err(|error| error.to_string()))
}

/// Whether a step of `cargo xtask test` runs this subcommand.
fn is_run_by_a_step(command: &Xtask) -> bool {
    match command {
        Xtask::Cross(_)
        | Xtask::Dist(_)
        | Xtask::Ebpf(_)
        | Xtask::Flake(_)
        | Xtask::Test(_)
        | Xtask::Vm(_) => true,
        Xtask::Bench(_)
        | Xtask::Coverage(_)
        | Xtask::Demo(_)
        | Xtask::Fuzz(_)
        | Xtask::Picture(_) => false,
    }
}

/// Why nothing is known of a command line, if so.
fn mistake(line: &str, listed: &BTreeSet<String>) -> Option<String> {
    let developer = match developer_command(line) {
        Some(Err(error)) => return Some(format!("`{line}` is not understood: {error}")),
        Some(Ok(command)) => is_run_by_a_step(&command),
        None => false,
    };
    (!developer && !listed.contains(line)).then(|| {
        format!("no step runs `{line}`, and {DOCUMENT} does not list it as run by `workflows` or not run here")
    })
}

#[test]
fn every_command_is_run_here_or_listed_with_a_reason() {
    let document = document();
    let listed = listed(&document);
    let mut seen = BTreeSet::new();
    let mut mistakes = Vec::new();
    for workflow in read() {
        for line in commands(&workflow.text) {
            mistakes.extend(
                mistake(&line, &listed).map(|mistake| format!("{}: {mistake}", workflow.file)),
            );
            seen.insert(line);
        }
    }
    mistakes.extend(
        listed
            .difference(&seen)
            .map(|line| format!("{DOCUMENT}: no workflow has `{line}` any more")),
    );
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn lists_have_reasons_and_nothing_twice() {
    let document = document();
    let run = rows(&document, RUN_BY_THIS_STEP);
    let not_run = rows(&document, NOT_RUN);
    assert!(!run.is_empty() && !not_run.is_empty());
    for row in &not_run {
        assert!(!row.reason.is_empty(), "{row:?}");
        assert!(
            !run.iter().any(|other| other.command == row.command),
            "{row:?}"
        );
    }
    assert_eq!(listed(&document).len(), run.len() + not_run.len());
}

#[test]
fn a_command_that_nobody_runs_is_found() {
    let workflow = parse(
        "on: push\njobs:\n  a:\n    steps:\n      - run: |\n          # a comment\n          cargo xtask \\\n            test --only fmt\n          \
         make world\n      - uses: actions/checkout@v7\n      - run: cargo xtask test --only nonesuch\n      - run: cargo xtask demo\n",
    );
    let lines = commands(&workflow);
    assert_eq!(
        lines,
        [
            "cargo xtask test --only fmt",
            "make world",
            "cargo xtask test --only nonesuch",
            "cargo xtask demo",
        ]
    );
    let known = BTreeSet::new();
    let found: Vec<_> = lines.iter().map(|line| mistake(line, &known)).collect();
    assert_eq!(found[0], None);
    let says = |number: usize, text: &str| {
        let mistake: &str = found[number].as_ref().expect("a mistake");
        assert!(mistake.contains(text), "{mistake}");
    };
    says(1, "no step runs `make world`");
    says(2, "nonesuch");
    says(3, "no step runs `cargo xtask demo`");
    let known = BTreeSet::from(["make world".to_owned()]);
    assert_eq!(mistake("make world", &known), None);
    assert_eq!(mistake(".ci/run --only unit,root", &known), None);
}

#[test]
fn rows_are_those_below_the_heading() {
    let text = format!(
        "# a\n{RUN_BY_THIS_STEP}\n| command | why |\n|---|---|\n| `a --b 'c'` | d |\n\n{NOT_RUN}\n\
         | command | in | reason |\n|---|---|---|\n| `e` | f.yml | g `h` |\n## i\n| `j` | k |\n"
    );
    let row = |command: &str, reason: &str| Row {
        command: command.to_owned(),
        reason: reason.to_owned(),
    };
    assert_eq!(rows(&text, RUN_BY_THIS_STEP), [row("a --b 'c'", "d")]);
    assert_eq!(rows(&text, NOT_RUN), [row("e", "g `h`")]);
}

/// The same action has the same major version everywhere, as `owner/name@v1`.
#[test]
fn actions_have_one_major_version() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for workflow in read() {
        for action in values(&workflow.text, "uses") {
            let (name, version) = action.split_once('@').expect("a version");
            let number = version.strip_prefix('v').unwrap_or_default();
            assert!(
                !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()),
                "{}: {action} has no major version",
                workflow.file
            );
            versions
                .entry(name.to_owned())
                .or_default()
                .insert(version.to_owned());
        }
    }
    assert!(versions.contains_key("actions/checkout"), "{versions:?}");
    for (name, versions) in versions {
        assert_eq!(versions.len(), 1, "{name} has {versions:?}");
    }
}
