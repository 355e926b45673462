//! The command lines of README.md and docs/macos.md that start one of our programs: each subcommand and each flag exists,
//! and what starts a role has all that the role's configuration needs.

use std::fs;
use std::path::Path;

use crate::support::program::{AGENT, ANALYZER, CONTROLLER, OPERATOR, own};

/// The program of that name.
fn program(name: &str) -> Option<&'static str> {
    match name {
        "rpingmesh" => Some(OPERATOR),
        "rpingmesh-agent" => Some(AGENT),
        "rpingmesh-analyzer" => Some(ANALYZER),
        "rpingmesh-controller" => Some(CONTROLLER),
        _ => None,
    }
}

/// Words as a shell has them, of the quotes only the single ones; a comment ends the line.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            '#' if !quoted && word.is_empty() => break,
            other => word.push(other),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Program and arguments where a line starts one of ours, by itself, with `sudo`, or by `cargo run --bin`.
fn invocation(line: &str) -> Option<(&'static str, Vec<String>)> {
    let mut words = words(line.trim().trim_start_matches("$ "));
    if words.first().is_some_and(|word| word == "sudo") {
        words.remove(0);
    }
    let (first, rest) = words.split_first()?;
    if first == "cargo" && rest.first().is_some_and(|word| word == "run") {
        let bin = rest.iter().position(|word| word == "--bin")?;
        let name = rest.get(bin + 1)?;
        let program = program(name).unwrap_or_else(|| panic!("no program {name}: {line}"));
        let own = rest.iter().position(|word| word == "--");
        let own = own.map_or(&[][..], |at| &rest[at + 1..]);
        return Some((program, own.to_vec()));
    }
    let name = Path::new(first).file_name()?.to_str()?;
    program(name).map(|program| (program, rest.to_vec()))
}

/// Lines of the code blocks, continued ones joined, and spans in backticks.
fn command_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 1 {
            let block = part.replace("\\\n", " ");
            lines.extend(block.lines().skip(1).map(str::to_owned));
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            lines.extend(spans.map(|span| span.replace('\n', " ")));
        }
    }
    lines
}

/// The help of a program or of one of its subcommands.
fn help(program: &str, subcommand: &[String]) -> Result<String, String> {
    let output = own(program)
        .args(subcommand)
        .arg("--help")
        .env_clear()
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the program's own help knows the subcommand (and that one's own) and each long flag, and whether what is said to
/// `run` makes a complete configuration.
fn check(program: &str, arguments: &[String]) -> Result<(), String> {
    let first = usize::from(!arguments[0].starts_with('-'));
    let mut subcommand = &arguments[..first];
    let mut help_text = help(program, subcommand)?;
    if first == 1 && help_text.contains("<COMMAND>") && arguments.len() > 1 {
        subcommand = &arguments[..2];
        help_text = help(program, subcommand)?;
    }
    let known = |flag: &str| {
        help_text
            .split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'))
            .any(|word| word == flag)
    };
    let flags = arguments.iter().filter(|word| word.starts_with("--"));
    for flag in flags.filter_map(|word| word.split('=').next()) {
        if !known(flag) {
            return Err(format!("{flag} is not in the help of {subcommand:?}"));
        }
    }
    if arguments[0] == "run" {
        return complete(program, &arguments[1..]);
    }
    Ok(())
}

/// Whether a role starts with these flags: `check-config` takes the same ones.
fn complete(program: &str, flags: &[String]) -> Result<(), String> {
    let output = own(program)
        .arg("check-config")
        .args(flags)
        .env_clear()
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(())
}

#[test]
fn every_command_line_of_the_readme_is_understood() {
    for name in ["README.md", "docs/macos.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut checked = 0;
        for line in command_lines(&text) {
            let Some((program, arguments)) = invocation(&line) else {
                continue;
            };
            // A program's name alone is no command line.
            if arguments.is_empty() {
                continue;
            }
            if let Err(error) = check(program, &arguments) {
                panic!("{name}: `{line}`: {error}");
            }
            checked += 1;
        }
        assert!(checked > 0, "{name} starts none of the programs");
    }
}

#[test]
fn wrong_command_lines_are_found() {
    let text = "a `rpingmesh lab --nonesuch=1` and\n```\nsudo ./target/rpingmesh-agent fly\n\
                cargo run --release --bin rpingmesh -- lab \\\n --fault 'a --b' # why\nls\n```\n";
    let found: Vec<_> = command_lines(text)
        .iter()
        .filter_map(|line| invocation(line))
        .collect();
    assert_eq!(found.len(), 3);
    let error = check(found[0].0, &found[0].1).expect_err("no such flag");
    assert!(error.contains("--nonesuch"), "{error}");
    let error = check(found[1].0, &found[1].1).expect_err("no such subcommand");
    assert!(error.contains("fly"), "{error}");
    let incomplete = ["run", "--transport", "userspace"].map(str::to_owned);
    let error = check(AGENT, &incomplete).expect_err("no ToR");
    assert!(error.contains("tor: is missing"), "{error}");
    assert_eq!(found[2].1, ["lab", "--fault", "a --b"]);
    assert_eq!(check(found[2].0, &found[2].1), Ok(()));
}
