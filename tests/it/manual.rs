//! What is made from the command lines: reference, completions, man pages.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::program::{AGENT, ANALYZER, CONTROLLER, OPERATOR, command};

/// Set it to write the reference instead of comparing it.
const UPDATE: &str = "RPINGMESH_UPDATE_DOCS";

const PROGRAMS: [(&str, &str); 4] = [
    ("rpingmesh", OPERATOR),
    ("rpingmesh-agent", AGENT),
    ("rpingmesh-controller", CONTROLLER),
    ("rpingmesh-analyzer", ANALYZER),
];

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = command(program, arguments).output().expect("it runs");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn text(program: &str, arguments: &[&str]) -> String {
    String::from_utf8(run(program, arguments).stdout).expect("text")
}

#[test]
fn the_reference_of_the_options_is_what_the_programs_take() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    for (name, program) in PROGRAMS {
        let made = text(program, &["manual", "reference"]);
        let file = folder.join(format!("{name}.md"));
        if std::env::var_os(UPDATE).is_some() {
            fs::create_dir_all(&folder).expect("the folder");
            fs::write(&file, made).expect("written");
            continue;
        }
        let written = fs::read_to_string(&file).unwrap_or_default();
        // The whole texts are long: the first line that differs says enough.
        let differs = written
            .lines()
            .zip(made.lines())
            .find(|(written, made)| written != made);
        assert!(
            written == made,
            "{} is stale ({UPDATE}=1 writes it): {differs:?}",
            file.display()
        );
    }
}

#[test]
fn completions_name_commands_and_options() {
    for (name, program) in PROGRAMS {
        for shell in ["bash", "zsh", "fish"] {
            let script = text(program, &["manual", "completions", shell]);
            assert!(script.contains(name), "{name} {shell}");
            assert!(
                script.contains("completions") && script.contains("manual"),
                "{name} {shell}"
            );
        }
    }
    let script = text(AGENT, &["manual", "completions", "bash"]);
    assert!(script.contains("--probe-timeout") && script.contains("userspace"));
}

#[test]
fn each_command_has_a_man_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("man");
    for (name, program) in PROGRAMS {
        run(program, &["manual", "man", path.to_str().expect("text")]);
        let page = fs::read_to_string(path.join(format!("{name}.1"))).expect("a page");
        assert!(page.starts_with(".ie") || page.contains(".TH"), "{page}");
    }
    let page = fs::read_to_string(path.join("rpingmesh-agent-run.1")).expect("a page");
    assert!(page.contains("probe\\-timeout"), "{page}");
}
