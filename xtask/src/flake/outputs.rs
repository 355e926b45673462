//! Evaluation of every output for every system, and the table of outputs in the documents.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::checkout::Checkout;
use super::nix::Nix;
use super::report::Report;
use crate::test::tools;

/// Where the outputs are listed.
const DOCUMENT: &str = "docs/nix.md";

pub(crate) fn check(nix: &Nix, checkout: &Checkout) -> Result<String> {
    let reference = format!("path:{}", checkout.root().display());
    let stand_ins = Nix::stand_ins(checkout.root());
    let mut arguments = vec![
        "flake",
        "check",
        "--offline",
        "--no-build",
        "--all-systems",
        "--no-write-lock-file",
    ];
    arguments.extend(stand_ins.iter().map(String::as_str));
    arguments.push(&reference);
    nix.run(&arguments, checkout.root())?;
    Ok("every output of every system".to_owned())
}

/// With the nixpkgs that comes after the locked one, which refuses Intel Macs, the other systems keep their packages.
pub(crate) fn next(report: &Report) -> Result<String> {
    const GONE: &str = "x86_64-darwin";
    for system in report.outputs.packages.keys() {
        ensure!(
            (system == GONE) != report.next.contains_key(system),
            "packages.{system} with nixpkgs 26.11: {}",
            if system == GONE {
                "there, though nixpkgs refuses it"
            } else {
                "missing"
            }
        );
    }
    Ok(format!(
        "{} systems evaluate with nixpkgs 26.11, which has no {GONE}",
        report.next.len()
    ))
}

/// `nix fmt` formats files, and the development shell has the tools that developer commands take from `PATH`.
pub(crate) fn developers(report: &Report) -> Result<String> {
    // nixfmt alone reads standard input when it is called without files.
    const FORMATTER: &str = "nixfmt-tree";
    for (system, name) in &report.formatters {
        ensure!(
            name == FORMATTER,
            "formatter.{system} is {name}, which `nix fmt` cannot call: {FORMATTER}"
        );
    }
    for (system, shell) in &report.shells {
        ensure!(
            shell
                .variables
                .get(tools::FROM_PATH)
                .is_some_and(|value| value == "path"),
            "devShells.{system}.default does not set {}=path: `cargo xtask` compiles tools of its own",
            tools::FROM_PATH
        );
        for tool in tools::IN_SHELL {
            ensure!(
                shell.packages.iter().any(|package| package == tool),
                "devShells.{system}.default has no {tool}, which `cargo xtask` calls"
            );
        }
    }
    Ok(format!(
        "{FORMATTER}, and {} tools in {} shells",
        tools::IN_SHELL.len(),
        report.shells.len()
    ))
}

/// The table in the document names exactly what the flake has, system by system. Scenarios of tests/vm may be missing
/// there: the document says that each is a check and an app.
pub(crate) fn documented(report: &Report, checkout: &Checkout) -> Result<String> {
    let text = checkout.read(DOCUMENT)?;
    let documented = table(&text)?;
    let mut actual = BTreeMap::new();
    for (kind, systems) in [
        ("packages", &report.outputs.packages),
        ("checks", &report.outputs.checks),
        ("apps", &report.outputs.apps),
    ] {
        for (system, names) in systems {
            for name in names {
                actual
                    .entry(format!("{kind} {name}"))
                    .or_insert_with(BTreeSet::new)
                    .insert(system.clone());
            }
        }
    }
    for (output, systems) in &actual {
        let found = documented.get(output);
        if found.is_none() && is_scenario(output, checkout) {
            continue;
        }
        ensure!(
            found == Some(systems),
            "{DOCUMENT}: the row of `{output}` says {}, the flake has it for {}",
            found.map_or_else(|| "nothing".to_owned(), list),
            list(systems)
        );
    }
    if let Some(output) = documented
        .keys()
        .find(|output| !actual.contains_key(*output))
    {
        anyhow::bail!("{DOCUMENT}: `{output}` is listed, the flake has no such output");
    }
    Ok(format!("{} outputs as in {DOCUMENT}", actual.len()))
}

/// Whether an output is made of a folder of tests/vm: `checks NAME`, `apps vm-NAME`.
fn is_scenario(output: &str, checkout: &Checkout) -> bool {
    let name = output
        .strip_prefix("checks ")
        .or_else(|| output.strip_prefix("apps vm-"));
    name.is_some_and(|name| {
        let file = format!("tests/vm/{name}/scenario.toml");
        checkout.root().join(file).is_file()
    })
}

fn list(systems: &BTreeSet<String>) -> String {
    systems.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// Rows `| kind | name, name | yes | yes | … | what |` below a header that names the systems.
fn table(text: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut systems: Vec<String> = Vec::new();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells.as_slice() {
            ["kind", "name", middle @ .., _] => {
                systems = middle.iter().map(|cell| (*cell).to_owned()).collect();
            }
            [
                kind @ ("packages" | "checks" | "apps"),
                names,
                middle @ ..,
                _,
            ] => {
                ensure!(
                    middle.len() == systems.len(),
                    "{DOCUMENT}: `{line}` has not one cell per system"
                );
                let yes: BTreeSet<String> = middle
                    .iter()
                    .zip(&systems)
                    .filter(|(cell, _)| **cell == "yes")
                    .map(|(_, system)| system.clone())
                    .collect();
                for name in names.split(',') {
                    let name = name.trim().trim_matches('`');
                    rows.insert(format!("{kind} {name}"), yes.clone());
                }
            }
            _ => {}
        }
    }
    ensure!(
        !rows.is_empty(),
        "{DOCUMENT} has no table of outputs (`| kind | name | … |`)"
    );
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn rows_are_read_by_system() {
        let text = "| kind | name | a-linux | b-darwin | what |\n|---|---|---|---|---|\n\
                    | packages | `x`, `y` | yes | | both |\n| apps | `lab` | yes | yes | z |\n";
        let rows = table(text).unwrap();
        assert_eq!(rows["packages y"].len(), 1);
        assert_eq!(rows["apps lab"].len(), 2);
        assert!(table("no table").is_err());
        assert!(table("| kind | name | a | what |\n| apps | `x` | yes | yes | w |").is_err());
    }
}
