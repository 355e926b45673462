//! `cargo xtask picture`: the picture of a terminal in README.md, drawn from what the lab really prints.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cargo::{cargo, workspace};
use crate::process;

/// README's first command, after `cargo run --bin rpingmesh --`.
const LAB: [&str; 5] = [
    "lab",
    "--duration",
    "30s",
    "--fault",
    "link spine1-tor3 loss=5% at=5s",
];

/// The picture, in the checkout.
const FILE: &str = "docs/images/lab.svg";

/// Characters in a line of the picture; longer lines are wrapped.
const COLUMNS: usize = 104;

/// Lines of a paragraph of the summary; of longer ones the rest is left out.
const PARAGRAPH: usize = 6;

/// Width of a character, in tenths of a pixel.
const CHARACTER_TENTHS: usize = 78;
/// Sizes in pixels: a line, the margin.
const LINE: usize = 19;
const MARGIN: usize = 16;

/// Runs the lab as README.md has it and draws the end of its output as docs/images/lab.svg.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Draw what is in this file instead: the output of a run.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// Draws it; returns whether the lab ended well.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let printed = match &options.from {
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
        }
        None => {
            let mut command = cargo();
            command
                .args(["run", "--locked", "--bin", "rpingmesh", "--"])
                .args(LAB);
            match process::printed(&mut command)? {
                Some(printed) => printed,
                None => return Ok(false),
            }
        }
    };
    let file = workspace().join(FILE);
    fs::write(&file, svg(&command_line(), end(&printed)?))
        .with_context(|| format!("write {}", file.display()))?;
    println!("{FILE} is drawn");
    Ok(true)
}

/// What a user types once the program is built.
fn command_line() -> String {
    let mut line = "rpingmesh".to_owned();
    for word in LAB {
        let quote = if word.contains(' ') { "'" } else { "" };
        let _ = write!(line, " {quote}{word}{quote}");
    }
    line
}

/// The summary at the end of the lab's output: from the line with the numbers of hosts and RNICs.
fn end(printed: &str) -> Result<&str> {
    let mut at = 0;
    for line in printed.split_inclusive('\n') {
        if line.contains(" hosts, ") && line.contains(" of processor time") {
            return Ok(printed[at..].trim_end());
        }
        at += line.len();
    }
    bail!("the lab's output has no summary")
}

/// The first lines of each paragraph.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    let mut number = 0;
    for line in text.lines() {
        number = if line.is_empty() { 0 } else { number + 1 };
        if number <= PARAGRAPH {
            short.push_str(line);
            short.push('\n');
        } else if number == PARAGRAPH + 1 {
            short.push_str("  …\n");
        }
    }
    short
}

/// Lines of at most [`COLUMNS`] characters; wrapped lines are indented by two more.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let indent = " ".repeat(line.len() - line.trim_start().len() + 2);
        let mut rest = line.to_owned();
        while rest.chars().count() > COLUMNS {
            let limit = rest
                .char_indices()
                .nth(COLUMNS)
                .map_or(rest.len(), |(at, _)| at);
            let start = rest.len() - rest.trim_start().len();
            // A word that is longer than a line is cut.
            let cut = rest[start..limit].rfind(' ').map_or(limit, |at| start + at);
            let next = format!("{indent}{}", rest[cut..].trim_start());
            rest.truncate(cut);
            lines.push(std::mem::replace(&mut rest, next));
        }
        lines.push(rest);
    }
    lines
}

/// A terminal with the command line and what it printed.
fn svg(command: &str, text: &str) -> String {
    let mut lines = wrapped(&format!("$ {command}"));
    lines.push("…".to_owned());
    lines.extend(wrapped(&shortened(text)));
    let width = 2 * MARGIN + (COLUMNS * CHARACTER_TENTHS).div_ceil(10);
    let height = 2 * MARGIN + lines.len() * LINE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1b1f24\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\" fill=\"#e6e6e6\">\n"
    );
    for (number, line) in lines.iter().enumerate() {
        let y = MARGIN + number * LINE + 14;
        let colour = if number == 0 {
            " fill=\"#7ee2a8\""
        } else if line.starts_with("located") {
            " fill=\"#ffd479\""
        } else {
            ""
        };
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{y}\"{colour}>{}</text>",
            escaped(line)
        );
    }
    svg + "</g>\n</svg>\n"
}

/// As text in SVG, where ordinary spaces that follow one another are shown as one.
fn escaped(text: &str) -> String {
    text.replace("  ", "\u{a0}\u{a0}")
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "64 agents with 128 RNICs\n  1.0 s  7 probes\n\n64 hosts, 128 RNICs, 30.1 s, 3.7 s of processor time\n\
                           located  link a->b & c [P2 link_loss] after 11.0 s: right\n";

    #[test]
    fn the_picture_has_the_command_and_the_summary() {
        let picture = svg(&command_line(), end(PRINTED).expect("a summary"));
        assert!(!picture.contains("7 probes"), "{picture}");
        for part in [
            ">$ rpingmesh lab --duration 30s --fault 'link spine1-tor3 loss=5% at=5s'</text>",
            ">64 hosts, 128 RNICs, 30.1 s, 3.7 s of processor time</text>",
            ">located\u{a0}\u{a0}link a-&gt;b &amp; c [P2 link_loss] after 11.0 s: right</text>",
        ] {
            assert!(picture.contains(part), "{part} is not in {picture}");
        }
        assert!(end("nothing\n").is_err());
    }

    #[test]
    fn long_paragraphs_are_cut() {
        let text = "a\nb\nc\nd\ne\nf\ng\nh\n\ni\n";
        assert_eq!(shortened(text), "a\nb\nc\nd\ne\nf\n  …\n\ni\n");
    }

    #[test]
    fn long_lines_are_wrapped_between_words() {
        let long = format!("  {} end", "word ".repeat(24).trim_end());
        let lines = wrapped(&long);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("    word"), "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS));
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&lines.join(" ")), words(&long));
        assert_eq!(wrapped(&"é".repeat(150)).len(), 2);
    }

    #[test]
    fn readme_shows_the_picture_of_the_command_that_it_has() {
        let read = |name: &str| fs::read_to_string(workspace().join(name)).expect(name);
        let readme = read("README.md");
        let command = command_line();
        let typed = command.replace("rpingmesh", "cargo run --bin rpingmesh --");
        assert!(readme.contains(&typed), "README.md lacks {typed}");
        assert!(readme.contains(&format!("]({FILE})")));
        assert!(read(FILE).contains(&format!(">$ {command}</text>")));
    }
}
