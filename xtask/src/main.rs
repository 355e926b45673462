//! Developer commands of rpingmesh, for people without Nix and for CI.

mod apt;
mod bench;
mod cache;
mod cargo;
mod coverage;
mod cross;
mod demo;
mod dist;
mod ebpf;
#[cfg(test)]
mod environments;
mod flake;
mod fuzz;
mod picture;
mod process;
mod test;
mod vm;

use std::process::ExitCode;

use clap::Parser;

/// Developer commands of rpingmesh.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    Bench(bench::Options),
    Coverage(coverage::Options),
    Cross(cross::Options),
    Demo(demo::Options),
    Dist(dist::Options),
    Ebpf(ebpf::Options),
    Flake(flake::Options),
    Fuzz(fuzz::Options),
    Picture(picture::Options),
    Test(test::Options),
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let command = Command::parse();
    let outcome = process::end_children_on_signals().and_then(|()| match command {
        Command::Bench(options) => bench::run(&options),
        Command::Coverage(options) => coverage::run(&options),
        Command::Cross(options) => cross::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Dist(options) => dist::run(&options),
        Command::Flake(options) => flake::run(&options),
        Command::Ebpf(options) => ebpf::run(options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Picture(options) => picture::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Vm(options) => vm::run(&options),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Command lines in backticks that begin with `cargo xtask `.
    fn command_lines(text: &str) -> Vec<&str> {
        text.split('`')
            .skip(1)
            .step_by(2)
            .filter(|span| span.starts_with("cargo xtask "))
            .collect()
    }

    #[test]
    fn every_command_line_of_the_documents_is_understood() {
        for file in [
            "README.md",
            "CONTRIBUTING.md",
            "docs/ci.md",
            "docs/macos.md",
            "docs/nix.md",
            "packaging/README.md",
            "tests/vm/README.md",
        ] {
            let path = cargo::workspace().join(file);
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
            let lines = command_lines(&text);
            assert!(!lines.is_empty(), "{file} names no command");
            for line in lines {
                let words = line.split_whitespace().skip(1);
                if let Err(error) = Command::try_parse_from(words) {
                    panic!("{file}: `{line}`: {error}");
                }
            }
        }
    }

    #[test]
    fn the_changelog_has_the_version_below_what_is_unreleased() {
        let text = fs::read_to_string(cargo::workspace().join("CHANGELOG.md")).expect("changelog");
        let sections: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        assert_eq!(sections[0], "Unreleased");
        let (version, date) = sections[1]
            .split_once(" - ")
            .expect("a version and its date");
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        let midnight = format!("{date}T00:00:00Z");
        assert!(
            humantime::parse_rfc3339(&midnight).is_ok(),
            "{date} is not a date"
        );
    }

    #[test]
    fn a_wrong_command_line_is_found() {
        assert_eq!(
            command_lines("a `cargo xtask vm x` b `cargo fmt`"),
            ["cargo xtask vm x"]
        );
        assert!(Command::try_parse_from(["xtask", "nonesuch"]).is_err());
        assert!(Command::try_parse_from(["xtask", "test", "--only", "nonesuch"]).is_err());
    }
}
